//! `weir bench`: what a run found, as tables or as JSON.

use ::bench::ingest::{self, bare};
use ::bench::sink;
use anyhow::{Context, ensure};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Benchmark {
    /// The edge under load, beside a bare HTTP handler that parses the same bodies and keeps
    /// nothing: what a durable 202 costs.
    ///
    /// Starts a broker, ingest and the bare handler on ports and in folders of their own, measures
    /// the two in turns, as fast as they answer and then at a constant rate, looks for every
    /// accepted event in Kafka, and ends everything. Progress goes to the log on stderr.
    Ingest(ingest::Options),
    /// A sink that drains Kafka into ClickHouse, beside ClickHouse taking the same rows from memory.
    ///
    /// Starts a broker, ClickHouse and sinks on ports and in a folder of their own, and ends
    /// everything. Progress goes to the log on stderr.
    Sink(sink::Options),
    /// The bare handler.
    #[command(hide = true)]
    Bare(bare::Options),
}

pub(crate) async fn run(benchmark: Benchmark) -> anyhow::Result<()> {
    match benchmark {
        Benchmark::Ingest(options) => measure_ingest(&options).await,
        Benchmark::Sink(options) => measure_sink(&options).await,
        Benchmark::Bare(options) => bare::run(&options).await,
    }
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
async fn measure_ingest(options: &ingest::Options) -> anyhow::Result<()> {
    let report = ingest::run(options).await?;
    if options.json {
        let json = serde_json::to_string_pretty(&report).context("write the report as JSON")?;
        println!("{json}");
    } else {
        print!("{report}");
    }
    ensure!(
        report.is_whole(),
        "events that were answered 202 are not in Kafka"
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
async fn measure_sink(options: &sink::Options) -> anyhow::Result<()> {
    let report = sink::run(options).await?;
    if options.json {
        let json = serde_json::to_string_pretty(&report).context("write the report as JSON")?;
        println!("{json}");
    } else {
        print!("{report}");
    }
    Ok(())
}

//! `weir bench`: what a run found, as tables or as JSON.

use std::fmt::Display;

use ::bench::e2e;
use ::bench::ingest::{self, bare};
use ::bench::query;
use ::bench::sink;
use anyhow::{Context, ensure};
use serde::Serialize;

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
    /// /stats over many events, beside few events and beside the raw table: what rollups save.
    ///
    /// Starts an embedded ClickHouse and query services on ports and in a folder of their own, has
    /// ClickHouse make the events, asks on one connection, while events come in, and on many
    /// connections at a constant rate, compares answers with straight counts, and ends everything.
    /// Progress goes to the log on stderr.
    Query(query::Options),
    /// All of weir under load at rising rates, up to the highest that holds: events taken, how soon
    /// they count in /stats, and what that costs.
    ///
    /// Starts a broker, ClickHouse, ingest, a sink and query on ports and in a folder of their own,
    /// each in a process of its own, looks at how soon single events beside the load are counted,
    /// compares what is stored with what was accepted, and ends everything. Progress goes to the
    /// log on stderr.
    E2e(e2e::Options),
    /// The bare handler.
    #[command(hide = true)]
    Bare(bare::Options),
}

pub(crate) async fn run(benchmark: Benchmark) -> anyhow::Result<()> {
    match benchmark {
        Benchmark::Ingest(options) => measure_ingest(&options).await,
        Benchmark::Sink(options) => measure_sink(&options).await,
        Benchmark::Query(options) => measure_query(&options).await,
        Benchmark::E2e(options) => measure_e2e(&options).await,
        Benchmark::Bare(options) => bare::run(&options).await,
    }
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print(report: &(impl Serialize + Display), as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let json = serde_json::to_string_pretty(report).context("write the report as JSON")?;
        println!("{json}");
    } else {
        print!("{report}");
    }
    Ok(())
}

async fn measure_ingest(options: &ingest::Options) -> anyhow::Result<()> {
    let report = ingest::run(options).await?;
    print(&report, options.json)?;
    ensure!(
        report.is_whole(),
        "events that were answered 202 are not in Kafka"
    );
    Ok(())
}

async fn measure_sink(options: &sink::Options) -> anyhow::Result<()> {
    let report = sink::run(options).await?;
    print(&report, options.json)
}

async fn measure_query(options: &query::Options) -> anyhow::Result<()> {
    let report = query::run(options).await?;
    print(&report, options.json)?;
    ensure!(
        report.is_right(),
        "answers differ from a straight count of the rows"
    );
    Ok(())
}

async fn measure_e2e(options: &e2e::Options) -> anyhow::Result<()> {
    let report = e2e::run(options).await?;
    print(&report, options.json)?;
    ensure!(
        report.is_whole(),
        "not every event that was answered 202 counts once"
    );
    Ok(())
}

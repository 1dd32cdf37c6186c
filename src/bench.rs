//! `weir bench`: what a run found, as tables or as JSON.

use ::bench::baseline;
use ::bench::e2e;
use ::bench::ingest::{self, bare};
use ::bench::output::Told;
use ::bench::page;
use ::bench::query;
use ::bench::sink;

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
    /// weir beside the Node design that many begin with: Express, BullMQ on Redis, an INSERT a job
    /// into PostgreSQL, counts over the rows.
    ///
    /// Starts both on ports and in folders of their own, sends both the same events, has them store
    /// what they accepted, counts the rows, asks both the same questions about the same rows,
    /// compares the answers, and ends everything. Needs Node.js, npm, Redis and PostgreSQL; none has
    /// to run. npm fetches the design's packages, once. Progress goes to the log on stderr.
    Baseline(baseline::Options),
    /// All of these in turn, written down as one page: machine, versions, every aim beside what was
    /// reached, every table and how to read it. Takes about a quarter of an hour.
    Report(page::Options),
    /// The bare handler.
    #[command(hide = true)]
    Bare(bare::Options),
}

pub(crate) async fn run(benchmark: Benchmark) -> anyhow::Result<()> {
    match benchmark {
        Benchmark::Ingest(options) => {
            tell(options.output.tell(&options, ingest::run(&options))).await
        }
        Benchmark::Sink(options) => tell(options.output.tell(&options, sink::run(&options))).await,
        Benchmark::Query(options) => {
            tell(options.output.tell(&options, query::run(&options))).await
        }
        Benchmark::Baseline(options) => {
            tell(options.output.tell(&options, baseline::run(&options))).await
        }
        Benchmark::E2e(options) => tell(options.output.tell(&options, e2e::run(&options))).await,
        Benchmark::Report(options) => page::run(&options).await,
        Benchmark::Bare(options) => bare::run(&options).await,
    }
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
async fn tell(telling: impl Future<Output = anyhow::Result<Told>>) -> anyhow::Result<()> {
    let told = telling.await?;
    print!("{}", told.answer);
    told.outcome
}

//! Measurements that need the test harness; `weir bench` has the others.

mod exactly_once;

use clap::Parser;

/// Measures weir against itself.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
enum Benchmark {
    /// What plans, tokens, fences and the ledger cost the sink: its throughput with them and
    /// without.
    ExactlyOnce(exactly_once::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Benchmark::parse() {
        Benchmark::ExactlyOnce(options) => exactly_once::run(&options).await,
    }
}

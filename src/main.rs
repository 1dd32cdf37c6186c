//! The one binary: each command is one arm.

mod audit;
mod bench;
mod config;
mod demo;
mod found;
mod health;
mod import;
mod key;
mod seal;
mod sender;
mod servers;
mod sql;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

/// A third of the sink's time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes website and product events over HTTP, keeps them safe in Kafka, moves them exactly once
/// into ClickHouse, and answers /stats at once.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    /// Read this file instead of ./weir.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All of it on this machine: broker, ClickHouse, topics, tables, ingest, sink, query.
    Up(up::Options),
    /// The ingest service: HTTP to Kafka.
    Ingest,
    /// The sink: Kafka to ClickHouse.
    Sink,
    /// The query service: ClickHouse to HTTP.
    Query,
    /// The embedded Kafka broker alone.
    Broker(servers::BrokerOptions),
    /// The embedded ClickHouse alone.
    Clickhouse(servers::ClickhouseOptions),
    /// Create topics and tables, or bring them to this version; does nothing twice.
    Migrate,
    /// Prove that every event counts once; exits with 1 and says where if one does not.
    ///
    /// Three things are compared. Kafka against the ledger: every offset up to what the sink has
    /// committed stands in exactly one range of the table `ledger`, and every event of a range was
    /// stored or dropped as a repeat. The ledger against `events`: each range has as many rows as it
    /// should, and the very ones. `events` against every rollup: events and users of each key are
    /// what the raw rows give. Nothing is changed, and a sink may go on meanwhile.
    ///
    /// Exit status: 0 every event counts once, 1 something was found, 2 Kafka or ClickHouse could
    /// not be asked.
    Audit(audit::Options),
    /// Send a web server's access log as page views; the same file twice changes nothing.
    Import(import::Options),
    /// Send believable traffic to look at: days of history, live visitors, or both.
    ///
    /// What it sends is a function of the seed, the sites and the days: sent again, the same
    /// history counts once.
    Demo(demo::Options),
    /// Close days: remove repeats from beyond the window, rebuild rollups that differ.
    Seal(seal::Options),
    /// Send a statement to ClickHouse and print the answer; exits with 1 and ClickHouse's words if it
    /// fails.
    Sql(sql::Options),
    /// Measure weir beside what it could be at best.
    #[command(subcommand)]
    Bench(bench::Benchmark),
    /// Ask a URL and exit with 0 if it answers with success; for container health checks.
    Health(health::Options),
    /// Make a key, to write or to read: prints it once, and the lines of weir.toml that let it in.
    Key(key::Options),
    /// Print the configuration in force, secrets redacted.
    Config,
    /// The child process that the engine runs in; `up` and `clickhouse` start it.
    #[command(hide = true, name = servers::ENGINE)]
    Engine,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before the runtime's threads are: the engine's sandbox would not cover them.
    if let Command::Engine = cli.command {
        embedded_clickhouse::serve();
    }
    answer(cli)
}

#[tokio::main]
async fn answer(cli: Cli) -> ExitCode {
    let failure = match cli.command {
        Command::Audit(_) => audit::COULD_NOT_LOOK,
        _ => 1,
    };
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<audit::Unsound>() => ExitCode::FAILURE,
        Err(error) => {
            // One line: the attempt, then its causes. Faults of a configuration are a line each.
            let text = format!("{error:#}");
            match error.is::<infra::config::ConfigError>() {
                true => eprintln!("error: {text}"),
                false => eprintln!("error: {}", infra::telemetry::one_line(&text)),
            }
            ExitCode::from(failure)
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    if let Command::Key(options) = &cli.command {
        return key::print(options);
    }
    let mut config: Config = infra::config::load(cli.config.as_deref(), config::GONE)?;
    if let Command::Config = cli.command {
        return config::print(&config);
    }
    infra::telemetry::init(&config.log)?;
    match &cli.command {
        Command::Sink | Command::Query | Command::Migrate => found::clickhouse(&mut config, None)?,
        Command::Audit(options) => found::clickhouse(&mut config, options.data_dir.as_deref())?,
        Command::Seal(options) => found::clickhouse(&mut config, options.data_dir.as_deref())?,
        _ => None,
    };
    match cli.command {
        Command::Up(options) => up::run(config, options).await,
        Command::Ingest => servers::ingest(config).await,
        Command::Sink => servers::sink(config).await,
        Command::Query => servers::query(config).await,
        Command::Broker(options) => servers::broker(config, options).await,
        Command::Clickhouse(options) => servers::clickhouse(config, options).await,
        Command::Migrate => servers::migrate(&config).await,
        Command::Audit(options) => audit::run(&config, &options).await,
        Command::Import(options) => import::run(config.import, config.ingest, options).await,
        Command::Demo(options) => demo::run(config.demo, options).await,
        Command::Seal(options) => seal::run(&config, options).await,
        Command::Sql(options) => sql::run(config, options).await,
        Command::Bench(benchmark) => bench::run(benchmark).await,
        Command::Health(options) => health::run(options).await,
        Command::Key(_) | Command::Config | Command::Engine => unreachable!("answered above"),
    }
}

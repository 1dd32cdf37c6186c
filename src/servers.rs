//! One service or one embedded server, alone in its process.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use infra::shutdown;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::Config;

pub(crate) async fn ingest(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let service = ingest::Service::bind(config.ingest, config.kafka).await?;
    info!("ingest listens on {}", service.local_addr());
    service.run(shutdown).await
}

pub(crate) async fn sink(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let service = sink::Service::bind(config.sink, config.kafka, config.clickhouse).await?;
    info!("sink listens on {}", service.local_addr()?);
    service.run(shutdown).await
}

pub(crate) async fn query(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let service = query::Service::bind(config.query, config.clickhouse).await?;
    info!("query listens on {}", service.local_addr());
    service.run(shutdown).await
}

pub(crate) async fn migrate(config: &Config) -> anyhow::Result<()> {
    infra::kafka::create_topics(&config.kafka).await?;
    let migrated = infra::clickhouse::migrate(&config.clickhouse).await?;
    let filled = sink::fill_rollups(&config.sink, &config.clickhouse).await?;
    if filled > 0 {
        info!(
            filled,
            "filled {filled} months of the rollups that this version brings"
        );
    }
    info!(
        migrated.applied,
        migrated.version,
        "topics {} and {} stand; database {} is at version {}",
        config.kafka.topic,
        config.kafka.dead_letter_topic,
        config.clickhouse.database,
        migrated.version
    );
    Ok(())
}

#[derive(Debug, clap::Args)]
pub(crate) struct BrokerOptions {
    /// Where its log lies.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

pub(crate) async fn broker(config: Config, options: BrokerOptions) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let mut config = config.broker;
    config.data_dir = options.data_dir.unwrap_or(config.data_dir);
    config.listen = options.listen.unwrap_or(config.listen);
    let broker = embedded_broker::Broker::bind(config).await?;
    info!("the broker listens on {}", broker.local_addr());
    broker.run(shutdown).await
}

#[derive(Debug, clap::Args)]
pub(crate) struct ClickhouseOptions {
    /// Where its tables lie.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Print the address on stdout, and end when stdin does: `up` holds the other end, so the
    /// engine never outlives it, however it ends.
    #[arg(long, hide = true)]
    attached: bool,
}

pub(crate) async fn clickhouse(config: Config, options: ClickhouseOptions) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let mut engine = config.engine();
    engine.data_dir = options.data_dir.unwrap_or(engine.data_dir);
    engine.listen = options.listen.unwrap_or(engine.listen);
    let server = embedded_clickhouse::Server::open(engine).await?;
    info!("ClickHouse listens on {}", server.local_addr());
    if options.attached {
        announce(server.local_addr())?;
        end_with_stdin(shutdown.clone());
    }
    server.run(shutdown).await
}

#[expect(clippy::print_stdout, reason = "the parent process reads this line")]
fn announce(address: SocketAddr) -> anyhow::Result<()> {
    use std::io::Write;
    println!("{address}");
    std::io::stdout().flush().context("tell the address")
}

/// On a thread of its own that nobody waits for: a read of stdin cannot be called off.
fn end_with_stdin(shutdown: CancellationToken) {
    std::thread::spawn(move || {
        let mut ignored = [0; 64];
        while matches!(std::io::stdin().read(&mut ignored), Ok(read) if read > 0) {}
        shutdown.cancel();
    });
}

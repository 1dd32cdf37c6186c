//! One service or one embedded server, alone in its process.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use infra::shutdown;
use tracing::info;

use crate::config::Config;

pub(crate) async fn ingest(config: Config) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let service = ingest::Service::bind(config.ingest(), config.kafka).await?;
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
    let service = query::Service::bind(config.query.clone(), config.clickhouse.clone())
        .await?
        .of_edge(config.edge());
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
}

pub(crate) async fn clickhouse(config: Config, options: ClickhouseOptions) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let mut engine = config.engine();
    engine.data_dir = options.data_dir.unwrap_or(engine.data_dir);
    engine.listen = options.listen.unwrap_or(engine.listen);
    let server = embedded_clickhouse::Server::start(engine, engine_program()?).await?;
    info!("ClickHouse listens on {}", server.http());
    server.run(shutdown).await
}

/// The command of this program that becomes the engine.
pub(crate) const ENGINE: &str = "clickhouse-engine";

/// This program again, as the engine.
pub(crate) fn engine_program() -> anyhow::Result<embedded_clickhouse::Program> {
    Ok(embedded_clickhouse::Program {
        path: std::env::current_exe().context("find this program's own file")?,
        arguments: vec![ENGINE.into()],
    })
}

//! `weir up`: everything on this machine in one process tree. The broker and the services are
//! tasks of this process; the ClickHouse engine is a child of it, started again if it dies.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use infra::shutdown;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::Config;
use crate::servers;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where everything that must last lies.
    #[arg(long, default_value = "./data", value_name = "DIR")]
    data_dir: PathBuf,
}

/// What the services and then the servers below them may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(20);

pub(crate) async fn run(mut config: Config, options: Options) -> anyhow::Result<()> {
    let interrupted = shutdown::on_signal()?;
    private_folder::make_around(&options.data_dir).context("--data-dir")?;

    // The broker first: its lock says whether the data directory is somebody else's.
    let broker = embedded_broker::Broker::bind(embedded_broker::Config {
        data_dir: options.data_dir.join("kafka"),
        ..config.broker.clone()
    })
    .await?;
    config.kafka.brokers = broker.local_addr().to_string();
    config.kafka.properties.clear();
    let spool = &mut config.ingest.spool;
    spool
        .dir
        .get_or_insert_with(|| options.data_dir.join("spool"));
    let visitors = &mut config.ingest.visitors;
    visitors.dir.get_or_insert_with(|| options.data_dir.clone());
    let engine = embedded_clickhouse::Config {
        data_dir: options.data_dir.join("clickhouse"),
        ..config.engine()
    };
    let engine = embedded_clickhouse::Server::start(engine, servers::engine_program()?).await?;
    config.clickhouse.url = engine.http().into();
    let native = engine.native();

    // Two lives: the servers below outlast the services above, whose last flush needs them.
    let servers_stop = CancellationToken::new();
    let services_stop = CancellationToken::new();
    let mut servers = Tasks::new(&servers_stop);
    let mut services = Tasks::new(&services_stop);
    servers.spawn("the broker", broker.run(servers_stop.clone()));
    servers.spawn("ClickHouse", engine.run(servers_stop.clone()));

    let lived = async {
        let addresses = start(&config, &mut services, &services_stop).await?;
        announce(&config, &options, &addresses, native);
        tokio::select! {
            () = interrupted.cancelled() => Ok(()),
            ended = services.first_to_end() => ended,
            ended = servers.first_to_end() => ended,
        }
    };
    let lived = tokio::select! {
        lived = lived => lived,
        // Asked to stop before everything was up.
        () = interrupted.cancelled() => Ok(()),
    };
    let services_ended = services.stop().await;
    let servers_ended = servers.stop().await;
    lived.and(services_ended).and(servers_ended)
}

/// The services' addresses, once all of them are ready.
struct Addresses {
    ingest: SocketAddr,
    query: SocketAddr,
}

async fn start(
    config: &Config,
    services: &mut Tasks,
    stop: &CancellationToken,
) -> anyhow::Result<Addresses> {
    let (kafka, clickhouse) = (&config.kafka, &config.clickhouse);
    let ingest = ingest::Service::bind(config.ingest(), kafka.clone()).await?;
    let sink = sink::Service::bind(config.sink.clone(), kafka.clone(), clickhouse.clone()).await?;
    let query = query::Service::bind(config.query.clone(), clickhouse.clone()).await?;
    let query = query.of_edge(query::Edge {
        // The port is a real one also where the configuration says 0.
        public_url: ingest::Config {
            listen: ingest.local_addr(),
            ..config.ingest.clone()
        }
        .public_url(),
        ..config.edge()
    });
    servers::migrate(config).await?;
    let listening = [ingest.local_addr(), sink.local_addr()?, query.local_addr()];
    let addresses = Addresses {
        ingest: ingest.local_addr(),
        query: query.local_addr(),
    };
    services.spawn("ingest", ingest.run(stop.clone()));
    services.spawn("the sink", sink.run(stop.clone()));
    services.spawn("query", query.run(stop.clone()));

    let ready = async {
        for address in listening {
            ready(address).await?;
        }
        Ok(addresses)
    };
    tokio::select! {
        ready = ready => ready,
        ended = services.first_to_end() => bail!("{}", ended.map_or_else(
            |error| format!("{error:#}"),
            |()| "a service ended while the others were starting".to_owned(),
        )),
    }
}

async fn ready(address: SocketAddr) -> anyhow::Result<()> {
    let url = format!("http://{address}/ready");
    let client = reqwest::Client::new();
    let give_up_at = Instant::now() + READY_TIMEOUT;
    loop {
        let answer = match client.get(&url).timeout(READY_TIMEOUT).send().await {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) => response.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        if Instant::now() > give_up_at {
            bail!("{url} is not ready after {READY_TIMEOUT:?}: {answer}");
        }
        sleep(READY_POLL).await;
    }
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn announce(
    config: &Config,
    options: &Options,
    Addresses { ingest, query }: &Addresses,
    native: Option<SocketAddr>,
) {
    let native = native.map_or_else(String::new, |address| format!("  (native {address})"));
    println!(
        "weir {} keeps its data in {}

  ingest      http://{ingest}  (/api-docs)
  query       http://{query}  (/api-docs)
  Kafka       {}
  ClickHouse  {}{native}

Try:
  curl http://{ingest}/event -d '{{\"site_id\":\"my-site\",\"event_type\":\"page_view\",\"path\":\"/pricing\",\"user_id\":\"user-1\"}}'
  curl 'http://{query}/stats?site_id=my-site'

ready",
        env!("CARGO_PKG_VERSION"),
        options.data_dir.display(),
        config.kafka.brokers,
        config.clickhouse.url,
    );
}

/// Named tasks that live and end together.
struct Tasks {
    stop: CancellationToken,
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Tasks {
    fn new(stop: &CancellationToken) -> Self {
        Self {
            stop: stop.clone(),
            tasks: JoinSet::new(),
        }
    }

    fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// Waits for a task to end unasked, which is a failure even where the task calls it none.
    async fn first_to_end(&mut self) -> anyhow::Result<()> {
        match self.tasks.join_next().await {
            None => std::future::pending().await,
            Some(Err(error)) => Err(error).context("a task panicked"),
            Some(Ok((name, Ok(())))) => bail!("{name} ended unasked"),
            Some(Ok((name, Err(error)))) => Err(error.context(name)),
        }
    }

    /// Asks all of them to end and waits; the first error among theirs is returned.
    async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let mut outcome = Ok(());
        let ended = timeout(STOP_TIMEOUT, async {
            while let Some(ended) = self.tasks.join_next().await {
                outcome = std::mem::replace(&mut outcome, Ok(())).and(match ended {
                    Err(error) => Err(error).context("a task panicked"),
                    Ok((_, Ok(()))) => Ok(()),
                    Ok((name, Err(error))) => Err(error.context(name)),
                });
            }
        })
        .await;
        if ended.is_err() {
            info!("not all tasks ended within {STOP_TIMEOUT:?}; stopping without them");
        }
        outcome
    }
}

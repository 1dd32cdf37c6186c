//! HTTP -> Kafka: takes events in, judges them, and answers 202 once Kafka has them for good.

mod admission;
mod age;
mod api;
mod body;
mod config;
mod describing;
mod drain;
mod edge_ids;
mod head;
mod keys;
mod limits;
mod openapi;
mod publisher;
mod query_string;
mod reachability;
mod spool;
mod tracker;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use axum::middleware::from_fn;
use context::Describer;
use infra::http::{api_docs, bind, operations, serve_within, tell_of_open_access, with_fallbacks};
use infra::threads::run_apart;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub use config::Config;
pub use context::page::{Paths, TrailingSlash};
pub use context::place::Config as GeoConfig;
pub use context::visitor::{Config as VisitorsConfig, Period};
pub use keys::{KeyHash, KeysConfig, Origin, PublicKey, SiteKeys, hash as key_hash, public_keys};
pub use limits::{ForwardedHeader, RateConfig, RateLimitsConfig};
pub use spool::Config as SpoolConfig;
pub use tracker::TrackerConfig;

use api::Front;
use keys::{KeyRing, read_again_on_hangup};
use publisher::Publisher;
use spool::Spool;
use tracker::Tracker;

/// The service, listening and not yet serving.
pub struct Service {
    config: Config,
    kafka: infra::kafka::Config,
    keys: Option<KeyRing>,
    /// Waits for the runtime that will serve it.
    listener: std::net::TcpListener,
    local_addr: SocketAddr,
    spool: Option<Spool>,
    describer: Arc<Describer>,
}

impl Service {
    /// Listens, and opens the spool. Kafka need not be there yet.
    ///
    /// # Errors
    /// If the configuration contradicts itself, the keys cannot be read, the address is in use, or
    /// the spool is another process's or another topic's, or the visitors' secret or the database of
    /// places cannot be read.
    pub async fn bind(config: Config, kafka: infra::kafka::Config) -> anyhow::Result<Self> {
        config.check()?;
        let keys = KeyRing::new(&config.keys)?;
        let listener = bind(config.listen, "ingest.listen").await?;
        let local_addr = listener.local_addr()?;
        if keys.is_none() {
            tell_of_open_access(
                local_addr,
                "send events of any site",
                "list write keys in ingest.keys or set ingest.listen to a loopback address",
            );
        }
        let (spool, topic) = (config.spool.clone(), kafka.topic.clone());
        let spool = tokio::task::spawn_blocking(move || Spool::open(&spool, &topic))
            .await
            .context("open the spool")??;
        let about = config.clone();
        let describer = tokio::task::spawn_blocking(move || describing::describer(&about))
            .await
            .context("read what visitors are described by")??;
        Ok(Self {
            describer: Arc::new(describer),
            config,
            kafka,
            keys,
            listener: listener.into_std()?,
            local_addr,
            spool,
        })
    }

    /// Where it listens; the port is a real one also where the configuration says 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown`; requests that are open then get their answers.
    ///
    /// # Errors
    /// If the Kafka client cannot be made of its settings, or the listener fails.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let threads = self.config.threads();
        run_apart("ingest", threads, move || self.serve(shutdown)).await
    }

    async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let (publisher, mut flushing) =
            Publisher::start(&self.kafka, &self.config, self.spool.clone())?;
        let readiness = reachability::before_asking(&publisher);
        let mut watching = tokio::spawn(reachability::watch(
            publisher.clone(),
            readiness.clone(),
            shutdown.clone(),
        ));
        let mut draining = tokio::spawn(drain_if_any(
            self.spool,
            publisher.clone(),
            self.config.spool.drain_bytes_per_second,
            shutdown.clone(),
        ));
        let edge = api::edge(
            publisher.clone(),
            self.keys.clone(),
            self.describer.clone(),
            &self.config,
        )?;
        let tracker = Arc::new(Tracker::new(&self.config.tracker));
        let router: Router = Router::new()
            .merge(api::routes(edge.clone(), &tracker))
            .merge(operations("ingest", readiness))
            .merge(api_docs(openapi::document()));
        let router = with_fallbacks(router)
            .layer(from_fn(api::count_answer))
            .layer(CatchPanicLayer::custom(api::failed));
        let front = Front::new(edge, tracker, router);
        let limits = self.config.connections();
        let stopped = shutdown.clone();
        let served = tokio::select! {
            served = serve_within(listener, front, limits, shutdown) => served,
            Err(failure) = read_again_on_hangup(self.keys, self.config.keys) => Err(failure),
            never = describing::keep_places(self.describer, self.config.geo) => match never {},
            _ = &mut flushing => bail!("the flusher ended unasked"),
            Err(panic) = &mut watching => bail!("the watch over Kafka ended: {panic}"),
            Err(panic) = &mut draining => bail!("the spool's drain ended: {panic}"),
        };
        // After the last answer: a request that waits for one keeps its flush going.
        publisher.stop(flushing).await.context("flush")?;
        // Also where serving ended by itself.
        stopped.cancel();
        if !watching.is_finished() {
            watching.await.context("watch over Kafka")?;
        }
        if !draining.is_finished() {
            draining.await.context("drain the spool")?;
        }
        served
    }
}

async fn drain_if_any(
    spool: Option<Spool>,
    publisher: Publisher,
    bytes_per_second: u64,
    shutdown: CancellationToken,
) {
    match spool {
        Some(spool) => drain::run(spool, publisher, bytes_per_second, shutdown).await,
        None => shutdown.cancelled().await,
    }
}

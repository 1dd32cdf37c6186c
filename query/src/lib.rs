//! ClickHouse -> HTTP: answers `/stats` from the rollups.

mod config;
mod days;
mod openapi;
mod page;
mod params;
mod reachability;
mod stats;

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use infra::http::{Readiness, api_docs, bind, operations, serve, with_fallbacks};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::cors::CorsLayer;

pub use config::Config;

use stats::Stats;

/// The service, listening and not yet serving.
pub struct Service {
    config: Config,
    client: clickhouse::Client,
    database: String,
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Service {
    /// Listens. ClickHouse need not be there yet.
    ///
    /// # Errors
    /// If the address is in use.
    pub async fn bind(
        config: Config,
        clickhouse: infra::clickhouse::Config,
    ) -> anyhow::Result<Self> {
        let listener = bind(config.listen, "query.listen").await?;
        let local_addr = listener.local_addr()?;
        let client = infra::clickhouse::client(&clickhouse);
        Ok(Self {
            config,
            client,
            database: clickhouse.database,
            listener,
            local_addr,
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
    /// If the listener fails.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let readiness = Readiness::default();
        let watching = tokio::spawn(reachability::watch(
            self.client.clone(),
            self.database,
            readiness.clone(),
            shutdown.clone(),
        ));
        let stats = Stats::new(self.client, &self.config, readiness.clone());
        let api = Router::new()
            .route("/stats", get(stats::get_stats))
            .route("/stats/aggregated", get(stats::get_stats_aggregated))
            // Figures may be shown on any site; nothing here changes by being asked.
            .layer(CorsLayer::permissive())
            .with_state(stats);
        let router = Router::new()
            .merge(page::routes())
            .merge(api)
            .merge(operations("query", readiness))
            .merge(api_docs(openapi::document()));
        let served = serve(self.listener, with_fallbacks(router), shutdown).await;
        watching.await?;
        served
    }
}

//! ClickHouse -> HTTP: figures of a site, from the rollups wherever they can serve.

mod answer;
mod api;
mod bots;
mod breakdown;
mod buckets;
mod config;
mod database;
mod days;
mod edge;
mod filter;
mod flights;
mod kept;
mod keys;
mod openapi;
mod page;
mod params;
mod parts;
mod question;
mod reachability;
mod realtime;
mod select;
mod sites;
mod statement;
mod stats;
mod timeseries;
mod uniques;

use std::net::SocketAddr;

use axum::Router;
use axum::http::header::{ETAG, RETRY_AFTER};
use axum::routing::get;
use infra::http::{
    Hosts, Pages, Readiness, api_docs, bind, operations, serve_within, tell_of_open_access,
    with_fallbacks, with_headers, with_method_fallback,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use edge::Edge;
pub use keys::ReadKeys;

use api::{Api, Figures};
use database::Database;
use keys::KeyRing;
use realtime::Live;

/// The service, listening and not yet serving.
pub struct Service {
    config: Config,
    edge: Edge,
    keys: KeyRing,
    hosts: Hosts,
    pages: Pages,
    client: clickhouse::Client,
    database: String,
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Service {
    /// Listens. ClickHouse need not be there yet.
    ///
    /// # Errors
    /// If the configuration contradicts itself, or the address is in use.
    pub async fn bind(
        config: Config,
        clickhouse: infra::clickhouse::Config,
    ) -> anyhow::Result<Self> {
        config.check()?;
        let keys = KeyRing::new(&config.keys)?;
        let hosts = Hosts::new("query.hosts", &config.hosts)?;
        let pages = Pages::new("query.cors_origins", &config.cors_origins, !keys.is_off())?;
        let listener = bind(config.listen, "query.listen").await?;
        let local_addr = listener.local_addr()?;
        if keys.is_off() {
            tell_of_open_access(
                local_addr,
                "read all figures",
                "list read keys in query.keys or set query.listen to a loopback address",
            );
        }
        let client = infra::clickhouse::client(&clickhouse)
            // Answers are a few rows: threads that write them cost a third of a millisecond.
            .with_setting("output_format_parallel_formatting", "0");
        Ok(Self {
            config,
            edge: Edge::default(),
            keys,
            hosts,
            pages,
            client,
            database: clickhouse.database,
            listener,
            local_addr,
        })
    }

    /// With what the edge has been configured to.
    #[must_use]
    pub fn of_edge(self, edge: Edge) -> Self {
        Self { edge, ..self }
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
        let figures = Figures {
            database: Database::new(&self.client, &self.config, readiness.clone()),
            view_types: self.config.view_types.clone().into(),
            visitors_period: self.edge.visitors_period,
        };
        let live = Live::new(figures.clone(), self.config.listeners_max, shutdown.clone());
        let api = Router::new()
            .route("/stats", get(stats::get_stats))
            .route("/stats/aggregated", get(stats::get_stats_aggregated))
            .route("/stats/timeseries", get(timeseries::get_timeseries))
            .route("/stats/breakdown", get(breakdown::get_breakdown))
            .route("/stats/realtime", get(realtime::get_realtime))
            .route("/sites", get(sites::get_sites))
            .route("/tag", get(edge::get_tag))
            .with_state(Api::new(
                figures,
                self.keys.clone(),
                live.clone(),
                self.edge,
                self.config.kept_bytes_max,
            ));
        let cors = self.pages.cors().expose_headers([ETAG, RETRY_AFTER]);
        // No key guards what the service says of itself.
        let operations = self.hosts.guard(operations("query", readiness));
        let mut router = with_fallbacks(
            Router::new()
                .merge(page::routes())
                .merge(with_method_fallback(api).layer(cors))
                .merge(operations)
                .merge(api_docs(openapi::document())),
        );
        router = self.pages.guard(router);
        // A page that has a name point here has no key, and the rest is the same everywhere.
        if self.keys.is_off() {
            router = self.hosts.guard(router);
        }
        let served = serve_within(
            self.listener,
            with_headers(router),
            self.config.connections(),
            shutdown,
        )
        .await;
        live.stopped().await;
        watching.await?;
        served
    }
}

//! Kafka -> ClickHouse, each event once.
//!
//! A cut is a set of offset ranges whose rows become one INSERT. Its life:
//!
//! 1. records are gathered until a cut is due (`gather`, `window`, `months`);
//! 2. a plan is committed beside the offset where each of its ranges begins (`plan`, `membership`);
//! 3. its block is inserted, once (`native`, `writer`, `flight`), if this sink still owns its
//!    partitions (`fences`);
//! 4. it is entered into the ledger (`ledger`);
//! 5. its ends are committed, together with the next plan (`pipeline`).
//!
//! A sink that takes a partition over (`takeover`) first raises its fence and waits for INSERTs under
//! way: from then on nobody else stores rows of it. What the ledger does not have, up to where a plan
//! or the rows themselves reach, is completed row by row (`recovery`, `stored`, `reader`), and rollups
//! that differ are rebuilt (`mend`). Between 2 and 5 anything may be killed and repeated.

pub mod audit;
mod config;
mod dead_letters;
mod fences;
mod fill;
mod flight;
mod gather;
mod ledger;
mod membership;
mod mend;
mod months;
mod native;
mod pipeline;
mod plan;
mod reader;
mod recovery;
pub mod seal;
mod stage;
mod stored;
mod tables;
mod takeover;
mod window;
mod writer;

use std::net::SocketAddr;

use anyhow::Context;
use infra::http::{Hosts, Pages, Readiness, operations, with_fallbacks, with_headers};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{Config, CutLimits};
pub use fill::fill_rollups;

use crate::pipeline::Pipeline;

/// A sink whose port is bound and which has not begun to work.
#[derive(Debug)]
pub struct Service {
    config: Config,
    kafka: infra::kafka::Config,
    clickhouse: infra::clickhouse::Config,
    hosts: Hosts,
    listener: TcpListener,
}

impl Service {
    /// Binds `sink.listen`. Neither Kafka nor ClickHouse need be there yet.
    ///
    /// # Errors
    /// If the configuration is at fault, or the address cannot be listened on.
    pub async fn bind(
        config: Config,
        kafka: infra::kafka::Config,
        clickhouse: infra::clickhouse::Config,
    ) -> anyhow::Result<Self> {
        let hosts = Hosts::new("sink.hosts", &config.hosts)?;
        let listener = infra::http::bind(config.listen, "sink.listen").await?;
        infra::http::tell_of_open_access(
            listener.local_addr()?,
            "read the sink's metrics and what it waits for, but no events",
            "set sink.listen to a loopback address",
        );
        Ok(Self {
            config,
            kafka,
            clickhouse,
            hosts,
            listener,
        })
    }

    /// Where `/health`, `/ready` and `/metrics` are.
    ///
    /// # Errors
    /// If the operating system does not tell.
    pub fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.listener.local_addr().context("ask for sink's address")
    }

    /// Stores events until `shutdown`; what it waits for meanwhile is on `/ready`.
    ///
    /// # Errors
    /// If the Kafka client breaks for good.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let readiness = Readiness::default();
        let pipeline = Pipeline::new(
            &self.config,
            &self.kafka,
            &self.clickhouse,
            readiness.clone(),
            tokio::runtime::Handle::current(),
        )?;
        let router = Pages::none().guard(with_fallbacks(operations("sink", readiness)));
        let router = with_headers(self.hosts.guard(router));
        // The loop's end is the service's end, for whatever reason.
        let stop = shutdown.child_token();
        let (ended, done) = tokio::sync::oneshot::channel();
        let (loop_stop, loop_shutdown) = (stop.clone().drop_guard(), shutdown.clone());
        let thread = std::thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || {
                let _stop = loop_stop;
                let _ = ended.send(pipeline.run(&loop_shutdown));
            })
            .context("start the sink's thread")?;
        let served = infra::http::serve(self.listener, router, stop).await;
        if served.is_err() {
            shutdown.cancel();
        }
        let worked = done
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the sink's thread panicked")));
        let _ = thread.join();
        worked.and(served)
    }
}

/// Binds and runs.
///
/// # Errors
/// As [`Service::bind`] and [`Service::run`].
pub async fn run(
    config: Config,
    kafka: infra::kafka::Config,
    clickhouse: infra::clickhouse::Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let service = Service::bind(config, kafka, clickhouse).await?;
    service.run(shutdown).await
}

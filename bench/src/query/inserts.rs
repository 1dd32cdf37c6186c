//! Events that come in while questions are asked: one block a second, as the sink inserts them.

use std::time::{Duration, Instant};

use anyhow::Context;
use clickhouse::Client;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::report::quantiles_ms;
use super::rows;

const PERIOD: Duration = Duration::from_secs(1);

/// Inserts under way; dropping it ends them.
pub(super) struct Inserts {
    stop: CancellationToken,
    _stopped: DropGuard,
    task: JoinHandle<anyhow::Result<Inserted>>,
}

/// What was inserted meanwhile.
#[derive(Debug, Serialize)]
pub struct Inserted {
    pub events: u64,
    pub events_per_second: f64,
    /// Of one INSERT of a second's events.
    pub insert_p50_ms: f64,
    pub insert_p99_ms: f64,
}

impl Inserts {
    pub(super) fn start(client: Client, rows: u64, rate: u64) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(insert(client, rows, rate, stop.clone()));
        Self {
            _stopped: stop.clone().drop_guard(),
            stop,
            task,
        }
    }

    /// Ends them after the one under way.
    ///
    /// # Errors
    /// If one of them failed.
    pub(super) async fn finish(self) -> anyhow::Result<Inserted> {
        self.stop.cancel();
        self.task.await.context("insert events")?
    }
}

async fn insert(
    client: Client,
    rows: u64,
    rate: u64,
    stop: CancellationToken,
) -> anyhow::Result<Inserted> {
    let begin = Instant::now();
    let mut due = tokio::time::interval(PERIOD);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tally = super::asked::Tally::new()?;
    let mut events = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = due.tick() => {}
        }
        let inserting = Instant::now();
        rows::insert_live(&client, rows, events, rate).await?;
        tally.answered(inserting.elapsed(), true);
        events += rate;
    }
    let [insert_p50_ms, insert_p99_ms] = quantiles_ms(&tally.latencies, [0.5, 0.99]);
    Ok(Inserted {
        events,
        events_per_second: events as f64 / begin.elapsed().as_secs_f64(),
        insert_p50_ms,
        insert_p99_ms,
    })
}

//! What a run found, for people and as JSON.

mod table;

use serde::Serialize;

pub use super::check::{Audit, Check};
pub use super::disk::Disks;
pub use super::each::Each;
use crate::conditions::Measured;
use crate::ingest::report::Spread;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub conditions: Conditions,
    #[serde(skip)]
    pub clickhouse: String,
    /// From starting `weir up` in an empty folder to its `ready`.
    pub up_ready_seconds: Spread,
    pub idle: Idle,
    /// In the order in which they were tried.
    pub rates: Vec<Rate>,
    /// The highest rate offered that held.
    pub highest_events_per_second: Option<f64>,
    /// The share of it that was offered once more, for longer.
    pub at_share: Option<Rate>,
    /// The most that each process ever held.
    pub rss_bytes_max: Each<u64>,
    /// The most that all held at one time.
    pub rss_bytes_all_max: u64,
    pub disk: Disks,
    pub check: Check,
}

/// What the figures depend on.
#[derive(Debug, Serialize)]
pub struct Conditions {
    pub cpus: usize,
    /// Of the folder with Kafka's log and the tables.
    pub filesystem: String,
    pub connections: usize,
    pub load_threads: usize,
    pub events_per_request: usize,
    /// Of an event's JSON, on average.
    pub event_bytes: usize,
    /// So many are sent, again and again.
    pub different_events: usize,
    /// Of each rate.
    pub seconds: f64,
    /// Of the highest rate that held.
    pub share: f64,
    /// Single events beside the load, and questions for them.
    pub probe_every_ms: u64,
    pub ask_every_ms: u64,
    /// Whether this binary was built with optimisations; the engine always is.
    pub optimised: bool,
}

/// The probes alone.
#[derive(Debug, Serialize)]
pub struct Idle {
    pub visible: Visible,
    /// Processors used.
    pub cpus: Each<f64>,
    /// Of one question for the probes, asked of `/stats` with nothing else to do.
    pub question_cpu_ms: Each<f64>,
    pub rss_bytes: Each<u64>,
}

/// One rate.
#[derive(Debug, Clone, Serialize)]
pub struct Rate {
    pub offered_events_per_second: f64,
    pub seconds: f64,
    /// Answered 202 within the window, without the probes.
    pub accepted_events_per_second: f64,
    pub accepted_share: f64,
    /// How much of what was offered was not stored at the pace at which it came.
    pub backlog_growth_share: f64,
    pub backlog_events_max: u64,
    pub held: bool,
    /// From when a request was due to the end of its answer.
    pub answer_p50_ms: f64,
    pub answer_p99_ms: f64,
    /// Requests answered with another status than 202.
    pub refused: u64,
    /// Requests without an answer.
    pub failed: u64,
    pub visible: Visible,
    /// Of every process, from the first request until all was stored; without the questions asked
    /// for the probes, at what one costs.
    pub cpu_seconds_per_million: Each<f64>,
    /// Processors that load and probes used, and that whatever else runs on the machine used.
    pub load_cpus: f64,
    pub other_cpus: f64,
    /// At the time at which all together held the most.
    pub rss_bytes: Each<u64>,
    pub rss_bytes_all: u64,
}

/// From when a single event was due to be sent to the end of the first answer of `/stats` that
/// counts it.
#[derive(Debug, Clone, Serialize)]
pub struct Visible {
    /// Those that were answered 202.
    pub probes: u64,
    pub refused: u64,
    /// Accepted and never seen.
    pub unseen: u64,
    /// Seen more often than sent.
    pub repeated: u64,
    /// Of the client that waits for them, and those that were not answered.
    pub questions: u64,
    pub unanswered: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Report {
    /// Whether every accepted event is stored once, and every probe was seen once.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let probes = self.rates.iter().chain(&self.at_share);
        let mut probes = probes.map(|rate| &rate.visible).chain([&self.idle.visible]);
        self.check.is_whole() && probes.all(|seen| seen.unseen == 0 && seen.repeated == 0)
    }
}

impl Measured for Report {
    const KIND: &'static str = "e2e";

    fn clickhouse(&self) -> Option<&str> {
        Some(&self.clickhouse)
    }

    fn fault(&self) -> Option<&'static str> {
        (!self.is_whole()).then_some("not every event that was answered 202 counts once")
    }
}

//! What a run found, for people and as JSON.

mod table;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::asked::Tally;
pub use super::dashboard::{Dashboard, Part};
pub use super::disk::{Disk, Table};
pub use super::inserts::Inserted;
pub use super::question::Range;
pub use super::rows::Loading;
use crate::conditions::Measured;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub conditions: Conditions,
    #[serde(skip)]
    pub clickhouse: String,
    pub loading: Loading,
    /// Before more events were inserted.
    pub disk: Disk,
    pub questions: Vec<Alone>,
    pub checks: Checks,
    pub inserted: Inserted,
    pub dashboard: Dashboard,
    /// The same days each time, of a service that keeps its answers.
    pub dashboard_again: Dashboard,
    pub loads: Vec<Loads>,
    pub memory: Memory,
}

/// What the figures depend on.
#[derive(Debug, Serialize)]
pub struct Conditions {
    pub rows: u64,
    pub rows_beside: Option<u64>,
    pub sites: u16,
    pub days: u64,
    pub cpus: usize,
    pub filesystem: String,
    /// Of each question.
    pub requests: usize,
    /// Whether this binary was built with optimisations; the engine always is.
    pub optimised: bool,
}

/// One question on one connection.
#[derive(Debug, Serialize)]
pub struct Alone {
    pub site: &'static str,
    pub range: Range,
    pub zone: &'static str,
    pub alone: Timed,
    /// While events were inserted.
    pub inserting: Timed,
    /// The same few variants again and again, of a service that keeps its answers.
    pub again: Timed,
    /// That while events were inserted.
    pub again_inserting: Timed,
    /// Over few rows.
    pub beside: Option<Timed>,
    /// Totals and top paths counted from the raw rows, straight at ClickHouse.
    pub raw_p50_ms: f64,
}

/// Latencies of requests one after the other.
#[derive(Debug, Default, Serialize)]
pub struct Timed {
    pub requests: u64,
    pub failed: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Processor time of a request.
    pub engine_cpu_ms: f64,
    pub query_cpu_ms: f64,
}

/// Answers beside straight counts of the raw rows: views and top paths must be equal, users may be
/// off by a hundredth.
#[derive(Debug, Default, Serialize)]
pub struct Checks {
    pub compared: u64,
    pub differing: u64,
    pub unanswered: u64,
    pub users_error_max: f64,
}

/// Many connections at once.
#[derive(Debug, Serialize)]
pub struct Loads {
    pub mix: &'static str,
    pub connections: usize,
    /// As fast as answers came.
    pub closed_requests_per_second: f64,
    pub engine_cpu_seconds_per_1000: f64,
    pub query_cpu_seconds_per_1000: f64,
    /// Requests a second of the open loop; latencies count from when a request was due.
    pub rate: f64,
    pub requests: u64,
    pub failed: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

/// In bytes.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// The most the engine held up to the end of loading.
    pub engine_after_loading: u64,
    pub engine_max: u64,
    /// In the end.
    pub engine: u64,
    pub query_max: u64,
}

impl Report {
    /// Whether every answer agreed with a straight count.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.checks.differing == 0
    }
}

impl Measured for Report {
    const KIND: &'static str = "query";

    fn clickhouse(&self) -> Option<&str> {
        Some(&self.clickhouse)
    }

    fn fault(&self) -> Option<&'static str> {
        (!self.is_right()).then_some("answers differ from a straight count of the rows")
    }
}

impl Alone {
    /// How many times longer the raw table takes.
    fn raw_by_rollups(&self) -> f64 {
        self.raw_p50_ms / self.alone.p50_ms
    }

    fn many_by_few(&self) -> Option<f64> {
        let beside = self.beside.as_ref()?;
        Some(self.alone.p50_ms / beside.p50_ms)
    }
}

impl Timed {
    pub(crate) fn of(tally: &Tally) -> Self {
        let requests = tally.latencies.len();
        let [p50_ms, p99_ms] = quantiles_ms(&tally.latencies, [0.5, 0.99]);
        let each_ms = |cpu: std::time::Duration| cpu.as_secs_f64() * 1e3 / requests.max(1) as f64;
        Self {
            requests,
            failed: tally.failed,
            p50_ms,
            p99_ms,
            engine_cpu_ms: each_ms(tally.engine_cpu),
            query_cpu_ms: each_ms(tally.query_cpu),
        }
    }
}

/// Of latencies in microseconds.
pub(super) fn quantiles_ms<const N: usize>(
    latencies: &Histogram<u64>,
    quantiles: [f64; N],
) -> [f64; N] {
    quantiles.map(|quantile| latencies.value_at_quantile(quantile) as f64 / 1e3)
}

/// # Panics
/// If there is no figure.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

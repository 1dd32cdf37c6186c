//! What a run found, for people and as JSON.

mod table;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

pub use super::programs::Versions;
use crate::conditions::Measured;
use crate::ingest::report::Spread;
use crate::query::report::Timed;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub conditions: Conditions,
    #[serde(skip)]
    pub clickhouse: String,
    pub accepting: Vec<Accepting>,
    pub storing: Storing,
    pub stats: Vec<Asked>,
}

/// What the figures depend on.
#[derive(Debug, Serialize)]
pub struct Conditions {
    pub cpus: usize,
    /// Of the folder in which all of them keep what they keep: an fsync costs nothing on a tmpfs.
    pub filesystem: String,
    pub load_threads: usize,
    /// Of each round.
    pub seconds: f64,
    /// Events that are asked about, over so many sites and days.
    pub rows: u64,
    pub sites: u16,
    pub days: u64,
    pub versions: Versions,
    /// Whether this binary was built with optimisations.
    pub optimised: bool,
}

/// The same of both.
#[derive(Debug, Clone, Serialize)]
pub struct Sides<T> {
    /// The Node design.
    pub baseline: T,
    pub weir: T,
}

/// One kind of load.
#[derive(Debug, Serialize)]
pub struct Accepting {
    pub connections: usize,
    pub events_per_request: usize,
    /// Of an event's JSON, on average.
    pub event_bytes: usize,
    pub rounds: usize,
    #[serde(flatten)]
    pub sides: Sides<Accepted>,
    pub ratios: AcceptingRatios,
}

/// As fast as the answers come.
#[derive(Debug, Serialize)]
pub struct Accepted {
    pub requests_per_second: Spread,
    pub events_per_second: Spread,
    /// Of the server and what keeps the events: Node.js and Redis; ingest and the broker.
    pub events_per_cpu_second: Spread,
    /// Of the server alone.
    pub events_per_server_cpu_second: Spread,
    /// Processors that both used.
    pub cpus: Spread,
    /// Events that were answered 202, warm-ups included.
    pub events: u64,
    /// Requests answered with another status than 202, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub failed: u64,
}

/// Medians of weir by medians of the Node design.
#[derive(Debug, Serialize)]
pub struct AcceptingRatios {
    pub requests_per_second: f64,
    pub events_per_cpu_second: f64,
    pub events_per_server_cpu_second: f64,
}

/// What was accepted, stored.
#[derive(Debug, Serialize)]
pub struct Storing {
    #[serde(flatten)]
    pub sides: Sides<Stored>,
    pub ratios: StoringRatios,
}

/// A backlog from its first stored event to its last.
#[derive(Debug, Serialize)]
pub struct Stored {
    /// Events that were answered 202.
    pub accepted: u64,
    /// Requests that got no answer, of which nobody knows.
    pub unanswered: u64,
    /// Rows in the table afterwards.
    pub rows: u64,
    pub seconds: f64,
    pub events_per_second: f64,
    /// Of all processes.
    pub events_per_cpu_second: f64,
    pub cpu: Vec<CpuSeconds>,
}

/// What one process used, with those that it started.
#[derive(Debug, Serialize)]
pub struct CpuSeconds {
    pub process: &'static str,
    pub cpu_seconds: f64,
}

/// weir by the Node design.
#[derive(Debug, Serialize)]
pub struct StoringRatios {
    pub events_per_second: f64,
    pub events_per_cpu_second: f64,
}

/// One question on one connection.
#[derive(Debug, Serialize)]
pub struct Asked {
    pub site: &'static str,
    pub range: Range,
    /// How many events the answer is about.
    pub views: u64,
    /// Whether both gave the same answer.
    pub agree: bool,
    /// `engine_cpu_ms` is PostgreSQL's and ClickHouse's, `query_cpu_ms` that of the service before
    /// it.
    #[serde(flatten)]
    pub sides: Sides<Timed>,
    pub ratios: AskedRatios,
}

/// How long a range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    Day,
    AllTime,
}

/// The Node design by weir, so that more is better here too.
#[derive(Debug, Serialize)]
pub struct AskedRatios {
    pub p50: f64,
    pub p99: f64,
    pub cpu: f64,
}

impl Report {
    /// Whether every accepted event is a row, on both sides, and both gave the same answers.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let Sides { baseline, weir } = &self.storing.sides;
        [baseline, weir].iter().all(|stored| stored.is_whole())
            && self.stats.iter().all(|asked| asked.agree)
    }
}

impl Measured for Report {
    const KIND: &'static str = "baseline";

    fn clickhouse(&self) -> Option<&str> {
        Some(&self.clickhouse)
    }

    fn fault(&self) -> Option<&'static str> {
        (!self.is_right())
            .then_some("accepted events are not all stored once, or the answers differ")
    }
}

impl Accepting {
    pub(super) fn new(
        connections: usize,
        events_per_request: usize,
        event_bytes: usize,
        rounds: usize,
        sides: Sides<Accepted>,
    ) -> Self {
        let by = |of: fn(&Accepted) -> Spread| of(&sides.weir).median / of(&sides.baseline).median;
        Self {
            ratios: AcceptingRatios {
                requests_per_second: by(|side| side.requests_per_second),
                events_per_cpu_second: by(|side| side.events_per_cpu_second),
                events_per_server_cpu_second: by(|side| side.events_per_server_cpu_second),
            },
            connections,
            events_per_request,
            event_bytes,
            rounds,
            sides,
        }
    }
}

impl Accepted {
    /// Events of requests that got no answer.
    fn unanswered(&self, events_per_request: usize) -> u64 {
        self.failed * events_per_request as u64
    }
}

/// What both answered 202 for, and did not answer, under all kinds of load.
pub(super) fn accepted_and_unanswered(accepting: &[Accepting]) -> Sides<(u64, u64)> {
    let sum = |of: fn(&Sides<Accepted>) -> &Accepted| {
        let sides = accepting
            .iter()
            .map(|load| (of(&load.sides), load.events_per_request));
        sides.fold((0, 0), |(events, unanswered), (side, each)| {
            (events + side.events, unanswered + side.unanswered(each))
        })
    };
    Sides {
        baseline: sum(|sides| &sides.baseline),
        weir: sum(|sides| &sides.weir),
    }
}

impl Storing {
    pub(super) fn new(sides: Sides<Stored>) -> Self {
        let by = |of: fn(&Stored) -> f64| of(&sides.weir) / of(&sides.baseline);
        Self {
            ratios: StoringRatios {
                events_per_second: by(|side| side.events_per_second),
                events_per_cpu_second: by(|side| side.events_per_cpu_second),
            },
            sides,
        }
    }
}

impl Stored {
    /// What got no answer may have been taken, and may not.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        (self.accepted..=self.accepted + self.unanswered).contains(&self.rows)
    }
}

impl Asked {
    pub(super) fn new(
        site: &'static str,
        range: Range,
        views: u64,
        agree: bool,
        sides: Sides<Timed>,
    ) -> Self {
        let by = |of: fn(&Timed) -> f64| of(&sides.baseline) / of(&sides.weir);
        Self {
            ratios: AskedRatios {
                p50: by(|side| side.p50_ms),
                p99: by(|side| side.p99_ms),
                cpu: by(cpu_ms),
            },
            site,
            range,
            views,
            agree,
            sides,
        }
    }
}

/// Of both processes that answer.
fn cpu_ms(timed: &Timed) -> f64 {
    timed.engine_cpu_ms + timed.query_cpu_ms
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Day => "a day",
            Self::AllTime => "all time",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(accepted: u64, unanswered: u64, rows: u64) -> Stored {
        Stored {
            accepted,
            unanswered,
            rows,
            seconds: 1.0,
            events_per_second: 1.0,
            events_per_cpu_second: 1.0,
            cpu: Vec::new(),
        }
    }

    #[test]
    fn a_row_for_each_accepted_event_is_whole_one_less_or_more_is_not() {
        assert!(stored(5, 0, 5).is_whole());
        assert!(!stored(5, 0, 4).is_whole());
        assert!(!stored(5, 0, 6).is_whole());
    }

    #[test]
    fn what_got_no_answer_may_be_a_row_or_not() {
        assert!(stored(5, 2, 5).is_whole());
        assert!(stored(5, 2, 7).is_whole());
        assert!(!stored(5, 2, 8).is_whole());
    }

    #[test]
    fn a_ratio_above_one_is_in_favour_of_weir_in_throughput_and_in_latency() {
        let storing = Storing::new(Sides {
            baseline: stored(1, 0, 1),
            weir: Stored {
                events_per_second: 3.0,
                ..stored(1, 0, 1)
            },
        });
        assert_eq!(storing.ratios.events_per_second, 3.0);
        let timed = |p50_ms| Timed {
            p50_ms,
            ..Timed::default()
        };
        let sides = Sides {
            baseline: timed(8.0),
            weir: timed(2.0),
        };
        let asked = Asked::new("largest", Range::Day, 1, true, sides);
        assert_eq!(asked.ratios.p50, 4.0);
    }
}

//! What a run found, for people and as JSON.

use std::fmt;

use serde::Serialize;

use crate::conditions::Measured;
use crate::ingest::report::Spread;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub conditions: Conditions,
    #[serde(skip)]
    pub clickhouse: String,
    /// What was made of the events, in the first round.
    pub drained: Drained,
    pub events_per_second: Spread,
    pub events_per_sink_cpu_second: Spread,
    pub events_per_clickhouse_cpu_second: Spread,
    pub sink_rss_bytes_max: u64,
    pub clickhouse_rss_bytes_max: u64,
    /// ClickHouse inserting the same rows from memory.
    pub ceiling_events_per_second: Spread,
    pub ceiling_events_per_clickhouse_cpu_second: Spread,
}

/// What the figures depend on.
#[derive(Debug, Serialize)]
pub struct Conditions {
    pub cpus: usize,
    pub events: u64,
    /// Events a record.
    pub batch: u64,
    /// Sinks that shared the partitions, and how many these were.
    pub sinks: usize,
    pub partitions: u16,
    pub rounds: usize,
    /// Whether this binary was built with optimisations.
    pub optimised: bool,
}

/// What stands in ClickHouse after a drain.
#[derive(Debug, Default, Serialize)]
pub struct Drained {
    pub cuts: u64,
    /// Blocks that were written to `events`.
    pub parts: u64,
    /// Compressed columns of `events`, and of all rollups.
    pub raw_bytes: u64,
    pub rollup_bytes: u64,
}

impl Report {
    /// Throughput of the sink by that of ClickHouse alone.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.events_per_second.median / self.ceiling_events_per_second.median
    }
}

impl Measured for Report {
    const KIND: &'static str = "sink";

    fn clickhouse(&self) -> Option<&str> {
        Some(&self.clickhouse)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conditions {
            cpus,
            events,
            batch,
            sinks,
            partitions,
            rounds,
            optimised,
        } = &self.conditions;
        writeln!(
            f,
            "{cpus} CPUs; {events} events in records of {batch} in {partitions} partitions, stored by {sinks} sink{}; {rounds} rounds of each way, in turns",
            if *sinks == 1 { "" } else { "s" }
        )?;
        writeln!(f, "figures are medians of the rounds (least to most)")?;
        if !optimised {
            writeln!(f, "WARNING: built without optimisations")?;
        }
        writeln!(f)?;
        let mut line = |name: &str, weir: &str, ceiling: &str, ratio: &str| {
            let text = format!("{name:<34} {weir:>30} {ceiling:>30} {ratio:>8}");
            writeln!(f, "{}", text.trim_end())
        };
        line("", "weir sink", "ClickHouse from memory", "ratio")?;
        line(
            "events/s",
            &self.events_per_second.whole(),
            &self.ceiling_events_per_second.whole(),
            &format!("{:.2}", self.ratio()),
        )?;
        let by_cpu = self.events_per_clickhouse_cpu_second.median
            / self.ceiling_events_per_clickhouse_cpu_second.median;
        line(
            "events per CPU-second, ClickHouse",
            &self.events_per_clickhouse_cpu_second.whole(),
            &self.ceiling_events_per_clickhouse_cpu_second.whole(),
            &format!("{by_cpu:.2}"),
        )?;
        line(
            "events per CPU-second, sinks",
            &self.events_per_sink_cpu_second.whole(),
            "",
            "",
        )?;
        let mb = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
        line(
            "most memory of a sink, MB",
            &mb(self.sink_rss_bytes_max),
            "",
            "",
        )?;
        line(
            "most memory, ClickHouse, MB",
            &mb(self.clickhouse_rss_bytes_max),
            "",
            "",
        )?;
        let Drained {
            cuts,
            parts,
            raw_bytes,
            rollup_bytes,
        } = self.drained;
        let each = |bytes: u64| bytes as f64 / *events as f64;
        line("cuts; parts of events", &format!("{cuts}; {parts}"), "", "")?;
        line(
            "bytes an event: raw, rollups",
            &format!("{:.1}, {:.1}", each(raw_bytes), each(rollup_bytes)),
            "",
            "",
        )
    }
}

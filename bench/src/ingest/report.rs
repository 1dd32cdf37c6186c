//! What a run found, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::conditions::Measured;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub conditions: Conditions,
    pub scenarios: Vec<Scenario>,
}

/// What the figures depend on.
#[derive(Debug, Serialize)]
pub struct Conditions {
    pub cpus: usize,
    /// Of the folder with Kafka's log: an fsync costs nothing on a tmpfs.
    pub filesystem: String,
    pub load_threads: usize,
    pub rounds: usize,
    /// Of each round.
    pub seconds: f64,
    /// Whether each event brought an id of its own, which decides its partition.
    pub client_ids: bool,
    /// Whether this binary was built with optimisations.
    pub optimised: bool,
}

/// One kind of load, on both.
#[derive(Debug, Serialize)]
pub struct Scenario {
    pub connections: usize,
    pub events_per_request: usize,
    /// Of an event's JSON, on average.
    pub event_bytes: usize,
    pub bare: Variant,
    pub weir: Variant,
    pub ratios: Ratios,
    /// Events that ingest answered 202 for, over all rounds and warm-ups.
    pub accepted: u64,
    /// Events in Kafka afterwards.
    pub found: u64,
}

/// One server under one kind of load.
#[derive(Debug, Serialize)]
pub struct Variant {
    pub saturation: Saturation,
    pub open_loop: OpenLoop,
    pub rss_bytes_max: u64,
    /// Requests answered with another status than 202, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub failed: u64,
}

/// As fast as the answers come.
#[derive(Debug, Serialize)]
pub struct Saturation {
    pub requests_per_second: Spread,
    pub events_per_second: Spread,
    pub requests_per_cpu_second: Spread,
    pub events_per_cpu_second: Spread,
    /// Processors that the server used.
    pub server_cpus: Spread,
    /// Processors that the load generator used.
    pub load_cpus: Spread,
}

/// At a constant rate; milliseconds from when a request was due.
#[derive(Debug, Serialize)]
pub struct OpenLoop {
    pub requests_per_second: f64,
    pub p50_ms: Spread,
    pub p99_ms: Spread,
    pub p999_ms: Spread,
    pub max_ms: Spread,
}

/// Medians of weir by medians of the bare handler.
#[derive(Debug, Serialize)]
pub struct Ratios {
    pub requests_per_second: f64,
    pub requests_per_cpu_second: f64,
    pub events_per_cpu_second: f64,
    pub p50: f64,
    pub p99: f64,
}

/// A figure over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Report {
    /// Whether every accepted event was found.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.scenarios
            .iter()
            .all(|scenario| scenario.found >= scenario.accepted)
    }
}

impl Measured for Report {
    const KIND: &'static str = "ingest";

    fn fault(&self) -> Option<&'static str> {
        (!self.is_whole()).then_some("events that were answered 202 are not in Kafka")
    }
}

impl Scenario {
    /// Then the requests per second are the generator's; those per CPU-second are still the
    /// server's.
    fn load_was_the_limit(&self, load_threads: usize) -> bool {
        const BUSY: f64 = 0.95;
        let most = BUSY * load_threads as f64;
        let of = |variant: &Variant| variant.saturation.load_cpus.median;
        of(&self.bare) >= most || of(&self.weir) >= most
    }
}

impl Spread {
    /// # Panics
    /// If there is no figure.
    pub(crate) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[middle]
        } else {
            f64::midpoint(figures[middle - 1], figures[middle])
        };
        Self {
            median,
            min: figures[0],
            max: figures[figures.len() - 1],
        }
    }
}

impl Ratios {
    pub(super) fn of(weir: &Variant, bare: &Variant) -> Self {
        let by = |of: fn(&Variant) -> &Spread| of(weir).median / of(bare).median;
        Self {
            requests_per_second: by(|variant| &variant.saturation.requests_per_second),
            requests_per_cpu_second: by(|variant| &variant.saturation.requests_per_cpu_second),
            events_per_cpu_second: by(|variant| &variant.saturation.events_per_cpu_second),
            p50: by(|variant| &variant.open_loop.p50_ms),
            p99: by(|variant| &variant.open_loop.p99_ms),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conditions {
            cpus,
            filesystem,
            load_threads,
            rounds,
            seconds,
            client_ids,
            optimised,
        } = &self.conditions;
        writeln!(
            f,
            "{cpus} CPUs, load threads: {load_threads}; Kafka's log on {filesystem}, fsynced; {rounds} rounds of {seconds} s each way; {}",
            if *client_ids {
                "each event with an id of its own"
            } else {
                "ids made by the edge"
            },
        )?;
        writeln!(f, "figures are medians of the rounds (least to most)")?;
        if filesystem == "tmpfs" {
            writeln!(
                f,
                "WARNING: an fsync costs nothing on a tmpfs; --dir names another folder"
            )?;
        }
        if !optimised {
            writeln!(f, "WARNING: built without optimisations")?;
        }
        for scenario in &self.scenarios {
            write!(f, "\n{scenario}")?;
            if scenario.load_was_the_limit(*load_threads) {
                writeln!(
                    f,
                    "WARNING: the load generator was busy all the time; --load-threads gives it more"
                )?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = match self.events_per_request {
            1 => "an event a request".to_owned(),
            events => format!("{events} events a request"),
        };
        let title = format!(
            "{events} of {} bytes, {} connections",
            self.event_bytes, self.connections
        );
        line(f, &title, "bare", "weir", "weir/bare")?;
        let (bare, weir) = (&self.bare.saturation, &self.weir.saturation);
        let mut whole = |name: &str, bare: &Spread, weir: &Spread| {
            let ratio = format!("{:.2}", weir.median / bare.median);
            line(f, name, &bare.whole(), &weir.whole(), &ratio)
        };
        whole(
            "requests/s",
            &bare.requests_per_second,
            &weir.requests_per_second,
        )?;
        whole("events/s", &bare.events_per_second, &weir.events_per_second)?;
        whole(
            "requests per CPU-second",
            &bare.requests_per_cpu_second,
            &weir.requests_per_cpu_second,
        )?;
        whole(
            "events per CPU-second",
            &bare.events_per_cpu_second,
            &weir.events_per_cpu_second,
        )?;
        let mut fine = |name: &str, bare: &Spread, weir: &Spread| {
            let ratio = format!("{:.2}", weir.median / bare.median);
            line(f, name, &bare.fine(), &weir.fine(), &ratio)
        };
        fine("CPUs of the server", &bare.server_cpus, &weir.server_cpus)?;
        fine("CPUs of the load", &bare.load_cpus, &weir.load_cpus)?;
        let (bare, weir) = (&self.bare.open_loop, &self.weir.open_loop);
        let at = format!("at {:.0} requests/s: p50 ms", bare.requests_per_second);
        fine(&at, &bare.p50_ms, &weir.p50_ms)?;
        fine("p99 ms", &bare.p99_ms, &weir.p99_ms)?;
        fine("p99.9 ms", &bare.p999_ms, &weir.p999_ms)?;
        fine("max ms", &bare.max_ms, &weir.max_ms)?;
        let (bare, weir) = (&self.bare, &self.weir);
        let mb = |variant: &Variant| format!("{:.1}", variant.rss_bytes_max as f64 / 1e6);
        line(f, "most memory, MB", &mb(bare), &mb(weir), "")?;
        line(f, "refused", &bare.refused(), &weir.refused(), "")?;
        line(
            f,
            "without an answer",
            &bare.failed.to_string(),
            &weir.failed.to_string(),
            "",
        )?;
        writeln!(
            f,
            "in Kafka: {} events; accepted: {}{}",
            self.found,
            self.accepted,
            match self.accepted.checked_sub(self.found) {
                None | Some(0) => String::new(),
                Some(lost) => format!("; LOST: {lost}"),
            }
        )
    }
}

impl Variant {
    fn refused(&self) -> String {
        if self.refused.is_empty() {
            return "0".to_owned();
        }
        let counts: Vec<String> = self
            .refused
            .iter()
            .map(|(status, count)| format!("{count} x {status}"))
            .collect();
        counts.join(", ")
    }
}

impl Spread {
    pub(crate) fn whole(&self) -> String {
        format!("{:.0} ({:.0}-{:.0})", self.median, self.min, self.max)
    }

    pub(crate) fn fine(&self) -> String {
        format!("{:.2} ({:.2}-{:.2})", self.median, self.min, self.max)
    }
}

fn line(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    bare: &str,
    weir: &str,
    ratio: &str,
) -> fmt::Result {
    let text = format!("{name:<40} {bare:>28} {weir:>28} {ratio:>10}");
    writeln!(f, "{}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_least_and_most() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(vec![1.0, 2.0]).median, 1.5);
    }
}

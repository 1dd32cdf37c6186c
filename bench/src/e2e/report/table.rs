//! A report as a person reads it on a terminal.

use std::fmt::{Display, Formatter, Result};

use super::super::rate::{ACCEPTED_MIN, GROWTH_MAX};
use super::{Check, Conditions, Disks, Each, Idle, Rate, Report};
use crate::query::disk::Disk;

const MEGA: f64 = 1e6;
/// A load thread that is busier than this may be what limits the rate.
const BUSY: f64 = 0.9;
/// What the kernel does for nobody in particular is less than this share of all processors.
const DISTURBED: f64 = 0.15;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}", self.conditions)?;
        let ready = &self.up_ready_seconds;
        writeln!(
            f,
            "`weir up` to ready, in an empty folder with the engine on disk: {:.2} s ({:.2}-{:.2})\n",
            ready.median, ready.min, ready.max
        )?;
        self.rates(f)?;
        match (&self.highest_events_per_second, &self.at_share) {
            (Some(highest), Some(at_share)) => writeln!(
                f,
                "highest rate that held: {highest:.0} events/s; at {:.0} % of it, {:.0} events/s for {} s, an event is visible after {:.0} ms (p50), {:.0} ms (p99), {:.0} ms (max)",
                self.conditions.share * 100.0,
                at_share.offered_events_per_second,
                at_share.seconds,
                at_share.visible.p50_ms,
                at_share.visible.p99_ms,
                at_share.visible.max_ms
            )?,
            _ => writeln!(f, "no rate held")?,
        }
        let all = || self.rates.iter().chain(&self.at_share);
        if all().any(|rate| rate.other_cpus > DISTURBED * self.conditions.cpus as f64) {
            writeln!(
                f,
                "WARNING: something else used this machine too: rates are lower and times longer than its own"
            )?;
        }
        let load_cpus = self.rates.iter().map(|rate| rate.load_cpus);
        if load_cpus.fold(0.0, f64::max) > BUSY * self.conditions.load_threads as f64 {
            writeln!(
                f,
                "WARNING: the load generator was busy all the time; --load-threads gives it more"
            )?;
        }
        writeln!(f)?;
        self.memory(f)?;
        write!(f, "{}{}", self.disk, self.check)
    }
}

impl Display for Conditions {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(
            f,
            "{} CPUs, load threads: {}; Kafka's log and the tables on {}; {} of {} bytes ({} different ones) over {} connections, each rate for {} s",
            self.cpus,
            self.load_threads,
            self.filesystem,
            match self.events_per_request {
                1 => "an event a request".to_owned(),
                events => format!("{events} events a request"),
            },
            self.event_bytes,
            self.different_events,
            self.connections,
            self.seconds
        )?;
        writeln!(
            f,
            "visible: from when a single event was due (one every {} ms beside the load) to the end of the first answer of /stats that counts it (asked every {} ms)",
            self.probe_every_ms, self.ask_every_ms
        )?;
        writeln!(
            f,
            "CPU-seconds are from the first request until all is stored, without the questions asked for the probes"
        )?;
        writeln!(
            f,
            "a rate holds if {:.0} % of it is accepted in its time and what is not stored yet grows by at most {:.0} % of it",
            ACCEPTED_MIN * 100.0,
            GROWTH_MAX * 100.0
        )?;
        if self.filesystem == "tmpfs" {
            writeln!(
                f,
                "WARNING: an fsync costs nothing on a tmpfs; --dir names another folder"
            )?;
        }
        if !self.optimised {
            writeln!(f, "WARNING: built without optimisations")?;
        }
        Ok(())
    }
}

impl Report {
    fn rates(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(
            f,
            "{:>10} {:>10} {:>8} {:>5} {:>8} {:>8} {:>8} {:>44} {:>11} {:>8}",
            "offered",
            "accepted",
            "backlog",
            "",
            "202, ms",
            "visible",
            "ms",
            "CPU-seconds per million events",
            "other CPUs:",
            "memory"
        )?;
        writeln!(
            f,
            "{:>10} {:>10} {:>8} {:>5} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>10} {:>6} {:>5} {:>5} {:>5} {:>8}",
            "events/s",
            "events/s",
            "grows",
            "held",
            "p99",
            "p50",
            "p99",
            "ingest",
            "broker",
            "sink",
            "ClickHouse",
            "query",
            "all",
            "load",
            "else",
            "MB, all"
        )?;
        write!(f, "{}", self.idle)?;
        for rate in &self.rates {
            writeln!(f, "{rate}")?;
        }
        match &self.at_share {
            Some(rate) => writeln!(f, "{rate}  {:.0} %", self.conditions.share * 100.0),
            None => Ok(()),
        }
    }

    fn memory(&self, f: &mut Formatter<'_>) -> Result {
        let Each {
            ingest,
            broker,
            sink,
            clickhouse,
            query,
        } = self.rss_bytes_max.map(|bytes| *bytes as f64 / MEGA);
        writeln!(
            f,
            "most memory, MB: ingest {ingest:.0}, broker {broker:.0}, sink {sink:.0}, ClickHouse {clickhouse:.0}, query {query:.0}; all at one time {:.0}",
            self.rss_bytes_all_max as f64 / MEGA
        )
    }
}

impl Display for Idle {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(
            f,
            "{:>10} {:>10} {:>8} {:>5} {:>8} {:>8.0} {:>8.0} {:>44} {:>11} {:>8.0}",
            "probes",
            "",
            "",
            "",
            "",
            self.visible.p50_ms,
            self.visible.p99_ms,
            format!(
                "CPUs: {:.2}; a question takes {:.1} ms",
                self.cpus.sum(),
                self.question_cpu_ms.sum()
            ),
            "",
            self.rss_bytes.sum() as f64 / MEGA
        )
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let cpu = &self.cpu_seconds_per_million;
        write!(
            f,
            "{:>10.0} {:>10.0} {:>6.1} % {:>5} {:>8.1} {:>8.0} {:>8.0} {:>6.2} {:>6.2} {:>6.2} {:>10.2} {:>6.2} {:>5.2} {:>5.2} {:>5.2} {:>8.0}",
            self.offered_events_per_second,
            self.accepted_events_per_second,
            self.backlog_growth_share * 100.0,
            if self.held { "yes" } else { "no" },
            self.answer_p99_ms,
            self.visible.p50_ms,
            self.visible.p99_ms,
            cpu.ingest,
            cpu.broker,
            cpu.sink,
            cpu.clickhouse,
            cpu.query,
            cpu.sum(),
            self.load_cpus,
            self.other_cpus,
            self.rss_bytes_all as f64 / MEGA
        )?;
        if self.refused + self.failed > 0 {
            write!(
                f,
                "  requests refused: {}, without an answer: {}",
                self.refused, self.failed
            )?;
        }
        if self.visible.unseen > 0 {
            write!(f, "  probes never seen: {}", self.visible.unseen)?;
        }
        Ok(())
    }
}

impl Display for Disks {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let each = |disk: &Disk| {
            format!(
                "{:.1} (rows {:.1}, rollups {:.1})",
                disk.bytes_per_event,
                disk.raw_bytes_per_event,
                disk.bytes_per_event - disk.raw_bytes_per_event
            )
        };
        writeln!(
            f,
            "bytes an event on disk: {} as the run left them, {} with everything merged",
            each(&self.before_merges),
            each(&self.after_merges)
        )
    }
}

impl Display for Check {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "stored: {} events; accepted: {}",
            self.stored, self.accepted
        )?;
        if self.unpromised > 0 {
            write!(
                f,
                ", and {} neither accepted nor surely lost",
                self.unpromised
            )?;
        }
        if !self.is_whole() {
            write!(f, "; NOT EVERY EVENT COUNTS ONCE")?;
        }
        writeln!(
            f,
            "\naudit, in {:.1} s: {}",
            self.audit.seconds, self.audit.verdict
        )
    }
}

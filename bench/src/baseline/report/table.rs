//! A report as a person reads it on a terminal.

use std::fmt::{Display, Formatter, Result};

use super::{
    Accepted, Accepting, Asked, Conditions, CpuSeconds, Report, Sides, Stored, Storing, cpu_ms,
};
use crate::ingest::report::Spread;
use crate::query::report::Timed;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}", self.conditions)?;
        for load in &self.accepting {
            writeln!(f)?;
            load.fmt(f)?;
        }
        writeln!(f)?;
        self.storing.fmt(f)?;
        writeln!(f)?;
        let Conditions {
            rows, sites, days, ..
        } = self.conditions;
        head(
            f,
            &format!("/stats of {rows} events, {sites} sites, {days} days"),
        )?;
        for asked in &self.stats {
            asked.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Conditions {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self {
            cpus,
            filesystem,
            load_threads,
            seconds,
            versions,
            ..
        } = self;
        writeln!(
            f,
            "{cpus} CPUs, load threads: {load_threads}; everything on {filesystem}; rounds of {seconds} s, in turns"
        )?;
        writeln!(
            f,
            "the Node design: Node.js {}, Redis {}, PostgreSQL {}",
            versions.node, versions.redis, versions.postgresql
        )?;
        writeln!(
            f,
            "figures are medians of the rounds (least to most); weir is so many times better as the last column says"
        )?;
        if filesystem == "tmpfs" {
            writeln!(
                f,
                "WARNING: an fsync costs nothing on a tmpfs; --dir names another folder"
            )?;
        }
        if !self.optimised {
            writeln!(f, "WARNING: weir was built without optimisations")?;
        }
        Ok(())
    }
}

impl Display for Accepting {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let events = match self.events_per_request {
            1 => "an event a request".to_owned(),
            events => format!("{events} events a request"),
        };
        head(
            f,
            &format!(
                "{events}, {} bytes each, {} connections",
                self.event_bytes, self.connections
            ),
        )?;
        let Sides { baseline, weir } = &self.sides;
        let mut whole = |name: &str, of: fn(&Accepted) -> &Spread| {
            let (baseline, weir) = (of(baseline), of(weir));
            let times = weir.median / baseline.median;
            line(f, name, &baseline.whole(), &weir.whole(), Some(times))
        };
        whole("requests/s", |side| &side.requests_per_second)?;
        whole("events/s", |side| &side.events_per_second)?;
        whole("events per CPU-second", |side| &side.events_per_cpu_second)?;
        whole("events per CPU-second, server alone", |side| {
            &side.events_per_server_cpu_second
        })?;
        line(
            f,
            "CPUs used",
            &baseline.cpus.fine(),
            &weir.cpus.fine(),
            None,
        )?;
        let bad = |side: &Accepted| side.failed + side.refused.values().sum::<u64>();
        match bad(baseline) + bad(weir) {
            0 => Ok(()),
            _ => line(
                f,
                "REFUSED or without an answer",
                &bad(baseline).to_string(),
                &bad(weir).to_string(),
                None,
            ),
        }
    }
}

impl Display for Storing {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Sides { baseline, weir } = &self.sides;
        head(f, "storing what was accepted")?;
        let mut both = |name: &str, of: fn(&Stored) -> f64| {
            let (baseline, weir) = (of(baseline), of(weir));
            let times = weir / baseline;
            line(
                f,
                name,
                &format!("{baseline:.0}"),
                &format!("{weir:.0}"),
                Some(times),
            )
        };
        both("events/s", |side| side.events_per_second)?;
        both("events per CPU-second", |side| side.events_per_cpu_second)?;
        // On either side: what takes events out, what kept them, where they go.
        for (baseline, weir) in baseline.cpu.iter().zip(&weir.cpu) {
            let name = format!("CPU-seconds, {}; {}", baseline.process, weir.process);
            let seconds = |cpu: &CpuSeconds| format!("{:.1}", cpu.cpu_seconds);
            line(f, &name, &seconds(baseline), &seconds(weir), None)?;
        }
        let mut told =
            |name: &str, of: fn(&Stored) -> String| line(f, name, &of(baseline), &of(weir), None);
        told("in seconds", |side| format!("{:.1}", side.seconds))?;
        told("events accepted", |side| side.accepted.to_string())?;
        told("rows stored", |side| {
            let wrong = if side.is_whole() { "" } else { " WRONG" };
            format!("{}{wrong}", side.rows)
        })
    }
}

impl Display for Asked {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Sides { baseline, weir } = &self.sides;
        let name = format!("{}, {} site, {} views", self.range, self.site, self.views);
        let mut both = |name: &str, of: fn(&Timed) -> f64| {
            let (baseline, weir) = (of(baseline), of(weir));
            let times = baseline / weir;
            line(
                f,
                name,
                &format!("{baseline:.2}"),
                &format!("{weir:.2}"),
                Some(times),
            )
        };
        both(&format!("{name}: p50 ms"), |side| side.p50_ms)?;
        both("    p99 ms", |side| side.p99_ms)?;
        both("    CPU ms a question", cpu_ms)?;
        let told = |side: &Timed| match side.failed {
            0 => side.requests.to_string(),
            failed => format!("{} FAILED: {failed}", side.requests),
        };
        line(f, "    asked", &told(baseline), &told(weir), None)?;
        if !self.agree {
            writeln!(f, "    THE ANSWERS DIFFER")?;
        }
        Ok(())
    }
}

fn head(f: &mut Formatter<'_>, title: &str) -> Result {
    row(f, title, "Node design", "weir", "times")
}

fn line(
    f: &mut Formatter<'_>,
    name: &str,
    baseline: &str,
    weir: &str,
    times: Option<f64>,
) -> Result {
    let times = match times {
        None => String::new(),
        Some(times) if times < 10.0 => format!("{times:.2}"),
        Some(times) => format!("{times:.0}"),
    };
    row(f, name, baseline, weir, &times)
}

fn row(f: &mut Formatter<'_>, name: &str, baseline: &str, weir: &str, times: &str) -> Result {
    let text = format!("{name:<52} {baseline:>24} {weir:>24} {times:>8}");
    writeln!(f, "{}", text.trim_end())
}

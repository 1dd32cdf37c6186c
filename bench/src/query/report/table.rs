//! A report as a person reads it on a terminal.

use std::fmt::{Display, Formatter, Result};

use super::{Alone, Conditions, Dashboard, Loads, Report};

const MEGA: f64 = 1e6;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}", self.conditions)?;
        self.storage(f)?;
        writeln!(f)?;
        self.questions(f)?;
        writeln!(f, "\n{}", self.dashboard)?;
        writeln!(f, "opened again: {}", self.dashboard_again)?;
        for load in &self.loads {
            writeln!(f, "{load}")?;
        }
        let mb = |bytes: u64| bytes as f64 / MEGA;
        writeln!(
            f,
            "memory, MB: ClickHouse {:.0} in the end, at most {:.0} ({:.0} up to the end of loading); query at most {:.0}",
            mb(self.memory.engine),
            mb(self.memory.engine_max),
            mb(self.memory.engine_after_loading),
            mb(self.memory.query_max),
        )
    }
}

impl Display for Conditions {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self {
            rows,
            sites,
            days,
            cpus,
            filesystem,
            requests,
            ..
        } = self;
        writeln!(
            f,
            "{rows} events of {sites} sites over {days} days; {cpus} CPUs, tables on {filesystem}; each question asked {requests} times"
        )?;
        if !self.optimised {
            writeln!(f, "WARNING: built without optimisations")?;
        }
        Ok(())
    }
}

impl Report {
    fn storage(&self, f: &mut Formatter<'_>) -> Result {
        let (loading, disk) = (&self.loading, &self.disk);
        writeln!(
            f,
            "loading: {:.0} s, {:.0} events/s, with all rollups; merged {:.0} s later",
            loading.seconds, loading.rows_per_second, loading.merging_seconds
        )?;
        writeln!(
            f,
            "on disk: rows {:.0} MB, rollups {:.0} MB; {:.1} bytes an event, {:.1} of them for the row itself",
            disk.raw_bytes as f64 / MEGA,
            disk.rollup_bytes as f64 / MEGA,
            disk.bytes_per_event,
            disk.raw_bytes_per_event
        )
    }

    fn questions(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(
            f,
            "{:<34} {:>6} {:>6} {:>8} {:>10} {:>6} {:>6} {:>6} {:>10} {:>6} {:>6} {:>8} {:>8} {:>7}",
            "/stats, ms",
            "p50",
            "p99",
            "CPU each",
            "inserting:",
            "p99",
            "again:",
            "p99",
            "inserting:",
            "p99",
            "few:",
            "many/few",
            "raw rows",
            "raw/p50"
        )?;
        for question in &self.questions {
            writeln!(f, "{question}")?;
        }
        let checks = &self.checks;
        writeln!(
            f,
            "{} answers compared with a straight count: {} differ, {} were not given; users off by at most {:.2} %",
            checks.compared,
            checks.differing,
            checks.unanswered,
            checks.users_error_max * 100.0
        )?;
        let inserted = &self.inserted;
        writeln!(
            f,
            "inserting: {:.0} events/s, an INSERT a second; p50 {:.0} ms, p99 {:.0} ms",
            inserted.events_per_second, inserted.insert_p50_ms, inserted.insert_p99_ms
        )?;
        if let Some(few) = self.conditions.rows_beside {
            writeln!(f, "few: p50 over {few} events")?;
        }
        Ok(())
    }
}

impl Display for Alone {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let name = format!("{}, {}, {}", self.site, self.range, self.zone);
        let (few, ratio) = match (&self.beside, self.many_by_few()) {
            (Some(beside), Some(ratio)) => (format!("{:.1}", beside.p50_ms), format!("{ratio:.2}")),
            _ => ("-".to_owned(), "-".to_owned()),
        };
        write!(
            f,
            "{name:<34} {:>6.1} {:>6.1} {:>8.1} {:>10.1} {:>6.1} {:>6.1} {:>6.1} {:>10.1} {:>6.1} {few:>6} {ratio:>8} {:>8.1} {:>7.1}",
            self.alone.p50_ms,
            self.alone.p99_ms,
            self.alone.engine_cpu_ms,
            self.inserting.p50_ms,
            self.inserting.p99_ms,
            self.again.p50_ms,
            self.again.p99_ms,
            self.again_inserting.p50_ms,
            self.again_inserting.p99_ms,
            self.raw_p50_ms,
            self.raw_by_rollups(),
        )?;
        let asked = [
            &self.alone,
            &self.inserting,
            &self.again,
            &self.again_inserting,
        ];
        match asked.iter().map(|timed| timed.failed).sum::<u64>() {
            0 => Ok(()),
            failed => write!(f, "  FAILED: {failed}"),
        }
    }
}

impl Display for Dashboard {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "dashboard, 30 days of the largest site, one request after the other: p50 {:.0} ms, p99 {:.0} ms (ClickHouse's CPU {:.0} ms):",
            self.sum_p50_ms, self.sum_p99_ms, self.engine_cpu_ms
        )?;
        for (nth, part) in self.requests.iter().enumerate() {
            let comma = if nth > 0 { "," } else { "" };
            write!(f, "{comma} {} {:.1}", part.name, part.p50_ms)?;
        }
        if !self.unanswered.is_empty() {
            write!(f, "; not answered: {}", self.unanswered.join(", "))?;
        }
        Ok(())
    }
}

impl Display for Loads {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "{} connections, {}: {:.0} requests/s as fast as answers come; CPU-seconds per 1000: ClickHouse {:.2}, query {:.2}; at {:.0}/s: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1} ms",
            self.connections,
            self.mix,
            self.closed_requests_per_second,
            self.engine_cpu_seconds_per_1000,
            self.query_cpu_seconds_per_1000,
            self.rate,
            self.p50_ms,
            self.p99_ms,
            self.p999_ms,
            self.max_ms
        )?;
        match self.failed {
            0 => Ok(()),
            failed => write!(f, "; FAILED: {failed} of {}", self.requests),
        }
    }
}

//! `weir audit`: what `sink::audit` found, as tables and sentences or as JSON.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::NaiveDate;
use indicatif::{ProgressBar, ProgressStyle};
use sink::audit::{Partition, Report, Rollup};

use crate::config::Config;

/// Exit status for what could not be looked at; 1 says that something was found.
pub(crate) const COULD_NOT_LOOK: u8 = 2;
/// A progress line appears once an audit has taken so long.
const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where `weir up` keeps its data: the address and the password of its ClickHouse are found
    /// there, unless they are configured.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// One JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// Ask ClickHouse alone, where Kafka cannot be reached: the ledger is then not held against
    /// what Kafka has and what the sink has committed.
    #[arg(long)]
    without_kafka: bool,
    /// Compare rollups of this day in UTC and later ones only.
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,
    /// Compare rollups of this day in UTC and earlier ones only.
    #[arg(long, value_name = "DATE")]
    to: Option<NaiveDate>,
    /// Seconds to look again at what looks wrong and may only be on its way.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    patience: u16,
}

/// Something was found, and told.
#[derive(Debug, thiserror::Error)]
#[error("not every event counts once")]
pub(crate) struct Unsound;

pub(crate) async fn run(config: &Config, options: &Options) -> anyhow::Result<()> {
    if let (Some(from), Some(to)) = (options.from, options.to) {
        ensure!(from <= to, "--from {from} is after --to {to}");
    }
    let wanted = sink::audit::Options {
        without_kafka: options.without_kafka,
        from: options.from,
        to: options.to,
        patience: Duration::from_secs(options.patience.into()),
        ..Default::default()
    };
    let line = progress();
    let begun = std::time::Instant::now();
    let tell = |what: &str| {
        if begun.elapsed() > QUIET {
            line.set_message(what.to_owned());
            line.tick();
        }
    };
    let (kafka, clickhouse) = (&config.kafka, &config.clickhouse);
    let report = sink::audit::audit(&config.sink, kafka, clickhouse, &wanted, &tell).await;
    line.finish_and_clear();
    let report = report?;
    if options.json {
        print_json(&report)?;
    } else {
        print(&report);
    }
    ensure!(report.is_sound(), Unsound);
    Ok(())
}

/// A line on a terminal's stderr; nothing elsewhere.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
    ProgressBar::new_spinner().with_style(style.expect("the template is a constant"))
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print_json(report: &Report) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(report).context("write the report as JSON")?;
    println!("{json}");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print(report: &Report) {
    let mut lines = vec![row([
        "partition",
        "ranges",
        "offsets",
        "records",
        "events",
        "rows",
        "repeats",
        "removed",
        "dead letters",
        "",
    ])];
    lines.extend(report.partitions.iter().map(partition));
    println!("{}", aligned(&lines));
    let mut lines = vec![row(["rollup", "compared", "keys", "events", ""])];
    lines.extend(report.rollups.iter().map(rollup));
    println!("{}", aligned(&lines));
    for finding in &report.findings {
        println!("{}", finding.text);
    }
    if report.findings_omitted > 0 {
        println!("... and {} more", report.findings_omitted);
    }
    for note in &report.notes {
        println!("note: {note}");
    }
    println!("{}", report.verdict);
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn partition(partition: &Partition) -> Vec<String> {
    let name = if partition.is_current {
        partition.partition.to_string()
    } else {
        format!("{} of log {}", partition.partition, partition.log)
    };
    vec![
        name,
        partition.ranges.to_string(),
        format!("{}..{}", partition.from_offset, partition.to_offset),
        partition.records.to_string(),
        partition.events.to_string(),
        partition.rows_found.to_string(),
        partition.repeats.to_string(),
        partition.removed.to_string(),
        partition.dead_letters.to_string(),
        word(partition.sound),
    ]
}

fn rollup(rollup: &Rollup) -> Vec<String> {
    let plural = if rollup.periods == 1 { "" } else { "s" };
    vec![
        rollup.table.to_owned(),
        format!("{} {}{plural}", rollup.periods, rollup.period),
        rollup.keys.to_string(),
        rollup.events.to_string(),
        word(rollup.sound),
    ]
}

fn word(is_sound: bool) -> String {
    if is_sound { "ok" } else { "WRONG" }.to_owned()
}

/// Columns as wide as their widest cell; numbers and ranges stand to the right, the first and the
/// last column to the left.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut columns = String::new();
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let cell = if column == 0 || column + 1 == widths.len() {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            };
            columns.push_str(&cell);
            columns.push_str("  ");
        }
        text.push_str(columns.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let lines = [row(["name", "n", ""]), row(["a", "1234", "ok"])];
        assert_eq!(aligned(&lines), "name     n\na     1234  ok\n");
    }
}

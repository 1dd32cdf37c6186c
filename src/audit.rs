//! `weir audit`: the report on the terminal, or as JSON.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use sink::audit::{Options as Look, Report};

use crate::config::Config;

/// Checks that every event counts once. It asks Kafka how far the sink is, follows the ledger from
/// the first offset to the last (every range once, none left out), counts the rows of each range
/// and compares them with what the ledger says, and computes every rollup anew from the rows and
/// compares it key by key. It changes nothing and may run while events come in.
///
/// Exits with 0 if all is well, with 1 if something is wrong (and says where), with 2 if it could
/// not look.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// Do not ask Kafka: compare ledger, rows and rollups alone.
    #[arg(long)]
    without_kafka: bool,
    /// Compare rollups from this month on, as 2025-01; the ledger is always followed whole.
    #[arg(long, value_name = "MONTH", value_parser = month)]
    from: Option<u32>,
    /// Compare rollups up to this month.
    #[arg(long, value_name = "MONTH", value_parser = month)]
    to: Option<u32>,
}

fn month(text: &str) -> Result<u32, String> {
    let date: chrono::NaiveDate = format!("{text}-01")
        .parse()
        .map_err(|_| format!("{text} is not a month such as 2025-01"))?;
    let text = date.format("%Y%m").to_string();
    text.parse().map_err(|_| "a month of year 0".to_owned())
}

/// What the exit code says: that it looked, and what it found.
pub(crate) async fn run(config: &Config, options: Options) -> ExitCode {
    let look = Look {
        without_kafka: options.without_kafka,
        from_month: options.from,
        to_month: options.to,
    };
    let shows_progress = std::io::stderr().is_terminal();
    let progress = |what: &str| {
        if shows_progress {
            eprint!("\r\x1b[Klooking at {what}");
        }
    };
    let report = sink::audit::audit(
        &config.sink.group,
        &config.kafka,
        &config.clickhouse,
        &look,
        &progress,
    )
    .await;
    if shows_progress {
        eprint!("\r\x1b[K");
    }
    let printed = report.and_then(|report| {
        print(&report, options.json)?;
        Ok(report.sound)
    });
    match printed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: audit: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let text = if json {
        serde_json::to_string_pretty(report).context("write the report as JSON")?
    } else {
        tables(report)
    };
    println!("{text}");
    Ok(())
}

fn tables(report: &Report) -> String {
    let verdict = |is_sound: bool| if is_sound { "ok" } else { "WRONG" }.to_owned();
    let mut partitions = vec![
        [
            "partition",
            "log",
            "offsets",
            "group at",
            "records",
            "events",
            "rows",
            "repeats",
            "removed",
            "dead letters",
            "",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for line in &report.partitions {
        partitions.push(vec![
            line.partition.to_string(),
            if line.is_current {
                "current"
            } else {
                "earlier"
            }
            .to_owned(),
            format!("{}..{}", line.from_offset, line.to_offset),
            line.committed
                .map_or("-".to_owned(), |offset| offset.to_string()),
            line.records.to_string(),
            line.events.to_string(),
            line.rows.to_string(),
            line.repeats.to_string(),
            line.removed.to_string(),
            line.dead_letters.to_string(),
            verdict(line.sound),
        ]);
    }
    let mut rollups = vec![
        ["rollup", "months", "keys", "events", "differing", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for line in &report.rollups {
        rollups.push(vec![
            line.table.to_owned(),
            line.months.to_string(),
            line.keys.to_string(),
            line.events.to_string(),
            line.differing.to_string(),
            verdict(line.differing == 0),
        ]);
    }
    let mut text = format!("{}\n\n{}\n", table(&partitions), table(&rollups));
    for finding in &report.findings {
        text.push_str(&format!(
            "\n{}: {}: {}",
            finding.table, finding.place, finding.fault
        ));
    }
    let unnamed = report.findings_total - report.findings.len();
    if unnamed > 0 {
        text.push_str(&format!("\nand {unnamed} more"));
    }
    let sum = |of: fn(&sink::audit::PartitionReport) -> u64| -> u64 {
        report.partitions.iter().map(of).sum()
    };
    let verdict = if report.sound {
        format!(
            "\nEvery event counts once: {} events in {} records of {} partitions are {} rows, {} repeats that were dropped and {} that were removed; {} unreadable records were set aside; every rollup is what its rows add up to.",
            sum(|line| line.events),
            sum(|line| line.records),
            report.partitions.len(),
            sum(|line| line.rows),
            sum(|line| line.repeats),
            sum(|line| line.removed),
            sum(|line| line.dead_letters),
        )
    } else {
        format!("\n\n{} faults.", report.findings_total)
    };
    text + &verdict
}

/// Columns as wide as they must be, numbers to the right.
fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let lines = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| {
            if column == 0 || column + 1 == columns {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let lines = [["a", "n", ""], ["bcd", "12345", "ok"], ["e", "6", "WRONG"]];
        let lines: Vec<Vec<String>> = lines
            .iter()
            .map(|line| line.map(str::to_owned).to_vec())
            .collect();
        assert_eq!(
            table(&lines),
            "a        n\nbcd  12345  ok\ne        6  WRONG"
        );
    }

    #[test]
    fn months_are_read_and_nonsense_is_refused() {
        assert_eq!(month("2025-01"), Ok(202_501));
        assert!(month("2025-13").is_err());
        assert!(month("202501").is_err());
    }
}

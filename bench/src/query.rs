//! `weir bench query`: how fast `/stats` answers over many rows, beside few rows and beside the same
//! questions asked of the raw table. All in one run and in turns, because the machine's other work
//! falls on all of them then.

pub(crate) mod asked;
mod dashboard;
pub(crate) mod disk;
pub(crate) mod http;
mod inserts;
mod load;
mod measure;
mod question;
pub(crate) mod raw;
pub mod report;
pub(crate) mod rows;
pub(crate) mod world;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::ingest::{between, setting};
use crate::output::Output;
use report::Report;

const ROWS_MAX: u64 = 10_000_000_000;
const CONNECTIONS_MAX: usize = 1024;
const REQUESTS_MAX: usize = 100_000;
const INSERT_RATE_MAX: u64 = 1_000_000;

/// What to measure.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub struct Options {
    /// Events to ask about, of fifty sites over two years. A hundred million take some 4 GB.
    #[arg(long, default_value_t = 10_000_000, value_name = "COUNT")]
    rows: u64,
    /// The same questions are asked of so many events, in turns, for the ratio; 0 for none.
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT")]
    beside: u64,
    /// Requests a second of the open loop.
    #[arg(long, default_value_t = 500.0, value_name = "REQUESTS")]
    rate: f64,
    /// Connections of the open loop.
    #[arg(long, default_value_t = 16, value_name = "COUNT")]
    connections: usize,
    /// How long the open loop goes on; the closed one takes a quarter of it.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// How often each question is asked on one connection.
    #[arg(long, default_value_t = 200, value_name = "COUNT")]
    requests: usize,
    /// Events a second that are inserted while questions are asked once more.
    #[arg(long, default_value_t = 2000, value_name = "COUNT")]
    insert_rate: u64,
    /// Where the temporary folder is made [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    dir: Option<PathBuf>,
    /// Keep the tables in this folder, and use those that an earlier run of as many rows left
    /// there.
    #[arg(long, conflicts_with = "dir", value_name = "DIR")]
    #[serde(skip)]
    keep: Option<PathBuf>,
    /// A setting of the servers, such as query.timeout=30s; neither weir.toml nor the environment
    /// reaches them.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    #[serde(skip)]
    pub output: Output,
}

/// Options that can be measured.
struct Plan {
    rows: u64,
    beside: Option<u64>,
    rate: f64,
    connections: usize,
    paced: Duration,
    requests: usize,
    insert_rate: u64,
    place: Place,
    settings: Vec<(String, String)>,
}

/// Where the tables lie.
pub(crate) enum Place {
    /// In a folder in this one that goes with the run.
    In(PathBuf),
    /// In this one, for good.
    Kept(PathBuf),
}

impl Options {
    fn plan(&self) -> anyhow::Result<Plan> {
        ensure!(
            (1..=ROWS_MAX).contains(&self.rows),
            "--rows must be from 1 to {ROWS_MAX}, not {}",
            self.rows
        );
        ensure!(
            self.beside <= ROWS_MAX,
            "--beside must be from 0 to {ROWS_MAX}, not {}",
            self.beside
        );
        between("--connections", self.connections, CONNECTIONS_MAX)?;
        between("--requests", self.requests, REQUESTS_MAX)?;
        ensure!(
            (1.0..=1e6).contains(&self.rate),
            "--rate must be from 1 to 1000000 requests a second, not {}",
            self.rate
        );
        ensure!(
            (0.1..=600.0).contains(&self.seconds),
            "--seconds must be from 0.1 to 600, not {}",
            self.seconds
        );
        ensure!(
            (1..=INSERT_RATE_MAX).contains(&self.insert_rate),
            "--insert-rate must be from 1 to {INSERT_RATE_MAX} events a second, not {}",
            self.insert_rate
        );
        let (folder, is_kept) = match (&self.keep, &self.dir) {
            (Some(keep), _) => (keep.clone(), true),
            (None, Some(dir)) => (dir.clone(), false),
            (None, None) => (std::env::temp_dir(), false),
        };
        let folder = std::path::absolute(&folder)
            .with_context(|| format!("find the folder {}", folder.display()))?;
        Ok(Plan {
            rows: self.rows,
            // As many beside as before would be one and the same database.
            beside: (self.beside > 0 && self.beside != self.rows).then_some(self.beside),
            rate: self.rate,
            connections: self.connections,
            paced: Duration::from_secs_f64(self.seconds),
            requests: self.requests,
            insert_rate: self.insert_rate,
            place: if is_kept {
                Place::Kept(folder)
            } else {
                Place::In(folder)
            },
            settings: self
                .settings
                .iter()
                .map(|text| setting(text))
                .collect::<anyhow::Result<_>>()?,
        })
    }
}

/// Measures until done or until a signal; what was started is ended in any case.
///
/// # Errors
/// If the options cannot be measured, a server fails, or a signal came.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let plan = options.plan()?;
    let interrupted = infra::shutdown::on_signal()?;
    tokio::select! {
        report = measure::measure(&plan) => report,
        () = interrupted.cancelled() => bail!("interrupted; what was started is ended"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn plan(arguments: &[&str]) -> anyhow::Result<Plan> {
        let line = ["query"].iter().chain(arguments);
        Line::try_parse_from(line)?.options.plan()
    }

    #[test]
    fn what_cannot_be_measured_is_refused_by_the_options_name() {
        for (option, good, bad) in [
            ("--rows", ["1", "10000000000"], ["0", "10000000001"]),
            ("--beside", ["0", "10000000000"], ["-1", "10000000001"]),
            ("--connections", ["1", "1024"], ["0", "1025"]),
            ("--requests", ["1", "100000"], ["0", "100001"]),
            ("--rate", ["1", "1000000"], ["0", "NaN"]),
            ("--seconds", ["0.1", "600"], ["0", "inf"]),
            ("--insert-rate", ["1", "1000000"], ["0", "1000001"]),
        ] {
            for value in good {
                plan(&[&format!("{option}={value}")]).unwrap();
            }
            for value in bad {
                let refused = plan(&[&format!("{option}={value}")]).err();
                let refused = refused.map(|error| format!("{error:#}"));
                assert!(
                    refused
                        .as_ref()
                        .is_some_and(|refused| refused.contains(option)),
                    "{option} {value}: {refused:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_measured_beside_itself() {
        assert_eq!(plan(&["--beside", "0"]).unwrap().beside, None);
        assert_eq!(
            plan(&["--rows", "5", "--beside", "5"]).unwrap().beside,
            None
        );
        let both = plan(&["--rows", "5", "--beside", "4"]).unwrap();
        assert_eq!(both.beside, Some(4));
    }

    #[test]
    fn tables_are_kept_only_where_that_is_asked_for() {
        let place = |arguments: &[&str]| plan(arguments).unwrap().place;
        assert!(matches!(place(&[]), Place::In(_)));
        assert!(matches!(place(&["--dir", "/x"]), Place::In(folder) if folder == *"/x"));
        assert!(matches!(place(&["--keep", "/x"]), Place::Kept(folder) if folder == *"/x"));
        assert!(plan(&["--keep", "/x", "--dir", "/y"]).is_err());
    }
}

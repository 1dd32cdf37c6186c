//! `weir bench baseline`: the Node design that many begin with (Express, BullMQ on Redis, one INSERT
//! a job into PostgreSQL, counts over the rows), and weir: the same events and the same questions,
//! in one run and in turns. The design's files stand in `bench/baseline`.

mod accept;
mod node;
mod packages;
mod postgres;
mod programs;
mod redis;
pub mod report;
mod stats;
mod store;
mod weir;

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use tracing::info;

use crate::conditions::clickhouse_version;
use crate::ingest::{cpus, filesystem};
use crate::output::Output;
use crate::query::rows::Shape;
use accept::{Door, Kind};
use node::NodeDesign;
use programs::Programs;
use report::{Conditions, Report, Sides, Storing, accepted_and_unanswered};
use weir::Weir;

const ROWS: std::ops::RangeInclusive<u64> = 1_000..=100_000_000;
/// Their names have two digits.
const SITES_MAX: u16 = 99;
const WEEKS_MAX: u64 = 104;
/// What the Node design accepts in this time, it takes some minutes to store.
const SECONDS_MAX: f64 = 20.0;
const LOADS: [Kind; 2] = [
    Kind {
        connections: 64,
        events_per_request: 1,
    },
    Kind {
        connections: 16,
        events_per_request: 100,
    },
];

/// What to measure.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub struct Options {
    /// Events that are asked about.
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT")]
    rows: u64,
    /// Sites that they are of; the first of ten has three in ten of all events.
    #[arg(long, default_value_t = 10, value_name = "COUNT")]
    sites: u16,
    /// Weeks that they are spread over: the fewer, the more a day has.
    #[arg(long, default_value_t = 4, value_name = "COUNT")]
    weeks: u64,
    /// How long each round of each load is measured, after half a second of warm-up, and each
    /// question asked.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Where the temporary folders are made; their file system decides what an fsync costs
    /// [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    dir: Option<PathBuf>,
    /// Where the Node design's packages are kept, once fetched [default: ~/.cache/weir]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    cache_dir: Option<PathBuf>,
    #[command(flatten)]
    #[serde(skip)]
    pub output: Output,
}

/// Options that can be measured.
struct Plan {
    rows: u64,
    shape: Shape,
    measured: Duration,
    load_threads: usize,
    folder: PathBuf,
    cache: PathBuf,
}

impl Options {
    fn plan(&self) -> anyhow::Result<Plan> {
        ensure!(
            ROWS.contains(&self.rows),
            "--rows must be from {} to {}, not {}",
            ROWS.start(),
            ROWS.end(),
            self.rows
        );
        ensure!(
            (1..=SITES_MAX).contains(&self.sites),
            "--sites must be from 1 to {SITES_MAX}, not {}",
            self.sites
        );
        ensure!(
            (1..=WEEKS_MAX).contains(&self.weeks),
            "--weeks must be from 1 to {WEEKS_MAX}, not {}",
            self.weeks
        );
        ensure!(
            (0.1..=SECONDS_MAX).contains(&self.seconds),
            "--seconds must be from 0.1 to {SECONDS_MAX}, not {}",
            self.seconds
        );
        let folder = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let cache = match &self.cache_dir {
            Some(folder) => folder.clone(),
            None => std::env::home_dir()
                .context("there is no home directory to keep packages in; use --cache-dir")?
                .join(".cache")
                .join("weir"),
        };
        let absolute = |folder: PathBuf| {
            std::path::absolute(&folder)
                .with_context(|| format!("find the folder {}", folder.display()))
        };
        Ok(Plan {
            rows: self.rows,
            shape: Shape {
                days: self.weeks * 7,
                sites: self.sites,
            },
            measured: Duration::from_secs_f64(self.seconds),
            load_threads: (cpus() / 4).max(1),
            folder: absolute(folder)?,
            cache: absolute(cache)?,
        })
    }
}

/// Which of the programs that this needs are not there, and how to get them.
#[must_use]
pub fn missing() -> Option<String> {
    let missing = Programs::find().err()?;
    Some(format!("{missing:#}"))
}

/// Measures until done or until a signal; what was started is ended in any case.
///
/// # Errors
/// If the options cannot be measured, a program is missing, a server fails, or a signal came.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let plan = options.plan()?;
    let programs = Programs::find()?;
    let interrupted = infra::shutdown::on_signal()?;
    tokio::select! {
        report = measure(&plan, &programs) => report,
        () = interrupted.cancelled() => bail!("interrupted; what was started is ended"),
    }
}

async fn measure(plan: &Plan, programs: &Programs) -> anyhow::Result<Report> {
    info!("starting the Node design and weir");
    let mut design = NodeDesign::start(programs, &plan.cache, &plan.folder).await?;
    let mut weir = Weir::start(&plan.folder).await?;
    let mut accepting = Vec::new();
    for kind in LOADS {
        let doors = Sides {
            baseline: Door {
                address: design.api.address,
                server: &design.api.server,
                keeper: &design.redis.server,
            },
            weir: Door {
                address: weir.address,
                server: &weir.ingest,
                keeper: &weir.world.broker,
            },
        };
        accepting.push(accept::measure(kind, plan.measured, plan.load_threads, &doors).await?);
    }
    let accepted = accepted_and_unanswered(&accepting);
    let storing = Storing::new(Sides {
        baseline: store::by_node(&mut design, accepted.baseline).await?,
        weir: store::by_weir(&mut weir, accepted.weir).await?,
    });
    let clickhouse = clickhouse_version(&weir.world.client(weir::DATABASE)).await?;
    // Nothing of it is asked any more, and what idles is not quite idle.
    drop(weir);
    let stats = stats::measure(&design, &plan.folder, plan.rows, plan.shape, plan.measured).await?;
    Ok(Report {
        conditions: Conditions {
            cpus: cpus(),
            filesystem: filesystem(&plan.folder)?,
            load_threads: plan.load_threads,
            seconds: plan.measured.as_secs_f64(),
            rows: plan.rows,
            sites: plan.shape.sites,
            days: plan.shape.days,
            versions: programs.versions.clone(),
            optimised: !cfg!(debug_assertions),
        },
        clickhouse,
        accepting,
        storing,
        stats,
    })
}

/// A port of loopback that nobody has just now, for a program that cannot pick one by itself.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("look for a free port")?;
    let address = listener.local_addr().context("look for a free port")?;
    Ok(address.port())
}

/// Writes a new file that nobody else can read.
fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let writing = || format!("write {}", path.display());
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(writing)?;
    file.write_all(text.as_bytes()).with_context(writing)
}

/// Takes from a program what the caller's environment would tell it: which server to reach, which
/// options to take.
fn without_settings(command: &mut Command) {
    const PREFIXES: [&str; 4] = ["PG", "REDIS", "NODE_", "BULLMQ"];
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&key);
        }
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

    #[test]
    fn what_cannot_be_measured_is_refused_by_the_options_name() {
        let plan = |option: &str, value: &str| {
            let line = format!("{option}={value}");
            Line::try_parse_from(["baseline", &line])
                .unwrap()
                .options
                .plan()
        };
        for (option, good, bad) in [
            ("--rows", ["1000", "100000000"], ["999", "100000001"]),
            ("--sites", ["1", "99"], ["0", "100"]),
            ("--weeks", ["1", "104"], ["0", "105"]),
            ("--seconds", ["0.1", "20"], ["0", "NaN"]),
        ] {
            for value in good {
                plan(option, value).unwrap();
            }
            for value in bad {
                let refused = plan(option, value).err().map(|error| format!("{error:#}"));
                assert!(
                    refused.is_some_and(|refused| refused.starts_with(option)),
                    "{option} {value}"
                );
            }
        }
    }
}

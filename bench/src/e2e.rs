//! `weir bench e2e`: all of weir under load over HTTP, at rising rates up to the highest that
//! holds. What a user gets: events taken, and how soon they count in `/stats`; what it costs, by
//! process; and whether every one of them counts once.

mod check;
mod disk;
mod each;
mod probe;
mod rate;
pub mod report;
mod search;
mod up;
mod watch;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use tracing::info;

use crate::conditions::clickhouse_version;
use crate::ingest::bodies::VARIED_EVENTS;
use crate::ingest::{between, cpus, filesystem, setting};
use crate::output::Output;
use crate::process::Server;
use rate::Run;
use report::{Conditions, Rate, Report};
use search::Search;
use world::World;

const CONNECTIONS_MAX: usize = 4096;
/// What ingest takes by default.
const EVENTS_PER_REQUEST_MAX: usize = 50_000;
const LOAD_THREADS_MAX: usize = 64;
const RATES: std::ops::RangeInclusive<f64> = 1.0..=1e8;
const RATES_MAX: usize = 100;
/// Of the highest rate that held: what a machine is run at that must also take a peak.
const SHARE: f64 = 0.7;

/// What to measure.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub struct Options {
    /// Offer these rates, events a second, instead of looking for the highest that holds.
    #[arg(long, value_delimiter = ',', value_name = "EVENTS,..")]
    rates: Vec<f64>,
    /// The first rate to try, events a second: doubled as long as rates hold, then narrowed down.
    #[arg(
        long,
        default_value_t = 20_000.0,
        value_name = "EVENTS",
        conflicts_with = "rates"
    )]
    from: f64,
    /// So many rates are tried at most.
    #[arg(long, default_value_t = 12, value_name = "COUNT")]
    rates_max: usize,
    /// How long each rate is measured, after two seconds of warm-up; 70 % of the highest that held
    /// is measured for twice as long.
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Events of each request: 1 as POST /event, more as POST /events.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    events_per_request: usize,
    /// Connections, each with at most one request under way.
    #[arg(long, default_value_t = 64, value_name = "COUNT")]
    connections: usize,
    /// Give each event an id of its own, so that it is placed by its id.
    #[arg(long)]
    client_ids: bool,
    /// Threads of the load generator [default: one for each four processors]
    #[arg(long, value_name = "COUNT")]
    load_threads: Option<usize>,
    /// Where the temporary folder is made; its file system decides what an fsync costs
    /// [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    dir: Option<PathBuf>,
    /// A setting of the servers, such as sink.cut.age_max=1s; neither weir.toml nor the environment
    /// reaches them.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    #[serde(skip)]
    pub output: Output,
}

/// Options that can be measured.
struct Plan {
    rates: Rates,
    measured: Duration,
    events_per_request: usize,
    connections: usize,
    client_ids: bool,
    load_threads: usize,
    folder: PathBuf,
    settings: Vec<(String, String)>,
}

enum Rates {
    These(Vec<f64>),
    UpFrom { first: f64, count_max: usize },
}

impl Options {
    fn plan(&self) -> anyhow::Result<Plan> {
        for (option, rate) in self
            .rates
            .iter()
            .map(|rate| ("--rates", rate))
            .chain([("--from", &self.from)])
        {
            ensure!(
                RATES.contains(rate),
                "{option} must be from {} to {} events a second, not {rate}",
                RATES.start(),
                RATES.end()
            );
        }
        between("--rates-max", self.rates_max, RATES_MAX)?;
        ensure!(
            self.rates.len() <= RATES_MAX,
            "--rates takes at most {RATES_MAX} rates"
        );
        ensure!(
            (1.0..=600.0).contains(&self.seconds),
            "--seconds must be from 1 to 600, not {}",
            self.seconds
        );
        between("--connections", self.connections, CONNECTIONS_MAX)?;
        between(
            "--events-per-request",
            self.events_per_request,
            EVENTS_PER_REQUEST_MAX,
        )?;
        let load_threads = self.load_threads.unwrap_or((cpus() / 4).max(1));
        between("--load-threads", load_threads, LOAD_THREADS_MAX)?;
        let folder = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let folder = std::path::absolute(&folder)
            .with_context(|| format!("find the folder {}", folder.display()))?;
        Ok(Plan {
            rates: if self.rates.is_empty() {
                Rates::UpFrom {
                    first: self.from,
                    count_max: self.rates_max,
                }
            } else {
                Rates::These(self.rates.clone())
            },
            measured: Duration::from_secs_f64(self.seconds),
            events_per_request: self.events_per_request,
            connections: self.connections,
            client_ids: self.client_ids,
            load_threads,
            folder,
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
        report = measure(&plan) => report,
        () = interrupted.cancelled() => bail!("interrupted; what was started is ended"),
    }
}

async fn measure(plan: &Plan) -> anyhow::Result<Report> {
    info!("starting weir up, to see how long it takes");
    let up_ready_seconds = up::measure(&plan.folder, &plan.settings).await?;
    let world = World::start(&plan.folder, &plan.settings).await?;
    let clickhouse = clickhouse_version(&world.client).await?;
    let mut run = Run::new(plan, world);
    info!("probes alone");
    let idle = run.idle().await?;
    let rates = rates(plan, &mut run).await?;
    let highest = rates
        .iter()
        .filter(|rate| rate.held)
        .map(|rate| rate.offered_events_per_second)
        .max_by(f64::total_cmp);
    let at_share = match highest {
        None => None,
        Some(highest) => {
            let rate = SHARE * highest;
            Some(run.measure(rate, 2 * plan.measured).await?)
        }
    };
    let check = check::check(&run.world, &run.sums).await?;
    let rss_bytes_max = run.world.servers.try_map(Server::rss_bytes_max)?;
    let disk = disk::measure(&run.world).await?;
    Ok(Report {
        conditions: Conditions {
            cpus: cpus(),
            filesystem: filesystem(&plan.folder)?,
            connections: plan.connections,
            load_threads: plan.load_threads,
            events_per_request: plan.events_per_request,
            event_bytes: run.requests.event_bytes(),
            different_events: VARIED_EVENTS,
            seconds: plan.measured.as_secs_f64(),
            share: SHARE,
            probe_every_ms: probe::SEND_EVERY.as_millis() as u64,
            ask_every_ms: probe::ASK_EVERY.as_millis() as u64,
            optimised: !cfg!(debug_assertions),
        },
        clickhouse,
        up_ready_seconds,
        idle,
        rates,
        highest_events_per_second: highest,
        at_share,
        rss_bytes_max,
        rss_bytes_all_max: run.rss_bytes_all_max,
        disk,
        check,
    })
}

async fn rates(plan: &Plan, run: &mut Run<'_>) -> anyhow::Result<Vec<Rate>> {
    let mut rates = Vec::new();
    match &plan.rates {
        Rates::These(these) => {
            for rate in these {
                rates.push(run.measure(*rate, plan.measured).await?);
            }
        }
        Rates::UpFrom { first, count_max } => {
            let mut search = Search::from(*first);
            while let Some(rate) = search.next()
                && rates.len() < *count_max
            {
                let measured = run.measure(rate, plan.measured).await?;
                search.found(measured.outcome());
                rates.push(measured);
            }
        }
    }
    Ok(rates)
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
        let line = ["e2e"].iter().chain(arguments);
        Line::try_parse_from(line)?.options.plan()
    }

    #[test]
    fn what_cannot_be_measured_is_refused_by_the_options_name() {
        for (option, good, bad) in [
            ("--rates", ["1", "1e8,5"], ["0", "5,NaN"]),
            ("--from", ["1", "1e8"], ["0.9", "inf"]),
            ("--rates-max", ["1", "100"], ["0", "101"]),
            ("--seconds", ["1", "600"], ["0.9", "inf"]),
            ("--connections", ["1", "4096"], ["0", "4097"]),
            ("--events-per-request", ["1", "50000"], ["0", "50001"]),
            ("--load-threads", ["1", "64"], ["0", "65"]),
        ] {
            for value in good {
                plan(&[option, value]).unwrap();
            }
            for value in bad {
                let refused = plan(&[option, value]).err();
                let refused = refused.map(|error| format!("{error:#}"));
                let named = refused.as_ref().is_some_and(|text| text.contains(option));
                assert!(named, "{option} {value}: {refused:?}");
            }
        }
    }

    #[test]
    fn rates_are_those_asked_for_or_looked_for() {
        let rates = |arguments: &[&str]| plan(arguments).unwrap().rates;
        assert!(matches!(rates(&[]), Rates::UpFrom { first, .. } if first == 20_000.0));
        let these = rates(&["--rates", "1000,2000"]);
        assert!(matches!(these, Rates::These(these) if these == [1000.0, 2000.0]));
    }
}

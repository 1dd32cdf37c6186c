//! `weir bench ingest`: what a durable 202 costs beside bare HTTP. Both servers are measured in
//! turns in one run, because the machine's other work and its own moods fall on both then; and per
//! CPU-second of the server, because its neighbours take what is left.

pub mod bare;
pub(crate) mod bodies;
mod found;
pub(crate) mod load;
pub mod report;
pub(crate) mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use tracing::info;

use crate::output::Output;
use crate::process;
use bodies::{Requests, Shape};
use load::{Load, Pace, Tally};
use report::{Conditions, OpenLoop, Ratios, Report, Saturation, Scenario, Spread, Variant};
use world::{Measurable, World};

const CONNECTIONS_MAX: usize = 4096;
/// What ingest takes by default.
const EVENTS_PER_REQUEST_MAX: usize = 50_000;
const ROUNDS_MAX: usize = 100;
const LOAD_THREADS_MAX: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);
/// Accepted events may take so long to arrive in Kafka.
const FIND_WITHIN: Duration = Duration::from_secs(60);
const FIND_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Measured when nothing else is asked for.
const LOADS: [Kind; 4] = [
    Kind::new(64, 1, Shape::Full),
    Kind::new(16, 1, Shape::Full),
    Kind::new(16, 100, Shape::Full),
    Kind::new(16, 100, Shape::Small),
];

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    connections: usize,
    events_per_request: usize,
    shape: Shape,
}

impl Kind {
    const fn new(connections: usize, events_per_request: usize, shape: Shape) -> Self {
        Self {
            connections,
            events_per_request,
            shape,
        }
    }
}

/// What to measure.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub struct Options {
    /// Connections, each with one request under way [default: 64]; without this,
    /// --events-per-request, --small-events and --tracker, four kinds of load are measured: one event a
    /// request at 64 and at 16 connections, a hundred at 16, and a hundred small ones at 16.
    #[arg(long, value_name = "COUNT")]
    connections: Option<usize>,
    /// Events of each request [default: 1, as POST /event; more as POST /events]
    #[arg(long, value_name = "COUNT")]
    events_per_request: Option<usize>,
    /// Events of some 100 bytes, without referrer and props, instead of some 350; the report says
    /// how many they are.
    #[arg(long)]
    small_events: bool,
    /// Page views as the tracker sends them, of 500 different user agents, of which ingest derives
    /// visitor, source, place and device.
    #[arg(long, conflicts_with = "small_events")]
    tracker: bool,
    /// How long each round of each server is measured, after half a second of warm-up.
    #[arg(long, default_value_t = 2.5)]
    seconds: f64,
    /// How often each server is measured in either way.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    rounds: usize,
    /// Requests a second of the open loop, for both servers.
    #[arg(long, conflicts_with = "saturation", value_name = "REQUESTS")]
    rate: Option<f64>,
    /// The same as a share of what weir reached in the closed loop.
    #[arg(long, default_value_t = 0.7, value_name = "SHARE")]
    saturation: f64,
    /// Give each event an id of its own, so that it is placed by its id.
    #[arg(long)]
    client_ids: bool,
    /// Threads of the load generator [default: one for each four processors]
    #[arg(long, value_name = "COUNT")]
    load_threads: Option<usize>,
    /// Where the temporary folders are made; their file system decides what an fsync costs
    /// [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    dir: Option<PathBuf>,
    /// A setting of the servers, such as ingest.rounds_max=4; neither weir.toml nor the
    /// environment reaches them.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    #[serde(skip)]
    pub output: Output,
}

/// Options that can be measured.
struct Plan {
    loads: Vec<Kind>,
    measured: Duration,
    rounds: usize,
    rate: Rate,
    client_ids: bool,
    load_threads: usize,
    folder: PathBuf,
    settings: Vec<(String, String)>,
}

enum Rate {
    Fixed(f64),
    OfSaturation(f64),
}

impl Options {
    fn plan(&self) -> anyhow::Result<Plan> {
        let shape = match (self.small_events, self.tracker) {
            (true, _) => Shape::Small,
            (false, true) => Shape::Tracker,
            (false, false) => Shape::Full,
        };
        let loads = match (self.connections, self.events_per_request) {
            (None, None) if shape == Shape::Full => LOADS.to_vec(),
            (connections, events) => {
                let (connections, events) = (connections.unwrap_or(64), events.unwrap_or(1));
                vec![Kind::new(connections, events, shape)]
            }
        };
        for kind in &loads {
            between("--connections", kind.connections, CONNECTIONS_MAX)?;
            let events = kind.events_per_request;
            between("--events-per-request", events, EVENTS_PER_REQUEST_MAX)?;
        }
        between("--rounds", self.rounds, ROUNDS_MAX)?;
        ensure!(
            (0.1..=600.0).contains(&self.seconds),
            "--seconds must be from 0.1 to 600, not {}",
            self.seconds
        );
        let rate = match self.rate {
            Some(rate) => {
                ensure!(
                    (1.0..=1e7).contains(&rate),
                    "--rate must be from 1 to 10000000 requests a second, not {rate}"
                );
                Rate::Fixed(rate)
            }
            None => {
                ensure!(
                    (0.01..=1.0).contains(&self.saturation),
                    "--saturation must be from 0.01 to 1, not {}",
                    self.saturation
                );
                Rate::OfSaturation(self.saturation)
            }
        };
        let load_threads = self.load_threads.unwrap_or((cpus() / 4).max(1));
        between("--load-threads", load_threads, LOAD_THREADS_MAX)?;
        let folder = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let folder = std::path::absolute(&folder)
            .with_context(|| format!("find the folder {}", folder.display()))?;
        Ok(Plan {
            loads,
            measured: Duration::from_secs_f64(self.seconds),
            rounds: self.rounds,
            rate,
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

pub(crate) fn between(option: &str, value: usize, max: usize) -> anyhow::Result<()> {
    ensure!(
        (1..=max).contains(&value),
        "{option} must be from 1 to {max}, not {value}"
    );
    Ok(())
}

/// `ingest.rounds_max=4` as the environment has it.
pub(crate) fn setting(text: &str) -> anyhow::Result<(String, String)> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .with_context(|| format!("--set takes KEY=VALUE, not {text:?}"))?;
    let key = key.to_ascii_uppercase().replace('.', "__");
    Ok((format!("WEIR_{key}"), value.to_owned()))
}

pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
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
    let mut scenarios = Vec::new();
    for kind in &plan.loads {
        let scenario = measure_scenario(plan, *kind).await;
        scenarios.push(scenario.with_context(|| {
            let (connections, events) = (kind.connections, kind.events_per_request);
            format!("measure {connections} connections with {events} events a request")
        })?);
    }
    Ok(Report {
        conditions: Conditions {
            cpus: cpus(),
            filesystem: filesystem(&plan.folder)?,
            load_threads: plan.load_threads,
            rounds: plan.rounds,
            seconds: plan.measured.as_secs_f64(),
            client_ids: plan.client_ids,
            optimised: !cfg!(debug_assertions),
        },
        scenarios,
    })
}

/// The type of the file system that holds `folder`, as `/proc/mounts` names it.
pub(crate) fn filesystem(folder: &Path) -> anyhow::Result<String> {
    let mounts = std::fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let folder = folder
        .canonicalize()
        .with_context(|| format!("find the folder {}", folder.display()))?;
    Ok(filesystem_of(&mounts, &folder).unwrap_or_else(|| "an unknown file system".to_owned()))
}

fn filesystem_of(mounts: &str, folder: &Path) -> Option<String> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((Path::new(fields.next()?), fields.next()?))
        })
        .filter(|(mounted_at, _)| folder.starts_with(mounted_at))
        // The deepest one holds it; of those mounted at one place, the last.
        .max_by_key(|(mounted_at, _)| mounted_at.components().count())
        .map(|(_, filesystem)| filesystem.to_owned())
}

/// One server's rounds so far.
struct Rounds {
    saturated: Vec<Round>,
    paced: Vec<Round>,
}

/// A load and what it cost.
struct Round {
    tally: Tally,
    server_cpu: Duration,
    load_cpu: Duration,
}

async fn measure_scenario(plan: &Plan, kind: Kind) -> anyhow::Result<Scenario> {
    let Kind {
        connections,
        events_per_request,
        shape,
    } = kind;
    info!("{connections} connections, {events_per_request} events a request: starting servers");
    let mut world = World::start(&plan.folder, &plan.settings).await?;
    let requests = Arc::new(Requests::prepare(
        events_per_request,
        plan.client_ids,
        shape,
    ));
    let load = |pace| Load {
        requests: requests.clone(),
        connections,
        threads: plan.load_threads,
        pace,
        warm_up: WARM_UP,
        measured: plan.measured,
    };
    let (bare_saturated, weir_saturated) = in_turns(plan, &mut world, &load(Pace::Closed)).await?;
    let reached = Spread::of(per_second(plan, &weir_saturated, |tally| {
        tally.measured_requests
    }));
    ensure!(
        reached.median > 0.0,
        "ingest accepted nothing:\n{}",
        world.weir.server.log_tail()
    );
    let rate = match plan.rate {
        Rate::Fixed(rate) => rate,
        Rate::OfSaturation(share) => share * reached.median,
    };
    let (bare_paced, weir_paced) = in_turns(plan, &mut world, &load(Pace::Open { rate })).await?;
    let (bare, weir) = (
        Rounds {
            saturated: bare_saturated,
            paced: bare_paced,
        },
        Rounds {
            saturated: weir_saturated,
            paced: weir_paced,
        },
    );
    let accepted = weir.all().map(|tally| tally.accepted_events).sum();
    let bare = bare.variant(plan, rate, &world.bare)?;
    let weir = weir.variant(plan, rate, &world.weir)?;
    let found = find_events(&world, accepted).await?;
    Ok(Scenario {
        connections,
        events_per_request,
        event_bytes: requests.event_bytes(),
        ratios: Ratios::of(&weir, &bare),
        bare,
        weir,
        accepted,
        found,
    })
}

/// Counts the events in Kafka, again and again while accepted ones are missing: what went into
/// ingest's spool is on its way there.
async fn find_events(world: &World, accepted: u64) -> anyhow::Result<u64> {
    info!("counting the events in Kafka; {accepted} were accepted");
    let give_up_at = Instant::now() + FIND_WITHIN;
    loop {
        let kafka = world.kafka.clone();
        let counting = tokio::task::spawn_blocking(move || found::count_events(&kafka));
        let found = counting.await.context("count events")??;
        if found >= accepted || Instant::now() > give_up_at {
            return Ok(found);
        }
        tokio::time::sleep(FIND_AGAIN_AFTER).await;
    }
}

/// Bare, weir, weir, bare, bare, weir, and so on.
async fn in_turns(
    plan: &Plan,
    world: &mut World,
    load: &Load,
) -> anyhow::Result<(Vec<Round>, Vec<Round>)> {
    let (mut bare, mut weir) = (Vec::new(), Vec::new());
    for turn in 0..2 * plan.rounds {
        let is_weir = matches!(turn % 4, 1 | 2);
        let (name, server, rounds) = if is_weir {
            ("weir", &world.weir, &mut weir)
        } else {
            ("bare", &world.bare, &mut bare)
        };
        let round = measure_round(server, load).await?;
        info!(
            "{name}: {:.0} requests/s, p99 {:.2} ms",
            round.tally.measured_requests as f64 / load.measured.as_secs_f64(),
            round.tally.latencies.value_at_quantile(0.99) as f64 / 1e3,
        );
        rounds.push(round);
        world.check_alive()?;
    }
    Ok((bare, weir))
}

async fn measure_round(measurable: &Measurable, load: &Load) -> anyhow::Result<Round> {
    let server = &measurable.server;
    let running = load.start(measurable.address);
    let times = || anyhow::Ok((Instant::now(), server.cpu_time()?, process::own_cpu_time()?));
    sleep_until(running.window.begin).await;
    let (begin, server_before, load_before) = times()?;
    sleep_until(running.window.end).await;
    let (end, server_after, load_after) = times()?;
    // On a busy machine either look may come late.
    let looked = (end - begin).max(process::cpu_tick());
    let share = load.measured.as_secs_f64() / looked.as_secs_f64();
    Ok(Round {
        tally: running.finish().await?,
        server_cpu: server_after.saturating_sub(server_before).mul_f64(share),
        load_cpu: load_after.saturating_sub(load_before).mul_f64(share),
    })
}

async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

fn per_second(plan: &Plan, rounds: &[Round], of: fn(&Tally) -> u64) -> Vec<f64> {
    let seconds = plan.measured.as_secs_f64();
    rounds
        .iter()
        .map(|round| of(&round.tally) as f64 / seconds)
        .collect()
}

fn per_cpu_second(rounds: &[Round], of: fn(&Tally) -> u64) -> Vec<f64> {
    rounds
        .iter()
        .map(|round| {
            // The system counts in ticks; a server that used none cannot be told from one.
            let cpu = round.server_cpu.max(process::cpu_tick());
            of(&round.tally) as f64 / cpu.as_secs_f64()
        })
        .collect()
}

impl Rounds {
    fn all(&self) -> impl Iterator<Item = &Tally> {
        let rounds = self.saturated.iter().chain(&self.paced);
        rounds.map(|round| &round.tally)
    }

    fn variant(&self, plan: &Plan, rate: f64, measured: &Measurable) -> anyhow::Result<Variant> {
        let mut sum = Tally::new()?;
        for tally in self.all() {
            sum.add(tally)?;
        }
        Ok(Variant {
            saturation: self.saturation(plan),
            open_loop: self.open_loop(rate),
            rss_bytes_max: measured.server.rss_bytes_max()?,
            refused: sum.refused,
            failed: sum.failed,
        })
    }

    fn saturation(&self, plan: &Plan) -> Saturation {
        let rounds = &self.saturated;
        let cpus = |of: fn(&Round) -> Duration| {
            let seconds = plan.measured.as_secs_f64();
            let cpus = rounds.iter().map(|round| of(round).as_secs_f64() / seconds);
            Spread::of(cpus.collect())
        };
        Saturation {
            requests_per_second: Spread::of(per_second(plan, rounds, |t| t.measured_requests)),
            events_per_second: Spread::of(per_second(plan, rounds, |t| t.measured_events)),
            requests_per_cpu_second: Spread::of(per_cpu_second(rounds, |t| t.measured_requests)),
            events_per_cpu_second: Spread::of(per_cpu_second(rounds, |t| t.measured_events)),
            server_cpus: cpus(|round| round.server_cpu),
            load_cpus: cpus(|round| round.load_cpu),
        }
    }

    fn open_loop(&self, rate: f64) -> OpenLoop {
        let at = |quantile: f64| {
            let rounds = self.paced.iter();
            let micros = rounds.map(|round| round.tally.latencies.value_at_quantile(quantile));
            Spread::of(micros.map(|micros| micros as f64 / 1e3).collect())
        };
        OpenLoop {
            requests_per_second: rate,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
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

    fn plan(arguments: &[&str]) -> anyhow::Result<Plan> {
        let line = ["ingest"].iter().chain(arguments);
        Line::try_parse_from(line)?.options.plan()
    }

    fn refusal(arguments: &[&str]) -> String {
        match plan(arguments) {
            Ok(_) => panic!("{arguments:?} should be refused"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn without_options_four_kinds_of_load_are_measured_and_with_them_one() {
        let loads = |arguments: &[&str]| plan(arguments).unwrap().loads;
        assert_eq!(loads(&[]), LOADS);
        assert_eq!(
            loads(&["--connections", "8"]),
            [Kind::new(8, 1, Shape::Full)]
        );
        let batches = loads(&["--events-per-request", "10"]);
        assert_eq!(batches, [Kind::new(64, 10, Shape::Full)]);
        assert_eq!(loads(&["--small-events"]), [Kind::new(64, 1, Shape::Small)]);
    }

    #[test]
    fn what_cannot_be_measured_is_refused_by_the_options_name() {
        for (option, good, bad) in [
            ("--connections", ["1", "4096"], ["0", "4097"]),
            ("--events-per-request", ["1", "50000"], ["0", "50001"]),
            ("--rounds", ["1", "100"], ["0", "101"]),
            ("--load-threads", ["1", "64"], ["0", "65"]),
            ("--seconds", ["0.1", "600"], ["0", "NaN"]),
            ("--rate", ["1", "10000000"], ["0", "inf"]),
            ("--saturation", ["0.01", "1"], ["0", "1.01"]),
        ] {
            for value in good {
                plan(&[option, value]).unwrap();
            }
            for value in bad {
                let refused = refusal(&[option, value]);
                assert!(refused.contains(option), "{refused}");
            }
        }
    }

    #[test]
    fn a_rate_and_a_share_of_saturation_exclude_each_other() {
        let refused = refusal(&["--rate", "5", "--saturation", "0.5"]);
        assert!(refused.contains("cannot be used with"), "{refused}");
    }

    #[test]
    fn settings_reach_the_servers_as_their_environment() {
        let plan = plan(&["--set", "ingest.rounds_max=4"]).unwrap();
        let expected = ("WEIR_INGEST__ROUNDS_MAX".to_owned(), "4".to_owned());
        assert_eq!(plan.settings, [expected]);
        let refused = refusal(&["--set", "ingest.rounds_max"]);
        assert!(refused.contains("KEY=VALUE"), "{refused}");
    }

    #[test]
    fn a_folder_lies_on_the_file_system_mounted_deepest_above_it() {
        let mounts =
            "overlay / overlay rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/a /tmp/disk ext4 rw 0 0\n";
        let of = |folder| filesystem_of(mounts, Path::new(folder)).unwrap();
        assert_eq!(of("/home"), "overlay");
        assert_eq!(of("/tmp/x"), "tmpfs");
        assert_eq!(of("/tmp/disk/x"), "ext4");
        assert_eq!(of("/tmpx"), "overlay");
    }
}

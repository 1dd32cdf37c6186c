//! `weir bench sink`: events that stand in Kafka, drained into ClickHouse; beside it, in the same
//! run and in turns, ClickHouse taking the very same blocks with the same rollups from memory, which no sink can beat.

mod ceiling;
pub mod report;
pub(crate) mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clickhouse::Row;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::conditions::clickhouse_version;
use crate::fill::fill;
use crate::ingest::report::Spread;
use crate::merges;
use crate::output::Output;
use crate::process::Server;
use ceiling::Blocks;
use report::{Conditions, Drained, Report};
use world::World;

const EVENTS: std::ops::RangeInclusive<u64> = 1_000..=100_000_000;
const ROUNDS_MAX: usize = 100;
const SINKS_MAX: usize = 16;
const PARTITIONS_MAX: u16 = 64;
/// Seldom: the questions cost ClickHouse processor time too.
const POLL: Duration = Duration::from_millis(500);
const ROUND_WITHIN: Duration = Duration::from_secs(600);

/// What to measure.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub struct Options {
    /// Events in Kafka; they are held in memory once, about 100 bytes each.
    #[arg(long, default_value_t = 2_000_000, value_name = "COUNT")]
    events: u64,
    /// Events a record, as one flush of ingest brings them.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    batch: u64,
    /// Sinks that share the partitions.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    sinks: usize,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    partitions: u16,
    /// How often each way is measured.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    rounds: usize,
    /// Where the temporary folder is made [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    dir: Option<PathBuf>,
    #[command(flatten)]
    #[serde(skip)]
    pub output: Output,
}

impl Options {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            EVENTS.contains(&self.events),
            "--events must be from {} to {}, not {}",
            EVENTS.start(),
            EVENTS.end(),
            self.events
        );
        ensure!(
            (1..=10_000).contains(&self.batch),
            "--batch must be from 1 to 10000, not {}",
            self.batch
        );
        ensure!(
            (1..=SINKS_MAX).contains(&self.sinks),
            "--sinks must be from 1 to {SINKS_MAX}, not {}",
            self.sinks
        );
        ensure!(
            (1..=PARTITIONS_MAX).contains(&self.partitions),
            "--partitions must be from 1 to {PARTITIONS_MAX}, not {}",
            self.partitions
        );
        ensure!(
            (1..=ROUNDS_MAX).contains(&self.rounds),
            "--rounds must be from 1 to {ROUNDS_MAX}, not {}",
            self.rounds
        );
        Ok(())
    }
}

/// Measures until done or until a signal; what was started is ended in any case.
///
/// # Errors
/// If the options cannot be measured, a server fails, or a signal came.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    options.check()?;
    let interrupted = infra::shutdown::on_signal()?;
    tokio::select! {
        report = measure(options) => report,
        () = interrupted.cancelled() => bail!("interrupted; what was started is ended"),
    }
}

/// One way, once: events a second and per CPU-second.
#[derive(Debug, Clone, Copy)]
struct Round {
    per_second: f64,
    per_sink_cpu: f64,
    per_clickhouse_cpu: f64,
}

async fn measure(options: &Options) -> anyhow::Result<Report> {
    let folder = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let mut world = World::start(&folder, options.partitions).await?;
    info!("putting {} events into Kafka", options.events);
    let (brokers, partitions) = (world.brokers.clone(), options.partitions);
    let (events, batch) = (options.events, options.batch);
    tokio::task::spawn_blocking(move || fill(&brokers, partitions, events, batch))
        .await
        .context("fill Kafka")??;

    let (mut drains, mut inserts) = (Vec::new(), Vec::new());
    let mut blocks: Option<Blocks> = None;
    let mut drained = Drained::default();
    let mut sink_rss = 0;
    for round in 0..options.rounds {
        let name = format!("drained{round}");
        let (measured, sinks) = drain(&mut world, &name, options).await?;
        for sink in &sinks {
            sink_rss = sink_rss.max(sink.rss_bytes_max()?);
        }
        drop(sinks);
        info!("drained: {:.0} events/s", measured.per_second);
        drains.push(measured);
        if blocks.is_none() {
            drained = world.drained(&name).await?;
            blocks = Some(Blocks::read(&world.client(&name), events).await?);
        }
        world.drop_database(&name).await?;

        let name = format!("inserted{round}");
        let prepared = blocks
            .as_ref()
            .context("blocks are read in the first round")?;
        let measured = insert(&mut world, &name, prepared, events).await?;
        info!("inserted from memory: {:.0} events/s", measured.per_second);
        inserts.push(measured);
        world.drop_database(&name).await?;
    }
    let spread =
        |rounds: &[Round], of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of).collect());
    Ok(Report {
        conditions: Conditions {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            events,
            batch,
            sinks: options.sinks,
            partitions,
            rounds: options.rounds,
            optimised: !cfg!(debug_assertions),
        },
        clickhouse: clickhouse_version(&world.client("default")).await?,
        drained,
        events_per_second: spread(&drains, |round| round.per_second),
        events_per_sink_cpu_second: spread(&drains, |round| round.per_sink_cpu),
        events_per_clickhouse_cpu_second: spread(&drains, |round| round.per_clickhouse_cpu),
        sink_rss_bytes_max: sink_rss,
        clickhouse_rss_bytes_max: world.engine.rss_bytes_max()?,
        ceiling_events_per_second: spread(&inserts, |round| round.per_second),
        ceiling_events_per_clickhouse_cpu_second: spread(&inserts, |round| {
            round.per_clickhouse_cpu
        }),
    })
}

/// New sinks of a new group store everything in a new database. Their speed is that from the first
/// cut's end to the last one's, as the ledger has them: before it lies the joining of the group,
/// and looking more often would cost ClickHouse.
async fn drain(
    world: &mut World,
    name: &str,
    options: &Options,
) -> anyhow::Result<(Round, Vec<Server>)> {
    let events = options.events;
    world.make_database(name).await?;
    let engine_cpu = world.engine.cpu_time()?;
    let sinks = (0..options.sinks)
        .map(|_| world.sink(name))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let client = world.client(name);
    let begun = Instant::now();
    loop {
        tokio::time::sleep(POLL).await;
        world.check_alive()?;
        let entered: u64 = client
            .query("SELECT sum(rows) FROM ledger")
            .fetch_one()
            .await
            .context("read the ledger")?;
        if entered >= events {
            break;
        }
        ensure!(
            begun.elapsed() < ROUND_WITHIN,
            "{events} events were not stored within {ROUND_WITHIN:?}:\n{}",
            sinks.iter().map(Server::log_tail).collect::<String>()
        );
    }
    let mut sink_cpu = Duration::ZERO;
    for sink in &sinks {
        sink_cpu += sink.cpu_time()?;
    }
    // The slower way has merged more of its parts by now.
    merges::until_quiet(&client).await?;
    let engine_cpu = world.engine.cpu_time()? - engine_cpu;
    let cuts: Vec<CutEnd> = client
        .query("SELECT sum(rows) AS rows, toUnixTimestamp64Milli(max(stored_at)) AS stored_ms FROM ledger GROUP BY cut ORDER BY stored_ms")
        .fetch_all()
        .await
        .context("read the ledger")?;
    let [first, .., last] = cuts.as_slice() else {
        bail!("{events} events are one cut: measure more of them");
    };
    let took = Duration::from_millis((last.stored_ms - first.stored_ms).unsigned_abs());
    let round = Round {
        per_second: (events - first.rows) as f64 / took.as_secs_f64(),
        per_sink_cpu: events as f64 / sink_cpu.as_secs_f64(),
        per_clickhouse_cpu: events as f64 / engine_cpu.as_secs_f64(),
    };
    Ok((round, sinks))
}

/// A cut in the ledger.
#[derive(Row, Deserialize)]
struct CutEnd {
    rows: u64,
    stored_ms: i64,
}

async fn insert(
    world: &mut World,
    name: &str,
    blocks: &Blocks,
    events: u64,
) -> anyhow::Result<Round> {
    world.make_database(name).await?;
    let client = world.client(name);
    let (begun, cpu) = (Instant::now(), world.engine.cpu_time()?);
    blocks.insert(&client, name).await?;
    let took = begun.elapsed();
    merges::until_quiet(&client).await?;
    let used = world.engine.cpu_time()? - cpu;
    let rows: u64 = client
        .query("SELECT count() FROM events")
        .fetch_one()
        .await
        .context("count rows")?;
    ensure!(
        rows == events,
        "{rows} rows were inserted from memory, not {events}"
    );
    Ok(Round {
        per_second: events as f64 / took.as_secs_f64(),
        per_sink_cpu: 0.0,
        per_clickhouse_cpu: events as f64 / used.as_secs_f64(),
    })
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
    fn what_cannot_be_measured_is_refused_by_its_name() {
        let check = |arguments: &[&str]| {
            let line = ["sink"].iter().chain(arguments);
            Line::try_parse_from(line).unwrap().options.check()
        };
        assert!(check(&[]).is_ok());
        for (option, value) in [
            ("--events", "999"),
            ("--events", "100000001"),
            ("--batch", "0"),
            ("--sinks", "0"),
            ("--sinks", "17"),
            ("--partitions", "0"),
            ("--partitions", "65"),
            ("--rounds", "0"),
            ("--rounds", "101"),
        ] {
            let refusal = check(&[option, value]).unwrap_err().to_string();
            assert!(refusal.starts_with(option), "{refusal}");
        }
    }
}

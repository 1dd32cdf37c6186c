//! The same events in Kafka, stored again and again into empty databases by a new group: with
//! exactly-once, without, without, with, and so on. Each is compared with the other of its round, so
//! that a machine that slows down slows both.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use e2e::{ClickHouse, Door, Process, command, free_port, run as run_command};

const POLL: Duration = Duration::from_millis(20);
const ROUND_WITHIN: Duration = Duration::from_secs(300);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Events in Kafka.
    #[arg(long, default_value_t = 4_000_000)]
    events: u64,
    /// Events a record.
    #[arg(long, default_value_t = 100)]
    batch: u64,
    /// Times both ways are measured.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// One way, once.
#[derive(Debug, Clone, Copy)]
struct Measured {
    /// Events a second from the first cut to the last.
    rate: f64,
    /// The same per CPU-second of the sink.
    per_cpu: f64,
    /// Of the time that its cuts took, what was not their INSERT: the commit of a plan, the entry
    /// in the ledger, the turns of the loop between them.
    beside: f64,
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let [broker_at, engine_at] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let settings = vec![
        ("WEIR_KAFKA__BROKERS", broker_at.clone()),
        ("WEIR_CLICKHOUSE__URL", format!("http://{engine_at}")),
        ("WEIR_BROKER__LISTEN", broker_at.clone()),
        ("WEIR_ENGINE__LISTEN", engine_at.clone()),
        ("WEIR_LOG__FORMAT", "text".to_owned()),
    ];
    let data = |name: &str| folder.path().join(name).display().to_string();
    let server = |name: &str, door| {
        let arguments = [name, "--data-dir", &data(name)];
        Process::new(name, folder.path(), &arguments, settings.clone(), door)
    };
    let door = Door::Tcp(broker_at.parse().context("an address")?);
    let broker = server("broker", door);
    let engine = server("clickhouse", Door::Http(format!("http://{engine_at}/ping")));
    for server in [&broker, &engine] {
        server.start();
        server.ready().await;
    }
    let clickhouse = ClickHouse {
        url: format!("http://{engine_at}"),
        user: "default",
    };
    migrate(folder.path(), &settings, "filled")?;
    let partitions = infra::kafka::Config::default().partitions;
    bench::fill::fill(&broker_at, partitions, options.events, options.batch)?;
    println!(
        "{} events in records of {}, {} rounds of each way",
        options.events, options.batch, options.rounds
    );
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        // With and without, without and with, and so on.
        let order = if round % 2 == 0 {
            [true, false]
        } else {
            [false, true]
        };
        let mut measured = BTreeMap::new();
        for exactly_once in order {
            let way = if exactly_once { "with" } else { "without" };
            let name = format!("{way}{round}");
            migrate(folder.path(), &settings, &name)?;
            let figures = measure(
                folder.path(),
                &settings,
                &clickhouse,
                &name,
                exactly_once,
                options.events,
            )
            .await?;
            clickhouse.text(&format!("DROP DATABASE {name} SYNC")).await;
            println!(
                "{way:<8} {:>9.0} events/s  {:>9.0} events per CPU-second of the sink  {:>4.1} % of its cuts' time beside the INSERT",
                figures.rate,
                figures.per_cpu,
                100.0 * figures.beside
            );
            measured.insert(exactly_once, figures);
        }
        rounds.push([measured[&true], measured[&false]]);
    }
    let said = |of: fn([Measured; 2]) -> f64| {
        let mut percents: Vec<f64> = rounds.iter().map(|round| 100.0 * of(*round)).collect();
        percents.sort_by(f64::total_cmp);
        format!(
            "{:.1} % ({:.1} to {:.1})",
            median(&percents),
            percents[0],
            percents[percents.len() - 1]
        )
    };
    println!(
        "exactly once has {} of the throughput without it, and {} of the events per CPU-second of the sink; \
         plans and the ledger keep the next INSERT waiting for {} of the time of the cuts: \
         medians of {} rounds, each against its own",
        said(|[with, without]| with.rate / without.rate),
        said(|[with, without]| with.per_cpu / without.per_cpu),
        said(|[with, without]| with.beside - without.beside),
        options.rounds
    );
    Ok(())
}

/// Of figures in order.
fn median(figures: &[f64]) -> f64 {
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        figures[middle]
    } else {
        f64::midpoint(figures[middle - 1], figures[middle])
    }
}

fn migrate(
    folder: &Path,
    settings: &[(&'static str, String)],
    database: &str,
) -> anyhow::Result<()> {
    let mut migrate = command(folder);
    migrate
        .arg("migrate")
        .envs(settings.iter().cloned())
        .env("WEIR_CLICKHOUSE__DATABASE", database);
    let migrated = run_command(migrate);
    if !migrated.success {
        bail!("weir migrate: {}", migrated.stderr);
    }
    Ok(())
}

async fn measure(
    folder: &Path,
    settings: &[(&'static str, String)],
    clickhouse: &ClickHouse,
    name: &str,
    exactly_once: bool,
    events: u64,
) -> anyhow::Result<Measured> {
    let address = free_port();
    let mut settings = settings.to_vec();
    settings.extend([
        ("WEIR_SINK__LISTEN", format!("127.0.0.1:{address}")),
        ("WEIR_SINK__GROUP", name.to_owned()),
        ("WEIR_CLICKHOUSE__DATABASE", name.to_owned()),
        ("WEIR_SINK__EXACTLY_ONCE", exactly_once.to_string()),
    ]);
    let door = Door::Http(format!("http://127.0.0.1:{address}/health"));
    let sink = Process::new(name, folder, &["sink"], settings, door);
    sink.start();
    let begun = Instant::now();
    let mut first: Option<(Instant, u64, f64)> = None;
    loop {
        if begun.elapsed() > ROUND_WITHIN {
            bail!("the sink did not store {events} events within {ROUND_WITHIN:?}");
        }
        let rows: u64 = clickhouse
            .text(&format!("SELECT count() FROM {name}.events"))
            .await
            .parse()
            .context("a count")?;
        let now = Instant::now();
        match first {
            None if rows > 0 => first = Some((now, rows, cpu_seconds(&sink)?)),
            Some((at, before, cpu)) if rows >= events => {
                let stored = (rows - before) as f64;
                let measured = Measured {
                    rate: stored / (now - at).as_secs_f64(),
                    per_cpu: stored / (cpu_seconds(&sink)? - cpu),
                    beside: beside_the_inserts(address).await?,
                };
                sink.kill();
                return Ok(measured);
            }
            _ => {}
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Of the time that a sink's cuts took, what was not their INSERT.
async fn beside_the_inserts(port: u16) -> anyhow::Result<f64> {
    let url = format!("http://127.0.0.1:{port}/metrics");
    let metrics = reqwest::get(&url).await?.text().await?;
    let seconds = |name: &str| {
        let mut lines = metrics.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let seconds = line.and_then(|value| value.parse::<f64>().ok());
        seconds.with_context(|| format!("find {name} at {url}"))
    };
    let inserting = seconds("weir_sink_insert_duration_seconds_sum")?;
    Ok(1.0 - inserting / seconds("weir_sink_cut_duration_seconds_sum")?)
}

/// User and system time of a process, in seconds.
fn cpu_seconds(process: &Process) -> anyhow::Result<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid()))
        .context("read a process's times")?;
    // After the name in brackets, which may hold spaces: the 12th and 13th field.
    let (_, fields) = stat.rsplit_once(')').context("a process's name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / TICKS_A_SECOND)
}

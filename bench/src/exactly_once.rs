//! The same events in Kafka, stored again and again into empty databases by a new group: with
//! exactly-once, without, without, with, and so on. Each is compared with the other of its round, so
//! that a machine that slows down slows both. What a median of rounds is worth is said with it: the
//! interval in which the ratio is with a probability of 95 %.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench::process::tree_cpu_time;
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
    /// The same per CPU-second of the sink, Kafka and ClickHouse, until that has merged what it was
    /// sent.
    per_cpu_of_all: f64,
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
    let world = World {
        folder: folder.path(),
        settings: &settings,
        clickhouse: ClickHouse {
            url: format!("http://{engine_at}"),
            user: "default",
        },
        merges: clickhouse::Client::default().with_url(format!("http://{engine_at}")),
        broker: &broker,
        engine: &engine,
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
            let figures = world.measure(&name, exactly_once, options.events).await?;
            world
                .clickhouse
                .text(&format!("DROP DATABASE {name} SYNC"))
                .await;
            println!(
                "{way:<8} {:>9.0} events/s  {:>9.0} per CPU-second of the sink, {:>7.0} of all  {:>4.1} % of its cuts' time beside the INSERT",
                figures.rate,
                figures.per_cpu,
                figures.per_cpu_of_all,
                100.0 * figures.beside
            );
            measured.insert(exactly_once, figures);
        }
        rounds.push([measured[&true], measured[&false]]);
    }
    let said = |of: fn([Measured; 2]) -> f64| {
        let mut percents: Vec<f64> = rounds.iter().map(|round| 100.0 * of(*round)).collect();
        percents.sort_by(f64::total_cmp);
        let (low, high) = interval(&percents);
        format!("{:.1} % ({low:.1} to {high:.1})", median(&percents))
    };
    println!(
        "exactly once has {} of the throughput without it, {} of the events per CPU-second of the sink, \
         and {} of those per CPU-second of sink, Kafka and ClickHouse, merges and all; \
         plans and the ledger keep the next INSERT waiting for {} of the time of the cuts: \
         medians of {} rounds, each against its own{}",
        said(|[with, without]| with.rate / without.rate),
        said(|[with, without]| with.per_cpu / without.per_cpu),
        said(|[with, without]| with.per_cpu_of_all / without.per_cpu_of_all),
        said(|[with, without]| with.beside - without.beside),
        options.rounds,
        if options.rounds < ROUNDS_FOR_AN_INTERVAL {
            ", with their extremes"
        } else {
            ", with the interval of each at 95 %"
        }
    );
    Ok(())
}

/// Of fewer no interval is sure by 95 %.
const ROUNDS_FOR_AN_INTERVAL: u32 = 6;

/// Where the median of what figures, in order, are drawn from is by 95 %, whatever their
/// distribution: between the k-th from below and the k-th from above, if fewer than k of as many
/// coins show heads in at most 2.5 % of cases. Their extremes if there are too few.
fn interval(figures: &[f64]) -> (f64, f64) {
    const BEYOND: f64 = 0.025;
    let rounds = figures.len();
    let mut of_fewer = 0.0;
    let mut exactly = 0.5_f64.powi(i32::try_from(rounds).unwrap_or(i32::MAX));
    let mut from_end = 0;
    for heads in 0..rounds / 2 {
        of_fewer += exactly;
        if of_fewer > BEYOND {
            break;
        }
        from_end = heads;
        exactly *= (rounds - heads) as f64 / (heads + 1) as f64;
    }
    (figures[from_end], figures[rounds - 1 - from_end])
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

/// What all rounds share.
struct World<'a> {
    folder: &'a Path,
    settings: &'a [(&'static str, String)],
    clickhouse: ClickHouse,
    /// Asks about merges.
    merges: clickhouse::Client,
    broker: &'a Process,
    engine: &'a Process,
}

impl World<'_> {
    async fn measure(
        &self,
        name: &str,
        exactly_once: bool,
        events: u64,
    ) -> anyhow::Result<Measured> {
        // What the round before has left to be merged is not this one's.
        bench::merges::until_quiet(&self.merges).await?;
        let address = free_port();
        let mut settings = self.settings.to_vec();
        settings.extend([
            ("WEIR_SINK__LISTEN", format!("127.0.0.1:{address}")),
            ("WEIR_SINK__GROUP", name.to_owned()),
            ("WEIR_CLICKHOUSE__DATABASE", name.to_owned()),
            ("WEIR_SINK__EXACTLY_ONCE", exactly_once.to_string()),
        ]);
        let door = Door::Http(format!("http://127.0.0.1:{address}/health"));
        let sink = Process::new(name, self.folder, &["sink"], settings, door);
        sink.start();
        let first = self.once_stored(name, 1, &sink).await?;
        let last = self.once_stored(name, events, &sink).await?;
        let beside = beside_the_inserts(address).await?;
        bench::merges::until_quiet(&self.merges).await?;
        let of_all = self.spent_by_all(&sink)? - first.spent_by_all;
        sink.kill();
        let stored = (last.rows - first.rows) as f64;
        Ok(Measured {
            rate: stored / (last.at - first.at).as_secs_f64(),
            per_cpu: stored / (last.spent_by_sink - first.spent_by_sink).as_secs_f64(),
            per_cpu_of_all: stored / of_all.as_secs_f64(),
            beside,
        })
    }

    /// How things stand once `rows` or more are stored.
    async fn once_stored(&self, name: &str, rows: u64, sink: &Process) -> anyhow::Result<Standing> {
        let begun = Instant::now();
        loop {
            let stored: u64 = self
                .clickhouse
                .text(&format!("SELECT count() FROM {name}.events"))
                .await
                .parse()
                .context("a count")?;
            if stored >= rows {
                return Ok(Standing {
                    at: Instant::now(),
                    rows: stored,
                    spent_by_sink: tree_cpu_time(sink.pid())?,
                    spent_by_all: self.spent_by_all(sink)?,
                });
            }
            if begun.elapsed() > ROUND_WITHIN {
                bail!("the sink did not store {rows} events within {ROUND_WITHIN:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn spent_by_all(&self, sink: &Process) -> anyhow::Result<Duration> {
        [sink, self.broker, self.engine]
            .into_iter()
            .map(|process| tree_cpu_time(process.pid()))
            .sum()
    }
}

/// What a look in the midst of a round finds.
struct Standing {
    at: Instant,
    rows: u64,
    /// Processor time.
    spent_by_sink: Duration,
    /// The same with Kafka and ClickHouse.
    spent_by_all: Duration,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_leaves_out_as_many_rounds_at_each_end_as_chance_allows() {
        let rounds = |rounds: u8| (1..=rounds).map(f64::from).collect::<Vec<_>>();
        // From tables of the sign test: at 95 % for 10 rounds the 2nd, for 25 the 8th.
        for (count, from_end) in [(1, 1), (5, 1), (6, 1), (9, 2), (10, 2), (25, 8)] {
            let (low, high) = interval(&rounds(count));
            assert_eq!(low, f64::from(from_end), "of {count}");
            assert_eq!(high, f64::from(count + 1 - from_end), "of {count}");
        }
    }
}

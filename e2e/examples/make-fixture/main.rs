//! Makes a data folder with everything in it that a later version of weir has to read, and packs it
//! into `e2e/fixtures` under the name that is given, with the figures it has to show:
//!
//! `cargo run -p e2e --example make-fixture -- NAME [FOLDER]`
//!
//! It is made below `FOLDER` (by default the folder of temporary files), which has to be one whose
//! path may be published. `CONTRIBUTING.md` says when a fixture is due.

mod traffic;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e::fixture::{Figures, Fixture, Log, Parts, Torn};
use e2e::{Fleet, Plan, Way, ledger};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

use traffic::Event;

const TOPIC: &str = "events";
const REQUESTS: u64 = 12;
const EVENTS_A_REQUEST: u64 = 150;
/// Of the block that is torn.
const MONTHS: u64 = 24;
const EVENTS: u64 = 1200;
const ROUNDS: u32 = 12;
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// The least that the broker takes, so that partitions have several.
const SEGMENT_BYTES: u64 = 16 << 10;
const STREAM_WAITING: u64 = 100;
const STREAM_SPOOLED: u64 = 200;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().expect("the name of the fixture");
    let below = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::Builder::new()
        .prefix("weir-fixture-")
        .tempdir_in(&below)
        .expect("a folder to make it in");
    let plan = Plan {
        // All records of a request are in one cut.
        cut_age: Duration::from_millis(300),
        // The sink stands still while the engine starts.
        session_timeout: Duration::from_secs(30),
        on_apache: false,
        settings: vec![("WEIR_BROKER__SEGMENT_BYTES", SEGMENT_BYTES.to_string())],
        ..Plan::default()
    };
    let fleet = Fleet::start_in(folder, plan).await;
    let mut sent = Sent::default();

    store(&fleet, &mut sent).await;
    let torn = tear(&fleet, &mut sent).await;
    fleet.sinks[0].process.kill();
    let ends = wait_in_kafka(&fleet, &mut sent).await;
    for node in &fleet.kafka.nodes {
        node.kill();
    }
    let records_spooled = spool(&fleet, &mut sent).await;
    for process in fleet.processes() {
        process.kill();
    }

    let folder = fleet.folder();
    let parts = Parts {
        kafka: &folder.join("kafka"),
        clickhouse: &folder.join("clickhouse"),
        spool: &folder.join("data/spool"),
    };
    let figures = sent.figures(torn, ends, records_spooled);
    let fixture = Fixture::pack(&name, &figures, &parts);
    keeps_to_itself(&fixture, folder);
    eprintln!("made {}", fixture.name());
}

/// What is in every table, and what was sent again.
async fn store(fleet: &Fleet, sent: &mut Sent) {
    for stream in 0..REQUESTS {
        let events = traffic::mixed(stream, EVENTS_A_REQUEST);
        sent.post(fleet, events).await;
    }
    sent.post(fleet, traffic::odd()).await;
    sent.post_again(fleet, 0, usize::MAX).await;
    sent.unreadable(fleet, &[0, 3]).await;
    fleet.settled(SETTLED_WITHIN).await;
}

/// What waits behind the cut that was left, repeats of that cut and of what is stored among it.
/// Returns where the log's partitions end.
async fn wait_in_kafka(fleet: &Fleet, sent: &mut Sent) -> Vec<i64> {
    let torn = sent.requests.len() - 1;
    let events = traffic::mixed(STREAM_WAITING, EVENTS_A_REQUEST);
    sent.post(fleet, events).await;
    sent.post_again(fleet, 1, usize::MAX).await;
    sent.post_again(fleet, torn, usize::MAX).await;
    sent.unreadable(fleet, &[5]).await;
    let standings = fleet.group().standings().await.expect("Kafka answers");
    standings.iter().map(|standing| standing.end).collect()
}

/// What the edge keeps because Kafka is away: so many records.
async fn spool(fleet: &Fleet, sent: &mut Sent) -> u64 {
    let mut records = 0;
    for stream in STREAM_SPOOLED..STREAM_SPOOLED + 2 {
        let mut events = traffic::mixed(stream, EVENTS_A_REQUEST);
        // One record takes them all where none has an id to be placed by.
        for event in &mut events {
            event.id.clear();
        }
        sent.post(fleet, events).await;
        records += 1;
    }
    for request in 0..2 {
        sent.post_again(fleet, request, 1).await;
        records += 1;
    }
    records
}

/// Every request that was accepted, and what else went into the log.
#[derive(Default)]
struct Sent {
    requests: Vec<Vec<Event>>,
    events: u64,
    repeats: u64,
    unreadable: u64,
}

impl Sent {
    async fn post(&mut self, fleet: &Fleet, events: Vec<Event>) {
        self.send(fleet, &events).await;
        self.requests.push(events);
    }

    /// Those events of a request that have an id of their own, at most so many.
    async fn post_again(&mut self, fleet: &Fleet, request: usize, at_most: usize) {
        let events = with_id(&self.requests[request]).take(at_most);
        let events = events.cloned().collect::<Vec<_>>();
        assert!(
            !events.is_empty(),
            "a request without ids is never told from another"
        );
        self.send(fleet, &events).await;
        self.repeats += events.len() as u64;
    }

    async fn send(&mut self, fleet: &Fleet, events: &[Event]) {
        let body: Vec<Value> = events.iter().map(Event::json).collect();
        let answer = fleet.post("/events", json!(body).to_string()).await;
        assert_eq!(answer["success"], true, "{answer}");
        self.events += events.len() as u64;
    }

    /// A record that is no batch of events into each of these partitions.
    async fn unreadable(&mut self, fleet: &Fleet, partitions: &[i32]) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", fleet.kafka.brokers())
            .create()
            .expect("a producer");
        for partition in partitions {
            let record = FutureRecord::<(), _>::to(TOPIC)
                .partition(*partition)
                .payload("\u{1}no batch of events\0\u{7f}");
            let sent = producer.send(record, SETTLED_WITHIN).await;
            sent.expect("Kafka takes any bytes");
            self.unreadable += 1;
        }
    }

    fn figures(&self, torn: Torn, ends: Vec<i64>, records_spooled: u64) -> Figures {
        let odd_rows = self.requests.iter().flatten();
        let odd_rows = odd_rows.filter(|event| event.site == traffic::ODD_SITE);
        // A few of every time and place.
        let again = self
            .requests
            .iter()
            .flat_map(|events| with_id(events).take(5));
        Figures {
            weir: env!("CARGO_PKG_VERSION").to_owned(),
            sites: traffic::figures(self.requests.iter().flatten()),
            odd_rows: odd_rows.map(Event::row).collect(),
            stored_before: again.map(Event::json).collect(),
            torn,
            log: Log {
                ends,
                records_spooled,
                events: self.events,
                repeats: self.repeats,
                dead_letters: self.unreadable,
            },
        }
    }
}

fn with_id(events: &[Event]) -> impl Iterator<Item = &Event> {
    events.iter().filter(|event| !event.id.is_empty())
}

/// Kills the engine within an INSERT until one is torn by it, raw rows and rollups. The sink stands
/// still then.
async fn tear(fleet: &Fleet, sent: &mut Sent) -> Torn {
    let (sink, proxy) = (&fleet.sinks[0].process, &fleet.sinks[0].proxy);
    let (mut early, mut late) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        let site = format!("torn-{round}.example");
        let seen = proxy.seen();
        proxy.set(Way::HoldInserts(0));
        sent.post(fleet, traffic::over_months(&site, EVENTS, MONTHS))
            .await;
        proxy.until(|now| now.held > seen.held).await;
        proxy.set(Way::Open);
        if round == 0 {
            let begun = Instant::now();
            proxy.until(|now| now.answers > seen.answers).await;
            late = begun.elapsed();
            fleet.settled(SETTLED_WITHIN).await;
            continue;
        }
        // Every try stays in the data, so few are best.
        let delay = (early + late) / 2;
        tokio::time::sleep(delay).await;
        fleet.engine.kill();
        // Before it can try again.
        sink.stop();
        fleet.engine.start();
        fleet.engine.ready().await;
        let landed = ledger::events_by_table(fleet.clickhouse(), &site).await;
        eprintln!("killed after {delay:.1?}: {landed:?}");
        let [raw, rollups @ ..] = landed;
        if raw > 0 && rollups.iter().any(|n| *n > 0) && rollups.iter().any(|n| *n < EVENTS) {
            let plans = plans(fleet).await;
            return Torn {
                site,
                plans,
                landed,
            };
        }
        if landed == [EVENTS; 5] {
            late = delay;
        } else {
            early = delay;
        }
        sink.go_on();
        fleet.settled(SETTLED_WITHIN).await;
    }
    panic!("no kill of {ROUNDS} tore a block");
}

/// What the sink has planned and not finished, by partition.
async fn plans(fleet: &Fleet) -> BTreeMap<i32, String> {
    let standings = fleet.group().standings().await.expect("Kafka answers");
    let plans = standings
        .into_iter()
        .filter(|standing| !standing.metadata.is_empty());
    let plans: BTreeMap<i32, String> = plans
        .map(|standing| (standing.partition, standing.metadata))
        .collect();
    assert!(!plans.is_empty(), "the sink left no plan");
    plans
}

/// No file of the fixture names a place of this machine.
fn keeps_to_itself(fixture: &Fixture, made_in: &Path) {
    let copy = fixture.unpack();
    let home = std::env::home_dir().unwrap_or_default();
    for place in [made_in, &home, Path::new(env!("CARGO_MANIFEST_DIR"))] {
        let named = e2e::fixture::files_with(copy.path(), place);
        assert!(
            named.is_empty(),
            "{} is named in {named:?}",
            place.display()
        );
    }
}

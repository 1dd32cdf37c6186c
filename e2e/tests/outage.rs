//! Kafka goes away and comes back: whatever was accepted meanwhile counts once, also where the edge
//! is killed during the outage and while it catches up, and where the disk under its spool is full.
//!
//! `WEIR_OUTAGE_SECONDS` and `WEIR_OUTAGE_KILLS` make it longer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::chaos::{Generator, Load, Steady, Truth};
use e2e::{Fleet, Plan, SMALL_DISK_BYTES, number};
use tokio::sync::Mutex;

const OUTAGE_SECONDS: u64 = 8;
const KILLS: u64 = 4;
const SEED: u64 = 20;
const PERIOD: Duration = Duration::from_millis(5);
const PAUSE: Duration = Duration::from_millis(30);
const SETTLED_WITHIN: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(10);

/// One fleet at a time: three nodes of Apache Kafka that start together take all of a small machine,
/// and what is asked here is what ingest does, not what is left for it by two of them.
static ALONE: Mutex<()> = Mutex::const_new(());

fn generator() -> Generator {
    Generator {
        seed: SEED,
        without_id_every: 3,
    }
}

fn stop_kafka(fleet: &Fleet) {
    for node in &fleet.kafka.nodes {
        node.kill();
    }
}

async fn start_kafka(fleet: &Fleet) {
    for node in &fleet.kafka.nodes {
        node.start();
    }
    for node in &fleet.kafka.nodes {
        node.ready().await;
    }
}

async fn spooled(fleet: &Fleet, at_least: u64) -> u64 {
    let give_up_at = Instant::now() + SETTLED_WITHIN;
    loop {
        match fleet.spool_bytes().await {
            Some(bytes) if bytes >= at_least => return bytes,
            _ => assert!(Instant::now() < give_up_at, "nothing goes to the spool"),
        }
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_away_every_event_is_accepted_and_all_of_them_count_once_afterwards() {
    let _alone = ALONE.lock().await;
    let outage = Duration::from_secs(number("WEIR_OUTAGE_SECONDS").unwrap_or(OUTAGE_SECONDS));
    let fleet = Fleet::start(Plan {
        // As it is by default; the fleet's own is shorter.
        settings: vec![("WEIR_INGEST__ACK_TIMEOUT", "10s".to_owned())],
        ..Plan::default()
    });
    let fleet = fleet.await;
    let steady = Steady::start(generator(), &fleet.ingest_url, PERIOD);
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop_kafka(&fleet);
    tokio::time::sleep(outage).await;
    let bytes = spooled(&fleet, 1).await;
    start_kafka(&fleet).await;
    let back = Instant::now();
    fleet.drained(SETTLED_WITHIN).await;
    let drained = back.elapsed();
    let (journal, answers) = steady.finish().await;
    fleet.settled(SETTLED_WITHIN).await;
    println!(
        "{} requests over an outage of {outage:?}: answers {:?}, p50 {:.1?}, p99 {:.1?}, p999 {:.1?}, worst {:.1?}; {bytes} bytes spooled, the spool empty {drained:.1?} after the return",
        journal.len(),
        answers.statuses,
        answers.quantile(0.5),
        answers.quantile(0.99),
        answers.quantile(0.999),
        answers.quantile(1.0),
    );
    assert_eq!(answers.statuses.get(&202), Some(&journal.len()));
    let truth = Truth::of_rows(fleet.clickhouse(), generator(), &journal).await;
    assert_eq!(truth.rows(), journal.len() as u64);
    truth.assert_told(&fleet).await;
    println!("{}", fleet.audit());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_killed_during_the_outage_and_the_drain_loses_nothing_and_doubles_nothing() {
    let _alone = ALONE.lock().await;
    let kills = number("WEIR_OUTAGE_KILLS").unwrap_or(KILLS);
    let fleet = Fleet::start(Plan {
        // Slow enough to be killed on the way.
        settings: vec![(
            "WEIR_INGEST__SPOOL__DRAIN_BYTES_PER_SECOND",
            (128 << 10).to_string(),
        )],
        ..Plan::default()
    });
    let fleet = Arc::new(fleet.await);
    let load = Load::start(generator(), &fleet.ingest_url, PAUSE);
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop_kafka(&fleet);
    let mut drained_on = 0;
    for kill in 0..kills {
        if kill == kills / 2 {
            start_kafka(&fleet).await;
        }
        // Something has to be at stake.
        let bytes = spooled(&fleet, 1).await;
        tokio::time::sleep(Duration::from_millis(200 + 150 * (kill % 4))).await;
        fleet.ingest.kill();
        fleet.ingest.start();
        fleet.ingest.ready().await;
        if kill >= kills / 2 {
            drained_on += 1;
            println!("killed with {bytes} bytes in the spool while it drained");
        }
    }
    let journal = load.finish(SETTLED_WITHIN).await;
    fleet.settled(SETTLED_WITHIN).await;
    println!(
        "{kills} kills of ingest, {drained_on} of them with Kafka back; {} events, {} tries",
        journal.len(),
        journal.iter().map(|sent| sent.tries).sum::<u32>(),
    );
    let truth = Truth::of_rows(fleet.clickhouse(), generator(), &journal).await;
    truth.assert_told(&fleet).await;
    println!("{}", fleet.audit());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_disk_under_the_spool_events_are_refused_and_the_accepted_ones_are_kept() {
    let _alone = ALONE.lock().await;
    let fleet = Fleet::start(Plan {
        has_small_spool_disk: true,
        ..Plan::default()
    });
    let fleet = fleet.await;
    let steady = Steady::start(generator(), &fleet.ingest_url, PERIOD);
    stop_kafka(&fleet);
    let bytes = spooled(&fleet, SMALL_DISK_BYTES * 3 / 4).await;
    let client = reqwest::Client::new();
    let refused = loop {
        let request = client.post(format!("{}/event", fleet.ingest_url));
        // One that the steady client has sent too, with an id of its own.
        let event = generator().event(1).json().to_string();
        let answer = request.body(event).send().await.unwrap();
        if answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE {
            break answer;
        }
        tokio::time::sleep(POLL).await;
    };
    assert_eq!(refused.headers()["retry-after"], "1");
    let said = refused.text().await.unwrap();
    assert!(said.contains("the disk of the spool"), "{said}");
    assert!(
        !said.contains("/spool"),
        "where it lies is nobody's business: {said}"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    start_kafka(&fleet).await;
    fleet.drained(SETTLED_WITHIN).await;
    let (journal, answers) = steady.finish().await;
    fleet.settled(SETTLED_WITHIN).await;
    fleet.ingest.assert_alive();
    println!("{bytes} bytes were spooled; answers {:?}", answers.statuses);
    let statuses: Vec<u16> = answers.statuses.keys().copied().collect();
    assert_eq!(statuses, [202, 503]);
    let truth = Truth::of_rows(fleet.clickhouse(), generator(), &journal).await;
    truth.assert_told(&fleet).await;
    println!("{}", fleet.audit());
}

//! Whatever is killed, stopped or cut off, and whenever: every accepted event counts once, in the
//! raw rows, in every rollup and in what `/stats` tells.
//!
//! `WEIR_CHAOS_SEED` repeats a schedule, `WEIR_CHAOS_KILLS` makes it longer:
//! `WEIR_CHAOS_KILLS=200 cargo test -p e2e --release chaos -- --nocapture`. With
//! `WEIR_E2E_KAFKA=apache` against three nodes of Apache Kafka.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::chaos::{Generator, Load, Truth, schedule, strike};
use e2e::{Fleet, Plan, number};

const KILLS: u64 = 8;
const SINKS: usize = 3;
const WITHOUT_ID_EVERY: u64 = 5;
const PAUSE: Duration = Duration::from_millis(30);
/// From the last fault to the last answer, and from there to the last row.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn chaos_loses_nothing_and_doubles_nothing() {
    let seed = number("WEIR_CHAOS_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let kills = number("WEIR_CHAOS_KILLS").unwrap_or(KILLS);
    println!("WEIR_CHAOS_SEED={seed} WEIR_CHAOS_KILLS={kills}");
    let fleet = Fleet::start(Plan {
        sinks: SINKS,
        cut_age: Duration::from_millis(50),
        ..Plan::default()
    });
    let fleet = Arc::new(fleet.await);
    let generator = Generator {
        seed,
        without_id_every: WITHOUT_ID_EVERY,
    };
    let begun = Instant::now();
    let load = Load::start(generator, &fleet.ingest_url, PAUSE);
    let faults = schedule(seed, kills as usize, SINKS, fleet.kafka.nodes.len());
    let tally = strike(&fleet, &faults).await;
    let struck = begun.elapsed();
    let journal = load.finish(SETTLED_WITHIN).await;
    let accepted = begun.elapsed();
    fleet.settled(SETTLED_WITHIN).await;
    let settled = begun.elapsed();

    let sum = |what: fn(&e2e::chaos::Sent) -> u32| journal.iter().map(what).sum::<u32>();
    println!(
        "{} faults, {} of them kills, in {struck:.1?}; all accepted after {accepted:.1?}, all stored after {settled:.1?}\n{tally}{} events in {} tries, {} times accepted; {} cuts stored, {} planned ones made again",
        tally.faults(),
        tally.kills(),
        journal.len(),
        sum(|sent| sent.tries),
        sum(|sent| sent.accepted),
        fleet.cuts_stored(),
        fleet.cuts_recovered(),
    );
    let truth = Truth::of_rows(fleet.clickhouse(), generator, &journal).await;
    truth.assert_told(&fleet).await;
    println!("{}", fleet.audit());
    println!(
        "{} rows: none lost, none doubled; {} of events without an id that a client had to send again",
        truth.rows(),
        truth.copies()
    );
    // Nobody was still on the way to ClickHouse.
    let again = Truth::of_rows(fleet.clickhouse(), generator, &journal).await;
    assert_eq!(again.rows(), truth.rows());
}

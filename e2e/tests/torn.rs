//! The engine is killed while one block over many months is on its way through the raw table and
//! the rollups behind it. Whatever had landed, in the end each table holds every event once.
//!
//! `WEIR_TORN_ROUNDS` asks for more rounds.

use std::time::{Duration, Instant};

use e2e::chaos::Random;
use e2e::{Fleet, Plan, Way, ledger, number};
use serde_json::json;

const ROUNDS: u64 = 4;
const MONTHS: u64 = 200;
const EVENTS: u64 = 4000;
const SEED: u64 = 8;
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_block_torn_by_the_death_of_the_engine_is_made_whole() {
    let rounds = number("WEIR_TORN_ROUNDS").unwrap_or(ROUNDS);
    let fleet = Fleet::start(Plan {
        // All records of a round are in the first cut.
        cut_age: Duration::from_millis(300),
        // The sink is stopped while the engine starts, and shall go on by itself.
        session_timeout: Duration::from_secs(30),
        ..Plan::default()
    })
    .await;
    // The first is slower than the others.
    undisturbed(&fleet, "warm").await;
    let undisturbed = undisturbed(&fleet, "undisturbed").await;
    println!("an INSERT of {EVENTS} rows over {MONTHS} months takes {undisturbed:?}");

    let mut random = Random::new(SEED, 0);
    let (mut torn, mut nothing, mut all) = (0, 0, 0);
    for round in 0..rounds {
        let site = format!("torn-{round}");
        // Growing delays, each somewhere in its share of the time that the INSERT takes.
        let share = undisturbed / u32::try_from(rounds).expect("some rounds");
        let within = share.mul_f64(random.within(0..1000) as f64 / 1000.0);
        let delay = share * u32::try_from(round).expect("some rounds") + within;
        let landed = kill_within_insert(&fleet, &site, delay).await;
        let was = match landed {
            [0, 0, 0, 0, 0] => {
                nothing += 1;
                "nothing"
            }
            [EVENTS, EVENTS, EVENTS, EVENTS, EVENTS] => {
                all += 1;
                "all"
            }
            _ => {
                torn += 1;
                "torn"
            }
        };
        println!(
            "round {round}, killed after {delay:.1?}: {was}, {landed:?} in {:?}",
            ledger::TABLES
        );

        fleet.sinks[0].process.go_on();
        fleet.group().settled(SETTLED_WITHIN).await;
        let stored = ledger::events_by_table(fleet.clickhouse(), &site).await;
        assert_eq!(stored, [EVENTS; 5], "round {round}, {was} before");
        ledger::assert_exact(fleet.clickhouse()).await;
    }
    println!("torn {torn} of {rounds}; {nothing} had left nothing, {all} had landed whole");
    assert!(torn > 0, "no kill tore a block, so nothing was shown");
    println!("{}", fleet.audit());
}

/// How long an INSERT of such a block takes, from its first byte to the answer.
async fn undisturbed(fleet: &Fleet, site: &str) -> Duration {
    let proxy = &fleet.sinks[0].proxy;
    let answers = hold_insert(fleet, site).await;
    let begun = Instant::now();
    proxy.set(Way::Open);
    proxy.until(|seen| seen.answers > answers).await;
    let took = begun.elapsed();
    fleet.group().settled(SETTLED_WITHIN).await;
    assert_eq!(
        ledger::events_by_table(fleet.clickhouse(), site).await,
        [EVENTS; 5]
    );
    took
}

/// Kills the engine so long after an INSERT was let through; the engine is then back, and the sink
/// stands still. Returns what had landed.
async fn kill_within_insert(fleet: &Fleet, site: &str, delay: Duration) -> [u64; 5] {
    let sink = &fleet.sinks[0];
    hold_insert(fleet, site).await;
    sink.proxy.set(Way::Open);
    tokio::time::sleep(delay).await;
    fleet.engine.kill();
    // Before it can try again.
    sink.process.stop();
    fleet.engine.start();
    fleet.engine.ready().await;
    ledger::events_by_table(fleet.clickhouse(), site).await
}

/// Sends a block's worth of events and waits until the sink's INSERT of them stands before
/// ClickHouse. Returns how many INSERTs had been answered.
async fn hold_insert(fleet: &Fleet, site: &str) -> u64 {
    let proxy = &fleet.sinks[0].proxy;
    let before = proxy.seen();
    proxy.set(Way::HoldInserts(0));
    let events: Vec<_> = (0..EVENTS).map(|number| event(site, number)).collect();
    fleet.post("/events", json!(events).to_string()).await;
    proxy.until(|seen| seen.held > before.held).await;
    before.answers
}

fn event(site: &str, number: u64) -> serde_json::Value {
    let month = number % MONTHS;
    let (year, month) = (2005 + month / 12, month % 12 + 1);
    json!({
        "site_id": site,
        "event_type": if number.is_multiple_of(5) { "click" } else { "page_view" },
        "path": format!("/page/{}", number % 17),
        "user_id": format!("user-{}", number % 500),
        "timestamp": format!("{year}-{month:02}-{:02}T12:{:02}:00Z", number % 28 + 1, number % 60),
    })
}

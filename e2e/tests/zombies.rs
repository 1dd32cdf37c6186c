//! A sink stands still with a planned cut in flight until the group has given its partitions to
//! another. When it wakes, what it still inserts counts nothing, and it takes part again.
//!
//! `WEIR_ZOMBIE_ROUNDS` asks for more rounds.

use std::time::{Duration, Instant};

use e2e::{Fleet, Plan, Sink, Way, eventually, ledger, number};
use serde_json::json;

/// Each place of the INSERT once; six for each with either release.
const ROUNDS: u64 = 3;
const EVENTS: u64 = 3000;
const SITE: &str = "zombie-site";
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// Of an INSERT's head and block, which are some ten thousand bytes.
const HALF: usize = 6000;

/// Where the INSERT is when its sink stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Planned, and nothing has reached ClickHouse.
    BeforeInsert,
    /// ClickHouse has one part of the request.
    WithinInsert,
    /// Stored, and the sink has not heard of it.
    BeforeAnswer,
}

/// When the rest of it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    /// While the sink still stands still: the network delivers what it had sent.
    BeforeWaking,
    AfterWaking,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_wakes_after_the_takeover_inserts_nothing_that_counts() {
    let rounds = number("WEIR_ZOMBIE_ROUNDS").unwrap_or(ROUNDS);
    let fleet = Fleet::start(Plan {
        sinks: 2,
        ..Plan::default()
    })
    .await;
    let places = [
        Place::BeforeInsert,
        Place::WithinInsert,
        Place::BeforeAnswer,
    ];
    let releases = [Release::AfterWaking, Release::BeforeWaking];
    // Each has its share.
    eventually(true, async || {
        fleet.sinks.iter().all(|sink| takeovers(sink) > 0)
    })
    .await;
    let mut sent = 0;
    for round in 0..rounds as usize {
        let place = places[round % places.len()];
        let release = releases[round % releases.len()];
        let [zombie, heir] = [round % 2, (round + 1) % 2].map(|number| &fleet.sinks[number]);
        let begun = Instant::now();

        let recovered = fleet.cuts_recovered();
        stop_in_flight(&fleet, zombie, place, sent).await;
        sent += EVENTS;
        // The heir makes the cut again under its token, and all is stored without the zombie.
        eventually(true, async || fleet.cuts_recovered() > recovered).await;
        let takeover = begun.elapsed();
        fleet.group().settled(SETTLED_WITHIN).await;
        assert_stored(&fleet, sent).await;
        // Life goes on meanwhile, beyond what the zombie knows of.
        send(&fleet, sent).await;
        sent += EVENTS;
        fleet.group().settled(SETTLED_WITHIN).await;

        let answers = zombie.proxy.seen().answers;
        let taken_over = takeovers(zombie);
        if release == Release::BeforeWaking {
            zombie.proxy.set(Way::Open);
        }
        zombie.process.go_on();
        // It learns that its partitions are gone, and gets its share of them again.
        eventually(true, async || takeovers(zombie) > taken_over).await;
        zombie.proxy.set(Way::Open);
        if place != Place::BeforeAnswer {
            // The zombie's INSERT goes all the way.
            zombie.proxy.until(|seen| seen.answers > answers).await;
        }
        send(&fleet, sent).await;
        sent += EVENTS;
        fleet.group().settled(SETTLED_WITHIN).await;
        assert_stored(&fleet, sent).await;
        println!(
            "round {round}, {place:?}, {release:?}: {} stood still, {} had taken over after {takeover:.1?}",
            zombie.process.name(),
            heir.process.name(),
        );
    }
    println!("{}", fleet.audit());
}

/// Sends events and stops the sink with its share of them planned and on the way.
async fn stop_in_flight(fleet: &Fleet, zombie: &Sink, place: Place, from: u64) {
    let before = zombie.proxy.seen();
    zombie.proxy.set(match place {
        Place::BeforeInsert => Way::HoldInserts(0),
        Place::WithinInsert => Way::HoldInserts(HALF),
        Place::BeforeAnswer => Way::HoldAnswers,
    });
    send(fleet, from).await;
    zombie.proxy.until(|seen| seen.held > before.held).await;
    zombie.process.stop();
}

/// Ids of their own spread the events over all partitions, so each sink has its share.
async fn send(fleet: &Fleet, from: u64) {
    let events: Vec<_> = (from..from + EVENTS)
        .map(|number| {
            json!({
                "site_id": SITE,
                "event_type": "page_view",
                "path": format!("/page/{}", number % 19),
                "user_id": format!("user-{}", number % 700),
                "timestamp": format!("2025-{:02}-{:02}T10:00:00Z", number % 3 + 1, number % 28 + 1),
                "event_id": format!("event-{number}"),
            })
        })
        .collect();
    fleet.post("/events", json!(events).to_string()).await;
}

async fn assert_stored(fleet: &Fleet, events: u64) {
    let stored = ledger::events_by_table(fleet.clickhouse(), SITE).await;
    assert_eq!(stored, [events; 5], "in {:?}", ledger::TABLES);
    ledger::assert_exact(fleet.clickhouse()).await;
    let ids = "SELECT uniqExact(event_id) FROM weir.events";
    assert_eq!(fleet.clickhouse().text(ids).await, events.to_string());
}

fn takeovers(sink: &Sink) -> usize {
    sink.process.log().matches("taking over partitions").count()
}

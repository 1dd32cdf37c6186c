//! Answers that are given again, and when they are not.

use std::sync::atomic::{AtomicBool, Ordering};

use query::Config;
use serde_json::Value;

use crate::dice::Dice;
use crate::engine;
use crate::gate::Gate;
use crate::world::{EventRow, World, row};

const TABLES: [&str; 6] = [
    "stats_month",
    "stats_day",
    "stats_quarter_hour",
    "paths_month",
    "paths_day",
    "events",
];
const DAY: [(&str, &str); 2] = [("site_id", "s"), ("date", "2025-11-15")];

fn view(user: &str, time: &str) -> EventRow {
    row("s", "view", "/", user, time)
}

async fn behind_a_gate(config: Config) -> (Gate, World) {
    let gate = Gate::before(engine::shared()).await;
    let world = World::of(gate.address, config).await;
    world.migrate().await;
    for table in TABLES {
        // What merges makes other parts of the same rows, whenever it likes.
        let sql = format!(
            "ALTER TABLE {table} MODIFY SETTING \
             max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1"
        );
        world.db.query(&sql).execute().await.unwrap();
    }
    (gate, world)
}

/// The views that are told, and whether they were counted for it.
async fn ask(gate: &Gate, world: &World, parameters: &[(&str, &str)]) -> (Value, bool) {
    let before = gate.counted();
    let answer = world.stats(parameters).await;
    (answer["total_views"].clone(), gate.counted() > before)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_again_is_counted_again_only_if_its_days_changed() {
    let (gate, world) = behind_a_gate(Config::default()).await;
    world.insert(&[view("u", "2025-11-15T12:00:00Z")]).await;
    assert_eq!(ask(&gate, &world, &DAY).await, (1.into(), true));
    assert_eq!(ask(&gate, &world, &DAY).await, (1.into(), false));

    // Neither the next day nor the one before is this one.
    let others = ["2025-11-14T23:59:59.999Z", "2025-11-16T00:00:00Z"];
    for other in others {
        world.insert(&[view("u", other)]).await;
    }
    assert_eq!(ask(&gate, &world, &DAY).await, (1.into(), false));
    // In Kathmandu that day began at 18:15 of the one before.
    let kathmandu = [DAY[0], DAY[1], ("timezone", "Asia/Kathmandu")];
    assert_eq!(ask(&gate, &world, &kathmandu).await, (2.into(), true));
    assert_eq!(ask(&gate, &world, &kathmandu).await, (2.into(), false));

    world.insert(&[view("v", "2025-11-15T00:00:00Z")]).await;
    assert_eq!(ask(&gate, &world, &DAY).await, (2.into(), true));
    assert_eq!(ask(&gate, &world, &DAY).await, (2.into(), false));

    // What was compared with counts, too.
    let compared = [DAY[0], DAY[1], ("compare", "previous_period")];
    assert!(ask(&gate, &world, &compared).await.1);
    assert!(!ask(&gate, &world, &compared).await.1);
    world.insert(&[view("v", "2025-11-14T01:00:00Z")]).await;
    assert!(ask(&gate, &world, &compared).await.1);

    // A rollup that is damaged is told as it is; mended, it is told as it should be.
    for (delete, left) in [
        ("DELETE FROM stats_day WHERE date = '2025-11-15'", 0),
        (
            "INSERT INTO stats_day SELECT site_id, '2025-11-15', event_type, bot, events, users FROM stats_day WHERE date = '2025-11-16'",
            1,
        ),
    ] {
        world.db.query(delete).execute().await.unwrap();
        assert_eq!(ask(&gate, &world, &DAY).await, (left.into(), true));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_any_table_that_is_read_is_seen() {
    let (gate, world) = behind_a_gate(Config::default()).await;
    world.insert(&[view("u", "2025-11-30T12:00:00Z")]).await;
    let month = [
        ("site_id", "s"),
        ("start_date", "2025-11-01"),
        ("end_date", "2025-11-30"),
    ];
    assert_eq!(ask(&gate, &world, &month).await, (1.into(), true));
    for table in TABLES {
        assert!(!ask(&gate, &world, &month).await.1, "before {table}");
        let emptied = format!("TRUNCATE TABLE {table}");
        world.db.query(&emptied).execute().await.unwrap();
        assert!(ask(&gate, &world, &month).await.1, "after {table}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_came_while_an_answer_was_on_its_way_count_for_who_asks_next() {
    let (gate, world) = behind_a_gate(Config::default()).await;
    world.insert(&[view("u", "2025-11-15T12:00:00Z")]).await;
    let held = gate.hold_figures().await;
    let insert = async {
        // Totals and paths.
        gate.told(2).await;
        world.insert(&[view("v", "2025-11-15T13:00:00Z")]).await;
        drop(held);
    };
    let (asked, ()) = tokio::join!(ask(&gate, &world, &DAY), insert);
    assert_eq!(asked, (1.into(), true));
    assert_eq!(ask(&gate, &world, &DAY).await, (2.into(), true));
    assert_eq!(ask(&gate, &world, &DAY).await, (2.into(), false));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_tell_its_parts_is_asked_every_time() {
    let (gate, world) = behind_a_gate(Config::default()).await;
    gate.hide_parts();
    world.insert(&[view("u", "2025-11-15T12:00:00Z")]).await;
    for _ in 0..3 {
        assert_eq!(ask(&gate, &world, &DAY).await, (1.into(), true));
    }
    assert_eq!(gate.parts(), 1, "it is not asked again and again");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_where_nothing_may_be() {
    let config = Config {
        kept_bytes_max: 0,
        ..Config::default()
    };
    let (gate, world) = behind_a_gate(config).await;
    world.insert(&[view("u", "2025-11-15T12:00:00Z")]).await;
    for _ in 0..3 {
        assert_eq!(ask(&gate, &world, &DAY).await, (1.into(), true));
    }
    assert_eq!(gate.parts(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_the_rows_while_these_change() {
    const ROUNDS: usize = 60;
    let world = World::new().await;
    let counting = world
        .beside_with(Config {
            kept_bytes_max: 0,
            ..Config::default()
        })
        .await;
    let ended = AtomicBool::new(false);
    let insert = async {
        let dice = &mut Dice(1);
        for nth in 0..ROUNDS {
            let day = 1 + dice.roll(5);
            let time = format!("2025-11-{day:02}T{:02}:30:00Z", dice.roll(24));
            world.insert(&[view(&format!("u{nth}"), &time)]).await;
        }
        ended.store(true, Ordering::SeqCst);
    };
    // Each asker sees views come and never go, whatever else is inserted while it is answered.
    let watch = |seed| {
        let (world, ended) = (&world, &ended);
        async move {
            let dice = &mut Dice(seed);
            let mut seen = [0; 6];
            while !ended.load(Ordering::SeqCst) {
                let day = 1 + dice.roll(5);
                let date = format!("2025-11-{day:02}");
                let views = world.stats(&[("site_id", "s"), ("date", &date)]).await;
                let views = views["total_views"].as_u64().unwrap();
                assert!(views >= seen[day], "{date}: {views} after {}", seen[day]);
                seen[day] = views;
            }
        }
    };
    tokio::join!(insert, watch(2), watch(3));
    // And what is kept in the end is what there is.
    for day in 1..=5 {
        let date = format!("2025-11-{day:02}");
        for zone in ["UTC", "Asia/Kathmandu"] {
            for route in ["/stats", "/stats/timeseries", "/stats/breakdown"] {
                let asked = [
                    ("site_id", "s"),
                    ("date", date.as_str()),
                    ("timezone", zone),
                    ("property", "path"),
                ];
                let asked = &asked[..if route.ends_with("breakdown") { 4 } else { 3 }];
                let (_, expected) = counting.json(route, asked).await;
                assert_eq!(
                    world.json(route, asked).await.1,
                    expected,
                    "{route} {asked:?}"
                );
                assert_eq!(
                    world.json(route, asked).await.1,
                    expected,
                    "{route} {asked:?}"
                );
            }
        }
    }
    counting.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_kept_take_no_more_bytes_than_they_may() {
    const BYTES_MAX: u64 = 8 * 1024;
    // What an answer takes at the least.
    const KEPT_MAX: usize = BYTES_MAX as usize / 256;
    let config = Config {
        kept_bytes_max: BYTES_MAX,
        ..Config::default()
    };
    let (gate, world) = behind_a_gate(config).await;
    world.insert(&[view("u", "2025-03-01T12:00:00Z")]).await;
    let dates = (1..=31).flat_map(|day| [1, 3, 5].map(|month| format!("2025-{month:02}-{day:02}")));
    let dates: Vec<String> = dates.collect();
    for date in &dates {
        assert!(
            ask(&gate, &world, &[("site_id", "s"), ("date", date)])
                .await
                .1
        );
    }
    let mut kept = 0;
    for date in dates.iter().rev() {
        if !ask(&gate, &world, &[("site_id", "s"), ("date", date)])
            .await
            .1
        {
            kept += 1;
        }
    }
    assert!((1..=KEPT_MAX).contains(&kept), "{kept} of {}", dates.len());
}

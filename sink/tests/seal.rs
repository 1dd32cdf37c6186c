//! `seal` closes days: late repeats, and rollups that differ.
#![expect(clippy::unwrap_used, reason = "tests, and the helpers they share")]

#[expect(dead_code, reason = "shared with the other tests of the sink")]
mod world;

use sink::audit::{Options, Report};
use world::{World, event, event_with_key, events, time};

async fn audit(world: &World) -> Report {
    let (config, kafka, clickhouse) = (&world.config, &world.kafka, &world.clickhouse);
    sink::audit::audit(config, kafka, clickhouse, &Options::default(), &|_| {})
        .await
        .unwrap()
}

async fn run_sql(world: &World, sql: &str) {
    world.db.query(sql).execute().await.unwrap();
}

/// A few cuts of two partitions over several months: 3 records each, one of them unreadable, with
/// repeats.
async fn stored() -> World {
    let world = World::new(2).await;
    for partition in 0..2 {
        let mut some = events(0..20);
        for (month, event) in (1..).zip(&mut some) {
            event.timestamp = time(&format!("2024-{:02}-03T10:00:00Z", month % 12 + 1));
        }
        world.send(partition, &some).await;
        let key = event_with_key(&format!("key-{partition}"));
        world.send(partition, &[key.clone(), event(7), key]).await;
        world.send_raw(partition, Some("1"), b"garbage").await;
    }
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 3), (1, 3)]).await;
    sink.stop().await;
    let sink = world.start().await;
    for partition in 0..2 {
        world.send(partition, &events(40..45)).await;
    }
    world.wait_until_committed(&[(0, 4), (1, 4)]).await;
    sink.stop().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_rollup_is_told_by_its_key_and_mended_by_a_seal() {
    let world = stored().await;
    let damages = [
        (
            "INSERT INTO stats_day SELECT site_id, date, event_type, bot, 3, users FROM stats_day WHERE date = '2024-05-03'",
            "stats_day",
        ),
        (
            "INSERT INTO stats_month SELECT site_id, month, event_type, bot, 2, users FROM stats_month WHERE month = '2024-05-01'",
            "stats_month",
        ),
        (
            "INSERT INTO paths_month SELECT site_id, month, 'another_type', path, bot, 1 FROM paths_month LIMIT 1",
            "paths_month",
        ),
        (
            "INSERT INTO stats_day SELECT site_id, date, event_type, bot, 0, uniqCombined64StateIf(17)('nobody', 1) FROM stats_day WHERE date = '2024-05-03' GROUP BY ALL",
            "stats_day",
        ),
        (
            "ALTER TABLE paths_day DELETE WHERE date = '2024-07-03'",
            "paths_day",
        ),
        (
            "ALTER TABLE stats_quarter_hour DELETE WHERE toDate(time) = '2024-07-03'",
            "stats_quarter_hour",
        ),
    ];
    for (damage, table) in damages {
        world
            .db
            .query(damage)
            .with_setting("insert_deduplicate", "0")
            .with_setting("mutations_sync", "2")
            .execute()
            .await
            .unwrap();
        let report = audit(&world).await;
        let is_told = |finding: &sink::audit::Finding| finding.text.contains(table);
        assert!(
            report.findings.iter().any(is_told),
            "{damage}: {:?}",
            report.findings
        );
        let (first, last) = ("2024-01-01".parse().unwrap(), "2025-12-31".parse().unwrap());
        let sealed = sink::seal::seal(&world.config, &world.clickhouse, first, last)
            .await
            .unwrap();
        assert!(!sealed.days.is_empty(), "{damage}");
        assert_eq!(sealed.repeats, 0);
        let report = audit(&world).await;
        assert!(report.sound, "{damage}: {:?}", report.findings);
        world.assert_exactly(54).await;
    }
}

/// Somebody removed them by hand: of their partitions of the rollups nothing is left to put in place.
#[tokio::test(flavor = "multi_thread")]
async fn rollups_of_a_year_whose_events_were_removed_are_emptied_by_a_seal() {
    let world = stored().await;
    run_sql(&world, "DELETE FROM events WHERE toYear(timestamp) = 2024").await;
    let left = world.number("SELECT count() FROM events").await;
    assert!(left > 0);
    let (first, last) = ("2024-01-01".parse().unwrap(), "2025-12-31".parse().unwrap());
    sink::seal::seal(&world.config, &world.clickhouse, first, last)
        .await
        .unwrap();
    world.assert_exactly(left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_from_beyond_the_window_are_removed_by_a_seal_under_way_with_the_sink() {
    let mut world = World::new(1).await;
    world.config.repeat_window = 2;
    let keys: Vec<_> = (0..10)
        .map(|n| event_with_key(&format!("key-{n}")))
        .collect();
    let sink = world.start().await;
    world.send(0, &keys).await;
    world.wait_until_committed(&[(0, 1)]).await;
    world.send(0, &keys).await;
    world.send(0, &events(0..5)).await;
    world.wait_until_committed(&[(0, 3)]).await;
    world.assert_exactly(25).await;

    let (first, last) = ("2025-11-10".parse().unwrap(), "2025-11-20".parse().unwrap());
    let seal = || sink::seal::seal(&world.config, &world.clickhouse, first, last);
    let sealed = seal().await.unwrap();
    assert_eq!((sealed.repeats, sealed.days.len()), (10, 1));
    world.send(0, &events(5..10)).await;
    world.wait_until_committed(&[(0, 4)]).await;
    world.assert_exactly(20).await;
    let again = seal().await.unwrap();
    assert_eq!(
        (again.repeats, again.days.len()),
        (0, 0),
        "nothing is left to do"
    );
    let report = audit(&world).await;
    assert!(report.sound, "{:?}", report.findings);
    assert_eq!(
        {
            let partition = &report.partitions[0];
            (partition.rows, partition.rows_found, partition.removed)
        },
        (30, 20, 10)
    );

    // A removal that was cut off after it was noted.
    run_sql(&world, "INSERT INTO removed_repeats (_log, _partition, _offset, _index, date) SELECT _log, _partition, _offset, _index, toDate(timestamp) FROM events WHERE _offset = 2 AND _index = 1").await;
    let report = audit(&world).await;
    assert!(!report.sound);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.kind == sink::audit::Kind::UnfinishedRemoval),
        "{:?}",
        report.findings
    );
    assert_eq!(seal().await.unwrap().repeats, 1);
    assert!(audit(&world).await.sound);
    sink.stop().await;
    world.assert_exactly(19).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn months_that_an_upgrade_brings_empty_are_filled_beside_a_sink_at_work() {
    let world = stored().await;
    // As an earlier version left it.
    for statement in [
        "DROP TABLE stats_month_mv SYNC",
        "DROP TABLE stats_month SYNC",
        "DELETE FROM migrations WHERE version IN (4, 8, 9)",
    ] {
        run_sql(&world, statement).await;
    }
    let migrated = infra::clickhouse::migrate(&world.clickhouse).await.unwrap();
    assert_eq!(migrated.applied, 3);
    let months = world.number("SELECT uniqExact(toStartOfMonth(timestamp)) FROM events");
    let months = months.await as usize;

    let sink = world.start().await;
    let filled = sink::fill_rollups(&world.config, &world.clickhouse)
        .await
        .unwrap();
    assert_eq!(filled, months);
    for partition in 0..2 {
        world.send(partition, &events(60..65)).await;
    }
    world.wait_until_committed(&[(0, 5), (1, 5)]).await;
    world.assert_exactly(64).await;
    let again = sink::fill_rollups(&world.config, &world.clickhouse).await;
    assert_eq!(again.unwrap(), 0, "nothing was missing");
    sink.stop().await;
    let report = audit(&world).await;
    assert!(report.sound, "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_are_made_anew_by_one_at_a_time_whoever_came_first() {
    let world = stored().await;
    run_sql(&world, "INSERT INTO stats_day SELECT site_id, date, event_type, bot, 3, users FROM stats_day WHERE date = '2024-05-03'").await;
    // Somebody who began before, with an id that no other is greater than.
    let other = "toUUID('ffffffff-ffff-ffff-ffff-ffffffffffff')";
    let note = |reason: &str, seconds: u32| {
        format!(
            "INSERT INTO mends (id, at, until, reason) SELECT {other}, now64(3), now64(3) + {seconds}, '{reason}'"
        )
    };
    run_sql(&world, &note("test", 3600)).await;
    let (first, last) = ("2024-05-01".parse().unwrap(), "2024-05-31".parse().unwrap());
    let seal = sink::seal::seal(&world.config, &world.clickhouse, first, last);
    let end = async {
        // Noted, and noted again when its lease went on.
        let noted = format!("SELECT count() FROM mends WHERE id != {other}");
        while world.number(&noted).await < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let made = "SELECT countIf(notEmpty(dates)) FROM mends";
        assert_eq!(world.number(made).await, 0, "it rebuilds nothing");
        run_sql(&world, &note("ended", 0)).await;
    };
    let (sealed, ()) = tokio::join!(seal, end);
    assert_eq!(sealed.unwrap().days.len(), 1);
    assert!(audit(&world).await.sound);
}

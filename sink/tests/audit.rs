//! `audit` tells each damage that is planted, and `seal` mends what can be mended.
#![expect(clippy::unwrap_used, reason = "tests, and the helpers they share")]

#[expect(dead_code, reason = "shared with the other tests of the sink")]
mod world;

use sink::audit::{Options, Report};
use world::{World, event, event_with_key, events, time};

async fn audit(world: &World) -> Report {
    let options = Options::default();
    sink::audit::audit(
        &world.config.group,
        &world.kafka,
        &world.clickhouse,
        &options,
        &|_| {},
    )
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
async fn sound_data_passes_with_every_figure() {
    let world = stored().await;
    let report = audit(&world).await;
    assert!(report.sound, "{report:?}");
    for partition in &report.partitions {
        assert_eq!(
            (
                partition.from_offset,
                partition.to_offset,
                partition.committed
            ),
            (0, 4, Some(4))
        );
        assert_eq!((partition.records, partition.events), (4, 28));
        assert_eq!((partition.rows, partition.repeats), (27, 1));
        assert_eq!((partition.dead_letters, partition.removed), (1, 0));
    }
    assert_eq!(report.partitions.len(), 2);
    assert_eq!(report.rollups.len(), 4);
    for rollup in &report.rollups {
        assert_eq!(rollup.events, 54, "{rollup:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_damage_is_told_with_its_place() {
    let world = stored().await;
    let group = world.config.group.clone();
    let columns = "site_id, event_type, path, user_id, timestamp, _id_delta, _id_low, _id_origin, _lag_ms, _partition, _offset, _index, _log";
    let undone = |what: &str| {
        format!(
            "INSERT INTO events ({columns}, _owner) SELECT {columns}, joinGet('fences', 'owner', _partition) FROM {what}"
        )
    };
    run_sql(
        &world,
        &format!(
            "CREATE TABLE kept ENGINE = MergeTree ORDER BY tuple() AS SELECT {columns} FROM events"
        ),
    )
    .await;
    // Damage, how it is undone, and what is to be said of it.
    let row = "_partition = 1 AND _offset = 3 AND _index = 2";
    let damages: Vec<(String, String, &str, &str)> = vec![
        (
            format!("DELETE FROM events WHERE {row}"),
            String::new(),
            "partition 1 offsets 3..4",
            "1 of 5 rows are missing: offset 3 has a hole",
        ),
        (undone(&format!("kept WHERE {row}")), String::new(), "", ""),
        (
            undone(&format!("kept WHERE {row}")),
            format!("DELETE FROM events WHERE {row}"),
            "partition 1 offsets 3..4",
            "1 rows too many: 3/2 is there 2 times",
        ),
        (undone(&format!("kept WHERE {row}")), String::new(), "", ""),
        (
            "ALTER TABLE ledger DELETE WHERE _partition = 0 AND from_offset = 0".to_owned(),
            String::new(),
            "partition 0 offsets 0..3",
            "not in the ledger",
        ),
    ];
    for (damage, undo, place, fault) in damages {
        for sql in damage.split(";;") {
            world
                .db
                .query(sql)
                .with_setting("insert_deduplicate", "0")
                .with_setting("mutations_sync", "2")
                .execute()
                .await
                .unwrap();
        }
        let report = audit(&world).await;
        if !fault.is_empty() {
            assert!(!report.sound, "{damage}");
            let is_told = report
                .findings
                .iter()
                .any(|finding| finding.place.contains(place) && finding.fault.contains(fault));
            assert!(is_told, "{damage}: {:?}", report.findings);
        }
        if !undo.is_empty() {
            run_sql(&world, &undo).await;
        }
    }
    assert!(!group.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_rollup_is_told_by_its_key_and_mended_by_a_seal() {
    let world = stored().await;
    let damages = [
        (
            "stats_quarter_hour",
            "INSERT INTO stats_day SELECT site_id, date, event_type, 3, users FROM stats_day WHERE date = '2024-05-03'",
            "stats_day",
            "it counts",
        ),
        (
            "paths_day",
            "INSERT INTO paths_month SELECT site_id, month, 'another_type', path, 1 FROM paths_month LIMIT 1",
            "paths_month",
            "it counts 1 events, the rows are 0",
        ),
        (
            "users",
            "INSERT INTO stats_day SELECT site_id, date, event_type, 0, uniqCombined64StateIf(17)('nobody', 1) FROM stats_day WHERE date = '2024-05-03' GROUP BY ALL",
            "stats_day",
            "users",
        ),
        (
            "deleted",
            "ALTER TABLE paths_day DELETE WHERE date = '2024-07-03'",
            "paths_day",
            "it counts 0 events",
        ),
        (
            "quarter",
            "ALTER TABLE stats_quarter_hour DELETE WHERE toDate(time) = '2024-07-03'",
            "stats_quarter_hour",
            "it counts 0 events",
        ),
    ];
    for (_, damage, table, fault) in damages {
        world
            .db
            .query(damage)
            .with_setting("insert_deduplicate", "0")
            .with_setting("mutations_sync", "2")
            .execute()
            .await
            .unwrap();
        let report = audit(&world).await;
        let is_told = |finding: &sink::audit::Finding| {
            finding.table == table && finding.fault.contains(fault)
        };
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
        (report.partitions[0].rows, report.partitions[0].removed),
        (20, 10)
    );

    // A removal that was cut off after it was noted.
    run_sql(&world, "INSERT INTO removed_repeats (_log, _partition, _offset, _index, date) SELECT _log, _partition, _offset, _index, toDate(timestamp) FROM events WHERE _offset = 2 AND _index = 1").await;
    let report = audit(&world).await;
    assert!(!report.sound);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.fault.contains("run weir seal again")),
        "{:?}",
        report.findings
    );
    assert_eq!(seal().await.unwrap().repeats, 1);
    assert!(audit(&world).await.sound);
    sink.stop().await;
    world.assert_exactly(19).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_group_is_past_and_nobody_stored_is_told() {
    let world = stored().await;
    world.send(1, &events(0..3)).await;
    world.commit(&[(1, 5)], "");
    let report = audit(&world).await;
    assert!(!report.sound);
    let finding = &report.findings[0];
    assert_eq!(
        (finding.place.as_str(), finding.fault.as_str()),
        (
            "partition 1 offsets 4..5",
            "the group is past them, and they are not in the ledger"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_during_load_finds_nothing() {
    let world = World::new(2).await;
    let sink = world.start().await;
    let load = async {
        for round in 0..60_u64 {
            for partition in 0..2 {
                world.send(partition, &events(round..round + 50)).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let audits = async {
        for _ in 0..4 {
            let report = audit(&world).await;
            assert!(report.sound, "{:?}", report.findings);
        }
    };
    tokio::join!(load, audits);
    world.wait_until_committed(&[(0, 60), (1, 60)]).await;
    sink.stop().await;
    world.assert_exactly(6000).await;
}

//! What `weir audit` tells of sound data, and of every damage that is planted.
#![expect(clippy::unwrap_used, reason = "tests, and the helpers they share")]

#[expect(dead_code, reason = "shared with the other tests of the sink")]
mod world;

use std::time::Duration;

use sink::audit::{Fault, Finding, Kind, Offsets, Options, Report, Subject, Wrong, audit};
use world::{World, event, event_with_key, events, time};

/// Events of a record.
const EVENTS: u64 = 5;

async fn look(world: &World, options: &Options) -> anyhow::Result<Report> {
    let World {
        config,
        kafka,
        clickhouse,
        ..
    } = world;
    audit(config, kafka, clickhouse, options, &|_| {}).await
}

/// What is planted stays: there is nothing to wait for. And so little at once that every step of
/// an audit is taken several times.
fn at_once() -> Options {
    Options {
        patience: Duration::from_millis(1),
        ranges_at_once: 2,
        rows_at_once: 40,
        ..Default::default()
    }
}

async fn findings(world: &World) -> Vec<Finding> {
    let report = look(world, &at_once()).await.unwrap();
    assert_eq!(report.is_sound(), report.findings.is_empty());
    report.findings
}

/// The one finding there is; its text stands in the failure.
async fn finding(world: &World) -> Finding {
    let mut findings = findings(world).await;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.remove(0)
}

fn offsets(finding: &Finding) -> (Kind, u16, u64, u64, &[Fault]) {
    let Subject::Offsets(Offsets {
        partition,
        from_offset,
        to_offset,
        places,
        ..
    }) = &finding.subject
    else {
        panic!("{finding:?}");
    };
    (finding.kind, *partition, *from_offset, *to_offset, places)
}

/// Which of two findings of the same offsets comes first is of no interest.
fn in_order(findings: &[Finding]) -> Vec<(Kind, u16, u64, u64, &[Fault])> {
    let mut told: Vec<_> = findings.iter().map(offsets).collect();
    told.sort_by_key(|(kind, partition, from, ..)| (*partition, *from, format!("{kind:?}")));
    told
}

fn fault(offset: u64, index: u16, what: Wrong) -> Fault {
    Fault {
        offset,
        index,
        what,
    }
}

async fn sql(world: &World, sql: &str) {
    world
        .db
        .query(sql)
        .with_setting("mutations_sync", "2")
        .execute()
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Two partitions of three cuts each, of four records each; then the sink stops.
async fn stored() -> World {
    let mut world = World::new(2).await;
    world.config.cut.age_max = Duration::from_millis(300);
    for cut in 0..3 {
        for partition in 0..2 {
            for record in 0..4 {
                let first = (cut * 4 + record) * EVENTS;
                world.send(partition, &events(first..first + EVENTS)).await;
            }
        }
        let sink = world.start().await;
        let end = (cut + 1) * 4;
        world.wait_until_committed(&[(0, end), (1, end)]).await;
        sink.stop().await;
    }
    world
}

/// Where the range begins and ends that holds an offset.
async fn range(world: &World, partition: u16, offset: u64) -> (u64, u64) {
    let at =
        format!("_partition = {partition} AND from_offset <= {offset} AND to_offset > {offset}");
    let from = format!("SELECT from_offset FROM ledger WHERE {at}");
    let to = format!("SELECT to_offset FROM ledger WHERE {at}");
    (world.number(&from).await, world.number(&to).await)
}

/// A row beside `events` as it stands, with some columns changed, and the rollups of it.
async fn insert_changed(world: &World, changes: &str, place: &str) {
    let database = &world.clickhouse.database;
    let insert = format!(
        "INSERT INTO events (site_id, event_type, path, user_id, timestamp, referrer, props, _id_delta, _id_low, _id_origin, _lag_ms, _partition, _offset, _index, _log, _owner)
         SELECT site_id, event_type, path, user_id, timestamp, referrer, props, _id_delta, _id_low, _id_origin, _lag_ms, _partition, _offset, _index, _log, joinGet('{database}.fences', 'owner', _partition)
         FROM (SELECT * REPLACE ({changes}) FROM (SELECT * FROM events WHERE {place}))"
    );
    sql(world, &insert).await;
}

/// Takes the rows of rollups away and rebuilds them, so that `events` alone is damaged.
async fn roll_up_again(world: &World) {
    for table in [
        "stats_quarter_hour",
        "stats_day",
        "stats_month",
        "paths_day",
        "paths_month",
    ] {
        roll_up(world, table, "user_id != ''").await;
    }
}

/// One of them, with the users that a condition leaves; a view fills the next one from it too.
async fn roll_up(world: &World, table: &str, users: &str) {
    let users = format!("uniqCombined64StateIf(17)(user_id, {users})");
    let columns = match table {
        "stats_quarter_hour" => {
            format!("toStartOfFifteenMinutes(timestamp) AS time, event_type, 0, count(), {users}")
        }
        "stats_day" => format!("toDate(timestamp) AS date, event_type, 0, count(), {users}"),
        "stats_month" => {
            format!("toStartOfMonth(timestamp) AS month, event_type, 0, count(), {users}")
        }
        "paths_day" => "toDate(timestamp) AS date, event_type, path, 0, count()".to_owned(),
        _ => "toStartOfMonth(timestamp) AS month, event_type, path, 0, count()".to_owned(),
    };
    sql(world, &format!("TRUNCATE TABLE {table}")).await;
    let insert = format!("INSERT INTO {table} SELECT site_id, {columns} FROM events GROUP BY ALL");
    sql(world, &insert).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_data_passes_with_repeats_dead_letters_and_old_events() {
    let world = stored().await;
    let key = event_with_key("again");
    world.send(0, &[key.clone(), key.clone(), event(1)]).await;
    world.send_raw(0, Some("1"), b"garbage").await;
    let mut old = event(2);
    old.timestamp = time("2003-02-01T00:00:00Z");
    old.user_id = String::new();
    world.send(1, &[old]).await;
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 14), (1, 13)]).await;
    // Kafka has it, and it is not stored.
    sink.stop().await;
    world.send(1, &events(0..3)).await;

    let report = look(&world, &Options::default()).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
    let log = infra::kafka::log_id(&world.kafka).await.unwrap();
    assert_eq!(report.log, Some(log));
    let [zero, one] = report.partitions.as_slice() else {
        panic!("{:?}", report.partitions);
    };
    assert_eq!(
        (zero.from_offset, zero.to_offset, zero.committed),
        (0, 14, Some(14))
    );
    assert_eq!(
        (zero.records, zero.events, zero.rows, zero.rows_found),
        (14, 63, 62, 62)
    );
    assert_eq!((zero.repeats, zero.dead_letters, zero.removed), (1, 1, 0));
    assert_eq!(
        (one.to_offset, one.kafka_to, one.rows_found),
        (13, Some(14), 61)
    );
    for rollup in &report.rollups {
        assert_eq!(
            (rollup.events, rollup.periods),
            (123, 2),
            "{}",
            rollup.table
        );
    }
    assert_eq!(report.notes, ["1 offset in Kafka are not stored yet"]);
    assert_eq!(
        report.verdict,
        "every event counts once: 123 events from 27 offsets of 2 partitions, the same in every rollup"
    );

    let one_day = Options {
        from: Some("2025-11-15".parse().unwrap()),
        to: Some("2025-11-15".parse().unwrap()),
        without_kafka: true,
        ..Default::default()
    };
    let report = look(&world, &one_day).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
    assert_eq!(report.rollups[0].events, 122);
    assert_eq!(report.log, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_at_all_is_sound_and_no_tables_or_no_broker_are_errors() {
    let world = World::new(2).await;
    let report = look(&world, &at_once()).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
    assert_eq!(
        report.verdict,
        "nothing is stored yet, and nothing is missing"
    );

    let mut elsewhere = World::new(1).await;
    elsewhere.clickhouse.database.push_str("_not_there");
    let error = format!("{:#}", look(&elsewhere, &at_once()).await.unwrap_err());
    assert!(error.contains("run weir migrate"), "{error}");

    let mut away = World::new(1).await;
    away.kafka.brokers = "127.0.0.1:1".to_owned();
    let error = format!("{:#}", look(&away, &at_once()).await.unwrap_err());
    assert!(error.contains("ask Kafka"), "{error}");
    let without_kafka = Options {
        without_kafka: true,
        ..at_once()
    };
    assert!(look(&away, &without_kafka).await.unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_row_is_named() {
    let world = stored().await;
    sql(
        &world,
        "DELETE FROM events WHERE _partition = 1 AND _offset = 6 AND _index = 3",
    )
    .await;
    roll_up_again(&world).await;
    let (from, to) = range(&world, 1, 6).await;
    let finding = finding(&world).await;
    let faults = [fault(6, 3, Wrong::Missing)];
    assert_eq!(
        offsets(&finding),
        (Kind::MissingRows, 1, from, to, faults.as_slice())
    );
    let expected = (to - from) * EVENTS;
    let text = format!(
        "partition 1, offsets {from}..{to}: 1 row of {expected} is missing: offset 6 index 3 is missing"
    );
    assert_eq!(finding.text, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_too_many_is_named_whether_it_is_a_double_or_another_one() {
    for (changes, what, index) in [
        ("_index AS _index", Wrong::Double, 2),
        ("_index + 500 AS _index", Wrong::Unknown, 502),
    ] {
        let world = stored().await;
        insert_changed(
            &world,
            changes,
            "_partition = 0 AND _offset = 9 AND _index = 2",
        )
        .await;
        let (from, to) = range(&world, 0, 9).await;
        let finding = finding(&world).await;
        let faults = [fault(9, index, what)];
        assert_eq!(
            offsets(&finding),
            (Kind::SurplusRows, 0, from, to, faults.as_slice())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_changed_for_others_are_told_though_their_count_is_right() {
    let world = stored().await;
    insert_changed(
        &world,
        "_index + 70 AS _index",
        "_partition = 0 AND _offset = 2 AND _index = 1",
    )
    .await;
    sql(
        &world,
        "DELETE FROM events WHERE _partition = 0 AND _offset = 2 AND _index = 1",
    )
    .await;
    roll_up_again(&world).await;
    let (from, to) = range(&world, 0, 2).await;
    let one = finding(&world).await;
    let faults = [fault(2, 1, Wrong::Missing), fault(2, 71, Wrong::Unknown)];
    assert_eq!(
        offsets(&one),
        (Kind::OtherRows, 0, from, to, faults.as_slice())
    );

    insert_changed(
        &world,
        "_index + 80 AS _index",
        "_partition = 0 AND _offset = 3 AND _index = 2",
    )
    .await;
    sql(
        &world,
        "DELETE FROM events WHERE _partition = 0 AND _offset = 3 AND _index = 2",
    )
    .await;
    roll_up_again(&world).await;
    let found = findings(&world).await;
    let told: Vec<_> = found.iter().map(|finding| finding.kind).collect();
    assert!(
        told.iter().all(|kind| *kind == Kind::OtherRows) && !told.is_empty(),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_left_the_ledger_is_a_gap_and_its_rows_are_strays() {
    let world = stored().await;
    let (from, to) = range(&world, 0, 5).await;
    sql(
        &world,
        &format!("DELETE FROM ledger WHERE _partition = 0 AND from_offset = {from}"),
    )
    .await;
    let found = findings(&world).await;
    let told = in_order(&found);
    let expected: [(Kind, u16, u64, u64, &[Fault]); 2] = [
        (Kind::Gap, 0, from, to, &[]),
        (Kind::UnledgeredRows, 0, from, to, &[]),
    ];
    assert_eq!(told, expected, "{found:#?}");

    // So is its beginning, and its end.
    let world = stored().await;
    let (_, to) = range(&world, 1, 0).await;
    sql(
        &world,
        "DELETE FROM ledger WHERE _partition = 1 AND from_offset = 0",
    )
    .await;
    let (from, end) = range(&world, 0, 11).await;
    assert_eq!(end, 12);
    sql(
        &world,
        &format!("DELETE FROM ledger WHERE _partition = 0 AND from_offset = {from}"),
    )
    .await;
    let found = findings(&world).await;
    let told = in_order(&found);
    let expected: [(Kind, u16, u64, u64, &[Fault]); 4] = [
        (Kind::Gap, 0, from, 12, &[]),
        (Kind::UnledgeredRows, 0, from, 12, &[]),
        (Kind::Gap, 1, 0, to, &[]),
        (Kind::UnledgeredRows, 1, 0, to, &[]),
    ];
    assert_eq!(told, expected, "{found:#?}");
}

/// Writes a range into the ledger again, with some columns changed.
async fn ledger_again(world: &World, changes: &str, place: &str) {
    let database = &world.clickhouse.database;
    let columns = "_log, _partition, from_offset, to_offset, cut, records, events, rows, repeats, dead_letters, places, client_ids, parts, batches, stored_at";
    let insert = format!(
        "INSERT INTO ledger ({columns}, _owner) SELECT {columns}, joinGet('{database}.fences', 'owner', _partition) FROM (SELECT * REPLACE ({changes}) FROM (SELECT * FROM ledger WHERE {place} LIMIT 1 BY _partition, from_offset))"
    );
    sql(world, &insert).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_two_cuts_overlaps_and_one_that_stands_there_twice_does_not() {
    let world = stored().await;
    let (from, to) = range(&world, 0, 5).await;
    let place = format!("_partition = 0 AND from_offset = {from}");
    ledger_again(&world, "stored_at + 1 AS stored_at", &place).await;
    assert_eq!(
        world
            .number(&format!("SELECT count() FROM ledger WHERE {place}"))
            .await,
        2
    );
    assert_eq!(findings(&world).await, []);

    ledger_again(
        &world,
        "generateUUIDv4() AS cut, to_offset - 1 AS to_offset, records - 1 AS records",
        &place,
    )
    .await;
    let found = findings(&world).await;
    assert_eq!(
        offsets(&found[0]),
        (Kind::Overlap, 0, from, to - 1, [].as_slice()),
        "{found:#?}"
    );
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_does_not_add_up_is_told() {
    let world = stored().await;
    let (from, to) = range(&world, 1, 5).await;
    let place = format!("_partition = 1 AND from_offset = {from}");
    sql(
        &world,
        &format!(
            "ALTER TABLE ledger UPDATE events = events + 1, records = records - 1 WHERE {place}"
        ),
    )
    .await;
    let found = findings(&world).await;
    let told: Vec<_> = found.iter().map(offsets).collect();
    let expected: [(Kind, u16, u64, u64, &[Fault]); 2] = [
        (Kind::Unbalanced, 1, from, to, &[]),
        (Kind::OffsetsWithoutRecord, 1, from, to, &[]),
    ];
    assert_eq!(told, expected, "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_committed_beyond_the_ledger_is_a_gap() {
    let world = stored().await;
    world.send(0, &events(0..2)).await;
    world.send(0, &events(0..2)).await;
    world.commit(&[(0, 14)], "");
    let finding = finding(&world).await;
    assert_eq!(offsets(&finding), (Kind::Gap, 0, 12, 14, [].as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_ahead_of_the_log_is_told() {
    let world = stored().await;
    sql(&world, "ALTER TABLE ledger UPDATE to_offset = 15, records = records + 3 WHERE _partition = 1 AND to_offset = 12").await;
    let finding = finding(&world).await;
    assert_eq!(
        offsets(&finding),
        (Kind::BeyondLog, 1, 12, 15, [].as_slice())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_repeats_are_accounted_for_and_an_unfinished_removal_is_told() {
    let world = stored().await;
    let place = "_partition = 0 AND _offset = 4 AND _index = 0";
    // Twice, as a removal that was repeated leaves it.
    for _ in 0..2 {
        sql(&world, &format!("INSERT INTO removed_repeats SELECT _log, _partition, _offset, _index, site_id, event_id, toDate(timestamp), now64(3) FROM events WHERE {place}")).await;
    }
    let (from, to) = range(&world, 0, 4).await;
    let one = finding(&world).await;
    let faults = [fault(4, 0, Wrong::Removed)];
    assert_eq!(
        offsets(&one),
        (Kind::UnfinishedRemoval, 0, from, to, faults.as_slice())
    );
    assert!(one.text.contains("run weir seal again"), "{}", one.text);

    sql(&world, &format!("DELETE FROM events WHERE {place}")).await;
    roll_up_again(&world).await;
    let report = look(&world, &at_once()).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
    assert_eq!(report.partitions[0].removed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_count_is_told_in_each_rollup() {
    let day = "2025-11-15";
    for (table, time) in [
        ("stats_quarter_hour", "2025-11-15 10:00:00"),
        ("stats_day", day),
        ("stats_month", "2025-11-01"),
        ("paths_day", day),
        ("paths_month", "2025-11-01"),
    ] {
        let world = stored().await;
        let key = if table.starts_with("paths") {
            "path = '/page/3'"
        } else {
            "1"
        };
        sql(&world, &format!("OPTIMIZE TABLE {table} FINAL")).await;
        let events = world
            .number(&format!("SELECT sum(events) FROM {table} WHERE {key}"))
            .await;
        sql(
            &world,
            &format!("ALTER TABLE {table} UPDATE events = events + 1 WHERE {key}"),
        )
        .await;
        let finding = finding(&world).await;
        let Subject::Key(found) = &finding.subject else {
            panic!("{finding:?}");
        };
        assert_eq!((found.table, found.time.as_str()), (table, time));
        assert_eq!(
            (found.site_id.as_str(), found.event_type.as_str()),
            ("site-abc-123", "page_view")
        );
        assert_eq!(
            (found.events_expected, found.events_found),
            (events, events + 1)
        );
        assert_eq!(found.path.is_some(), table.starts_with("paths"));
        assert!(
            finding
                .text
                .starts_with(&format!("{table}, {time}, site-abc-123")),
            "{}",
            finding.text
        );
    }
}

/// As many events and users, of another kind.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_bot_that_counts_as_one_of_a_person_is_told_and_mended_by_a_seal() {
    let world = stored().await;
    sql(
        &world,
        r"ALTER TABLE events UPDATE _agent = '\t\t\t\tGooglebot' WHERE path = '/page/3'",
    )
    .await;
    let people = world.number("SELECT countIf(bot = '') FROM events").await;
    let bots = world.number("SELECT countIf(bot != '') FROM events").await;
    assert!(people > 0 && bots > 0, "{people} people, {bots} bots");
    let found = findings(&world).await;
    let told: Vec<_> = found.iter().map(|finding| finding.text.as_str()).collect();
    let all = people + bots;
    let of_types = |key: &str| {
        [
            format!("{key}, site-abc-123 page_view: {all} events instead of {people}"),
            format!("{key}, site-abc-123 page_view of bots: 0 events instead of {bots}"),
        ]
    };
    let of_paths = |key: &str| {
        [
            format!(
                "{key}, site-abc-123 page_view \"/page/3\": {bots} events that are not in events"
            ),
            format!(
                "{key}, site-abc-123 page_view \"/page/3\" of bots: 0 events instead of {bots}"
            ),
        ]
    };
    let expected = [
        of_types("stats_quarter_hour, 2025-11-15 10:00:00"),
        of_types("stats_day, 2025-11-15"),
        of_types("stats_month, 2025-11-01"),
        of_paths("paths_day, 2025-11-15"),
        of_paths("paths_month, 2025-11-01"),
    ];
    assert_eq!(told, expected.concat());

    let day = "2025-11-15".parse().unwrap();
    sink::seal::seal(&world.config, &world.clickhouse, day, day)
        .await
        .unwrap();
    let found = findings(&world).await;
    assert!(found.is_empty(), "{found:#?}");
    for table in [
        "stats_quarter_hour",
        "stats_day",
        "stats_month",
        "paths_day",
        "paths_month",
    ] {
        let counted = format!("SELECT sumIf(events, bot = 1) FROM {table}");
        assert_eq!(world.number(&counted).await, bots, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_missing_in_a_state_is_told() {
    let tables = ["stats_quarter_hour", "stats_day", "stats_month"];
    for (nth, table) in tables.into_iter().enumerate() {
        let world = stored().await;
        // As many events, and one user fewer.
        roll_up(&world, table, "user_id != 'user-7'").await;
        for whole in &tables[nth + 1..] {
            roll_up(&world, whole, "user_id != ''").await;
        }
        let finding = finding(&world).await;
        let Subject::Key(found) = &finding.subject else {
            panic!("{finding:?}");
        };
        assert_eq!(
            (found.table, found.events_expected),
            (table, found.events_found)
        );
        assert_eq!(
            (found.users_expected, found.users_found),
            (Some(60), Some(59))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_rows_and_rows_without_a_key_are_told() {
    let world = stored().await;
    sql(
        &world,
        "INSERT INTO paths_day SELECT 'nobody', toDate('1999-12-31'), 'view', '/', 0, 3",
    )
    .await;
    sql(&world, "TRUNCATE TABLE stats_quarter_hour").await;
    let found = findings(&world).await;
    let told: Vec<_> = found.iter().map(|finding| finding.text.as_str()).collect();
    // What the view of the day's paths feeds got the key too.
    assert_eq!(
        told,
        [
            "stats_quarter_hour, 2025-11-15 10:00:00, site-abc-123 page_view: 0 events instead of 120",
            "paths_day, 1999-12-31, nobody view \"/\": 3 events that are not in events",
            "paths_month, 1999-12-01, nobody view \"/\": 3 events that are not in events",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_life_of_the_topic_is_held_against_its_own_ledger() {
    let world = stored().await;
    let log = infra::kafka::log_id(&world.kafka).await.unwrap();
    // What the topic is now was another one then.
    for table in ["events", "ledger"] {
        // A key's column cannot be changed in place.
        if table == "events" {
            sql(
                &world,
                &format!("ALTER TABLE events UPDATE _log = 77 WHERE _log = {log}"),
            )
            .await;
        } else {
            ledger_again(&world, "toUInt32(77) AS _log", "1").await;
            sql(&world, &format!("DELETE FROM ledger WHERE _log = {log}")).await;
        }
    }
    world.commit(&[(0, 0), (1, 0)], "");
    assert_eq!(findings(&world).await, []);
    sql(
        &world,
        "DELETE FROM events WHERE _partition = 1 AND _offset = 2 AND _index = 0",
    )
    .await;
    roll_up_again(&world).await;
    let finding = finding(&world).await;
    let faults = [fault(2, 0, Wrong::Missing)];
    let (from, to) = range(&world, 1, 2).await;
    assert_eq!(
        offsets(&finding),
        (Kind::MissingRows, 1, from, to, faults.as_slice())
    );
    assert!(
        finding.text.starts_with("partition 1 of log 77, "),
        "{}",
        finding.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_from_before_there_was_a_ledger_count_where_it_took_them_in() {
    let world = stored().await;
    sql(
        &world,
        "ALTER TABLE events UPDATE _log = 0 WHERE _offset < 6",
    )
    .await;
    let report = look(&world, &at_once()).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
    assert_eq!(report.partitions[0].rows_found, 60);
    sql(&world, "DELETE FROM ledger WHERE from_offset = 0").await;
    let report = look(&world, &at_once()).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
    assert!(
        report.notes[0].contains("from before there was a ledger"),
        "{:?}",
        report.notes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_beside_a_busy_sink_finds_nothing() {
    let mut world = World::new(4).await;
    world.config.cut.age_max = Duration::from_millis(20);
    let sink = world.start().await;
    let load = async {
        for round in 0..150_u64 {
            for partition in 0..4 {
                world
                    .send(partition, &events(round * 50..round * 50 + 50))
                    .await;
            }
        }
    };
    let audits = async {
        let mut reports = Vec::new();
        for _ in 0..4 {
            reports.push(look(&world, &Options::default()).await.unwrap());
        }
        reports
    };
    let ((), reports) = tokio::join!(load, audits);
    for report in reports {
        assert!(report.is_sound(), "{:#?}", report.findings);
    }
    world
        .wait_until_committed(&[(0, 150), (1, 150), (2, 150), (3, 150)])
        .await;
    sink.stop().await;
    let report = look(&world, &at_once()).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
    assert_eq!(report.rollups[3].events, 30_000);
}

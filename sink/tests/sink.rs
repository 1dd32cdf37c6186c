//! The sink against a real broker and a real engine.
#![expect(clippy::unwrap_used, reason = "tests, and the helpers they share")]

mod world;

use std::time::{Duration, Instant};

use uuid::Uuid;
use world::proxy::Proxy;
use world::servers::Broker;
use world::{World, event, event_with_key, events, time};

const COUNT: &str = "SELECT count() FROM events";

/// A way to ClickHouse that can be cut, or fall silent.
async fn behind_a_proxy(world: &World) -> (Proxy, infra::clickhouse::Config) {
    let proxy = Proxy::to(world.clickhouse.url.as_str()).await;
    let mut through = world.clickhouse.clone();
    through.url = proxy.address.into();
    (proxy, through)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_become_rows_and_rollups_with_every_field() {
    let world = World::new(2).await;
    let mut odd = event(1);
    odd.path = "/ü/\u{1F30A}".parse().unwrap();
    odd.props = vec![
        ("a".to_owned(), "1".to_owned()),
        ("b".to_owned(), "x'y\n".to_owned()),
    ];
    odd.timestamp = time("2000-01-01T00:00:00.001Z");
    world.send(0, &[event(0), odd.clone()]).await;
    world.send(1, &events(2..5)).await;
    let sink = world.start().await;
    world.wait_for(COUNT, 5).await;
    world.wait_until_committed(&[(0, 1), (1, 1)]).await;
    world.assert_exactly(5).await;

    let shown = world
        .db
        .query("SELECT concat(toString(event_id), ' ', site_id, ' ', event_type, ' ', path, ' ', user_id, ' ', toString(timestamp), ' ', toString(received_at), ' ', referrer, ' ', toString(props), ' ', toString(_id_origin), ' ', toString(_partition), ' ', toString(_offset), ' ', toString(_index)) FROM events WHERE _index = 1 AND _partition = 0")
        .fetch_one::<String>()
        .await
        .unwrap();
    let expected = format!(
        "{} site-abc-123 page_view /ü/\u{1F30A} user-1 2000-01-01 00:00:00.001 2025-11-16 10:00:00.000 https://example.com/ {} edge 0 0 1",
        odd.id.uuid, r"{'a':'1','b':'x\'y\n'}"
    );
    assert_eq!(shown, expected);
    assert_eq!(sink.ready().await.0, 200);
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_set_aside_and_its_partition_goes_on() {
    let world = World::new(1).await;
    world.send(0, &[event(0)]).await;
    world.send_raw(0, Some("1"), b"garbage").await;
    world.send_raw(0, None, b"no header").await;
    world.send_raw(0, Some("1"), b"").await;
    world.send(0, &[event(1)]).await;
    let sink = world.start().await;
    world.wait_for(COUNT, 2).await;
    world.wait_until_committed(&[(0, 5)]).await;
    world.assert_exactly(2).await;
    // A range of nothing but dead letters moves the partition too.
    world.send_raw(0, Some("7"), b"of a newer schema").await;
    world.wait_until_committed(&[(0, 6)]).await;
    sink.stop().await;

    let letters = world.dead_letters(4);
    let place = |offset| {
        format!(
            "topic={}; partition=0; offset={offset}; reason=",
            world.kafka.topic
        )
    };
    for (letter, (offset, reason, value)) in letters.iter().zip([
        (1, "the value is not an EventBatch", "garbage"),
        (2, "the record has no weir-schema header", "no header"),
        (3, "the record has no value", ""),
        (5, "unknown schema version \"7\"", "of a newer schema"),
    ]) {
        assert!(
            letter.0.starts_with(&format!("{}{reason}", place(offset))),
            "{letter:?}"
        );
        assert_eq!(letter.1.as_deref().unwrap_or_default(), value.as_bytes());
    }
}

/// Records of other programs than the edge: a quarter of an hour is 32 bits in ClickHouse, and 2150
/// counted in 2014.
#[tokio::test(flavor = "multi_thread")]
async fn times_that_the_edge_would_refuse_are_set_aside_and_the_last_that_fits_counts_right() {
    let world = World::new(1).await;
    let mut last = event(0);
    last.timestamp = time("2105-12-31T23:59:59.999Z");
    last.received_at = last.timestamp;
    let mut beyond = event(1);
    beyond.timestamp = time("2150-01-01T00:00:00Z");
    beyond.received_at = beyond.timestamp;
    let mut ahead = event(2);
    ahead.timestamp = ahead.received_at + chrono::TimeDelta::hours(25);
    for event in [last, beyond, ahead] {
        world.send(0, &[event]).await;
    }
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 3)]).await;
    sink.stop().await;
    world.assert_exactly(1).await;
    let right = "SELECT count() FROM stats_quarter_hour WHERE time = '2105-12-31 23:45:00'";
    assert_eq!(world.number(right).await, 1);
    let letters = world.dead_letters(2);
    for ((headers, _), reason) in letters.iter().zip([
        "is not between 2000 and 2106",
        "more than 24 hours ahead of the time of receipt",
    ]) {
        assert!(headers.contains(reason), "{headers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_months_in_one_cut_are_stored() {
    let world = World::new(1).await;
    let mut months = events(0..200);
    for (month, event) in (0_u32..).zip(&mut months) {
        let date = format!("{}-{:02}-10T00:00:00Z", 2005 + month / 12, month % 12 + 1);
        event.timestamp = time(&date);
    }
    world.send(0, &months).await;
    let sink = world.start().await;
    world.wait_for(COUNT, 200).await;
    world.wait_until_committed(&[(0, 1)]).await;
    world.assert_exactly(200).await;
    let partitions = "SELECT uniqExact(_partition_id) FROM events";
    assert_eq!(world.number(partitions).await, 200);
    sink.stop().await;
}

/// Texts that repeat are sent as numbers, in as many bytes as it takes to tell them apart.
#[tokio::test(flavor = "multi_thread")]
async fn however_many_texts_a_cut_has_each_row_gets_its_own() {
    const RECORD: u64 = 5_000;
    const OF_A_PARTITION: u64 = 7 * RECORD;
    // More paths than two bytes tell apart, and more referrers and fewer sites than one does.
    let (paths, referrers, sites) = (2 * OF_A_PARTITION, 300, 200);
    let mut world = World::new(2).await;
    world.config.cut.rows_max = paths as usize;
    world.config.cut.age_max = world::DEADLINE;
    for first in (0..paths).step_by(RECORD as usize) {
        let record = (first..first + RECORD).map(|number| event::Event {
            site_id: format!("site-{}", number % sites).parse().unwrap(),
            path: format!("/{number}").parse().unwrap(),
            referrer: format!("https://{}.example/", number % referrers),
            ..event(number)
        });
        let partition = (first / OF_A_PARTITION) as u16;
        world.send(partition, &record.collect::<Vec<_>>()).await;
    }
    let sink = world.start().await;
    world.wait_for("SELECT sum(rows) FROM ledger", paths).await;
    world.assert_exactly(paths).await;
    assert_eq!(world.number("SELECT uniqExact(cut) FROM ledger").await, 1);
    let others = format!(
        "WITH _partition * {OF_A_PARTITION} + _offset * {RECORD} + _index AS number
        SELECT countIf(site_id != concat('site-', toString(number % {sites}))
            OR event_type != 'page_view'
            OR path != concat('/', toString(number))
            OR referrer != concat('https://', toString(number % {referrers}), '.example/'))
        FROM events"
    );
    assert_eq!(world.number(&others).await, 0);
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_made_id_counts_once_in_a_cut_in_the_next_and_after_a_restart() {
    let world = World::new(1).await;
    let [a, b, c] = ["a", "b", "c"].map(event_with_key);
    world.send(0, &[a.clone(), a.clone(), b.clone()]).await;
    world.send(0, std::slice::from_ref(&b)).await;
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 2)]).await;
    world.assert_exactly(2).await;
    world.send(0, &[a.clone(), c.clone()]).await;
    world.wait_until_committed(&[(0, 3)]).await;
    world.assert_exactly(3).await;
    sink.stop().await;

    world.send(0, &[c.clone(), a, b]).await;
    let mut elsewhere = c.clone();
    elsewhere.site_id = "another-site".parse().unwrap();
    world.send(0, &[c, elsewhere]).await;
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 5)]).await;
    world.assert_exactly(4).await;
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_beyond_the_window_counts_again() {
    let mut world = World::new(1).await;
    world.config.repeat_window = 2;
    let [a, b, c] = ["a", "b", "c"].map(event_with_key);
    world.send(0, &[a.clone(), b.clone(), c]).await;
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 1)]).await;
    sink.stop().await;
    world.send(0, &[b, a]).await;
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 2)]).await;
    world.assert_exactly(4).await;
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_is_sent_again_counts_once_in_the_same_cut_and_after_a_restart() {
    let world = World::new(1).await;
    let [first, second] = [Uuid::new_v4(), Uuid::new_v4()];
    let (some, others) = (events(0..10), events(10..15));
    for (batch, events) in [(first, &some), (first, &some), (second, &others)] {
        world.send_batch(0, batch, events).await;
    }
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 3)]).await;
    world.assert_exactly(15).await;
    sink.stop().await;

    world.send_batch(0, second, &others).await;
    let sink = world.start().await;
    world.send_batch(0, first, &some).await;
    world.wait_until_committed(&[(0, 5)]).await;
    world.assert_exactly(15).await;
    sink.stop().await;
    let repeats = "SELECT sum(repeats) FROM ledger";
    assert_eq!(world.number(repeats).await, 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_says_what_became_of_every_offset() {
    let world = World::new(2).await;
    let [a, b] = ["a", "b"].map(event_with_key);
    world.send(0, &[event(0), a.clone(), b.clone()]).await;
    world.send(0, &[b, a, event(1)]).await;
    world.send_raw(0, Some("1"), b"garbage").await;
    world.send(1, &events(0..4)).await;
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 3), (1, 1)]).await;
    sink.stop().await;
    let question = "SELECT concat(toString(_partition), ' ', toString(min(from_offset)), '..', toString(max(to_offset)), ' records ', toString(sum(records)), ' events ', toString(sum(events)), ' rows ', toString(sum(rows)), ' repeats ', toString(sum(repeats)), ' dead letters ', toString(sum(dead_letters)), ' client ids ', toString(sum(client_ids)), ' batches ', toString(sum(length(batches)))) FROM ledger GROUP BY _partition ORDER BY _partition";
    let lines = world
        .db
        .query(question)
        .fetch_all::<String>()
        .await
        .unwrap();
    assert_eq!(
        lines,
        [
            "0 0..3 records 3 events 6 rows 4 repeats 2 dead letters 1 client ids 2 batches 2",
            "1 0..1 records 1 events 4 rows 4 repeats 0 dead letters 0 client ids 0 batches 1",
        ]
    );
    let differing = "SELECT count() FROM (SELECT _partition, sum(intHash64(_offset * 65536 + _index)) AS places FROM events GROUP BY _partition) AS e FULL JOIN (SELECT _partition, sum(places) AS places FROM ledger GROUP BY _partition) AS l USING (_partition) WHERE e.places != l.places";
    assert_eq!(world.number(differing).await, 0);
}

/// What a sink of the version before left behind that died right after its plan.
async fn plan(world: &World, id: Uuid, ranges: &str) -> String {
    let log = infra::kafka::log_id(&world.kafka).await.unwrap();
    let made_at = chrono::Utc::now().timestamp_millis();
    format!(
        "weir 2 2 {} {log} {made_at} 2000000 {ranges} .",
        id.simple()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_left_behind_is_followed_whether_its_cut_landed_or_not() {
    let world = World::new(3).await;
    for partition in 0..3 {
        for record in 0..4 {
            world
                .send(partition, &events(record * 10..record * 10 + 10))
                .await;
        }
    }
    let keyed = event_with_key("repeated");
    world.send(0, &[keyed.clone(), keyed.clone()]).await;
    let plan = plan(&world, Uuid::new_v4(), "0:0+3,1:0+2").await;
    let begins = [(0, 0), (1, 0)];

    // Nothing landed.
    world.commit(&begins, &plan);
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 5), (1, 4), (2, 4)]).await;
    world.assert_exactly(121).await;
    sink.stop().await;

    // All of it landed, and the sink died before it could say so, again and again.
    let world = World::new(2).await;
    for partition in 0..2 {
        world.send(partition, &events(0..10)).await;
        world
            .send(partition, &[event_with_key("x"), event(1)])
            .await;
    }
    let plan = self::plan(&world, Uuid::new_v4(), "0:0+2,1:0+2").await;
    for _ in 0..3 {
        world.commit(&begins, &plan);
        let sink = world.start().await;
        world.wait_until_committed(&[(0, 2), (1, 2)]).await;
        world.assert_exactly(24).await;
        sink.stop().await;
    }
    world.send(1, &[event_with_key("x"), event(2)]).await;
    let sink = world.start().await;
    world.wait_until_committed(&[(1, 3)]).await;
    world.assert_exactly(25).await;
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_insert_is_completed_in_every_rollup() {
    let world = World::new(1).await;
    world.send(0, &events(0..50)).await;
    let plan = plan(&world, Uuid::new_v4(), "0:0+1").await;
    let alter = async |what: &str| {
        world.db.query(what).execute().await.unwrap();
    };
    // The block reaches the raw table and one branch of rollups, and the ledger never, as after a
    // kill in its midst: a table that is emptied forgets its tokens, too.
    alter("ALTER TABLE ledger ADD CONSTRAINT closed CHECK 0").await;
    let branches: [&[&str]; 2] = [
        &["stats_quarter_hour", "stats_day", "stats_month"],
        &["paths_month"],
    ];
    for branch in branches {
        world.commit(&[(0, 0)], &plan);
        let sink = world.start().await;
        wait_until_told(&sink, "enter a cut into the ledger").await;
        sink.stop().await;
        world.assert_exactly(50).await;
        for table in branch {
            alter(&format!("TRUNCATE TABLE {table} SYNC")).await;
        }
    }
    alter("ALTER TABLE ledger DROP CONSTRAINT closed").await;
    assert_eq!(world.number("SELECT count() FROM paths_month").await, 0);

    world.commit(&[(0, 0)], &plan);
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 1)]).await;
    world.assert_exactly(50).await;
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_cannot_be_followed_stops_its_partition_alone() {
    for (metadata, said) in [
        ("weir 4 of another time", "it is of plan version 4"),
        ("weir 1 1 of a time before", "it is of plan version 1"),
        ("somebody else's", "it was not written by weir"),
        ("weir 2 2 x", "it is damaged at"),
        ("0:5+1", "it does not begin at this partition's offset"),
        ("0:0+9", "Kafka's log of it ends at 1"),
        ("7:0+1", "it does not name this partition"),
    ] {
        let world = World::new(2).await;
        let metadata = if metadata.contains(':') {
            &plan(&world, Uuid::new_v4(), metadata).await
        } else {
            metadata
        };
        world.send(0, &events(0..3)).await;
        world.send(1, &events(0..3)).await;
        world.commit(&[(0, 0)], metadata);
        let sink = world.start().await;
        world.wait_until_committed(&[(1, 1)]).await;
        let (status, answer) = sink.ready().await;
        assert_eq!(status, 503, "{answer}");
        assert!(answer.contains("partition 0 of"), "{answer}");
        assert!(answer.contains(said), "{said}: {answer}");
        sink.stop().await;
        assert!(
            world.committed().contains(&(0, 0, metadata.to_owned())),
            "left as it was"
        );
        world.assert_exactly(3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_cut_off_anywhere_lose_and_double_nothing() {
    let world = World::new(2).await;
    let (proxy, through) = behind_a_proxy(&world).await;
    let mut config = world.config.clone();
    config.retry.max = Duration::from_millis(100);
    let sink = world.start_with(config, through).await;
    let mut sent = 0;
    for bytes in [0, 200, 900, 1200, 1500, 2000, 4000, 9000] {
        proxy.cut_after(bytes);
        for partition in 0..2 {
            world.send(partition, &events(sent..sent + 200)).await;
            sent += 200;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.mend();
        world.wait_for(COUNT, sent).await;
    }
    world.wait_until_committed(&[(0, 8), (1, 8)]).await;
    world.assert_exactly(sent).await;
    assert_eq!(sink.ready().await.0, 200);
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_that_come_and_go_in_mid_load_lose_and_double_nothing() {
    let mut world = World::new(4).await;
    world.config.cut.age_max = Duration::from_millis(20);
    world.config.cut.rows_max = 300;
    let load = async {
        for round in 0..120_u64 {
            for partition in 0..4 {
                world
                    .send(partition, &events(round * 10..round * 10 + 10))
                    .await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let sinks = async {
        let first = world.start().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let second = world.start().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        first.stop().await;
        let third = world.start().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        second.stop().await;
        third
    };
    let ((), sink) = tokio::join!(load, sinks);
    world.wait_for(COUNT, 4800).await;
    world
        .wait_until_committed(&[(0, 120), (1, 120), (2, 120), (3, 120)])
        .await;
    world.assert_exactly(4800).await;
    sink.stop().await;
}

/// Nothing is stored in tables in which an event may count twice: being ready names what is wrong,
/// and events wait in Kafka until it is right.
#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_count_every_event_once_are_refused_by_name() {
    let other = |table: &str, engine: &str| {
        (
            vec![
                format!("RENAME TABLE {table} TO kept"),
                format!("CREATE TABLE {table} AS kept ENGINE = {engine}"),
            ],
            vec![
                format!("DROP TABLE {table} SYNC"),
                format!("RENAME TABLE kept TO {table}"),
            ],
        )
    };
    let set =
        |table: &str, setting: &str| vec![format!("ALTER TABLE {table} MODIFY SETTING {setting}")];
    let window = |blocks: u64| format!("non_replicated_deduplication_window = {blocks}");
    for (told, (break_it, mend_it)) in [
        (
            "table ledger has the engine ReplacingMergeTree and not MergeTree",
            other("ledger", "ReplacingMergeTree ORDER BY from_offset"),
        ),
        (
            "table mends has the engine Memory and not MergeTree",
            other("mends", "Memory"),
        ),
        (
            "table stats_day has no deduplication window of 10000 blocks or more",
            (
                set("stats_day", &window(9999)),
                set("stats_day", &window(10_000)),
            ),
        ),
        (
            "table paths_month may lose rows that it acknowledged in a power cut",
            (
                set("paths_month", "fsync_after_insert = 0"),
                set("paths_month", "fsync_after_insert = 1"),
            ),
        ),
        (
            "table ledger may lose rows",
            (
                vec!["ALTER TABLE ledger RESET SETTING fsync_part_directory".to_owned()],
                set("ledger", "fsync_part_directory = 1"),
            ),
        ),
    ] {
        let world = World::new(1).await;
        let run = async |statements: Vec<String>| {
            for statement in statements {
                world.db.query(&statement).execute().await.unwrap();
            }
        };
        run(break_it).await;
        world.send(0, &events(0..3)).await;
        let sink = world.start().await;
        wait_until_told(&sink, told).await;
        let (first, last) = ("2025-11-01".parse().unwrap(), "2025-11-30".parse().unwrap());
        let seal = sink::seal::seal(&world.config, &world.clickhouse, first, last).await;
        let fill = sink::fill_rollups(&world.config, &world.clickhouse).await;
        for refused in [seal.map(|_| ()), fill.map(|_| ())] {
            let error = format!("{:#}", refused.unwrap_err());
            assert!(error.contains(told), "{error}");
        }
        assert_eq!(world.number(COUNT).await, 0);
        run(mend_it).await;
        world.wait_until_committed(&[(0, 1)]).await;
        world.assert_exactly(3).await;
        sink.stop().await;
    }
}

/// No INSERT fails where a view is missing: its rollup would lack what is stored meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_was_dropped_or_changed_is_named_and_put_back_by_a_migration() {
    const MADE: &str = "SELECT groupArray((name, create_table_query)) FROM (SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView' ORDER BY name)";
    const DAYS: &str = "SELECT site_id, toDate(timestamp) AS date, event_type, path, _agent != '' AND NOT endsWith(_agent, '\\t') AS bot, count() AS events FROM events";
    const KEY: &str = "GROUP BY site_id, date, event_type, path, bot";
    let world = World::new(1).await;
    let made = async || {
        let asked = world.db.query(MADE).fetch_one::<Vec<(String, String)>>();
        asked.await.unwrap()
    };
    let before = made().await;
    let mut stored = 0;
    let filtered =
        format!("ALTER TABLE paths_day_mv MODIFY QUERY {DAYS} WHERE site_id != 'x' {KEY}");
    let elsewhere = format!("CREATE MATERIALIZED VIEW paths_day_mv TO elsewhere AS {DAYS} {KEY}");
    let drop = "DROP VIEW paths_day_mv SYNC";
    let faults: [(&[&str], &str); 4] = [
        (
            &["DROP VIEW stats_quarter_hour_mv SYNC"],
            "there is no view stats_quarter_hour_mv",
        ),
        (&[&filtered], "view paths_day_mv has another query or table"),
        (
            &["CREATE TABLE elsewhere AS paths_day", drop, &elsewhere],
            "view paths_day_mv has another query or table",
        ),
        (
            &[drop, "CREATE VIEW paths_day_mv AS SELECT 1"],
            "view paths_day_mv has another query or table",
        ),
    ];
    for (fault, told) in faults {
        let sink = world.start().await;
        world.send(0, &events(stored..stored + 3)).await;
        stored += 3;
        world.wait_for(COUNT, stored).await;
        for statement in fault {
            world.db.query(statement).execute().await.unwrap();
        }
        wait_until_told(&sink, told).await;
        world.send(0, &events(stored..stored + 3)).await;
        stored += 3;
        sink.stop().await;
        let sink = world.start().await;
        wait_until_told(&sink, told).await;
        infra::clickhouse::migrate(&world.clickhouse).await.unwrap();
        assert_eq!(made().await, before, "{told}");
        world.wait_for(COUNT, stored).await;
        world.wait_until_committed(&[(0, stored / 3)]).await;
        world.assert_exactly(stored).await;
        sink.stop().await;
    }
}

/// Waits until a sink is not ready and says so.
async fn wait_until_told(sink: &world::Running, told: &str) {
    let deadline = Instant::now() + world::DEADLINE;
    loop {
        let (status, answer) = sink.ready().await;
        if status == 503 && answer.contains(told) {
            return;
        }
        assert!(Instant::now() < deadline, "{told}: {answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_not_there_yet_are_waited_for() {
    let world = World::new(1).await;
    world.send(0, &events(0..3)).await;
    let mut elsewhere = world.clickhouse.clone();
    elsewhere.database.push_str("_later");
    let sink = world
        .start_with(world.config.clone(), elsewhere.clone())
        .await;
    loop {
        let (status, answer) = sink.ready().await;
        if status == 503 && answer.contains("run weir migrate") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    infra::clickhouse::migrate(&elsewhere).await.unwrap();
    world.wait_until_committed(&[(0, 1)]).await;
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_is_waited_for_and_nothing_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path(), 0).await;
    let world = World::on(&broker.address.to_string(), 2).await;
    let sink = world.start().await;
    for round in 0..3 {
        for partition in 0..2 {
            world.send(partition, &events(0..50)).await;
        }
        if round == 1 {
            world.wait_for(COUNT, 200).await;
        }
        // In the first round whatever the sink was doing is cut off.
        broker = broker
            .restart(dir.path(), Duration::from_millis(1500))
            .await;
    }
    world.wait_for(COUNT, 300).await;
    world.wait_until_committed(&[(0, 3), (1, 3)]).await;
    world.assert_exactly(300).await;

    // Without a broker a sink still stops when it is told to.
    world.send(0, &events(0..50)).await;
    broker.stop().await;
    tokio::time::timeout(Duration::from_secs(30), sink.stop())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_clickhouse_is_away_waits_in_kafka_and_is_stored_after() {
    let world = World::new(2).await;
    let (proxy, through) = behind_a_proxy(&world).await;
    let mut config = world.config.clone();
    config.cut.rows_max = 100;
    config.retry.max = Duration::from_millis(200);
    let sink = world.start_with(config, through).await;
    world.send(0, &events(0..20)).await;
    world.wait_until_committed(&[(0, 1)]).await;

    proxy.cut_after(0);
    for round in 0..40 {
        world.send(round % 2, &events(0..20)).await;
    }
    // Long enough for the sink to stop taking records in.
    let away = Instant::now() + Duration::from_secs(3);
    while sink.ready().await.0 == 200 || Instant::now() < away {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, answer) = sink.ready().await;
    assert!(answer.contains("\"clickhouse\":"), "{answer}");
    proxy.mend();
    world.wait_until_committed(&[(0, 21), (1, 20)]).await;
    world.assert_exactly(820).await;
    sink.stop().await;
}

/// Nothing is stored meanwhile, and nothing fails either: only its being ready can tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_that_hangs_is_told_and_begun_anew() {
    let world = World::new(1).await;
    let (proxy, through) = behind_a_proxy(&world).await;
    proxy.answer_nothing();
    let mut config = world.config.clone();
    config.insert_timeout = Duration::from_secs(2);
    let sink = world.start_with(config, through).await;
    world.send(0, &[event(0)]).await;
    let deadline = Instant::now() + world::DEADLINE;
    let told = [
        "nothing came of it within 4s: looking at ClickHouse's tables",
        // Each attempt is given twice as long as the one before.
        "nothing came of it within 8s",
        "partition 0 is being taken over for ",
    ];
    for told in told {
        loop {
            let (status, answer) = sink.ready().await;
            if answer.contains(told) {
                assert_eq!(status, 503, "{answer}");
                break;
            }
            assert!(Instant::now() < deadline, "{told}: {answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // The question stays without an answer; one that is asked from now on gets one.
    proxy.mend();
    world.wait_until_committed(&[(0, 1)]).await;
    world.assert_exactly(1).await;
    while sink.ready().await.0 != 200 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_kafka_that_get_lost_cost_seconds_and_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), 0).await;
    let proxy = Proxy::to(&broker.address.to_string()).await;
    let port = broker.address.port();
    broker.stop().await;
    let broker = Broker::start_behind(dir.path(), port, Some(proxy.address)).await;
    let mut world = World::on(&proxy.address.to_string(), 2).await;
    let sink = world.start().await;
    world.send(0, &[event(0)]).await;
    world.wait_for(COUNT, 1).await;

    proxy.fall_silent();
    world.reconnect();
    world.send(1, &[event(1)]).await;
    let silent_since = Instant::now();
    world.wait_for(COUNT, 2).await;
    assert!(
        silent_since.elapsed() < Duration::from_secs(40),
        "less than the client's own minute: {:?}",
        silent_since.elapsed()
    );
    world.wait_until_committed(&[(0, 1), (1, 1)]).await;
    world.assert_exactly(2).await;
    sink.stop().await;
    broker.stop().await;
}

/// Whichever partition the second sink gets: the one that stands still is somebody's, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_ready_again_once_the_partition_that_stands_still_is_another_sinks() {
    let mut moved = false;
    for stands_still in 0..2 {
        let world = World::new(2).await;
        world.send(0, &events(0..3)).await;
        world.send(1, &events(0..3)).await;
        world.commit(&[(stands_still, 0)], "weir 3 of another time");
        let first = world.start().await;
        world.wait_until_committed(&[(1 - stands_still, 1)]).await;
        let owners = "SELECT sum(owner) FROM fences";
        let before = world.number(owners).await;
        let second = world.start().await;
        let deadline = Instant::now() + world::DEADLINE;
        while world.number(owners).await == before {
            assert!(Instant::now() < deadline, "the second sink got nothing");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        loop {
            let (first, second) = (first.ready().await, second.ready().await);
            let not_ready = [&first, &second].map(|answer| answer.1.contains("\"plan\":"));
            if not_ready[0] != not_ready[1] {
                moved |= not_ready[1];
                break;
            }
            assert!(Instant::now() < deadline, "{first:?} {second:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        first.stop().await;
        second.stop().await;
    }
    assert!(moved, "it never moved");
}

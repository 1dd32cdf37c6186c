//! What somebody left half done: the sink asks what is stored.
#![expect(clippy::unwrap_used, reason = "tests, and the helpers they share")]

#[expect(dead_code, reason = "shared with the other tests of the sink")]
mod world;

use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use uuid::Uuid;
use world::{World, event, event_with_key, events};

const COUNT: &str = "SELECT count() FROM events";
const CLOSE_THE_GATE: &str = "INSERT INTO fences (partition, owner) VALUES (65535, 7)";
const NOTE_A_MEND_THAT_IS_OVER: &str = "INSERT INTO mends (id, at, until, dates, reason) SELECT toUUID('00000000-0000-0000-0000-000000000000'), now64(3), now64(3), [today()], 'test'";
const DRAFTS: &str = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND match(name, '^(mend|swap)_')";

fn admin(world: &World) -> AdminClient<DefaultClientContext> {
    world.kafka.client("test").create().unwrap()
}

async fn forget_the_group(world: &World) {
    let group = world.config.group.as_str();
    admin(world)
        .delete_groups(&[group], &AdminOptions::new())
        .await
        .unwrap()
        .remove(0)
        .unwrap();
}

async fn run_sql(world: &World, sql: &str) {
    world.db.query(sql).execute().await.unwrap();
}

/// Stores `events` of each of two partitions and stops.
async fn stored(records: u64) -> World {
    let world = World::new(2).await;
    for partition in 0..2 {
        for record in 0..records {
            world
                .send(partition, &events(record * 5..record * 5 + 5))
                .await;
        }
    }
    let sink = world.start().await;
    world
        .wait_until_committed(&[(0, records), (1, records)])
        .await;
    sink.stop().await;
    world
}

/// The ledger covers every offset of these partitions once.
async fn assert_ledgered(world: &World, ends: &[(u16, u64)]) {
    for (partition, end) in ends {
        let covered = format!(
            "SELECT toUInt64(sum(to_offset - from_offset) = {end} AND max(to_offset) = {end} AND min(from_offset) = 0) FROM ledger WHERE _partition = {partition}"
        );
        assert_eq!(world.number(&covered).await, 1, "partition {partition}");
    }
    let rows = world.number("SELECT sum(rows) FROM ledger").await;
    assert_eq!(rows, world.number(COUNT).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_forgotten_goes_on_where_the_ledger_ends() {
    let world = stored(4).await;
    forget_the_group(&world).await;
    world.send(0, &events(0..3)).await;
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 5), (1, 4)]).await;
    sink.stop().await;
    world.assert_exactly(43).await;
    assert_ledgered(&world, &[(0, 5), (1, 4)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_were_reset_by_hand_skip_nothing_and_double_nothing() {
    let world = stored(4).await;
    world.send(0, &events(0..3)).await;
    world.send(1, &events(0..3)).await;
    // Back to the beginning, and past what is stored.
    world.commit(&[(0, 0)], "");
    world.commit(&[(1, 5)], "");
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 5), (1, 5)]).await;
    sink.stop().await;
    world.assert_exactly(46).await;
    assert_ledgered(&world, &[(0, 5), (1, 5)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_cut_of_a_forgotten_group_is_completed_in_rows_and_rollups() {
    let world = stored(2).await;
    for record in 0..3 {
        world.send(0, &events(record * 20..record * 20 + 20)).await;
    }
    // Its rows reached one branch of rollups and not the ledger; of its two records one is whole.
    run_sql(&world, "ALTER TABLE ledger ADD CONSTRAINT closed CHECK 0").await;
    let sink = world.start().await;
    world.wait_for(COUNT, 80).await;
    sink.stop().await;
    for table in ["stats_quarter_hour", "stats_day", "stats_month"] {
        run_sql(&world, &format!("TRUNCATE TABLE {table} SYNC")).await;
    }
    run_sql(
        &world,
        "DELETE FROM events WHERE _partition = 0 AND _offset = 3 AND _index < 7",
    )
    .await;
    run_sql(&world, "ALTER TABLE ledger DROP CONSTRAINT closed").await;
    forget_the_group(&world).await;

    let sink = world.start().await;
    world.wait_until_committed(&[(0, 5), (1, 2)]).await;
    world.send(0, &[event(1)]).await;
    world.wait_until_committed(&[(0, 6)]).await;
    sink.stop().await;
    world.assert_exactly(81).await;
    assert_ledgered(&world, &[(0, 6), (1, 2)]).await;
    assert_eq!(
        world
            .number("SELECT uniqExactIf(id, notEmpty(dates)) FROM mends")
            .await,
        1,
        "rollups were rebuilt once"
    );
}

/// Of two cuts that were torn together, one may have reached the rows and not a rollup, and the other
/// the rollup and not the rows: as many events, and not the same, or the same of other users.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollup_that_holds_as_many_other_events_is_made_anew() {
    const OTHERS: (&str, &str) = ("'other' AS event_type", "event_type = 'other'");
    const NO_USERS: (&str, &str) = (
        "arrayReduce('uniqCombined64State(17)', emptyArrayString()) AS users",
        "finalizeAggregation(users) = 0",
    );
    const BOTS: (&str, &str) = ("toUInt8(1) AS bot", "bot = 1");
    for (table, (swapped_in, is_swapped_in)) in [
        ("stats_quarter_hour", OTHERS),
        ("stats_day", OTHERS),
        ("stats_month", OTHERS),
        ("paths_day", OTHERS),
        ("paths_month", OTHERS),
        ("stats_quarter_hour", NO_USERS),
        ("stats_day", NO_USERS),
        ("stats_month", NO_USERS),
        ("stats_quarter_hour", BOTS),
        ("stats_month", BOTS),
        ("paths_day", BOTS),
    ] {
        let world = stored(1).await;
        world.send(0, &events(0..20)).await;
        run_sql(&world, "ALTER TABLE ledger ADD CONSTRAINT closed CHECK 0").await;
        let sink = world.start().await;
        world.wait_for(COUNT, 30).await;
        sink.stop().await;
        run_sql(&world, "ALTER TABLE ledger DROP CONSTRAINT closed").await;
        // Swapped in: what is inserted would reach the tables that are filled from this one.
        let partition: String = world
            .db
            .query("SELECT DISTINCT partition_id FROM system.parts WHERE database = currentDatabase() AND table = ? AND active")
            .bind(table)
            .fetch_one()
            .await
            .unwrap();
        for statement in [
            format!("CREATE TABLE other AS {table}"),
            format!("INSERT INTO other SELECT * REPLACE ({swapped_in}) FROM {table}"),
            format!("ALTER TABLE {table} REPLACE PARTITION ID '{partition}' FROM other"),
        ] {
            run_sql(&world, &statement).await;
        }
        let damaged = format!("SELECT toUInt64(countIf({is_swapped_in}) > 0) FROM {table}");
        assert_eq!(world.number(&damaged).await, 1, "{table}, {swapped_in}");
        forget_the_group(&world).await;

        let sink = world.start().await;
        world.wait_until_committed(&[(0, 2), (1, 1)]).await;
        sink.stop().await;
        world.assert_exactly(30).await;
        assert_eq!(world.number(&damaged).await, 0, "{table}, {swapped_in}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_completed_whatever_is_stored_of_it() {
    // ClickHouse knows nothing of the second one's id, as after a power cut it may know nothing of
    // the block that it stands for.
    let versions = [
        "weir 3 {log} {now} 0+1 .",
        "weir 2 2 {id} {log} {now} 2000000 0:0+1 .",
    ];
    for (version, landed) in versions
        .into_iter()
        .flat_map(|version| [0, 6, 20].map(|landed| (version, landed)))
    {
        let world = World::new(1).await;
        world.send(0, &events(0..20)).await;
        let log = infra::kafka::log_id(&world.kafka).await.unwrap();
        if landed > 0 {
            let sink = world.start().await;
            world.wait_until_committed(&[(0, 1)]).await;
            sink.stop().await;
            run_sql(&world, "DELETE FROM ledger WHERE 1").await;
            let lost = format!("DELETE FROM events WHERE _index >= {landed}");
            run_sql(&world, &lost).await;
        }
        let plan = version
            .replace("{id}", &Uuid::new_v4().simple().to_string())
            .replace("{log}", &log.to_string())
            .replace("{now}", &chrono::Utc::now().timestamp_millis().to_string());
        world.commit(&[(0, 0)], &plan);
        let sink = world.start().await;
        world.wait_until_committed(&[(0, 1)]).await;
        sink.stop().await;
        world.assert_exactly(20).await;
        let rows = "SELECT sum(rows) FROM ledger";
        assert_eq!(world.number(rows).await, 20, "{version} {landed}");
    }
}

/// ClickHouse notes a token before the part it stands for: a server that dies in between forgets
/// the rows and remembers the token, in `events` or in any rollup.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_was_lost_while_its_token_was_kept_is_stored_again() {
    for lost in [
        "DELETE FROM events WHERE _index < 3",
        "ALTER TABLE stats_quarter_hour DELETE WHERE 1",
        "ALTER TABLE paths_day DELETE WHERE path = '/page/1'",
        "ALTER TABLE paths_month DELETE WHERE 1",
    ] {
        let world = World::new(2).await;
        world.send(0, &events(0..20)).await;
        world.send(1, &events(20..30)).await;
        run_sql(&world, "ALTER TABLE ledger ADD CONSTRAINT closed CHECK 0").await;
        let sink = world.start().await;
        world.wait_for(COUNT, 30).await;
        world
            .wait_for("SELECT sum(events) FROM paths_month", 30)
            .await;
        sink.stop().await;
        world
            .db
            .query(lost)
            .with_setting("mutations_sync", "2")
            .execute()
            .await
            .unwrap();
        run_sql(&world, "ALTER TABLE ledger DROP CONSTRAINT closed").await;
        let has_plan = |(_, _, metadata): &(u16, i64, String)| metadata.starts_with("weir ");
        assert!(world.committed().iter().all(has_plan), "{lost}");
        let sink = world.start().await;
        world.wait_until_committed(&[(0, 1), (1, 1)]).await;
        sink.stop().await;
        world.assert_exactly(30).await;
        assert_ledgered(&world, &[(0, 1), (1, 1)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_is_stored_from_its_beginning_beside_the_old_one() {
    let world = stored(4).await;
    let topic = world.kafka.topic.as_str();
    let old_log = infra::kafka::log_id(&world.kafka).await.unwrap();
    let plan = format!(
        "weir 2 2 {} {old_log} {} 2000000 1:4+3 .",
        Uuid::new_v4().simple(),
        chrono::Utc::now().timestamp_millis()
    );
    admin(&world)
        .delete_topics(&[topic], &AdminOptions::new())
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    infra::kafka::create_topics(&world.kafka).await.unwrap();
    assert_ne!(infra::kafka::log_id(&world.kafka).await.unwrap(), old_log);
    for record in 0..6 {
        world.send(0, &events(record..record + 2)).await;
        world.send(1, &events(record..record + 2)).await;
    }
    // The group's old offsets, one with a plan of the old topic.
    world.commit(&[(0, 4)], "");
    world.commit(&[(1, 4)], &plan);
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 6), (1, 6)]).await;
    sink.stop().await;
    assert_eq!(world.number(COUNT).await, 40 + 24);
    let places = "SELECT uniqExact(_log, _partition, _offset, _index) FROM events";
    assert_eq!(world.number(places).await, 64);
    assert_eq!(world.number("SELECT sum(events) FROM stats_day").await, 64);
}

/// Deletes the topic under sinks at work and makes it again.
async fn make_the_topic_again(world: &mut World, partitions: u16) {
    let old_log = infra::kafka::log_id(&world.kafka).await.unwrap();
    let topic = world.kafka.topic.as_str();
    let mut deleted = admin(world)
        .delete_topics(&[topic], &AdminOptions::new())
        .await
        .unwrap();
    deleted.remove(0).unwrap();
    world.kafka.partitions = partitions;
    infra::kafka::create_topics(&world.kafka).await.unwrap();
    assert_ne!(infra::kafka::log_id(&world.kafka).await.unwrap(), old_log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_again_with_fewer_partitions_is_stored_by_the_sink_at_work() {
    let mut world = World::new(4).await;
    let sink = world.start().await;
    for partition in 0..4 {
        world.send(partition, &events(0..10)).await;
    }
    world.wait_for(COUNT, 40).await;
    make_the_topic_again(&mut world, 2).await;
    world.reconnect();
    for partition in 0..2 {
        world.send(partition, &events(0..5)).await;
    }
    world.wait_for(COUNT, 50).await;
    world.wait_until_committed(&[(0, 1), (1, 1)]).await;
    let deadline = Instant::now() + world::DEADLINE;
    loop {
        let (status, answer) = sink.ready().await;
        if status == 200 {
            break;
        }
        assert!(Instant::now() < deadline, "{answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // They come back.
    let grow = NewPartitions::new(&world.kafka.topic, 4);
    let grown = admin(&world)
        .create_partitions([&grow], &AdminOptions::new())
        .await
        .unwrap();
    assert!(grown.iter().all(Result::is_ok), "{grown:?}");
    world.kafka.partitions = 4;
    world.reconnect();
    for partition in 0..4 {
        world.send(partition, &events(0..5)).await;
    }
    world
        .wait_until_committed(&[(0, 2), (1, 2), (2, 1), (3, 1)])
        .await;
    sink.stop().await;
    world.wait_for(COUNT, 70).await;
    assert_eq!(world.number("SELECT sum(events) FROM stats_day").await, 70);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_ate_is_left_and_what_comes_after_it_is_stored_once() {
    let world = stored(2).await;
    for record in 0..4 {
        world.send(0, &events(record..record + 5)).await;
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&world.kafka.topic, 0, Offset::Offset(4))
        .unwrap();
    admin(&world)
        .delete_records(&list, &AdminOptions::new())
        .await
        .unwrap();
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 6), (1, 2)]).await;
    sink.stop().await;
    world.assert_exactly(30).await;
    let gap = "SELECT count() FROM ledger WHERE _partition = 0 AND from_offset = 4";
    assert_eq!(world.number(gap).await, 1, "the gap shows in the ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_was_replaced_is_refused_by_the_server_and_takes_over_anew() {
    let world = World::new(2).await;
    let sink = world.start().await;
    world.send(0, &events(0..10)).await;
    world.wait_until_committed(&[(0, 1)]).await;
    // As another sink does when it takes both over.
    run_sql(
        &world,
        "INSERT INTO fences (partition, owner) VALUES (0, 1), (1, 1)",
    )
    .await;
    let refused = world
        .db
        .query("INSERT INTO events (site_id, _partition, _owner) VALUES ('s', 0, 7)")
        .execute()
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("only_the_owner"), "{refused}");
    world.send(0, &events(0..10)).await;
    world.send(1, &[event_with_key("a")]).await;
    world.wait_until_committed(&[(0, 2), (1, 1)]).await;
    sink.stop().await;
    world.assert_exactly(21).await;
    assert_ledgered(&world, &[(0, 2), (1, 1)]).await;
}

/// What it brings would be missed by a takeover that asks which rows are stored before it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_waits_for_inserts_that_began_before_it() {
    const RUNNING: &str = "SELECT count() FROM system.processes WHERE current_database = currentDatabase() AND startsWith(query, 'INSERT INTO events (')";
    let world = World::new(1).await;
    world.send(0, &events(0..3)).await;
    let db = world.db.clone();
    // Refused at its end, as it has no owner.
    let slow = tokio::spawn(async move {
        let rows =
            "INSERT INTO events (site_id) SELECT 'slow' FROM numbers(4) WHERE sleepEachRow(2) = 0";
        let slow = db.query(rows).with_setting("max_block_size", "1");
        let _ = slow.execute().await;
    });
    world.wait_for(RUNNING, 1).await;
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 1)]).await;
    assert!(slow.is_finished(), "stored beside an INSERT of before");
    sink.stop().await;
    world.assert_exactly(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_inserted_while_rollups_are_mended_and_all_of_it_after() {
    let world = World::new(1).await;
    let sink = world.start().await;
    world.send(0, &events(0..10)).await;
    world.wait_until_committed(&[(0, 1)]).await;
    // A mend whose maker dies: it holds the sinks up as long as its lease.
    run_sql(&world, "INSERT INTO mends (id, at, until, reason) SELECT generateUUIDv4(), now64(3), now64(3) + 3, 'test'").await;
    run_sql(
        &world,
        "INSERT INTO fences (partition, owner) VALUES (0, 1)",
    )
    .await;
    world.send(0, &events(0..10)).await;
    let active = "SELECT toUInt64(max(until) > now64(3)) FROM mends";
    while world.number(active).await == 1 {
        assert_eq!(world.number(COUNT).await, 10);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.wait_until_committed(&[(0, 2)]).await;
    sink.stop().await;
    world.assert_exactly(20).await;
}

/// Ten events are stored, and a mend that died had finished a draft of them when the gate was
/// closed as `gate`; it is closed as 7 since. The draft holds `columns` of what is stored. Returns
/// the draft's name, and the partition it is of, too.
async fn stored_with_a_draft(gate: u64, columns: &str) -> (World, String, u64) {
    let world = World::new(1).await;
    let sink = world.start().await;
    world.send(0, &events(0..10)).await;
    world.wait_until_committed(&[(0, 1)]).await;
    sink.stop().await;
    let partition = "SELECT toUInt64(any(toYYYYMM(time))) FROM stats_quarter_hour";
    let partition = world.number(partition).await;
    let mend = "0".repeat(32);
    let draft = format!("swap_{mend}_{gate}_{partition}_stats_quarter_hour");
    for statement in [
        CLOSE_THE_GATE,
        NOTE_A_MEND_THAT_IS_OVER,
        &format!("CREATE TABLE {draft} AS stats_quarter_hour"),
        &format!("INSERT INTO {draft} SELECT {columns} FROM stats_quarter_hour"),
    ] {
        run_sql(&world, statement).await;
    }
    (world, draft, partition)
}

/// A sink goes on after that: everything counts once, and no draft is left.
async fn assert_it_goes_on(world: &World) {
    let sink = world.start().await;
    world.send(0, &events(10..20)).await;
    world.wait_until_committed(&[(0, 2)]).await;
    sink.stop().await;
    world.assert_exactly(20).await;
    assert_eq!(world.number(DRAFTS).await, 0);
}

/// A ClickHouse that dies while it replaces a partition may come back with the old rows and the new.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_half_replaced_is_replaced_again() {
    let (world, draft, partition) = stored_with_a_draft(7, "*").await;
    let half_replaced =
        format!("ALTER TABLE stats_quarter_hour ATTACH PARTITION {partition} FROM {draft}");
    run_sql(&world, &half_replaced).await;
    let counted = "SELECT sum(events) FROM stats_quarter_hour";
    assert_eq!(world.number(counted).await, 20);
    assert_it_goes_on(&world).await;
}

/// What it lacks was stored after the gate had been opened: swapped in, it would take that out.
#[tokio::test(flavor = "multi_thread")]
async fn a_draft_from_before_the_gate_was_opened_replaces_nothing() {
    let (world, _, _) = stored_with_a_draft(6, "* REPLACE (1 AS events)").await;
    assert_it_goes_on(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_nobody_holds_any_more_is_opened() {
    let world = World::new(1).await;
    world.start().await.stop().await;
    // As by who died after its mend had ended, or whose word came after its lease had.
    run_sql(&world, CLOSE_THE_GATE).await;
    world.send(0, &events(0..10)).await;
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 1)]).await;
    sink.stop().await;
    world.assert_exactly(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_at_work_finds_out_that_who_closed_the_gate_has_died() {
    let world = World::new(1).await;
    let sink = world.start().await;
    world.send(0, &events(0..10)).await;
    world.wait_until_committed(&[(0, 1)]).await;
    run_sql(&world, "INSERT INTO mends (id, at, until, reason) SELECT generateUUIDv4(), now64(3), now64(3) + 3, 'test'").await;
    run_sql(&world, CLOSE_THE_GATE).await;
    world.send(0, &events(10..20)).await;
    world.wait_until_committed(&[(0, 2)]).await;
    sink.stop().await;
    world.assert_exactly(20).await;
}

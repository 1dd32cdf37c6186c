//! What a sink logs as an error when nothing is wrong but one thing: a process of its own, whose
//! log can be read.
#![expect(clippy::unwrap_used, reason = "tests, and the helpers they share")]

#[expect(dead_code, reason = "shared with the other tests of the sink")]
mod world;

use std::process::Command;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;
use world::{World, events};

#[test]
fn events_that_retention_deleted_are_the_only_error_of_a_sink_that_follows_a_plan() {
    let scenario = [
        "a_plan_is_followed_and_retention_deletes",
        "--exact",
        "--ignored",
        "--nocapture",
    ];
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(scenario)
        .output()
        .unwrap();
    let log = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success(), "{log}");
    let errors: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("\"level\":\"ERROR\""))
        .collect();
    let [deleted] = &errors[..] else {
        panic!("{errors:#?}");
    };
    assert!(
        deleted.contains("Kafka deleted 1..4 of partition 0 before it was stored"),
        "{deleted}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test: the process whose log is read"]
async fn a_plan_is_followed_and_retention_deletes() {
    let world = World::new(2).await;
    // One partition is read to its end while the other is read on.
    world.send(0, &events(0..10)).await;
    for _ in 0..12 {
        world.send(1, &events(0..2_000)).await;
    }
    let log = infra::kafka::log_id(&world.kafka).await.unwrap();
    let made_at = chrono::Utc::now().timestamp_millis();
    let id = Uuid::new_v4().simple();
    let plan = format!("weir 2 2 {id} {log} {made_at} 2000000 0:0+1,1:0+12 .");
    world.commit(&[(0, 0), (1, 0)], &plan);
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 1), (1, 12)]).await;
    sink.stop().await;
    world.assert_exactly(24_010).await;

    for _ in 0..4 {
        world.send(0, &events(0..10)).await;
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&world.kafka.topic, 0, Offset::Offset(4))
        .unwrap();
    let admin: AdminClient<DefaultClientContext> = world.kafka.client("test").create().unwrap();
    admin
        .delete_records(&list, &AdminOptions::new())
        .await
        .unwrap();
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 5), (1, 12)]).await;
    sink.stop().await;
    world.assert_exactly(24_020).await;
}

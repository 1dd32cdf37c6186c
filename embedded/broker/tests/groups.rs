//! Consumer groups as librdkafka lives them, and as the protocol's letter has them.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use embedded_broker::Config;
use kafka_protocol::{
    messages::{
        ApiKey, GroupId, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
        OffsetCommitRequest, RequestKind, ResponseKind, SyncGroupRequest, TopicName,
        join_group_request::JoinGroupRequestProtocol,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        sync_group_request::SyncGroupRequestAssignment,
    },
    protocol::StrBytes,
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use support::{wire::Wire, *};

/// A consumer that is polled by a thread of its own until it is told to leave.
struct Member {
    consumer: Arc<BaseConsumer>,
    leave: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Member {
    fn join(bootstrap: &str, strategy: &str, more: &[(&str, &str)]) -> Self {
        let settings = [&[("partition.assignment.strategy", strategy)], more].concat();
        let consumer = Arc::new(consumer(bootstrap, "workers", &settings));
        consumer.subscribe(&["events"]).unwrap();
        let leave = Arc::new(AtomicBool::new(false));
        let (polled, told) = (consumer.clone(), leave.clone());
        let thread = std::thread::spawn(move || {
            while !told.load(SeqCst) {
                drop(polled.poll(Duration::from_millis(20)));
            }
        });
        Self {
            consumer,
            leave,
            thread,
        }
    }

    fn partitions(&self) -> Vec<i32> {
        let assignment = self.consumer.assignment().unwrap();
        let mut partitions: Vec<_> = assignment
            .elements()
            .iter()
            .map(|element| element.partition())
            .collect();
        partitions.sort_unstable();
        partitions
    }

    /// Closing the consumer leaves the group.
    fn leave(self) {
        self.leave.store(true, SeqCst);
        self.thread.join().unwrap();
        drop(self.consumer);
    }
}

fn rebalances(strategy: &str) {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 6, &[]);
    let first = Member::join(&broker.bootstrap(), strategy, &[]);
    wait_until("the only member has everything", || {
        first.partitions().len() == 6
    });
    let second = Member::join(&broker.bootstrap(), strategy, &[]);
    wait_until("both have half", || {
        let both = [first.partitions(), second.partitions()];
        let mut all = both.concat();
        all.sort_unstable();
        both[0].len() == 3 && all == [0, 1, 2, 3, 4, 5]
    });
    second.leave();
    wait_until("the one that stays has everything again", || {
        first.partitions().len() == 6
    });
    first.leave();
    broker.stop().unwrap();
}

#[test]
fn two_members_share_the_partitions_under_the_range_strategy() {
    rebalances("range");
}

#[test]
fn two_members_share_the_partitions_under_the_cooperative_strategy() {
    rebalances("cooperative-sticky");
}

#[test]
fn a_static_member_keeps_its_partitions_while_it_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 6, &[]);
    let stays = Member::join(
        &broker.bootstrap(),
        "range",
        &[("group.instance.id", "a"), ("session.timeout.ms", "30000")],
    );
    let restarts = || {
        Member::join(
            &broker.bootstrap(),
            "range",
            &[("group.instance.id", "b"), ("session.timeout.ms", "30000")],
        )
    };
    let first = restarts();
    wait_until("both have half", || {
        stays.partitions().len() == 3 && first.partitions().len() == 3
    });
    let (kept, had) = (stays.partitions(), first.partitions());
    first.leave();
    let second = restarts();
    wait_until("it has its partitions back", || second.partitions() == had);
    assert_eq!(stays.partitions(), kept);
    second.leave();
    stays.leave();
}

#[test]
fn a_member_that_vanishes_is_replaced_when_its_session_ends() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 6, &[]);
    let mut wire = Wire::connect(broker.address);
    let (member, _) = join_by_hand(&mut wire, 500);
    // It never syncs and never beats.
    drop(wire);
    let heir = Member::join(&broker.bootstrap(), "range", &[]);
    wait_until("the heir has everything", || heir.partitions().len() == 6);
    heir.leave();
    assert!(!member.is_empty());
}

#[test]
fn metadata_comes_back_with_its_offset_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 2, &[]);
    let largest = "m".repeat(4096);
    let commit = |consumer: &BaseConsumer, partition, offset, metadata: &str| {
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset("events", partition, Offset::Offset(offset))
            .unwrap();
        offsets
            .find_partition("events", partition)
            .unwrap()
            .set_metadata(metadata);
        consumer.commit(&offsets, CommitMode::Sync)
    };
    let committed = |bootstrap: &str| -> Vec<(Offset, String)> {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range("events", 0, 1);
        let found = consumer(bootstrap, "sink", &[])
            .committed_offsets(wanted, PATIENCE)
            .unwrap();
        found
            .elements()
            .iter()
            .map(|element| (element.offset(), element.metadata().to_owned()))
            .collect()
    };
    let committer = consumer(&broker.bootstrap(), "sink", &[]);
    commit(&committer, 0, 42, "plan 42-99 ä").unwrap();
    commit(&committer, 1, 7, &largest).unwrap();
    let expected = [
        (Offset::Offset(42), "plan 42-99 ä".to_owned()),
        (Offset::Offset(7), largest.clone()),
    ];
    assert_eq!(committed(&broker.bootstrap()), expected);

    let refused = commit(&committer, 1, 8, &format!("{largest}m")).unwrap_err();
    assert_eq!(
        refused.rdkafka_error_code(),
        Some(rdkafka::types::RDKafkaErrorCode::OffsetMetadataTooLarge)
    );
    broker.stop().unwrap();

    let broker = start(config(&dir));
    assert_eq!(committed(&broker.bootstrap()), expected);
}

#[test]
fn only_the_partition_with_too_much_metadata_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 2, &[]);
    let mut wire = Wire::connect(broker.address);
    let codes = commit_by_hand(
        &mut wire,
        "",
        -1,
        &[
            (0, "m".repeat(4096)),
            (1, "m".repeat(4097)),
            (2, String::new()),
        ],
    );
    assert_eq!(codes, [0, 12, 3]);
}

#[test]
fn a_commit_counts_only_from_a_member_of_this_generation() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    let mut wire = Wire::connect(broker.address);
    let one = [(0, String::new())];
    assert_eq!(
        commit_by_hand(&mut wire, "", -1, &one),
        [0],
        "nobody is in the group"
    );

    let (member, generation) = join_by_hand(&mut wire, 10_000);
    assert_eq!(
        commit_by_hand(&mut wire, &member, generation, &one),
        [27],
        "the assignment is not known yet"
    );
    sync_by_hand(&mut wire, &member, generation);
    assert_eq!(commit_by_hand(&mut wire, &member, generation, &one), [0]);
    assert_eq!(
        commit_by_hand(&mut wire, &member, generation - 1, &one),
        [22],
        "an old generation"
    );
    assert_eq!(
        commit_by_hand(&mut wire, "stranger", generation, &one),
        [25]
    );
    assert_eq!(
        commit_by_hand(&mut wire, "", -1, &one),
        [25],
        "from outside while the group is at work"
    );
}

/// Joins as versions before 4 do, by which a member is in at once.
fn join(wire: &mut Wire, group: &str, member: &str, metadata: usize) -> JoinGroupResponse {
    let request = join_request(group, metadata).with_member_id(text(member));
    let answer = wire.call(ApiKey::JoinGroup, 3, &RequestKind::JoinGroup(request));
    let ResponseKind::JoinGroup(answer) = answer else {
        unreachable!()
    };
    answer
}

fn join_request(group: &str, metadata: usize) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(vec![0; metadata].into());
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

fn sync(wire: &mut Wire, group: &str, joined: &JoinGroupResponse, share: usize) -> i16 {
    let share = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(vec![0; share].into());
    let request = SyncGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![share]);
    match wire.call(ApiKey::SyncGroup, 3, &RequestKind::SyncGroup(request)) {
        ResponseKind::SyncGroup(answer) => answer.error_code,
        _ => unreachable!(),
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

const INVALID_GROUP_ID: i16 = 24;
const INVALID_COMMIT_OFFSET_SIZE: i16 = 28;
const INVALID_REQUEST: i16 = 42;
const GROUP_MAX_SIZE_REACHED: i16 = 81;

#[test]
fn a_member_or_a_share_beyond_its_limit_is_refused_and_the_group_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        group_member_bytes_max: 10_000,
        ..config(&dir)
    });
    let mut wire = Wire::connect(broker.address);
    let refused = join(&mut wire, "workers", "", 10_000);
    assert_eq!(refused.error_code, INVALID_REQUEST);
    let member = join(&mut wire, "workers", "", 4_000);
    assert_eq!(member.error_code, 0);
    assert_eq!(sync(&mut wire, "workers", &member, 6_000), INVALID_REQUEST);
    assert_eq!(sync(&mut wire, "workers", &member, 4_000), 0);
}

#[test]
fn groups_that_hold_all_memory_keep_their_members_and_no_others_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        groups_bytes_max: 18_000,
        ..config(&dir)
    });
    let mut wire = Wire::connect(broker.address);
    let first = join(&mut wire, "first", "", 4_000);
    assert_eq!(sync(&mut wire, "first", &first, 4_000), 0);
    let second = join(&mut wire, "second", "", 4_000);
    assert_eq!(second.error_code, 0);
    let refused = join(&mut wire, "third", "", 4_000);
    assert_eq!(refused.error_code, GROUP_MAX_SIZE_REACHED);
    assert_eq!(
        sync(&mut wire, "second", &second, 9_000),
        GROUP_MAX_SIZE_REACHED
    );

    let again = join(&mut wire, "first", &first.member_id, 4_000);
    assert_eq!(again.error_code, 0, "it takes no more than before");
    assert_eq!(sync(&mut wire, "first", &again, 4_000), 0);

    let leave = LeaveGroupRequest::default()
        .with_group_id(GroupId(text("first")))
        .with_member_id(again.member_id);
    wire.call(ApiKey::LeaveGroup, 2, &RequestKind::LeaveGroup(leave));
    assert_eq!(join(&mut wire, "third", "", 4_000).error_code, 0);
}

#[test]
fn ids_that_are_given_out_and_never_used_count_as_members() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        groups_bytes_max: 20_000,
        ..config(&dir)
    });
    let mut wire = Wire::connect(broker.address);
    let mut given = 0;
    loop {
        let group = format!("group-{given}");
        let request = RequestKind::JoinGroup(join_request(&group, 10));
        let ResponseKind::JoinGroup(answer) = wire.call(ApiKey::JoinGroup, 4, &request) else {
            unreachable!()
        };
        match answer.error_code {
            79 => given += 1,
            code => {
                assert_eq!(code, GROUP_MAX_SIZE_REACHED);
                break;
            }
        }
        assert!(given < 20);
    }
    assert!(given > 10);
}

#[test]
fn names_longer_than_any_that_is_meant_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    let mut wire = Wire::connect(broker.address);
    let longest = "n".repeat(255);
    let longer = "n".repeat(256);
    let mut code = |request: JoinGroupRequest| {
        let request = RequestKind::JoinGroup(request);
        match wire.call(ApiKey::JoinGroup, 5, &request) {
            ResponseKind::JoinGroup(answer) => answer.error_code,
            _ => unreachable!(),
        }
    };
    assert_eq!(code(join_request(&longer, 1)), INVALID_GROUP_ID);
    let join = join_request(&longest, 1);
    let with_instance = |id: &str| join.clone().with_group_instance_id(Some(text(id)));
    assert_eq!(code(with_instance(&longer)), INVALID_REQUEST);
    assert_eq!(
        code(join.clone().with_protocol_type(text(&longer))),
        INVALID_REQUEST
    );
    assert_eq!(code(with_instance(&longest)), 0);
    let one = [(0, String::new())];
    assert_eq!(
        commit_to(&mut wire, &longer, ("", -1), &one),
        [INVALID_GROUP_ID]
    );
}

#[test]
fn commits_of_new_groups_are_refused_when_the_offsets_are_many_and_those_there_still_move() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        offsets_max: 3,
        ..config(&dir)
    });
    create_topic(&broker.bootstrap(), "events", 2, &[]);
    let mut wire = Wire::connect(broker.address);
    let both = |metadata: &str| [0, 1].map(|partition| (partition, metadata.to_owned()));
    assert_eq!(commit_to(&mut wire, "sink", ("", -1), &both("")), [0, 0]);
    assert_eq!(
        commit_to(&mut wire, "other", ("", -1), &both("")),
        [INVALID_COMMIT_OFFSET_SIZE; 2]
    );
    let one = [(0, String::new())];
    assert_eq!(commit_to(&mut wire, "other", ("", -1), &one), [0]);
    assert_eq!(
        commit_to(&mut wire, "third", ("", -1), &one),
        [INVALID_COMMIT_OFFSET_SIZE]
    );
    let largest = both(&"m".repeat(4096));
    assert_eq!(commit_to(&mut wire, "sink", ("", -1), &largest), [0, 0]);
}

fn join_by_hand(wire: &mut Wire, session_ms: i32) -> (String, i32) {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(b"x"));
    let mut request = JoinGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("workers")))
        .with_session_timeout_ms(session_ms)
        .with_rebalance_timeout_ms(session_ms)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    loop {
        let ResponseKind::JoinGroup(answer) = wire.call(
            ApiKey::JoinGroup,
            5,
            &RequestKind::JoinGroup(request.clone()),
        ) else {
            unreachable!()
        };
        if answer.error_code == 0 {
            return (answer.member_id.to_string(), answer.generation_id);
        }
        assert_eq!(answer.error_code, 79, "only the member's id may be missing");
        request = request.with_member_id(answer.member_id);
    }
}

fn sync_by_hand(wire: &mut Wire, member: &str, generation: i32) {
    let share = SyncGroupRequestAssignment::default()
        .with_member_id(StrBytes::from_string(member.to_owned()));
    let request = SyncGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("workers")))
        .with_generation_id(generation)
        .with_member_id(StrBytes::from_string(member.to_owned()))
        .with_assignments(vec![share]);
    let ResponseKind::SyncGroup(answer) =
        wire.call(ApiKey::SyncGroup, 3, &RequestKind::SyncGroup(request))
    else {
        unreachable!()
    };
    assert_eq!(answer.error_code, 0);
}

/// The code of each partition.
fn commit_by_hand(
    wire: &mut Wire,
    member: &str,
    generation: i32,
    metadata: &[(i32, String)],
) -> Vec<i16> {
    commit_to(wire, "workers", (member, generation), metadata)
}

fn commit_to(
    wire: &mut Wire,
    group: &str,
    (member, generation): (&str, i32),
    metadata: &[(i32, String)],
) -> Vec<i16> {
    let partitions = metadata.iter().map(|(partition, metadata)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(1)
            .with_committed_metadata(Some(StrBytes::from_string(metadata.clone())))
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("events")))
        .with_partitions(partitions.collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(StrBytes::from_string(member.to_owned()))
        .with_topics(vec![topic]);
    let ResponseKind::OffsetCommit(answer) =
        wire.call(ApiKey::OffsetCommit, 8, &RequestKind::OffsetCommit(request))
    else {
        unreachable!()
    };
    answer.topics[0]
        .partitions
        .iter()
        .map(|partition| partition.error_code)
        .collect()
}

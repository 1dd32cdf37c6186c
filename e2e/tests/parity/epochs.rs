//! The group protocol of KIP-848, which Apache Kafka has and the embedded broker has not: whom it
//! lets commit. Facts to know before weir's sink may use it.

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, RequestKind,
    ResponseKind, TopicName,
};

use crate::clients::{KAFKA, create_topic, wait_until};
use crate::wire::{Wire, text};

const STALE_MEMBER_EPOCH: i16 = 113;
const UNKNOWN_MEMBER_ID: i16 = 25;

struct Member<'a> {
    id: &'static str,
    group: &'a str,
    epoch: i32,
    owned: Vec<TopicPartitions>,
}

impl<'a> Member<'a> {
    fn join(wire: &mut Wire, group: &'a str, topic: &str, id: &'static str) -> Self {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_member_id(text(id))
            .with_member_epoch(0)
            .with_rebalance_timeout_ms(30_000)
            .with_subscribed_topic_names(Some(vec![TopicName(text(topic))]))
            .with_topic_partitions(Some(Vec::new()));
        let mut member = Self {
            id,
            group,
            epoch: 0,
            owned: Vec::new(),
        };
        let answer = exchange(wire, request);
        member.obey(answer);
        member
    }

    /// Says what it owns, and takes what it is told to.
    fn beat(&mut self, wire: &mut Wire) {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(self.group)))
            .with_member_id(text(self.id))
            .with_member_epoch(self.epoch)
            .with_topic_partitions(Some(self.owned.clone()));
        let answer = exchange(wire, request);
        self.obey(answer);
    }

    fn obey(&mut self, answer: ConsumerGroupHeartbeatResponse) {
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        self.epoch = answer.member_epoch;
        if let Some(assignment) = answer.assignment {
            let owned = assignment.topic_partitions.into_iter().map(|share| {
                TopicPartitions::default()
                    .with_topic_id(share.topic_id)
                    .with_partitions(share.partitions)
            });
            self.owned = owned.collect();
        }
    }

    fn partitions(&self) -> Vec<i32> {
        let owned = self.owned.iter().flat_map(|share| share.partitions.clone());
        owned.collect()
    }
}

fn exchange(
    wire: &mut Wire,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let request = RequestKind::ConsumerGroupHeartbeat(request);
    let ResponseKind::ConsumerGroupHeartbeat(answer) =
        wire.call(ApiKey::ConsumerGroupHeartbeat, 1, request)
    else {
        unreachable!()
    };
    answer
}

#[test]
fn a_stale_epoch_is_refused_and_ownership_is_not_asked_for() {
    if !e2e::is_apache() {
        return;
    }
    let (topic, group) = ("epochs", "epochs");
    create_topic(&KAFKA.bootstrap(), topic, 2);
    let mut wire = Wire::connect(&KAFKA.bootstrap());
    wire.await_coordinator(group);
    let names = (group, topic);
    let mut first = Member::join(&mut wire, group, topic, "AAAAAAAAAAAAAAAAAAAAAA");
    wait_until("the only member has both", || {
        first.beat(&mut wire);
        first.partitions().len() == 2
    });
    let old = first.epoch;
    assert_eq!(
        wire.commit(9, names, (first.id, old), &[(0, 1, "plan")]),
        [0]
    );

    let mut second = Member::join(&mut wire, group, topic, "AAAAAAAAAAAAAAAAAAAAAB");
    assert_eq!(
        wire.commit(9, names, (first.id, old), &[(0, 2, "plan")]),
        [0],
        "the epoch is the group's for the first until it has heard of the next one"
    );
    wait_until("both have one", || {
        first.beat(&mut wire);
        second.beat(&mut wire);
        first.partitions().len() == 1 && second.partitions().len() == 1
    });
    assert!(first.epoch > old);
    assert_eq!(
        wire.commit(9, names, (first.id, old), &[(0, 3, "plan")]),
        [STALE_MEMBER_EPOCH]
    );
    let lost = second.partitions()[0];
    assert_eq!(
        wire.commit(9, names, (first.id, first.epoch), &[(lost, 3, "plan")]),
        [0],
        "a partition of another member, under a current epoch"
    );
    for stranger in [("AAAAAAAAAAAAAAAAAAAAAC", first.epoch), ("", -1)] {
        assert_eq!(
            wire.commit(9, names, stranger, &[(0, 4, "plan")]),
            [UNKNOWN_MEMBER_ID]
        );
    }
}

//! Topics that lose their start, or their life.

use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ApiKey, MetadataRequest, RequestKind, ResponseKind, TopicName};
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use crate::clients::{
    KAFKA, PATIENCE, admin, block_on, client, commit, committed, consumer, create_topic, produce,
    wait_until,
};
use crate::wire::{Wire, text};

fn delete_before(topic: &str, offset: i64) {
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset(topic, 0, Offset::Offset(offset))
        .unwrap();
    let admin = admin(&KAFKA.bootstrap());
    let deleted = block_on(admin.delete_records(&before, &AdminOptions::new())).unwrap();
    deleted.elements()[0].error().unwrap();
}

/// What a consumer that starts at `offset` is given first.
fn first_from(topic: &str, offset: i64) -> Result<i64, KafkaError> {
    let reader: BaseConsumer = client(&KAFKA.bootstrap())
        .set("group.id", "topics-reader")
        .set("auto.offset.reset", "error")
        .create()
        .unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Offset(offset))
        .unwrap();
    reader.assign(&from).unwrap();
    let message = reader.poll(PATIENCE).expect("a record or an error");
    message.map(|message| rdkafka::Message::offset(&message))
}

#[test]
fn records_deleted_from_the_start_move_the_low_watermark() {
    let topic = "topics-deleted-records";
    create_topic(&KAFKA.bootstrap(), topic, 1);
    produce(&KAFKA.bootstrap(), topic, 0, 10);
    delete_before(topic, 4);
    let watermarks = consumer(&KAFKA.bootstrap(), "onlooker").fetch_watermarks(topic, 0, PATIENCE);
    assert_eq!(watermarks.unwrap(), (4, 10));
    assert_eq!(first_from(topic, 4), Ok(4));
    delete_before(topic, 10);
    let watermarks = consumer(&KAFKA.bootstrap(), "onlooker").fetch_watermarks(topic, 0, PATIENCE);
    assert_eq!(watermarks.unwrap(), (10, 10));
}

#[test]
fn a_fetch_outside_of_what_is_there_is_an_error_on_both_sides() {
    let topic = "topics-out-of-range";
    create_topic(&KAFKA.bootstrap(), topic, 1);
    produce(&KAFKA.bootstrap(), topic, 0, 10);
    delete_before(topic, 4);
    for outside in [0, 3, 11] {
        let refused = first_from(topic, outside).expect_err("there is no such record");
        assert_eq!(
            refused.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AutoOffsetReset),
            "{outside}"
        );
    }
    assert_eq!(first_from(topic, 9), Ok(9));
}

fn topic_id(topic: &str) -> [u8; 16] {
    let wanted = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
    let mut wire = Wire::connect(&KAFKA.bootstrap());
    let ResponseKind::Metadata(answer) =
        wire.call(ApiKey::Metadata, 12, RequestKind::Metadata(request))
    else {
        unreachable!()
    };
    assert_eq!(answer.topics[0].error_code, 0);
    answer.topics[0].topic_id.into_bytes()
}

#[test]
fn a_topic_made_anew_has_another_id_starts_at_0_and_its_commits_are_gone() {
    let (topic, group) = ("topics-anew", "topics-anew");
    create_topic(&KAFKA.bootstrap(), topic, 1);
    produce(&KAFKA.bootstrap(), topic, 0, 3);
    commit(
        &consumer(&KAFKA.bootstrap(), group),
        topic,
        &[(0, 3, "plan")],
    )
    .unwrap();
    let first_life = topic_id(topic);
    assert_ne!(first_life, [0; 16]);
    assert_eq!(topic_id(topic), first_life);

    let admin = admin(&KAFKA.bootstrap());
    let deleted = block_on(admin.delete_topics(&[topic], &AdminOptions::new())).unwrap();
    deleted[0].as_ref().unwrap();
    let onlooker = consumer(&KAFKA.bootstrap(), "onlooker");
    wait_until("the topic is gone", || {
        let metadata = onlooker.fetch_metadata(None, PATIENCE).unwrap();
        metadata.topics().iter().all(|found| found.name() != topic)
    });
    create_topic(&KAFKA.bootstrap(), topic, 1);
    assert_ne!(topic_id(topic), first_life);
    produce(&KAFKA.bootstrap(), topic, 0, 1);
    let fresh = consumer(&KAFKA.bootstrap(), "onlooker");
    assert_eq!(fresh.fetch_watermarks(topic, 0, PATIENCE).unwrap(), (0, 1));
    wait_until("the group has no offset in the new life", || {
        committed(&KAFKA.bootstrap(), group, topic, 1) == [None]
    });
}

#[test]
fn a_record_that_is_too_large_is_refused_and_the_next_one_is_taken() {
    let topic = "topics-too-large";
    create_topic(&KAFKA.bootstrap(), topic, 1);
    let (acknowledged, answers) = std::sync::mpsc::sync_channel(2);
    let producer: rdkafka::producer::ThreadedProducer<Answers> = client(&KAFKA.bootstrap())
        .set("enable.idempotence", "true")
        .set("message.max.bytes", "4000000")
        .create_with_context(Answers(acknowledged))
        .unwrap();
    for payload in [vec![0; 2_000_000], vec![0; 1000]] {
        let record = BaseRecord::<(), [u8]>::to(topic)
            .partition(0)
            .payload(&payload);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(PATIENCE).unwrap();
    }
    let answers: Vec<_> = answers.try_iter().collect();
    assert_eq!(answers, [Err(RDKafkaErrorCode::MessageSizeTooLarge), Ok(0)]);
}

struct Answers(std::sync::mpsc::SyncSender<Result<i64, RDKafkaErrorCode>>);

impl rdkafka::ClientContext for Answers {}

impl rdkafka::producer::ProducerContext for Answers {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        let answer = match result {
            Ok(message) => Ok(rdkafka::Message::offset(message)),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap()),
        };
        self.0.send(answer).unwrap();
    }
}

#[test]
fn a_commit_says_nothing_about_what_is_there() {
    // Beyond the end or before the start: the coordinator keeps it, and who reads it must see.
    let (topic, group) = ("topics-beyond", "topics-beyond");
    create_topic(&KAFKA.bootstrap(), topic, 1);
    commit(
        &consumer(&KAFKA.bootstrap(), group),
        topic,
        &[(0, 1_000_000, "")],
    )
    .unwrap();
    let stands = committed(&KAFKA.bootstrap(), group, topic, 1);
    assert_eq!(stands, [Some((1_000_000, String::new()))]);
    let reader = consumer(&KAFKA.bootstrap(), group);
    let watermarks = reader.fetch_watermarks(topic, 0, Duration::from_secs(10));
    assert_eq!(watermarks.unwrap(), (0, 0));
}

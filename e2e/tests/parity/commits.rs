//! One commit of many partitions, each with a plan beside its offset.

use rdkafka::types::RDKafkaErrorCode;

use crate::clients::{KAFKA, commit, committed, consumer, create_topic};
use crate::wire::Wire;

const METADATA_BYTES_MAX: usize = 4096;

#[test]
fn a_commit_of_64_partitions_with_a_full_plan_each_is_applied_whole() {
    let (topic, group) = ("commits-64", "commits-64");
    create_topic(&KAFKA.bootstrap(), topic, 64);
    let plans: Vec<String> = (0..64)
        .map(|partition| format!("{partition:0>METADATA_BYTES_MAX$}"))
        .collect();
    let positions: Vec<_> = (0..64)
        .zip(&plans)
        .map(|(partition, plan)| (partition, 1000 + i64::from(partition), plan.as_str()))
        .collect();
    commit(&consumer(&KAFKA.bootstrap(), group), topic, &positions).unwrap();

    let expected: Vec<_> = positions
        .iter()
        .map(|(_, offset, plan)| Some((*offset, (*plan).to_owned())))
        .collect();
    assert_eq!(committed(&KAFKA.bootstrap(), group, topic, 64), expected);
}

#[test]
fn a_plan_that_is_too_long_is_refused_alone_and_the_client_sees_an_error() {
    let (topic, group) = ("commits-long", "commits-long");
    create_topic(&KAFKA.bootstrap(), topic, 3);
    let fits = "m".repeat(METADATA_BYTES_MAX);
    let too_long = "m".repeat(METADATA_BYTES_MAX + 1);
    let positions = [
        (0, 5, "short"),
        (1, 6, too_long.as_str()),
        (2, 7, fits.as_str()),
    ];
    let refused = commit(&consumer(&KAFKA.bootstrap(), group), topic, &positions).unwrap_err();
    assert_eq!(
        refused.rdkafka_error_code(),
        Some(RDKafkaErrorCode::OffsetMetadataTooLarge)
    );
    // After an error none, some or all positions may stand; here it is the others.
    let expected = [Some((5, "short".to_owned())), None, Some((7, fits))];
    assert_eq!(committed(&KAFKA.bootstrap(), group, topic, 3), expected);
}

#[test]
fn every_partition_has_a_code_of_its_own() {
    let (topic, group) = ("commits-codes", "commits-codes");
    create_topic(&KAFKA.bootstrap(), topic, 2);
    let mut wire = Wire::connect(&KAFKA.bootstrap());
    wire.await_coordinator(group);
    let too_long = "m".repeat(METADATA_BYTES_MAX + 1);
    let positions = [(0, 1, "plan"), (1, 1, too_long.as_str()), (2, 1, "")];
    let codes = wire.commit(8, (group, topic), ("", -1), &positions);
    assert_eq!(
        codes,
        [0, 12, 3],
        "good, metadata too large, unknown partition"
    );
    let codes = wire.commit(8, (group, "commits-nowhere"), ("", -1), &[(0, 1, "")]);
    assert_eq!(codes, [3], "unknown topic");
    let expected = [Some((1, "plan".to_owned())), None];
    assert_eq!(committed(&KAFKA.bootstrap(), group, topic, 2), expected);
}

#[test]
fn metadata_is_kept_to_the_byte_and_may_be_empty() {
    let (topic, group) = ("commits-bytes", "commits-bytes");
    create_topic(&KAFKA.bootstrap(), topic, 2);
    let committer = consumer(&KAFKA.bootstrap(), group);
    commit(
        &committer,
        topic,
        &[(0, 1, "plan 42-99 \u{e4}"), (1, 2, "x")],
    )
    .unwrap();
    commit(&committer, topic, &[(1, 0, "")]).unwrap();
    let expected = [
        Some((1, "plan 42-99 \u{e4}".to_owned())),
        Some((0, String::new())),
    ];
    assert_eq!(committed(&KAFKA.bootstrap(), group, topic, 2), expected);
}

//! Who may commit: a member of this generation, and nobody else while the group is at work.

use crate::clients::{KAFKA, committed, create_topic, wait_until};
use crate::wire::Wire;

const REBALANCE_IN_PROGRESS: i16 = 27;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;

#[test]
fn a_commit_counts_only_from_a_member_of_this_generation() {
    let (topic, group) = ("fencing-generation", "fencing-generation");
    create_topic(&KAFKA.bootstrap(), topic, 1);
    let mut wire = Wire::connect(&KAFKA.bootstrap());
    wire.await_coordinator(group);
    let names = (group, topic);
    assert_eq!(
        wire.commit(8, names, ("", -1), &[(0, 1, "")]),
        [0],
        "nobody is in the group"
    );

    let (member, generation) = wire.join(group, topic, 30_000);
    let one = [(0, 2, "")];
    assert_eq!(
        wire.commit(8, names, (&member, generation), &one),
        [REBALANCE_IN_PROGRESS],
        "the assignment is not known yet"
    );
    wire.sync(group, &member, generation);
    assert_eq!(wire.commit(8, names, (&member, generation), &one), [0]);
    for (who, caller, code) in [
        (
            "an old generation",
            (member.as_str(), generation - 1),
            ILLEGAL_GENERATION,
        ),
        (
            "a generation to come",
            (member.as_str(), generation + 1),
            ILLEGAL_GENERATION,
        ),
        ("a stranger", ("stranger", generation), UNKNOWN_MEMBER_ID),
        ("from outside", ("", -1), UNKNOWN_MEMBER_ID),
    ] {
        assert_eq!(
            wire.commit(8, names, caller, &[(0, 3, "")]),
            [code],
            "{who}"
        );
    }
    let stands = committed(&KAFKA.bootstrap(), group, topic, 1);
    assert_eq!(stands, [Some((2, String::new()))]);
}

#[test]
fn a_member_that_was_silent_loses_its_place_and_its_commit_is_refused() {
    let (topic, group) = ("fencing-silent", "fencing-silent");
    create_topic(&KAFKA.bootstrap(), topic, 1);
    let mut wire = Wire::connect(&KAFKA.bootstrap());
    wire.await_coordinator(group);
    let names = (group, topic);
    let (zombie, old) = wire.join(group, topic, 1_000);
    wire.sync(group, &zombie, old);
    assert_eq!(
        wire.commit(8, names, (&zombie, old), &[(0, 1, "zombie")]),
        [0]
    );

    // The answer to the heir's join comes once the silent member's session is over.
    let mut heirs = Wire::connect(&KAFKA.bootstrap());
    let (heir, generation) = heirs.join(group, topic, 30_000);
    assert!(generation > old);
    heirs.sync(group, &heir, generation);
    assert_eq!(
        heirs.commit(8, names, (&heir, generation), &[(0, 2, "heir")]),
        [0]
    );

    assert_eq!(
        wire.commit(8, names, (&zombie, old), &[(0, 1, "zombie")]),
        [UNKNOWN_MEMBER_ID]
    );
    assert_eq!(
        wire.commit(8, names, (&zombie, generation), &[(0, 1, "zombie")]),
        [UNKNOWN_MEMBER_ID],
        "even if it guessed the generation"
    );
    let stands = committed(&KAFKA.bootstrap(), group, topic, 1);
    assert_eq!(stands, [Some((2, "heir".to_owned()))]);
}

#[test]
fn a_member_may_commit_for_any_partition_of_its_generation() {
    // What it owns, the coordinator does not check: a sink that gave a partition up must not commit
    // for it, and nobody else sees to that.
    let (topic, group) = ("fencing-any", "fencing-any");
    create_topic(&KAFKA.bootstrap(), topic, 2);
    let mut wire = Wire::connect(&KAFKA.bootstrap());
    wire.await_coordinator(group);
    let (member, generation) = wire.join(group, topic, 30_000);
    // Its share is empty.
    wire.sync(group, &member, generation);
    let both = [(0, 1, "a"), (1, 1, "b")];
    assert_eq!(
        wire.commit(8, (group, topic), (&member, generation), &both),
        [0, 0]
    );
}

#[test]
fn a_commit_before_the_rejoin_still_counts_and_after_it_no_more() {
    let (topic, group) = ("fencing-rejoin", "fencing-rejoin");
    create_topic(&KAFKA.bootstrap(), topic, 1);
    let mut wire = Wire::connect(&KAFKA.bootstrap());
    wire.await_coordinator(group);
    let names = (group, topic);
    let (member, old) = wire.join(group, topic, 30_000);
    wire.sync(group, &member, old);

    // Another one knocks; its join is answered once the first has joined again.
    let newcomer = std::thread::spawn(move || {
        let mut wire = Wire::connect(&KAFKA.bootstrap());
        wire.join(group, topic, 30_000)
    });
    wait_until("the member is told to join again", || {
        wire.heartbeat(group, &member, old) == REBALANCE_IN_PROGRESS
    });
    assert_eq!(
        wire.commit(8, names, (&member, old), &[(0, 1, "drained")]),
        [0],
        "what it drains in its revoke is its last word"
    );
    let generation = wire.rejoin(group, topic, &member);
    assert_eq!(newcomer.join().unwrap().1, generation);
    assert_eq!(
        wire.commit(8, names, (&member, old), &[(0, 2, "late")]),
        [ILLEGAL_GENERATION]
    );
    let stands = committed(&KAFKA.bootstrap(), group, topic, 1);
    assert_eq!(stands, [Some((1, "drained".to_owned()))]);
}

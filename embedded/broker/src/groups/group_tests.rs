//! The group's state machine, step by step and on a clock of its own.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};

use super::group::{Caller, Group, Join, JoinAnswer, Joined, SyncAnswer};

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(1);

struct Scene {
    group: Group,
    now: Instant,
}

/// A subscription to topics, the way consumers write it.
fn subscription(topics: &[&str], owned: &[u8]) -> Bytes {
    let mut bytes = vec![0, 1];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend(owned);
    bytes.into()
}

fn wish(member: &str) -> Join {
    Join {
        member: member.to_owned(),
        session: SESSION,
        rebalance: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), subscription(&["events"], b""))],
        ..Join::default()
    }
}

fn caller(member: &str) -> Caller<'_> {
    Caller {
        member,
        instance: None,
    }
}

fn joined(answer: &mut Receiver<JoinAnswer>) -> Joined {
    answer.try_recv().expect("an answer").expect("accepted")
}

impl Scene {
    fn new() -> Self {
        Self {
            group: Group::new(3),
            now: Instant::now(),
        }
    }

    fn join(&mut self, join: Join) -> Receiver<JoinAnswer> {
        let (answer, answered) = oneshot::channel();
        self.group.join(join, self.now, answer);
        answered
    }

    fn sync(
        &mut self,
        member: &str,
        generation: i32,
        shares: &[(&str, &'static str)],
    ) -> Receiver<SyncAnswer> {
        let (answer, answered) = oneshot::channel();
        let shares = shares
            .iter()
            .map(|(id, share)| ((*id).to_owned(), Bytes::from_static(share.as_bytes())))
            .collect();
        self.group
            .sync(caller(member), generation, None, shares, self.now, answer);
        answered
    }

    fn refusal(&mut self, join: Join) -> ResponseError {
        self.join(join).try_recv().unwrap().unwrap_err().error
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.group.pass_time(self.now);
    }

    /// Two members at work; the first is the leader.
    fn two_at_work() -> (Self, String, String) {
        let mut scene = Self::new();
        let mut first = scene.join(wish(""));
        let first = joined(&mut first).member;
        scene.sync(&first, 1, &[(&first, "all")]);
        let mut second = scene.join(wish(""));
        let mut again = scene.join(wish(&first));
        let (second, leader) = (joined(&mut second), joined(&mut again));
        assert_eq!((leader.generation, &leader.leader), (2, &first));
        scene.sync(&first, 2, &[(&first, "one"), (&second.member, "two")]);
        (scene, first, second.member)
    }
}

#[test]
fn the_leader_alone_is_told_who_is_there_and_everybody_gets_its_share() {
    let (mut scene, first, second) = Scene::two_at_work();
    let share = |scene: &mut Scene, id: &str| {
        scene
            .sync(id, 2, &[])
            .try_recv()
            .unwrap()
            .unwrap()
            .assignment
    };
    assert_eq!(share(&mut scene, &first), "one");
    assert_eq!(share(&mut scene, &second), "two");

    let mut again = scene.join(wish(&first));
    assert_eq!(
        again.try_recv().unwrap_err(),
        TryRecvError::Empty,
        "it waits for the other"
    );
    let mut other = scene.join(wish(&second));
    assert_eq!(joined(&mut again).members.len(), 2);
    assert!(joined(&mut other).members.is_empty());
}

#[test]
fn a_new_member_must_come_back_with_its_id_and_is_waited_for() {
    let mut scene = Scene::new();
    let refusal = scene
        .join(Join {
            id_first: true,
            ..wish("")
        })
        .try_recv()
        .unwrap()
        .unwrap_err();
    assert_eq!(refusal.error, ResponseError::MemberIdRequired);
    let mut other = scene.join(wish(""));
    assert_eq!(other.try_recv().unwrap_err(), TryRecvError::Empty);
    let mut late = scene.join(wish(&refusal.member));
    assert_eq!(
        (joined(&mut late).generation, joined(&mut other).generation),
        (1, 1)
    );
}

#[test]
fn one_that_never_comes_back_with_its_id_is_not_waited_for_beyond_its_session() {
    let mut scene = Scene::new();
    drop(scene.join(Join {
        id_first: true,
        ..wish("")
    }));
    let mut other = scene.join(wish(""));
    scene.pass(SESSION - TICK);
    assert!(other.try_recv().is_err());
    scene.pass(TICK);
    assert_eq!(joined(&mut other).generation, 1);
}

#[test]
fn old_generations_strangers_and_outsiders_are_told_apart() {
    let (mut scene, first, _) = Scene::two_at_work();
    let now = scene.now;
    assert_eq!(scene.group.heartbeat(caller(&first), 2, now), Ok(()));
    assert_eq!(
        scene.group.heartbeat(caller(&first), 1, now),
        Err(ResponseError::IllegalGeneration)
    );
    assert_eq!(
        scene.group.heartbeat(caller("stranger"), 2, now),
        Err(ResponseError::UnknownMemberId)
    );
    assert_eq!(scene.group.check_commit(caller(&first), 2, now), Ok(()));
    assert_eq!(
        scene.group.check_commit(caller(&first), 1, now),
        Err(ResponseError::IllegalGeneration)
    );
    assert_eq!(
        scene.group.check_commit(caller(""), -1, now),
        Err(ResponseError::UnknownMemberId)
    );
    assert_eq!(
        scene.refusal(wish("stranger")),
        ResponseError::UnknownMemberId
    );
}

#[test]
fn a_rebalance_is_announced_by_heartbeats_and_commits_still_count_until_the_next_generation() {
    let (mut scene, first, second) = Scene::two_at_work();
    let now = scene.now;
    let mut again = scene.join(wish(&first));
    assert_eq!(
        scene.group.heartbeat(caller(&second), 2, now),
        Err(ResponseError::RebalanceInProgress)
    );
    assert_eq!(scene.group.check_commit(caller(&second), 2, now), Ok(()));
    drop(scene.join(wish(&second)));
    assert_eq!(joined(&mut again).generation, 3);
    assert_eq!(
        scene.group.check_commit(caller(&second), 2, now),
        Err(ResponseError::IllegalGeneration)
    );
    assert_eq!(
        scene.group.check_commit(caller(&second), 3, now),
        Err(ResponseError::RebalanceInProgress)
    );
}

#[test]
fn a_silent_member_is_let_go_when_its_session_ends_and_no_sooner() {
    let (mut scene, first, second) = Scene::two_at_work();
    scene.pass(SESSION - TICK);
    assert_eq!(scene.group.heartbeat(caller(&first), 2, scene.now), Ok(()));
    assert_eq!(scene.group.describe().members.len(), 2);
    scene.pass(TICK);
    assert_eq!(
        scene.group.heartbeat(caller(&second), 2, scene.now),
        Err(ResponseError::UnknownMemberId)
    );
    let mut again = scene.join(wish(&first));
    assert_eq!(joined(&mut again).members.len(), 1);
}

#[test]
fn a_member_that_waits_for_an_answer_is_alive_unless_its_connection_is_gone() {
    for connected in [true, false] {
        let (mut scene, first, second) = Scene::two_at_work();
        let waiting = scene.join(wish(&first));
        let waiting = connected.then_some(waiting);
        for _ in 0..3 {
            scene.pass(SESSION / 2);
            let _ = scene.group.heartbeat(caller(&second), 2, scene.now);
        }
        let ids: Vec<String> = scene
            .group
            .describe()
            .members
            .into_iter()
            .map(|member| member.member)
            .collect();
        assert_eq!(ids.contains(&first), connected);
        drop(waiting);
    }
}

#[test]
fn a_rebalance_goes_on_without_those_who_are_late() {
    let (mut scene, first, second) = Scene::two_at_work();
    let mut again = scene.join(wish(&first));
    let mut passed = Duration::ZERO;
    while passed < REBALANCE {
        assert!(again.try_recv().is_err());
        // It beats, but it does not join.
        let _ = scene.group.heartbeat(caller(&second), 2, scene.now);
        scene.pass(SESSION / 2);
        passed += SESSION / 2;
    }
    assert_eq!(joined(&mut again).members.len(), 1);
}

#[test]
fn a_leader_that_brings_no_assignment_loses_its_place() {
    let (mut scene, first, second) = Scene::two_at_work();
    let (mut one, mut two) = (scene.join(wish(&first)), scene.join(wish(&second)));
    assert_eq!(
        (joined(&mut one).generation, joined(&mut two).generation),
        (3, 3)
    );
    let mut waiting = scene.sync(&second, 3, &[]);
    let mut passed = Duration::ZERO;
    while passed < REBALANCE {
        let _ = scene.group.heartbeat(caller(&first), 3, scene.now);
        scene.pass(SESSION / 2);
        passed += SESSION / 2;
    }
    assert_eq!(
        waiting.try_recv().unwrap(),
        Err(ResponseError::RebalanceInProgress)
    );
    let mut heir = scene.join(wish(&second));
    let heir = joined(&mut heir);
    assert_eq!((heir.leader, heir.members.len()), (second, 1));
}

#[test]
fn the_group_is_empty_when_the_last_one_leaves() {
    let (mut scene, first, second) = Scene::two_at_work();
    let now = scene.now;
    assert_eq!(scene.group.leave(caller(&first), now), Ok(()));
    assert_eq!(
        scene.group.leave(caller(&first), now),
        Err(ResponseError::UnknownMemberId)
    );
    assert_eq!(scene.group.leave(caller(&second), now), Ok(()));
    assert!(!scene.group.has_members());
    assert_eq!(scene.group.describe().state, "Empty");
    assert_eq!(scene.group.check_commit(caller(""), -1, now), Ok(()));
}

#[test]
fn a_member_with_nothing_in_common_is_refused() {
    let (mut scene, ..) = Scene::two_at_work();
    let other = Join {
        protocols: vec![("sticky".to_owned(), Bytes::new())],
        ..wish("")
    };
    assert_eq!(
        scene.refusal(other),
        ResponseError::InconsistentGroupProtocol
    );
    let other = Join {
        protocol_type: "connect".to_owned(),
        ..wish("")
    };
    assert_eq!(
        scene.refusal(other),
        ResponseError::InconsistentGroupProtocol
    );
    assert_eq!(
        scene.refusal(Join {
            protocols: Vec::new(),
            ..wish("")
        }),
        ResponseError::InconsistentGroupProtocol
    );
}

#[test]
fn a_group_takes_no_more_than_its_maximum() {
    let mut scene = Scene::new();
    let waiting: Vec<_> = (0..3).map(|_| scene.join(wish(""))).collect();
    assert_eq!(scene.refusal(wish("")), ResponseError::GroupMaxSizeReached);
    drop(waiting);
}

fn of_instance(instance: &str, topics: &[&str], owned: &[u8]) -> Join {
    Join {
        instance: Some(instance.to_owned()),
        id_first: true,
        protocols: vec![("range".to_owned(), subscription(topics, owned))],
        ..wish("")
    }
}

#[test]
fn a_static_member_that_returns_disturbs_nobody_and_fences_its_former_self() {
    let mut scene = Scene::new();
    let mut first = scene.join(of_instance("a", &["events"], b""));
    let first = joined(&mut first).member;
    scene.sync(&first, 1, &[(&first, "all")]);

    let mut back = scene.join(of_instance("a", &["events"], b"owned"));
    let back = joined(&mut back);
    assert_eq!(
        (back.generation, scene.group.describe().state),
        (1, "Stable")
    );
    assert_eq!(back.leader, first, "it is not to assign again");
    let share = scene
        .sync(&back.member, 1, &[])
        .try_recv()
        .unwrap()
        .unwrap();
    assert_eq!(share.assignment, "all");

    let former = Caller {
        member: &first,
        instance: Some("a"),
    };
    assert_eq!(
        scene.group.heartbeat(former, 1, scene.now),
        Err(ResponseError::FencedInstanceId)
    );
    assert_eq!(
        scene.group.check_commit(former, 1, scene.now),
        Err(ResponseError::FencedInstanceId)
    );

    let mut wider = scene.join(of_instance("a", &["events", "more"], b""));
    assert_eq!(
        joined(&mut wider).generation,
        2,
        "other topics need another assignment"
    );
}

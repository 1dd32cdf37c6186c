//! One group's life, without I/O and without a clock: Kafka's classic protocol.
//!
//! Empty -> (join) -> Joining -> (all have joined) -> Syncing -> (the leader has assigned) ->
//! Stable -> (somebody joins, leaves or falls silent) -> Joining ...

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;
use uuid::Uuid;

const MEMBERS_MAX: usize = 1000;
const SESSION_MIN: Duration = Duration::from_millis(100);
const SESSION_MAX: Duration = Duration::from_secs(30 * 60);

/// Why a member's request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GroupError {
    InvalidGroupId,
    InvalidSessionTimeout,
    InconsistentProtocol,
    /// Join again under this id.
    MemberIdRequired(String),
    UnknownMember,
    IllegalGeneration,
    FencedInstance,
    RebalanceInProgress,
    GroupFull,
    NotEmpty,
    UnknownGroup,
}

/// A request to join.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// Empty: a newcomer.
    pub(crate) member_id: String,
    /// Set: a static member, known by it across restarts.
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    /// Whether the client can be told its id and asked to come again.
    pub(crate) knows_member_id_required: bool,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocol_type: String,
    /// Name and metadata, the preferred one first.
    pub(crate) protocols: Vec<(String, Bytes)>,
}

/// The answer to a join, once all members have joined.
#[derive(Debug, Clone)]
pub(crate) struct Joined {
    pub(crate) generation: i32,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member_id: String,
    /// Id, instance and metadata of all members; empty for all but the leader.
    pub(crate) members: Vec<(String, Option<String>, Bytes)>,
}

/// A member, as it names itself when it leaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
}

/// A group as seen from outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Description {
    pub(crate) state: &'static str,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) members: Vec<MemberDescription>,
}

#[derive(Debug, Clone)]
pub(crate) struct MemberDescription {
    pub(crate) member: Member,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) metadata: Bytes,
    pub(crate) assignment: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Empty,
    /// Until then members may join; who has not by then is out.
    Joining {
        until: Instant,
    },
    Syncing,
    Stable,
}

#[derive(Default)]
pub(super) struct Group {
    state: State,
    generation: i32,
    leader: String,
    protocol: String,
    protocol_type: String,
    members: BTreeMap<String, Known>,
    /// Ids given out and not yet joined under, with their end.
    promised: HashMap<String, Instant>,
}

struct Known {
    join: Join,
    assignment: Bytes,
    heard_at: Instant,
    joining: Option<oneshot::Sender<Result<Joined, GroupError>>>,
    syncing: Option<oneshot::Sender<Result<Bytes, GroupError>>>,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.promised.is_empty()
    }

    pub(super) fn join(
        &mut self,
        mut join: Join,
        now: Instant,
    ) -> Result<oneshot::Receiver<Result<Joined, GroupError>>, GroupError> {
        if !(SESSION_MIN..=SESSION_MAX).contains(&join.session_timeout) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        if self.shares_no_protocol(&join) {
            return Err(GroupError::InconsistentProtocol);
        }
        let newcomer = join.member_id.is_empty();
        if newcomer {
            if self.members.len() + self.promised.len() >= MEMBERS_MAX {
                return Err(GroupError::GroupFull);
            }
            join.member_id = format!("{}-{}", join.client_id, Uuid::new_v4());
            if let Some(instance_id) = &join.instance_id {
                self.replace_instance(instance_id);
            } else if join.knows_member_id_required {
                self.promised
                    .insert(join.member_id.clone(), now + join.session_timeout);
                return Err(GroupError::MemberIdRequired(join.member_id));
            }
        } else if !self.members.contains_key(&join.member_id)
            && self.promised.remove(&join.member_id).is_none()
        {
            return Err(GroupError::UnknownMember);
        }

        let (answer, receiver) = oneshot::channel();
        if let Some(known) = self.members.get_mut(&join.member_id)
            && self.state == State::Stable
            && self.leader != join.member_id
            && known.join.protocols == join.protocols
        {
            // It missed the answer to its last join; nothing has changed.
            known.heard_at = now;
            let _ = answer.send(Ok(self.joined(&join.member_id)));
            return Ok(receiver);
        }
        self.protocol_type.clone_from(&join.protocol_type);
        let member_id = join.member_id.clone();
        match self.members.get_mut(&member_id) {
            Some(known) => {
                known.join = join;
                known.heard_at = now;
                known.joining = Some(answer);
            }
            None => {
                let known = Known {
                    join,
                    assignment: Bytes::new(),
                    heard_at: now,
                    joining: Some(answer),
                    syncing: None,
                };
                self.members.insert(member_id, known);
            }
        }
        self.rebalance(now);
        self.complete_join(now);
        Ok(receiver)
    }

    pub(super) fn sync(
        &mut self,
        member_id: &str,
        generation: i32,
        assignments: Vec<(String, Bytes)>,
        now: Instant,
    ) -> Result<oneshot::Receiver<Result<Bytes, GroupError>>, GroupError> {
        self.check_member(member_id, generation, now)?;
        let (answer, receiver) = oneshot::channel();
        match self.state {
            State::Empty | State::Joining { .. } => return Err(GroupError::RebalanceInProgress),
            State::Stable => {
                let _ = answer.send(Ok(self.members[member_id].assignment.clone()));
                return Ok(receiver);
            }
            State::Syncing => {}
        }
        if let Some(known) = self.members.get_mut(member_id) {
            known.syncing = Some(answer);
        }
        if self.leader == member_id {
            for (id, assignment) in assignments {
                if let Some(known) = self.members.get_mut(&id) {
                    known.assignment = assignment;
                }
            }
            self.state = State::Stable;
            for known in self.members.values_mut() {
                if let Some(waiting) = known.syncing.take() {
                    let _ = waiting.send(Ok(known.assignment.clone()));
                }
            }
        }
        Ok(receiver)
    }

    pub(super) fn heartbeat(
        &mut self,
        member_id: &str,
        generation: i32,
        now: Instant,
    ) -> Result<(), GroupError> {
        self.check_member(member_id, generation, now)?;
        match self.state {
            State::Joining { .. } => Err(GroupError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    pub(super) fn leave(&mut self, member: &Member, now: Instant) -> Result<(), GroupError> {
        let id = match &member.instance_id {
            Some(instance_id) if member.id.is_empty() => self
                .members
                .iter()
                .find(|(_, known)| known.join.instance_id.as_ref() == Some(instance_id))
                .map(|(id, _)| id.clone())
                .ok_or(GroupError::UnknownMember)?,
            _ => member.id.clone(),
        };
        if self.promised.remove(&id).is_some() {
            return Ok(());
        }
        self.members.remove(&id).ok_or(GroupError::UnknownMember)?;
        self.rebalance(now);
        self.complete_join(now);
        Ok(())
    }

    pub(super) fn check_commit(
        &mut self,
        member_id: &str,
        generation: i32,
        now: Instant,
    ) -> Result<(), GroupError> {
        if generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        self.check_member(member_id, generation, now)?;
        match self.state {
            State::Syncing => Err(GroupError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        self.promised.retain(|_, end| *end > now);
        let members = self.members.len();
        self.members.retain(|_, known| {
            // Who waits for an answer is alive as long as its connection waits.
            known
                .joining
                .as_ref()
                .is_some_and(|waiting| !waiting.is_closed())
                || known
                    .syncing
                    .as_ref()
                    .is_some_and(|waiting| !waiting.is_closed())
                || now.saturating_duration_since(known.heard_at) < known.join.session_timeout
        });
        if self.members.len() != members {
            self.rebalance(now);
        }
        self.complete_join(now);
    }

    pub(super) fn describe(&self) -> Description {
        let metadata = |known: &Known| {
            let chosen = known
                .join
                .protocols
                .iter()
                .find(|(name, _)| *name == self.protocol);
            chosen
                .map(|(_, metadata)| metadata.clone())
                .unwrap_or_default()
        };
        Description {
            state: match self.state {
                State::Empty => "Empty",
                State::Joining { .. } => "PreparingRebalance",
                State::Syncing => "CompletingRebalance",
                State::Stable => "Stable",
            },
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            members: self
                .members
                .iter()
                .map(|(id, known)| MemberDescription {
                    member: Member {
                        id: id.clone(),
                        instance_id: known.join.instance_id.clone(),
                    },
                    client_id: known.join.client_id.clone(),
                    client_host: known.join.client_host.clone(),
                    metadata: metadata(known),
                    assignment: known.assignment.clone(),
                })
                .collect(),
        }
    }

    /// A restarted static member takes the place of its former self.
    fn replace_instance(&mut self, instance_id: &str) {
        let former = self
            .members
            .iter()
            .find(|(_, known)| known.join.instance_id.as_deref() == Some(instance_id))
            .map(|(id, _)| id.clone());
        if let Some(known) = former.and_then(|id| self.members.remove(&id)) {
            if let Some(waiting) = known.joining {
                let _ = waiting.send(Err(GroupError::FencedInstance));
            }
            if let Some(waiting) = known.syncing {
                let _ = waiting.send(Err(GroupError::FencedInstance));
            }
        }
    }

    fn shares_no_protocol(&self, join: &Join) -> bool {
        if join.protocols.is_empty() {
            return true;
        }
        let others = || self.members.iter().filter(|(id, _)| **id != join.member_id);
        let mut wrong_type = others().map(|(_, known)| &known.join.protocol_type);
        wrong_type.any(|protocol_type| *protocol_type != join.protocol_type)
            || !join.protocols.iter().any(|(name, _)| {
                others().all(|(_, known)| known.join.protocols.iter().any(|(n, _)| n == name))
            })
    }

    fn check_member(
        &mut self,
        member_id: &str,
        generation: i32,
        now: Instant,
    ) -> Result<(), GroupError> {
        let known = self
            .members
            .get_mut(member_id)
            .ok_or(GroupError::UnknownMember)?;
        if generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        known.heard_at = now;
        Ok(())
    }

    /// Asks all members to join again.
    fn rebalance(&mut self, now: Instant) {
        for known in self.members.values_mut() {
            if let Some(waiting) = known.syncing.take() {
                let _ = waiting.send(Err(GroupError::RebalanceInProgress));
            }
        }
        if !matches!(self.state, State::Joining { .. }) {
            let timeouts = self
                .members
                .values()
                .map(|known| known.join.rebalance_timeout);
            self.state = State::Joining {
                until: now + timeouts.max().unwrap_or_default(),
            };
        }
    }

    fn complete_join(&mut self, now: Instant) {
        let State::Joining { until } = self.state else {
            return;
        };
        if now >= until {
            self.members.retain(|_, known| known.joining.is_some());
        }
        if self.members.is_empty() {
            self.state = State::Empty;
            self.generation += 1;
            self.protocol.clear();
            return;
        }
        if !self.members.values().all(|known| known.joining.is_some()) {
            return;
        }
        self.generation += 1;
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        self.protocol = self.choose_protocol();
        self.state = State::Syncing;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            let Some(known) = self.members.get_mut(&id) else {
                continue;
            };
            known.heard_at = now;
            known.assignment = Bytes::new();
            if let Some(waiting) = known.joining.take() {
                let _ = waiting.send(Ok(joined));
            }
        }
    }

    /// The leader's first choice that all members know.
    fn choose_protocol(&self) -> String {
        let known_to_all = |name: &String| {
            self.members
                .values()
                .all(|known| known.join.protocols.iter().any(|(n, _)| n == name))
        };
        let mut choices = self.members[&self.leader]
            .join
            .protocols
            .iter()
            .map(|(name, _)| name);
        choices
            .find(|name| known_to_all(name))
            .cloned()
            .unwrap_or_default()
    }

    fn joined(&self, member_id: &str) -> Joined {
        let members = if member_id == self.leader {
            let described = self.describe().members.into_iter();
            described
                .map(|m| (m.member.id, m.member.instance_id, m.metadata))
                .collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member_id: member_id.to_owned(),
            members,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(10);
    const REBALANCE: Duration = Duration::from_secs(60);
    const TICK: Duration = Duration::from_millis(1);

    fn join(member_id: &str) -> Join {
        Join {
            member_id: member_id.to_owned(),
            instance_id: None,
            client_id: "test".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            knows_member_id_required: false,
            session_timeout: SESSION,
            rebalance_timeout: REBALANCE,
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::from_static(b"topics"))],
        }
    }

    fn answer<T>(receiver: &mut oneshot::Receiver<T>) -> T {
        receiver.try_recv().expect("an answer")
    }

    /// A stable group of one, its member's id.
    fn group_of_one(now: Instant) -> (Group, String) {
        let mut group = Group::default();
        let joined = answer(&mut group.join(join(""), now).unwrap()).unwrap();
        let assignment = vec![(joined.member_id.clone(), Bytes::from_static(b"all"))];
        let mut synced = group.sync(&joined.member_id, 1, assignment, now).unwrap();
        assert_eq!(answer(&mut synced).unwrap(), "all");
        (group, joined.member_id)
    }

    #[test]
    fn a_second_member_waits_until_the_first_one_has_joined_again() {
        let now = Instant::now();
        let (mut group, first) = group_of_one(now);
        let mut second = group.join(join(""), now).unwrap();
        assert!(second.try_recv().is_err());
        assert_eq!(
            group.heartbeat(&first, 1, now),
            Err(GroupError::RebalanceInProgress)
        );
        let mut again = group.join(join(&first), now).unwrap();
        let (first, second) = (answer(&mut again).unwrap(), answer(&mut second).unwrap());
        assert_eq!((first.generation, second.generation), (2, 2));
        assert_eq!((first.members.len(), second.members.len()), (2, 0));
    }

    #[test]
    fn a_member_of_an_old_generation_cannot_commit() {
        let now = Instant::now();
        let (mut group, first) = group_of_one(now);
        assert_eq!(group.check_commit(&first, 1, now), Ok(()));
        let _second = group.join(join(""), now).unwrap();
        // It may until it joins again: its partitions are still its own.
        assert_eq!(group.check_commit(&first, 1, now), Ok(()));
        let _again = group.join(join(&first), now).unwrap();
        assert_eq!(
            group.check_commit(&first, 1, now),
            Err(GroupError::IllegalGeneration)
        );
    }

    #[test]
    fn nobody_in_particular_can_commit_only_while_the_group_is_empty() {
        let now = Instant::now();
        let (mut group, first) = group_of_one(now);
        assert_eq!(
            group.check_commit("", -1, now),
            Err(GroupError::UnknownMember)
        );
        group
            .leave(
                &Member {
                    id: first,
                    instance_id: None,
                },
                now,
            )
            .unwrap();
        assert_eq!(group.check_commit("", -1, now), Ok(()));
    }

    #[test]
    fn a_silent_member_is_out_once_its_session_has_ended() {
        let now = Instant::now();
        let (mut group, first) = group_of_one(now);
        group.tick(now + SESSION - TICK);
        assert!(group.heartbeat(&first, 1, now).is_ok());
        group.tick(now + SESSION);
        assert_eq!(
            group.heartbeat(&first, 1, now),
            Err(GroupError::UnknownMember)
        );
        assert!(group.is_empty());
    }

    #[test]
    fn a_rebalance_goes_on_without_members_that_do_not_join_in_time() {
        let now = Instant::now();
        let (mut group, first) = group_of_one(now);
        let mut second = group.join(join(""), now).unwrap();
        let last_sign = now + REBALANCE - TICK;
        let _ = group.heartbeat(&first, 1, last_sign);
        group.tick(last_sign);
        assert!(second.try_recv().is_err());
        group.tick(now + REBALANCE);
        assert_eq!(answer(&mut second).unwrap().members.len(), 1);
        assert_eq!(
            group.heartbeat(&first, 2, now),
            Err(GroupError::UnknownMember)
        );
    }

    #[test]
    fn a_static_member_that_restarts_takes_its_own_place() {
        let now = Instant::now();
        let mut group = Group::default();
        let fixed = |member_id: &str| Join {
            instance_id: Some("i".to_owned()),
            ..join(member_id)
        };
        let first = answer(&mut group.join(fixed(""), now).unwrap()).unwrap();
        let second = answer(&mut group.join(fixed(""), now).unwrap()).unwrap();
        assert_ne!(first.member_id, second.member_id);
        assert_eq!(group.members.len(), 1);
    }

    #[test]
    fn members_without_a_common_protocol_do_not_meet() {
        let now = Instant::now();
        let (mut group, _) = group_of_one(now);
        let other = Join {
            protocols: vec![("sticky".to_owned(), Bytes::new())],
            ..join("")
        };
        assert_eq!(
            group.join(other, now).unwrap_err(),
            GroupError::InconsistentProtocol
        );
    }

    #[test]
    fn a_newcomer_is_told_its_id_first_if_it_can_be() {
        let now = Instant::now();
        let mut group = Group::default();
        let newcomer = Join {
            knows_member_id_required: true,
            ..join("")
        };
        let Err(GroupError::MemberIdRequired(id)) = group.join(newcomer.clone(), now) else {
            panic!("an id is given out first")
        };
        assert!(
            group
                .join(
                    Join {
                        member_id: id,
                        ..newcomer
                    },
                    now
                )
                .is_ok()
        );
        assert_eq!(
            group.join(join("nobody"), now).unwrap_err(),
            GroupError::UnknownMember
        );
    }
}

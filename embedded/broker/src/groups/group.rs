//! The state machine of one consumer group (the classic protocol), without I/O and without a clock
//! of its own. It follows Apache Kafka's coordinator; answers that must wait go through channels.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;

use super::subscription;

/// What a member, or an id that was given out, takes beside its texts.
const MEMBER_BYTES: usize = 1 << 10;
/// What a protocol of a member takes beside its texts.
const PROTOCOL_BYTES: usize = 128;

pub(crate) type JoinAnswer = Result<Joined, JoinRefusal>;
pub(crate) type SyncAnswer = Result<Assigned, ResponseError>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Join {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) client: Client,
    pub(crate) session: Duration,
    pub(crate) rebalance: Duration,
    pub(crate) protocol_type: String,
    /// In order of preference, with what the leader needs to know of the member.
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// New members must come back with the id they are given, so that a lost answer leaves no ghost.
    pub(crate) id_first: bool,
    /// A leader that returns can be told to leave the assignment as it is.
    pub(crate) can_skip_assignment: bool,
}

impl Join {
    /// The memory that the member will take, without its share.
    pub(crate) fn bytes(&self) -> usize {
        bytes_of_texts(self.instance.as_ref(), &self.client, &self.protocols)
    }

    /// Lets go of the request: its parts would keep all of it in memory.
    pub(crate) fn detach(&mut self) {
        for (_, metadata) in &mut self.protocols {
            *metadata = Bytes::copy_from_slice(metadata);
        }
    }
}

fn bytes_of_texts(
    instance: Option<&String>,
    client: &Client,
    protocols: &[(String, Bytes)],
) -> usize {
    let protocols: usize = protocols
        .iter()
        .map(|(name, metadata)| PROTOCOL_BYTES + name.len() + metadata.len())
        .sum();
    MEMBER_BYTES + instance.map_or(0, String::len) + client.id.len() + client.host.len() + protocols
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) host: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member: String,
    pub(crate) skip_assignment: bool,
    /// Everybody, for the leader only.
    pub(crate) members: Vec<Listed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) metadata: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinRefusal {
    pub(crate) error: ResponseError,
    pub(crate) member: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Bytes,
}

/// How a member names itself in every later request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) member: &'a str,
    pub(crate) instance: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    /// Waits for all members to join, until the deadline.
    Preparing {
        until: Instant,
    },
    /// Waits for the leader's assignment, until the deadline.
    Completing {
        until: Instant,
    },
    Stable,
}

#[derive(Debug)]
struct Member {
    instance: Option<String>,
    client: Client,
    session: Duration,
    rebalance: Duration,
    protocols: Vec<(String, Bytes)>,
    assignment: Bytes,
    seen: Instant,
    joining: Option<oneshot::Sender<JoinAnswer>>,
    syncing: Option<oneshot::Sender<SyncAnswer>>,
}

#[derive(Debug)]
pub(crate) struct Group {
    state: State,
    generation: i32,
    protocol_type: String,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Ids given to members that have not come back with them, and until when they may.
    expected: BTreeMap<String, Instant>,
    members_max: usize,
}

/// What administrators are told of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) state: &'static str,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) members: Vec<DescribedMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DescribedMember {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) client: Client,
    pub(crate) metadata: Bytes,
    pub(crate) assignment: Bytes,
}

impl Member {
    fn bytes(&self) -> usize {
        bytes_of_texts(self.instance.as_ref(), &self.client, &self.protocols)
            + self.assignment.len()
    }

    fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| name == protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// Whether it waits for an answer on a connection that still stands.
    fn is_waiting(&self) -> bool {
        self.joining
            .as_ref()
            .is_some_and(|joining| !joining.is_closed())
            || self
                .syncing
                .as_ref()
                .is_some_and(|syncing| !syncing.is_closed())
    }

    fn dismiss(self, error: ResponseError, id: &str) {
        if let Some(joining) = self.joining {
            let _ = joining.send(Err(JoinRefusal {
                error,
                member: id.to_owned(),
            }));
        }
        if let Some(syncing) = self.syncing {
            let _ = syncing.send(Err(error));
        }
    }
}

impl Group {
    pub(crate) fn new(members_max: usize) -> Self {
        Self {
            state: State::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            expected: BTreeMap::new(),
            members_max,
        }
    }

    pub(crate) fn has_members(&self) -> bool {
        !self.members.is_empty() || !self.expected.is_empty()
    }

    /// The memory of all members.
    pub(crate) fn bytes(&self) -> usize {
        let members: usize = self.members.values().map(Member::bytes).sum();
        members + self.expected.len() * MEMBER_BYTES
    }

    /// The memory of the member whose place a join would take, without the share, which stays.
    pub(crate) fn bytes_replaced_by(&self, join: &Join) -> usize {
        let former = self.member_of_instance(join.instance.as_deref());
        let former = former.as_ref().unwrap_or(&join.member);
        if self.expected.contains_key(former) {
            return MEMBER_BYTES;
        }
        self.bytes_without_share(former)
    }

    /// The memory of the shares, which the leader's next assignment replaces.
    pub(crate) fn bytes_of_shares(&self) -> usize {
        let shares = self.members.values().map(|member| member.assignment.len());
        shares.sum()
    }

    /// The memory of the member without its share.
    pub(crate) fn bytes_without_share(&self, member: &str) -> usize {
        self.members
            .get(member)
            .map_or(0, |member| member.bytes() - member.assignment.len())
    }

    /// A member joins or joins again; the answer comes when the whole group has.
    pub(crate) fn join(&mut self, join: Join, now: Instant, answer: oneshot::Sender<JoinAnswer>) {
        let member = join.member.clone();
        if let Err((error, answer)) = self.try_join(join, now, answer) {
            let _ = answer.send(Err(JoinRefusal {
                member: error.1.unwrap_or(member),
                error: error.0,
            }));
        }
    }

    #[expect(
        clippy::type_complexity,
        reason = "the channel goes back to be answered in one place"
    )]
    fn try_join(
        &mut self,
        join: Join,
        now: Instant,
        answer: oneshot::Sender<JoinAnswer>,
    ) -> Result<(), ((ResponseError, Option<String>), oneshot::Sender<JoinAnswer>)> {
        if let Err(error) = self.check_join(&join) {
            return Err(((error, None), answer));
        }
        if join.member.is_empty() {
            let id = new_id(&join);
            if let Some(known) = self.member_of_instance(join.instance.as_deref()) {
                self.replace_static(&known, id, join, now, answer);
                return Ok(());
            }
            if self.members.len() + self.expected.len() >= self.members_max {
                return Err(((ResponseError::GroupMaxSizeReached, None), answer));
            }
            if join.id_first && join.instance.is_none() {
                self.expected.insert(id.clone(), now + join.session);
                return Err(((ResponseError::MemberIdRequired, Some(id)), answer));
            }
            self.add(id, join, now, answer);
            return Ok(());
        }
        if self.expected.remove(&join.member).is_some() {
            self.add(join.member.clone(), join, now, answer);
            return Ok(());
        }
        self.rejoin(join, now, answer);
        Ok(())
    }

    fn check_join(&self, join: &Join) -> Result<(), ResponseError> {
        if join.protocols.is_empty() || join.protocol_type.is_empty() {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        if !join.member.is_empty() && !self.expected.contains_key(&join.member) {
            self.check(Caller {
                member: &join.member,
                instance: join.instance.as_deref(),
            })?;
        }
        // A member that joins again does not have to agree with its former self.
        let mut others = self.members.iter().filter(|(id, member)| {
            **id != join.member && (join.instance.is_none() || member.instance != join.instance)
        });
        if others.clone().next().is_none() {
            return Ok(());
        }
        let common = join
            .protocols
            .iter()
            .any(|(name, _)| others.clone().all(|(_, other)| other.supports(name)));
        let same_type = others.next().is_none() || join.protocol_type == self.protocol_type;
        if common && same_type {
            Ok(())
        } else {
            Err(ResponseError::InconsistentGroupProtocol)
        }
    }

    fn member_of_instance(&self, instance: Option<&str>) -> Option<String> {
        let instance = instance?;
        self.members
            .iter()
            .find(|(_, member)| member.instance.as_deref() == Some(instance))
            .map(|(id, _)| id.clone())
    }

    fn add(&mut self, id: String, join: Join, now: Instant, answer: oneshot::Sender<JoinAnswer>) {
        if self.members.is_empty() {
            self.protocol_type.clone_from(&join.protocol_type);
        }
        let member = Member {
            instance: join.instance,
            client: join.client,
            session: join.session,
            rebalance: join.rebalance,
            protocols: join.protocols,
            assignment: Bytes::new(),
            seen: now,
            joining: Some(answer),
            syncing: None,
        };
        self.members.insert(id, member);
        self.prepare(now);
    }

    fn rejoin(&mut self, join: Join, now: Instant, answer: oneshot::Sender<JoinAnswer>) {
        let id = join.member;
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let changed = member.protocols != join.protocols;
        member.protocols = join.protocols;
        member.session = join.session;
        member.rebalance = join.rebalance;
        member.client = join.client;
        member.seen = now;
        if let Some(superseded) = member.joining.replace(answer) {
            let refusal = JoinRefusal {
                error: ResponseError::RebalanceInProgress,
                member: id.clone(),
            };
            let _ = superseded.send(Err(refusal));
        }
        // Its last answer was lost, or it is a follower that asks too often: it gets the same again.
        let unaffected = match self.state {
            State::Completing { .. } => !changed,
            State::Stable => !changed && id != self.leader,
            State::Preparing { .. } | State::Empty => false,
        };
        if unaffected {
            self.answer_join(&id, now);
        } else {
            self.prepare(now);
        }
    }

    /// A static member is back under a new id and takes the place of its former self.
    fn replace_static(
        &mut self,
        former: &str,
        id: String,
        join: Join,
        now: Instant,
        answer: oneshot::Sender<JoinAnswer>,
    ) {
        let Some(old) = self.members.remove(former) else {
            return;
        };
        let same_topics = subscription::same_topics(
            &old.metadata(&self.protocol),
            &metadata_of(&join, &self.protocol),
        );
        let member = Member {
            instance: join.instance,
            client: join.client,
            session: join.session,
            rebalance: join.rebalance,
            protocols: join.protocols,
            assignment: old.assignment.clone(),
            seen: now,
            joining: Some(answer),
            syncing: None,
        };
        old.dismiss(ResponseError::FencedInstanceId, former);
        self.members.insert(id.clone(), member);
        let was_leader = self.leader == former;
        if was_leader {
            self.leader.clone_from(&id);
        }
        if self.state != State::Stable || !same_topics || self.choose_protocol() != self.protocol {
            self.prepare(now);
            return;
        }
        let Some(answer) = self
            .members
            .get_mut(&id)
            .and_then(|member| member.joining.take())
        else {
            return;
        };
        let mut joined = self.joined(&id);
        if was_leader {
            if join.can_skip_assignment {
                joined.skip_assignment = true;
            } else {
                // Under its old name, so that the member does not take itself for the leader.
                joined.leader = former.to_owned();
                joined.members.clear();
            }
        }
        let _ = answer.send(Ok(joined));
    }

    /// A rebalance begins, or goes on.
    fn prepare(&mut self, now: Instant) {
        if let State::Completing { .. } = self.state {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
                if let Some(syncing) = member.syncing.take() {
                    let _ = syncing.send(Err(ResponseError::RebalanceInProgress));
                }
            }
        }
        if !matches!(self.state, State::Preparing { .. }) {
            let patience = self
                .members
                .values()
                .map(|member| member.rebalance)
                .max()
                .unwrap_or_default();
            self.state = State::Preparing {
                until: now + patience,
            };
        }
        self.complete_if_all_joined(now);
    }

    fn complete_if_all_joined(&mut self, now: Instant) {
        let preparing = matches!(self.state, State::Preparing { .. });
        if preparing
            && self.expected.is_empty()
            && self.members.values().all(|member| member.joining.is_some())
        {
            self.complete(now);
        }
    }

    /// The next generation begins with those who have joined.
    fn complete(&mut self, now: Instant) {
        self.generation += 1;
        if self.members.is_empty() {
            self.state = State::Empty;
            self.protocol.clear();
            self.leader.clear();
            return;
        }
        let has_joined = |member: &Member| member.joining.is_some();
        if !self.members.get(&self.leader).is_some_and(has_joined) {
            let next = self
                .members
                .iter()
                .find(|(_, member)| has_joined(member))
                .map(|(id, _)| id.clone());
            self.leader = next.unwrap_or_default();
        }
        self.protocol = self.choose_protocol();
        let patience = self
            .members
            .values()
            .map(|member| member.rebalance)
            .max()
            .unwrap_or_default();
        self.state = State::Completing {
            until: now + patience,
        };
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            self.answer_join(&id, now);
        }
    }

    /// The protocol that the leader likes best of those that all support.
    fn choose_protocol(&self) -> String {
        let Some(leader) = self
            .members
            .get(&self.leader)
            .or_else(|| self.members.values().next())
        else {
            return String::new();
        };
        let common = |name: &&String| self.members.values().all(|member| member.supports(name));
        leader
            .protocols
            .iter()
            .map(|(name, _)| name)
            .find(common)
            .cloned()
            .unwrap_or_default()
    }

    fn answer_join(&mut self, id: &str, now: Instant) {
        let joined = self.joined(id);
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.seen = now;
        if let Some(joining) = member.joining.take() {
            // If the member is gone, its session will tell.
            let _ = joining.send(Ok(joined));
        }
    }

    fn joined(&self, id: &str) -> Joined {
        let everybody = self.members.iter().map(|(id, member)| Listed {
            member: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(&self.protocol),
        });
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member: id.to_owned(),
            skip_assignment: false,
            members: if id == self.leader {
                everybody.collect()
            } else {
                Vec::new()
            },
        }
    }

    /// A member asks for its share; the leader brings everybody's.
    pub(crate) fn sync(
        &mut self,
        caller: Caller<'_>,
        generation: i32,
        protocol: Option<&str>,
        assignments: Vec<(String, Bytes)>,
        now: Instant,
        answer: oneshot::Sender<SyncAnswer>,
    ) {
        if let Err(error) = self.check_sync(caller, generation, protocol) {
            let _ = answer.send(Err(error));
            return;
        }
        if let Some(member) = self.members.get_mut(caller.member) {
            member.seen = now;
            if let Some(superseded) = member.syncing.replace(answer) {
                let _ = superseded.send(Err(ResponseError::RebalanceInProgress));
            }
        }
        match self.state {
            State::Stable => self.answer_sync(caller.member),
            State::Completing { .. } if caller.member == self.leader => {
                for member in self.members.values_mut() {
                    member.assignment = Bytes::new();
                }
                for (id, assignment) in assignments {
                    if let Some(member) = self.members.get_mut(&id) {
                        // A copy: a part of the request would keep all of it in memory.
                        member.assignment = Bytes::copy_from_slice(&assignment);
                    }
                }
                self.state = State::Stable;
                let ids: Vec<String> = self.members.keys().cloned().collect();
                for id in ids {
                    self.answer_sync(&id);
                }
            }
            _ => {}
        }
    }

    fn check_sync(
        &self,
        caller: Caller<'_>,
        generation: i32,
        protocol: Option<&str>,
    ) -> Result<(), ResponseError> {
        self.check(caller)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if protocol.is_some_and(|protocol| protocol != self.protocol) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        match self.state {
            State::Empty => Err(ResponseError::UnknownMemberId),
            State::Preparing { .. } => Err(ResponseError::RebalanceInProgress),
            State::Completing { .. } | State::Stable => Ok(()),
        }
    }

    fn answer_sync(&mut self, id: &str) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if let Some(syncing) = member.syncing.take() {
            let _ = syncing.send(Ok(Assigned {
                protocol_type: self.protocol_type.clone(),
                protocol: self.protocol.clone(),
                assignment: member.assignment.clone(),
            }));
        }
    }

    pub(crate) fn heartbeat(
        &mut self,
        caller: Caller<'_>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        self.check(caller)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if let Some(member) = self.members.get_mut(caller.member) {
            member.seen = now;
        }
        match self.state {
            State::Preparing { .. } => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    pub(crate) fn leave(&mut self, caller: Caller<'_>, now: Instant) -> Result<(), ResponseError> {
        if self.expected.remove(caller.member).is_some() {
            self.complete_if_all_joined(now);
            return Ok(());
        }
        let by_instance = self.member_of_instance(caller.instance);
        let id = match by_instance {
            // An administrator may remove a static member without knowing its id.
            Some(id) if caller.member.is_empty() => id,
            _ => {
                self.check(caller)?;
                caller.member.to_owned()
            }
        };
        self.remove(&id, ResponseError::UnknownMemberId, now);
        Ok(())
    }

    fn remove(&mut self, id: &str, error: ResponseError, now: Instant) {
        if let Some(member) = self.members.remove(id) {
            member.dismiss(error, id);
            self.prepare(now);
        }
    }

    /// Whether an offset commit is from the group as it is now. A generation of -1 and no member is
    /// a consumer that manages its partitions itself; it may not meddle with a group at work.
    pub(crate) fn check_commit(
        &mut self,
        caller: Caller<'_>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        if generation < 0 && caller.member.is_empty() && caller.instance.is_none() {
            return if self.members.is_empty() {
                Ok(())
            } else {
                Err(ResponseError::UnknownMemberId)
            };
        }
        self.check(caller)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if let Some(member) = self.members.get_mut(caller.member) {
            member.seen = now;
        }
        match self.state {
            // Its partitions are being dealt anew, and it does not know yet whether it keeps them.
            State::Completing { .. } => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    fn check(&self, caller: Caller<'_>) -> Result<(), ResponseError> {
        if let Some(id) = self.member_of_instance(caller.instance)
            && id != caller.member
        {
            return Err(ResponseError::FencedInstanceId);
        }
        let Some(member) = self.members.get(caller.member) else {
            return Err(ResponseError::UnknownMemberId);
        };
        if caller.instance.is_some() && member.instance.as_deref() != caller.instance {
            return Err(ResponseError::UnknownMemberId);
        }
        Ok(())
    }

    /// Lets go of members that are silent for too long, and of rebalances that take too long.
    pub(crate) fn pass_time(&mut self, now: Instant) {
        let expected = self.expected.len();
        self.expected.retain(|_, until| *until > now);
        if self.expected.len() < expected {
            self.complete_if_all_joined(now);
        }
        let silent = |member: &Member| !member.is_waiting() && now >= member.seen + member.session;
        let gone: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| silent(member))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.remove(&id, ResponseError::UnknownMemberId, now);
        }
        match self.state {
            State::Preparing { until } if now >= until => self.go_on_without_the_late(now),
            State::Completing { until } if now >= until => self.drop_those_who_did_not_sync(now),
            _ => {}
        }
    }

    fn go_on_without_the_late(&mut self, now: Instant) {
        self.expected.clear();
        let late = |member: &Member| member.joining.is_none() && member.instance.is_none();
        self.members.retain(|_, member| !late(member));
        if self.members.values().any(|member| member.joining.is_some()) || self.members.is_empty() {
            self.complete(now);
            return;
        }
        // Only static members are left, and none is back yet: they keep their place.
        let patience = self
            .members
            .values()
            .map(|member| member.rebalance)
            .max()
            .unwrap_or_default();
        self.state = State::Preparing {
            until: now + patience,
        };
    }

    fn drop_those_who_did_not_sync(&mut self, now: Instant) {
        self.members.retain(|_, member| member.syncing.is_some());
        self.prepare(now);
    }

    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Empty => "Empty",
            State::Preparing { .. } => "PreparingRebalance",
            State::Completing { .. } => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }

    pub(crate) fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    pub(crate) fn describe(&self) -> Description {
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            client: member.client.clone(),
            metadata: member.metadata(&self.protocol),
            assignment: member.assignment.clone(),
        });
        Description {
            state: self.state_name(),
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            members: members.collect(),
        }
    }
}

fn new_id(join: &Join) -> String {
    let name = join.instance.as_deref().unwrap_or(&join.client.id);
    format!("{name}-{}", uuid::Uuid::new_v4())
}

fn metadata_of(join: &Join, protocol: &str) -> Bytes {
    join.protocols
        .iter()
        .find(|(name, _)| name == protocol)
        .map(|(_, metadata)| metadata.clone())
        .unwrap_or_default()
}

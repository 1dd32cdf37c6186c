//! Consumer groups: who is in them (in memory, members come back after a restart) and what they
//! have committed (on disk). What clients can make grow is counted here before it is kept: groups,
//! members, their bytes, and committed offsets, each of which has room for its longest metadata.

mod group;
#[cfg(test)]
mod group_tests;
mod offsets;
mod subscription;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tracing::warn;

pub(crate) use group::{Caller, Client, Description, Join, JoinAnswer, JoinRefusal, SyncAnswer};
pub(crate) use offsets::{Committed, Key, NotCommitted, Offsets};

use crate::{config::Config, sometimes::Sometimes};
use group::Group;

/// Ids and names that clients make up are no longer than this.
pub(crate) const NAME_BYTES_MAX: usize = 255;

pub(crate) struct Groups {
    by_id: Mutex<BTreeMap<String, Group>>,
    pub(crate) offsets: Offsets,
    limits: Limits,
    refused: Sometimes,
}

struct Limits {
    groups_max: usize,
    members_max: usize,
    member_bytes_max: usize,
    bytes_max: usize,
}

/// One line of a list of groups.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) id: String,
    pub(crate) state: &'static str,
    pub(crate) protocol_type: String,
}

impl Groups {
    pub(crate) fn new(offsets: Offsets, config: &Config) -> Self {
        Self {
            by_id: Mutex::default(),
            offsets,
            limits: Limits {
                groups_max: config.groups_max,
                members_max: config.group_members_max,
                member_bytes_max: config.group_member_bytes_max,
                bytes_max: config.groups_bytes_max,
            },
            refused: Sometimes::default(),
        }
    }

    fn by_id(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn join(&self, group: &str, mut join: Join, answer: oneshot::Sender<JoinAnswer>) {
        let mut groups = self.by_id();
        if let Err(error) = self.check_join(&groups, group, &join) {
            let _ = answer.send(Err(JoinRefusal {
                error,
                member: join.member,
            }));
            return;
        }
        join.detach();
        groups
            .entry(group.to_owned())
            .or_insert_with(|| Group::new(self.limits.members_max))
            .join(join, Instant::now(), answer);
    }

    fn check_join(
        &self,
        groups: &BTreeMap<String, Group>,
        id: &str,
        join: &Join,
    ) -> Result<(), ResponseError> {
        let group = groups.get(id);
        let bytes = join.bytes();
        if bytes > self.limits.member_bytes_max {
            self.warn("a member with more than broker.group_member_bytes_max of metadata");
            return Err(ResponseError::InvalidRequest);
        }
        match group {
            Some(_) => {}
            None if !join.member.is_empty() => return Err(ResponseError::UnknownMemberId),
            None if groups.len() >= self.limits.groups_max => {
                self.warn("a member, since there are as many groups as broker.groups_max allows");
                return Err(ResponseError::GroupMaxSizeReached);
            }
            None => {}
        }
        let replaced = group.map_or(0, |group| group.bytes_replaced_by(join));
        self.check_room(groups, replaced, bytes)
    }

    fn check_room(
        &self,
        groups: &BTreeMap<String, Group>,
        replaced: usize,
        bytes: usize,
    ) -> Result<(), ResponseError> {
        let others = groups
            .values()
            .map(Group::bytes)
            .sum::<usize>()
            .saturating_sub(replaced);
        // What does not grow is never refused: a group that is at work goes on.
        if bytes <= replaced || others + bytes <= self.limits.bytes_max {
            return Ok(());
        }
        self.warn("a member, since all groups together hold broker.groups_bytes_max");
        Err(ResponseError::GroupMaxSizeReached)
    }

    /// One line in ten seconds.
    pub(crate) fn warn(&self, what: &str) {
        if let Some(times) = self.refused.now() {
            warn!(
                refusals.count = times,
                "refused {what} ({times} refusals since the last such line)"
            );
        }
    }

    pub(crate) fn sync(
        &self,
        group: &str,
        caller: Caller<'_>,
        generation: i32,
        protocol: Option<&str>,
        assignments: Vec<(String, Bytes)>,
        answer: oneshot::Sender<SyncAnswer>,
    ) {
        let mut groups = self.by_id();
        if let Err(error) = self.check_shares(&groups, group, &assignments) {
            let _ = answer.send(Err(error));
            return;
        }
        match groups.get_mut(group) {
            Some(group) => group.sync(
                caller,
                generation,
                protocol,
                assignments,
                Instant::now(),
                answer,
            ),
            None => {
                let _ = answer.send(Err(ResponseError::UnknownMemberId));
            }
        }
    }

    fn check_shares(
        &self,
        groups: &BTreeMap<String, Group>,
        id: &str,
        assignments: &[(String, Bytes)],
    ) -> Result<(), ResponseError> {
        let Some(group) = groups.get(id).filter(|_| !assignments.is_empty()) else {
            return Ok(());
        };
        for (member, share) in assignments {
            if group.bytes_without_share(member) + share.len() > self.limits.member_bytes_max {
                self.warn("a share that takes its member beyond broker.group_member_bytes_max");
                return Err(ResponseError::InvalidRequest);
            }
        }
        let bytes = assignments.iter().map(|(_, share)| share.len()).sum();
        self.check_room(groups, group.bytes_of_shares(), bytes)
    }

    pub(crate) fn heartbeat(
        &self,
        group: &str,
        caller: Caller<'_>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        let mut groups = self.by_id();
        let group = groups
            .get_mut(group)
            .ok_or(ResponseError::UnknownMemberId)?;
        group.heartbeat(caller, generation, Instant::now())
    }

    pub(crate) fn leave(&self, group: &str, caller: Caller<'_>) -> Result<(), ResponseError> {
        let mut groups = self.by_id();
        groups
            .get_mut(group)
            .ok_or(ResponseError::UnknownMemberId)?
            .leave(caller, Instant::now())
    }

    pub(crate) fn check_commit(
        &self,
        group: &str,
        caller: Caller<'_>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        match self.by_id().get_mut(group) {
            Some(group) => group.check_commit(caller, generation, Instant::now()),
            None if generation < 0 => Ok(()),
            // A member of a group that is not here is from before a restart and has to join again.
            None if caller.member.is_empty() => Err(ResponseError::IllegalGeneration),
            None => Err(ResponseError::UnknownMemberId),
        }
    }

    pub(crate) fn list(&self) -> Vec<Summary> {
        let mut summaries: BTreeMap<String, Summary> = self
            .offsets
            .groups()
            .into_iter()
            .map(|id| {
                (
                    id.clone(),
                    Summary {
                        id,
                        state: "Empty",
                        protocol_type: String::new(),
                    },
                )
            })
            .collect();
        for (id, group) in self.by_id().iter() {
            let summary = Summary {
                id: id.clone(),
                state: group.state_name(),
                protocol_type: group.protocol_type().to_owned(),
            };
            summaries.insert(id.clone(), summary);
        }
        summaries.into_values().collect()
    }

    /// The memory of a group's members.
    pub(crate) fn bytes(&self, group: &str) -> usize {
        self.by_id().get(group).map_or(0, Group::bytes)
    }

    pub(crate) fn describe(&self, group: &str) -> Description {
        if let Some(group) = self.by_id().get(group) {
            return group.describe();
        }
        let state = if self.offsets.has(group) {
            "Empty"
        } else {
            "Dead"
        };
        Description {
            state,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }

    /// Blocks on the disk. Only a group without members can go.
    pub(crate) fn delete(&self, group: &str) -> Result<(), ResponseError> {
        let known = {
            let mut groups = self.by_id();
            if groups.get(group).is_some_and(Group::has_members) {
                return Err(ResponseError::NonEmptyGroup);
            }
            groups.remove(group).is_some()
        };
        match self.offsets.forget_group(group) {
            Ok(forgotten) if forgotten || known => Ok(()),
            Ok(_) => Err(ResponseError::GroupIdNotFound),
            Err(error) => {
                tracing::error!("cannot delete group {group}: {error}");
                Err(ResponseError::CoordinatorNotAvailable)
            }
        }
    }

    pub(crate) fn is_active(&self, group: &str) -> bool {
        self.by_id().get(group).is_some_and(Group::has_members)
    }

    /// To be called often: sessions and rebalances end by it.
    pub(crate) fn pass_time(&self, now: Instant) {
        self.by_id().retain(|_, group| {
            group.pass_time(now);
            group.has_members()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::disk::Disk;

    #[test]
    fn members_and_their_shares_keep_no_part_of_a_request() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::default();
        let offsets = Offsets::open(dir.path(), &Disk::default(), config.offsets_max).unwrap();
        let groups = Groups::new(offsets, &config);

        let joining = Bytes::from(vec![0; 1 << 20]);
        let (answer, mut answered) = oneshot::channel();
        let join = Join {
            session: Duration::from_secs(10),
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), joining.slice(..10))],
            ..Join::default()
        };
        groups.join("sink", join, answer);
        let joined = answered.try_recv().unwrap().unwrap();
        assert!(joining.is_unique());

        let syncing = Bytes::from(vec![0; 1 << 20]);
        let (answer, mut answered) = oneshot::channel();
        let caller = Caller {
            member: &joined.member,
            instance: None,
        };
        let shares = vec![(joined.member.clone(), syncing.slice(..10))];
        groups.sync("sink", caller, joined.generation, None, shares, answer);
        assert_eq!(answered.try_recv().unwrap().unwrap().assignment.len(), 10);
        assert!(syncing.is_unique());
    }
}

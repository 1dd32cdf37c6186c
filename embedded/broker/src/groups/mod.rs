//! Consumer groups: who is in them (in memory, members come back after a restart) and what they
//! have committed (on disk).

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

pub(crate) use group::{Caller, Client, Description, Join, JoinAnswer, JoinRefusal, SyncAnswer};
pub(crate) use offsets::{Committed, Key, Offsets};

use crate::config::Config;
use group::Group;

pub(crate) struct Groups {
    by_id: Mutex<BTreeMap<String, Group>>,
    pub(crate) offsets: Offsets,
    groups_max: usize,
    members_max: usize,
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
            groups_max: config.groups_max,
            members_max: config.group_members_max,
        }
    }

    fn by_id(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn join(&self, group: &str, join: Join, answer: oneshot::Sender<JoinAnswer>) {
        let mut groups = self.by_id();
        let full = groups.len() >= self.groups_max;
        let refusal = match groups.get_mut(group) {
            Some(group) => return group.join(join, Instant::now(), answer),
            None if !join.member.is_empty() => ResponseError::UnknownMemberId,
            None if full => ResponseError::GroupMaxSizeReached,
            None => {
                let group = groups
                    .entry(group.to_owned())
                    .or_insert_with(|| Group::new(self.members_max));
                return group.join(join, Instant::now(), answer);
            }
        };
        let _ = answer.send(Err(JoinRefusal {
            error: refusal,
            member: join.member,
        }));
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
        match self.by_id().get_mut(group) {
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
        let keys: Vec<Key> = self.offsets.of_group(group).into_keys().collect();
        if keys.is_empty() {
            return if known {
                Ok(())
            } else {
                Err(ResponseError::GroupIdNotFound)
            };
        }
        self.offsets.forget(group, keys).map_err(|error| {
            tracing::error!("cannot delete group {group}: {error}");
            ResponseError::CoordinatorNotAvailable
        })
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

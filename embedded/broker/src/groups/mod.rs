//! Consumer groups: who is in them, who reads what, and how far they are.

mod group;
mod offsets;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

pub(crate) use group::{Description, GroupError, Join, Joined, Member};
pub(crate) use offsets::{Committed, METADATA_BYTES_MAX};

use group::Group;
use offsets::Offsets;

/// A group name nobody can make use of is refused.
const GROUPS_MAX: usize = 10_000;

pub(crate) struct Groups {
    by_id: Mutex<BTreeMap<String, Group>>,
    offsets: Mutex<Offsets>,
}

impl Groups {
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let offsets = Mutex::new(Offsets::open(&directory.join("offsets"))?);
        Ok(Self {
            by_id: Mutex::default(),
            offsets,
        })
    }

    /// A member that wants in; the answer comes once all have said so.
    pub(crate) fn join(
        &self,
        group_id: &str,
        join: Join,
        now: Instant,
    ) -> Result<oneshot::Receiver<Result<Joined, GroupError>>, GroupError> {
        let mut groups = self.groups();
        if group_id.is_empty() || (!groups.contains_key(group_id) && groups.len() >= GROUPS_MAX) {
            return Err(GroupError::InvalidGroupId);
        }
        groups
            .entry(group_id.to_owned())
            .or_default()
            .join(join, now)
    }

    pub(crate) fn sync(
        &self,
        group_id: &str,
        member_id: &str,
        generation: i32,
        assignments: Vec<(String, bytes::Bytes)>,
        now: Instant,
    ) -> Result<oneshot::Receiver<Result<bytes::Bytes, GroupError>>, GroupError> {
        self.with(group_id, |group| {
            group.sync(member_id, generation, assignments, now)
        })
    }

    pub(crate) fn heartbeat(
        &self,
        group_id: &str,
        member_id: &str,
        generation: i32,
        now: Instant,
    ) -> Result<(), GroupError> {
        self.with(group_id, |group| {
            group.heartbeat(member_id, generation, now)
        })
    }

    pub(crate) fn leave(
        &self,
        group_id: &str,
        member: &Member,
        now: Instant,
    ) -> Result<(), GroupError> {
        self.with(group_id, |group| group.leave(member, now))
    }

    /// Writes offsets down, for good: those of a member of this generation, or of nobody in
    /// particular while the group is empty.
    pub(crate) fn commit(
        &self,
        group_id: &str,
        member_id: &str,
        generation: i32,
        commits: Vec<(String, i32, Committed)>,
        now: Instant,
    ) -> io::Result<Result<(), GroupError>> {
        // Held until it is written: a member that is fenced meanwhile would otherwise write after
        // its successor has read.
        let mut groups = self.groups();
        let allowed = match groups.get_mut(group_id) {
            Some(group) => group.check_commit(member_id, generation, now),
            None if generation < 0 => Ok(()),
            None => Err(GroupError::IllegalGeneration),
        };
        if let Err(error) = allowed {
            return Ok(Err(error));
        }
        self.offsets().commit(group_id, commits).map(Ok)
    }

    pub(crate) fn committed(&self, group_id: &str) -> BTreeMap<(String, i32), Committed> {
        self.offsets().of(group_id)
    }

    pub(crate) fn describe(&self, group_id: &str) -> Option<Description> {
        let described = self.groups().get(group_id).map(Group::describe);
        described.or_else(|| self.offsets().has(group_id).then(Description::default))
    }

    pub(crate) fn list(&self) -> Vec<(String, Description)> {
        let mut all: BTreeMap<String, Description> = self
            .offsets()
            .groups()
            .map(|group_id| (group_id.to_owned(), Description::default()))
            .collect();
        all.extend(
            self.groups()
                .iter()
                .map(|(id, group)| (id.clone(), group.describe())),
        );
        all.into_iter().collect()
    }

    pub(crate) fn delete(&self, group_id: &str) -> io::Result<Result<(), GroupError>> {
        let mut groups = self.groups();
        if groups.get(group_id).is_some_and(|group| !group.is_empty()) {
            return Ok(Err(GroupError::NotEmpty));
        }
        let known = groups.remove(group_id).is_some();
        let had_offsets = self.offsets().forget(group_id, |_, _| true)?;
        Ok(if known || had_offsets {
            Ok(())
        } else {
            Err(GroupError::UnknownGroup)
        })
    }

    /// Forgets offsets of a topic that is no more.
    pub(crate) fn forget_topic(&self, topic: &str) -> io::Result<()> {
        let mut offsets = self.offsets();
        let groups: Vec<String> = offsets.groups().map(str::to_owned).collect();
        for group_id in groups {
            offsets.forget(&group_id, |(of_topic, _), _| of_topic == topic)?;
        }
        Ok(())
    }

    /// Removes members whose session ended and completes rebalances that waited long enough.
    pub(crate) fn tick(&self, now: Instant) {
        for group in self.groups().values_mut() {
            group.tick(now);
        }
    }

    /// Forgets what groups without members committed before `before_ms`.
    pub(crate) fn expire_offsets(&self, before_ms: i64) -> io::Result<()> {
        let mut groups = self.groups();
        let mut offsets = self.offsets();
        let ids: Vec<String> = offsets.groups().map(str::to_owned).collect();
        for id in ids {
            if groups.get(&id).is_none_or(Group::is_empty) {
                offsets.forget(&id, |_, committed| committed.committed_at_ms < before_ms)?;
            }
        }
        groups.retain(|id, group| !group.is_empty() || offsets.has(id));
        offsets.compact_if_large()
    }

    fn with<T>(
        &self,
        group_id: &str,
        ask: impl FnOnce(&mut Group) -> Result<T, GroupError>,
    ) -> Result<T, GroupError> {
        ask(self
            .groups()
            .get_mut(group_id)
            .ok_or(GroupError::UnknownMember)?)
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offsets(&self) -> MutexGuard<'_, Offsets> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds as a client sends them; what is no duration is none.
pub(crate) fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or_default())
}

//! Committed offsets and the journal that keeps them: frames of JSON, rewritten at the start and
//! whenever most of it is history.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::{
    clock::UnixMs,
    damaged,
    disk::{DataFile, Disk},
    frame,
};

const JOURNAL: &str = "offsets.journal";

/// A journal smaller than this is not worth rewriting.
const COMPACT_FROM_BYTES: u64 = 4 << 20;

/// A journal this many times larger than what is worth rewriting is rewritten by the next commit.
const OVERDUE: u64 = 4;

#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCommitted {
    #[error("there are as many committed offsets as broker.offsets_max allows")]
    NoRoom,
    #[error(transparent)]
    Disk(#[from] io::Error),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) at: UnixMs,
}

/// A partition of a topic.
pub(crate) type Key = (String, i32);
pub(crate) type GroupOffsets = BTreeMap<Key, Committed>;

/// One frame of the journal. All of it counts, or nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Entry {
    Commit {
        group: String,
        offsets: Vec<(Key, Committed)>,
    },
    Forget {
        group: String,
        keys: Vec<Key>,
    },
}

pub(crate) struct Offsets {
    path: PathBuf,
    disk: Disk,
    max: usize,
    journal: Mutex<Journal>,
    synced: AtomicU64,
    syncing: Mutex<()>,
}

struct Journal {
    file: std::sync::Arc<DataFile>,
    len: u64,
    /// Bytes appended since the start, over all rewrites.
    written: u64,
    len_compacted: u64,
    /// What is durable, and thus shown: a position that somebody has seen must not go back in a crash.
    groups: HashMap<String, GroupOffsets>,
    /// What was written since and waits for its fsync, with `written` behind it.
    pending: VecDeque<(u64, Entry)>,
}

impl Offsets {
    /// `max`: the offsets that are kept, one for each partition of a group.
    pub(crate) fn open(dir: &Path, disk: &Disk, max: usize) -> anyhow::Result<Self> {
        let path = dir.join(JOURNAL);
        let groups = load(disk, dir, &path).with_context(|| format!("read {}", path.display()))?;
        let (file, len) =
            rewrite(disk, &path, &groups).with_context(|| format!("compact {}", path.display()))?;
        let journal = Journal {
            file: file.into(),
            len,
            written: 0,
            len_compacted: len,
            groups,
            pending: VecDeque::new(),
        };
        Ok(Self {
            path,
            disk: disk.clone(),
            max,
            journal: Mutex::new(journal),
            synced: AtomicU64::new(0),
            syncing: Mutex::default(),
        })
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until the offsets are durable. A partition that has one already always has room for the
    /// next, so a group at work is never refused for what others have committed.
    pub(crate) fn commit(
        &self,
        group: &str,
        offsets: Vec<(Key, Committed)>,
    ) -> Result<(), NotCommitted> {
        let mut journal = self.journal();
        if journal.lacks_room(group, &offsets, self.max) {
            return Err(NotCommitted::NoRoom);
        }
        let entry = Entry::Commit {
            group: group.to_owned(),
            offsets,
        };
        let to = self.append(&mut journal, entry)?;
        drop(journal);
        Ok(self.sync(to)?)
    }

    /// Blocks until the offsets are durably forgotten.
    pub(crate) fn forget(&self, group: &str, keys: Vec<Key>) -> io::Result<()> {
        let entry = Entry::Forget {
            group: group.to_owned(),
            keys,
        };
        let to = self.append(&mut self.journal(), entry)?;
        self.sync(to)
    }

    /// What has to be synced afterwards.
    fn append(&self, journal: &mut Journal, entry: Entry) -> io::Result<u64> {
        if journal.len >= OVERDUE * journal.compact_from() {
            self.compact(journal)?;
        }
        let bytes = frame::of(&serde_json::to_vec(&entry)?);
        journal.file.write_at(&bytes, journal.len)?;
        journal.len += bytes.len() as u64;
        journal.written += bytes.len() as u64;
        let to = journal.written;
        journal.pending.push_back((to, entry));
        Ok(to)
    }

    /// One fsync serves all who wrote before it began.
    fn sync(&self, to: u64) -> io::Result<()> {
        if self.synced.load(SeqCst) >= to {
            return self.disk.check();
        }
        let _turn = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.synced.load(SeqCst) >= to {
            return self.disk.check();
        }
        let (file, written) = {
            let journal = self.journal();
            (journal.file.clone(), journal.written)
        };
        file.sync()?;
        self.show(&mut self.journal(), written);
        Ok(())
    }

    /// What was written up to there is durable.
    fn show(&self, journal: &mut Journal, written: u64) {
        while journal
            .pending
            .front()
            .is_some_and(|(to, _)| *to <= written)
        {
            if let Some((_, entry)) = journal.pending.pop_front() {
                apply(&mut journal.groups, entry);
            }
        }
        // Last: a commit that waits for this is shown by then.
        self.synced.fetch_max(written, SeqCst);
    }

    pub(crate) fn of_group(&self, group: &str) -> GroupOffsets {
        self.journal()
            .groups
            .get(group)
            .cloned()
            .unwrap_or_default()
    }

    /// The furthest offset that any group has committed in each partition, and that group.
    pub(crate) fn furthest(&self) -> BTreeMap<Key, (i64, String)> {
        let mut furthest: BTreeMap<Key, (i64, String)> = BTreeMap::new();
        for (group, offsets) in &self.journal().groups {
            for (key, committed) in offsets {
                let is_further = |known: &(i64, String)| known.0 < committed.offset;
                if furthest.get(key).is_none_or(is_further) {
                    furthest.insert(key.clone(), (committed.offset, group.clone()));
                }
            }
        }
        furthest
    }

    /// About the memory of all that a group has committed.
    pub(crate) fn bytes(&self, group: &str) -> usize {
        let journal = self.journal();
        let committed = journal.groups.get(group).into_iter().flatten();
        committed
            .map(|((topic, _), committed)| 64 + topic.len() + committed.metadata.len())
            .sum()
    }

    pub(crate) fn get(
        &self,
        group: &str,
        keys: impl IntoIterator<Item = Key>,
    ) -> Vec<(Key, Option<Committed>)> {
        let journal = self.journal();
        let offsets = journal.groups.get(group);
        keys.into_iter()
            .map(|key| {
                let committed = offsets.and_then(|offsets| offsets.get(&key)).cloned();
                (key, committed)
            })
            .collect()
    }

    pub(crate) fn has(&self, group: &str) -> bool {
        self.journal().groups.contains_key(group)
    }

    pub(crate) fn groups(&self) -> Vec<String> {
        self.journal().groups.keys().cloned().collect()
    }

    /// Forgets all that a group has committed. False if that is nothing.
    pub(crate) fn forget_group(&self, group: &str) -> io::Result<bool> {
        Ok(self.forget_where(|name, _, _| name == group)? > 0)
    }

    /// Forgets a topic in all groups: one made anew under its name starts from nothing.
    pub(crate) fn forget_topic(&self, topic: &str) -> io::Result<()> {
        self.forget_where(|_, (name, _), _| name == topic).map(drop)
    }

    /// Forgets what was committed before `oldest` by groups that `is_active` denies.
    pub(crate) fn expire(
        &self,
        oldest: UnixMs,
        is_active: impl Fn(&str) -> bool,
    ) -> io::Result<()> {
        let expired =
            self.forget_where(|group, _, committed| committed.at < oldest && !is_active(group))?;
        if expired > 0 {
            info!(
                offsets.expired = expired,
                "forgot {expired} offsets of groups without members"
            );
        }
        Ok(())
    }

    fn forget_where(&self, spent: impl Fn(&str, &Key, &Committed) -> bool) -> io::Result<usize> {
        let mut found: Vec<(String, Vec<Key>)> = Vec::new();
        for (group, offsets) in self.journal().latest().iter() {
            let keys: Vec<Key> = offsets
                .iter()
                .filter(|(key, committed)| spent(group, key, committed))
                .map(|(key, _)| key.clone())
                .collect();
            if !keys.is_empty() {
                found.push((group.clone(), keys));
            }
        }
        let count = found.iter().map(|(_, keys)| keys.len()).sum();
        for (group, keys) in found {
            self.forget(&group, keys)?;
        }
        Ok(count)
    }

    /// Rewrites the journal once most of it is history.
    pub(crate) fn compact_if_grown(&self) -> io::Result<()> {
        let mut journal = self.journal();
        if journal.len < journal.compact_from() {
            return Ok(());
        }
        self.compact(&mut journal)
    }

    fn compact(&self, journal: &mut Journal) -> io::Result<()> {
        let (file, len) = rewrite(&self.disk, &self.path, &journal.latest())?;
        journal.file = file.into();
        journal.len = len;
        journal.len_compacted = len;
        // The rewritten file is durable as a whole.
        let written = journal.written;
        self.show(journal, written);
        Ok(())
    }

    #[cfg(test)]
    fn len(&self) -> u64 {
        self.journal().len
    }
}

impl Journal {
    /// What there is once all is durable that was written.
    fn latest(&self) -> Cow<'_, HashMap<String, GroupOffsets>> {
        let mut groups = Cow::Borrowed(&self.groups);
        for (_, entry) in &self.pending {
            apply(groups.to_mut(), entry.clone());
        }
        groups
    }

    fn compact_from(&self) -> u64 {
        COMPACT_FROM_BYTES.max(self.len_compacted.saturating_mul(2))
    }

    fn lacks_room(&self, group: &str, offsets: &[(Key, Committed)], max: usize) -> bool {
        let is_shown = |group: &str, key: &Key| {
            let known = self.groups.get(group);
            known.is_some_and(|known| known.contains_key(key))
        };
        let mut more: HashSet<(&str, &Key)> = HashSet::new();
        for (_, entry) in &self.pending {
            if let Entry::Commit { group, offsets } = entry {
                let keys = offsets.iter().map(|(key, _)| (group.as_str(), key));
                more.extend(keys.filter(|(group, key)| !is_shown(group, key)));
            }
        }
        let waiting = more.len();
        let keys = offsets.iter().map(|(key, _)| (group, key));
        more.extend(keys.filter(|(group, key)| !is_shown(group, key)));
        if more.len() == waiting {
            return false;
        }
        let there: usize = self.groups.values().map(BTreeMap::len).sum();
        there + more.len() > max
    }
}

/// What a journal holds.
#[derive(Debug, Default)]
struct Replayed {
    groups: HashMap<String, GroupOffsets>,
    /// Bytes that no entry was found in.
    damaged: Vec<Range<usize>>,
    /// Bytes at the end that a crash tore: nobody was told that they are safe.
    torn: usize,
}

/// Every whole entry counts, in order, also behind damage.
fn replay(file: &[u8]) -> anyhow::Result<Replayed> {
    let mut replayed = Replayed::default();
    let mut at = 0;
    while at < file.len() {
        if let Some((entry, end)) = entry_at(file, at)? {
            apply(&mut replayed.groups, entry);
            at = end;
            continue;
        }
        let Some(next) = next_whole(file, at) else {
            // A write that was cut short ends before its frame does; one that does not has rotted.
            if frame::end(&file[at..]).is_some_and(|len| len == file.len() - at) {
                replayed.damaged.push(at..file.len());
            } else {
                replayed.torn = file.len() - at;
            }
            break;
        };
        replayed.damaged.push(at..next);
        at = next;
    }
    Ok(replayed)
}

/// The entry that begins there, and where it ends. `None` if it is not whole.
fn entry_at(file: &[u8], at: usize) -> anyhow::Result<Option<(Entry, usize)>> {
    let mut rest = &file[at..];
    // Zeros, which some file systems leave at the end after a power cut, are whole empty frames.
    let Some(content) = frame::next(&mut rest).filter(|content| !content.is_empty()) else {
        return Ok(None);
    };
    let entry = serde_json::from_slice(content).with_context(|| {
        format!("the entry at byte {at} is whole and unknown to this version of weir: run the one that wrote it, or a newer one")
    })?;
    Ok(Some((entry, file.len() - rest.len())))
}

/// Where the first whole entry behind `at` begins: where the length of the damaged one says, or
/// anywhere.
fn next_whole(file: &[u8], at: usize) -> Option<usize> {
    let is_whole = |at: &usize| matches!(entry_at(file, *at), Ok(Some(_)));
    let by_length = frame::end(&file[at..]).map(|len| at + len);
    by_length
        .filter(|next| *next < file.len())
        .into_iter()
        .chain(at + 1..file.len())
        .find(is_whole)
}

/// Reads the journal, and keeps what is damaged of it beside it: it is about to be rewritten.
fn load(disk: &Disk, dir: &Path, path: &Path) -> anyhow::Result<HashMap<String, GroupOffsets>> {
    let file = match fs::read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error.into()),
    };
    let replayed = replay(&file)?;
    for part in replayed.damaged {
        let (position, bytes) = (part.start as u64, part.len() as u64);
        let kept = damaged::keep(dir, JOURNAL, position, bytes, |to| {
            disk.write_whole(to, &file[part])
        })?;
        error!(
            log.file = %path.display(),
            log.position = position,
            log.damaged_bytes = bytes,
            "{} is damaged at byte {position}: offsets that groups committed cannot be read; {kept}. Groups that have not committed since go on where they stood before, or where they do without an offset; a sink of weir goes on where its ledger ends. Check the disk of this machine",
            path.display()
        );
    }
    if replayed.torn > 0 {
        warn!(
            log.file = %path.display(),
            log.cut_bytes = replayed.torn,
            "cut a torn tail of {} bytes off {}",
            replayed.torn,
            path.display()
        );
    }
    Ok(replayed.groups)
}

fn apply(groups: &mut HashMap<String, GroupOffsets>, entry: Entry) {
    match entry {
        Entry::Commit { group, offsets } => groups.entry(group).or_default().extend(offsets),
        Entry::Forget { group, keys } => {
            if let Some(offsets) = groups.get_mut(&group) {
                offsets.retain(|key, _| !keys.contains(key));
                if offsets.is_empty() {
                    groups.remove(&group);
                }
            }
        }
    }
}

fn rewrite(
    disk: &Disk,
    path: &Path,
    groups: &HashMap<String, GroupOffsets>,
) -> io::Result<(DataFile, u64)> {
    let mut content = Vec::new();
    // An entry each, so that one damage costs one of them.
    for (group, offsets) in groups {
        for (key, committed) in offsets {
            let entry = Entry::Commit {
                group: group.clone(),
                offsets: vec![(key.clone(), committed.clone())],
            };
            frame::write(&mut content, &serde_json::to_vec(&entry)?);
        }
    }
    disk.write_whole(path, &content)?;
    Ok((disk.open(path)?, content.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Lines;

    const MAX: usize = 4;

    fn committed(offset: i64, metadata: &str) -> Committed {
        Committed {
            offset,
            leader_epoch: 0,
            metadata: metadata.to_owned(),
            at: offset,
        }
    }

    fn key(partition: i32) -> Key {
        ("events".to_owned(), partition)
    }

    fn open(dir: &Path) -> Offsets {
        Offsets::open(dir, &Disk::default(), MAX).unwrap()
    }

    #[test]
    fn offsets_and_their_metadata_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = open(dir.path());
        offsets
            .commit(
                "sink",
                vec![(key(0), committed(5, "plan")), (key(1), committed(6, ""))],
            )
            .unwrap();
        offsets
            .commit("sink", vec![(key(0), committed(7, "next"))])
            .unwrap();
        offsets.forget("sink", vec![key(1)]).unwrap();
        drop(offsets);
        assert_eq!(
            open(dir.path()).of_group("sink"),
            GroupOffsets::from([(key(0), committed(7, "next"))])
        );
    }

    #[test]
    fn a_torn_commit_is_dropped_and_the_ones_before_it_stand() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path())
            .commit("sink", vec![(key(0), committed(5, "plan"))])
            .unwrap();
        let path = dir.path().join("offsets.journal");
        let whole = fs::read(&path).unwrap();
        for torn in 0..whole.len() {
            let mut file = whole.clone();
            file.extend(&whole[..torn]);
            fs::write(&path, file).unwrap();
            let offsets = open(dir.path());
            assert_eq!(
                offsets.of_group("sink").get(&key(0)),
                Some(&committed(5, "plan"))
            );
            assert_eq!(offsets.len(), whole.len() as u64);
        }
    }

    fn journal(dir: &Path) -> PathBuf {
        dir.join(JOURNAL)
    }

    /// A journal of `commits` entries for two partitions, the end of each, and what the group had
    /// committed there.
    fn written(dir: &Path, commits: i64) -> Vec<(usize, GroupOffsets)> {
        let offsets = open(dir);
        let mut ends = vec![(0, GroupOffsets::new())];
        for offset in 1..=commits {
            let partition = key((offset % 2) as i32);
            let commit = vec![(partition, committed(offset, "plan"))];
            offsets.commit("sink", commit).unwrap();
            ends.push((offsets.len() as usize, offsets.of_group("sink")));
        }
        ends
    }

    #[test]
    fn commits_behind_damage_count_and_the_damage_is_kept_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let ends = written(dir.path(), 6);
        let mut file = fs::read(journal(dir.path())).unwrap();
        file[ends[2].0 + 20] ^= 4;
        fs::write(journal(dir.path()), &file).unwrap();
        let lines = Lines::default();
        let offsets = lines.while_doing(|| open(dir.path()));
        assert_eq!(offsets.of_group("sink"), ends[6].1);
        let kept = damaged::files(dir.path()).unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(fs::read(&kept[0]).unwrap(), file[ends[2].0..ends[3].0]);
        let log = lines.take();
        for named in ["ERROR", JOURNAL, &kept[0].display().to_string()] {
            assert!(log.contains(named), "{named:?} is missing in {log}");
        }
        drop(offsets);
        assert_eq!(
            lines.while_doing(|| open(dir.path())).of_group("sink"),
            ends[6].1
        );
        assert_eq!(lines.take(), "");
    }

    #[test]
    fn a_bit_that_flips_anywhere_costs_one_commit_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let ends = written(dir.path(), 4);
        let whole = fs::read(journal(dir.path())).unwrap();
        for at in 0..whole.len() {
            let mut file = whole.clone();
            file[at] ^= 1 << (at % 8);
            let replayed = replay(&file).unwrap();
            let hit = ends.iter().filter(|(end, _)| *end <= at).count() as i64;
            let mut expected = GroupOffsets::new();
            for offset in (1..=4).filter(|offset| *offset != hit) {
                expected.insert(key((offset % 2) as i32), committed(offset, "plan"));
            }
            assert_eq!(replayed.groups["sink"], expected, "byte {at}");
            let damaged: usize = replayed.damaged.iter().map(Range::len).sum();
            assert!(damaged + replayed.torn > 0, "byte {at}");
        }
    }

    #[test]
    fn zeros_at_the_end_are_a_torn_tail() {
        let dir = tempfile::tempdir().unwrap();
        let ends = written(dir.path(), 2);
        let mut file = fs::read(journal(dir.path())).unwrap();
        file.resize(file.len() + 4096, 0);
        fs::write(journal(dir.path()), file).unwrap();
        let lines = Lines::default();
        let offsets = lines.while_doing(|| open(dir.path()));
        assert_eq!(offsets.of_group("sink"), ends[2].1);
        assert!(lines.take().contains("torn tail of 4096 bytes"));
    }

    #[test]
    fn an_entry_of_a_newer_version_stops_the_start_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 1);
        let mut file = fs::read(journal(dir.path())).unwrap();
        frame::write(&mut file, br#"{"Lease":{"group":"sink"}}"#);
        fs::write(journal(dir.path()), &file).unwrap();
        let refusal = Offsets::open(dir.path(), &Disk::default(), MAX)
            .err()
            .unwrap();
        let said = format!("{refusal:#}");
        assert!(
            said.contains(JOURNAL) && said.contains("unknown to this version"),
            "{said}"
        );
        assert_eq!(fs::read(journal(dir.path())).unwrap(), file);
    }

    #[test]
    fn the_journal_shrinks_once_most_of_it_is_history() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = open(dir.path());
        let metadata = "m".repeat(4096);
        let mut last = 0;
        while offsets.len() < COMPACT_FROM_BYTES {
            last += 1;
            offsets
                .commit("sink", vec![(key(0), committed(last, &metadata))])
                .unwrap();
        }
        offsets.compact_if_grown().unwrap();
        assert!(offsets.len() < 8192);
        offsets
            .commit("sink", vec![(key(1), committed(1, "after"))])
            .unwrap();
        drop(offsets);
        let groups = open(dir.path()).of_group("sink");
        assert_eq!((groups[&key(0)].offset, groups[&key(1)].offset), (last, 1));
    }

    #[test]
    fn a_journal_that_nobody_tidies_is_rewritten_by_those_who_commit() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = open(dir.path());
        let metadata = "m".repeat(1 << 20);
        for last in 1..=20 {
            offsets
                .commit("sink", vec![(key(0), committed(last, &metadata))])
                .unwrap();
        }
        assert!(offsets.len() < 8 << 20);
        drop(offsets);
        assert_eq!(open(dir.path()).of_group("sink")[&key(0)].offset, 20);
    }

    #[test]
    fn when_there_is_no_room_for_more_offsets_those_that_are_there_still_move() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = open(dir.path());
        let first = |group, partitions: &[i32]| {
            let first = partitions.iter().map(|p| (key(*p), committed(1, "")));
            offsets.commit(group, first.collect())
        };
        first("sink", &[0, 1]).unwrap();
        first("other", &[0]).unwrap();
        assert!(matches!(first("new", &[0, 1]), Err(NotCommitted::NoRoom)));
        assert!(!offsets.has("new"));
        first("new", &[0, 0]).unwrap();
        assert!(matches!(first("sink", &[2]), Err(NotCommitted::NoRoom)));
        let next = committed(2, &"m".repeat(4096));
        offsets.commit("sink", vec![(key(1), next)]).unwrap();
        offsets.forget("other", vec![key(0)]).unwrap();
        first("sink", &[2]).unwrap();
    }

    #[test]
    fn only_old_offsets_of_idle_groups_expire() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = open(dir.path());
        for group in ["idle", "busy"] {
            offsets
                .commit(
                    group,
                    vec![(key(0), committed(10, "")), (key(1), committed(20, ""))],
                )
                .unwrap();
        }
        offsets.expire(20, |group| group == "busy").unwrap();
        assert_eq!(
            offsets.of_group("idle").into_keys().collect::<Vec<_>>(),
            [key(1)]
        );
        assert_eq!(offsets.of_group("busy").len(), 2);
    }

    #[test]
    fn a_commit_is_shown_only_once_it_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = open(dir.path());
        let entry = |offset| Entry::Commit {
            group: "sink".to_owned(),
            offsets: vec![(key(0), committed(offset, ""))],
        };
        let append = |offset| {
            offsets
                .append(&mut offsets.journal(), entry(offset))
                .unwrap()
        };
        let shown = || {
            offsets
                .of_group("sink")
                .get(&key(0))
                .map(|found| found.offset)
        };
        let (first, second) = (append(1), append(2));
        assert_eq!((shown(), offsets.has("sink")), (None, false));
        assert_eq!(offsets.get("sink", [key(0)]), [(key(0), None)]);
        offsets.sync(first).unwrap();
        assert_eq!(shown(), Some(2), "one fsync serves both");
        offsets.sync(second).unwrap();
        append(3);
        assert_eq!(shown(), Some(2));
        // Rewritten, it is durable without an fsync of its own.
        offsets.compact(&mut offsets.journal()).unwrap();
        assert_eq!(shown(), Some(3));
        drop(offsets);
        assert_eq!(open(dir.path()).of_group("sink")[&key(0)].offset, 3);
    }

    #[test]
    fn a_commit_whose_fsync_fails_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let offsets = Offsets::open(dir.path(), &disk, MAX).unwrap();
        let commit = |offset| offsets.commit("sink", vec![(key(0), committed(offset, ""))]);
        commit(1).unwrap();
        disk.faults.fail_every_sync();
        assert!(commit(2).is_err());
        disk.faults.repair_sync();
        assert!(commit(3).is_err());
        assert_eq!(offsets.of_group("sink")[&key(0)].offset, 1);
    }

    #[test]
    fn what_waits_for_its_fsync_takes_room_and_is_forgotten_with_its_topic() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = open(dir.path());
        let entry = Entry::Commit {
            group: "sink".to_owned(),
            offsets: (0..MAX as i32)
                .map(|p| (key(p), committed(1, "")))
                .collect(),
        };
        offsets.append(&mut offsets.journal(), entry).unwrap();
        let other = offsets.commit("other", vec![(key(0), committed(1, ""))]);
        assert!(matches!(other, Err(NotCommitted::NoRoom)));
        offsets.forget_topic("events").unwrap();
        assert!(!offsets.has("sink"));
        drop(offsets);
        assert!(!open(dir.path()).has("sink"));
    }

    #[test]
    fn a_full_disk_refuses_a_commit_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let offsets = Offsets::open(dir.path(), &disk, MAX).unwrap();
        offsets
            .commit("sink", vec![(key(0), committed(1, ""))])
            .unwrap();
        disk.faults.leave_room(10);
        assert!(
            offsets
                .commit("sink", vec![(key(0), committed(2, ""))])
                .is_err()
        );
        assert_eq!(offsets.of_group("sink")[&key(0)].offset, 1);
        disk.faults.give_space_back();
        offsets
            .commit("sink", vec![(key(0), committed(3, ""))])
            .unwrap();
        drop(offsets);
        assert_eq!(open(dir.path()).of_group("sink")[&key(0)].offset, 3);
    }
}

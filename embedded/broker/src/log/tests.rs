//! The log as a whole: what comes back after it was closed, cut short or damaged.

use std::{fs, io, path::Path, time::Duration};

use kafka_protocol::ResponseError;
use proptest::prelude::*;

use super::{
    Partition,
    batch::{
        self, Header,
        samples::{self, NOBODY, Sender},
    },
    open,
};
use crate::{
    config::Config,
    disk::Disk,
    topic_config::{Overrides, TopicConfig},
};

const SEGMENT: &str = "00000000000000000000.log";

fn settings() -> TopicConfig {
    TopicConfig::new(&Config::default(), &Overrides::new()).unwrap()
}

/// Segments so small that every few batches begin a new one.
fn small_segments() -> TopicConfig {
    TopicConfig {
        segment_bytes: 1000,
        ..settings()
    }
}

fn append(
    partition: &Partition,
    config: &TopicConfig,
    sender: Sender,
    timestamps: &[i64],
    now: i64,
) -> i64 {
    let appended = partition
        .append(
            &samples::batch(sender, timestamps, b"some value"),
            config,
            now,
        )
        .unwrap();
    partition.sync(appended.sync_to).unwrap();
    appended.base_offset
}

/// Offset and batch of everything there is.
fn read_all(partition: &Partition) -> Vec<(i64, Vec<u8>)> {
    let mut batches = Vec::new();
    let mut next = partition.extent().start;
    while next < partition.extent().end {
        let (records, _) = partition.read(next, 700, true).unwrap();
        let mut rest = &records[..];
        while let Some(header) = Header::parse(rest) {
            assert!(batch::is_intact(&rest[..header.size]));
            if !header.is_gap() {
                batches.push((header.base_offset, rest[..header.size].to_vec()));
            }
            rest = &rest[header.size..];
            next = header.next_offset();
        }
        assert!(rest.is_empty() && !records.is_empty());
    }
    batches
}

fn log_files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    names
}

/// The broker is gone without a word.
fn crash(partition: Partition) {
    drop(partition);
}

#[test]
fn records_are_shown_only_once_they_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    let partition = open(&Disk::default(), dir.path()).unwrap();
    let appended = partition
        .append(&samples::batch(NOBODY, &[1, 2], b"v"), &settings(), 0)
        .unwrap();
    assert_eq!(
        (
            partition.extent().end,
            partition.read(0, 1000, true).unwrap().0.len()
        ),
        (0, 0)
    );
    assert_eq!(
        partition.read(1, 1000, true).err(),
        Some(ResponseError::OffsetOutOfRange)
    );
    partition.sync(appended.sync_to).unwrap();
    assert_eq!(partition.extent().end, 2);
    assert_eq!(read_all(&partition).len(), 1);
}

#[test]
fn a_repeated_batch_is_recognised_after_a_crash_and_after_a_clean_stop() {
    for clean in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let config = small_segments();
        let partition = open(&Disk::default(), dir.path()).unwrap();
        for sequence in 0..50 {
            append(&partition, &config, (7, 0, sequence), &[1], 0);
        }
        assert!(log_files(dir.path()).len() > 3);
        if clean {
            partition.close().unwrap();
        }
        crash(partition);
        let partition = open(&Disk::default(), dir.path()).unwrap();
        assert_eq!(
            append(&partition, &config, (7, 0, 49), &[1], 0),
            49,
            "a repeat"
        );
        assert_eq!(
            append(&partition, &config, (7, 0, 45), &[1], 0),
            45,
            "an older repeat"
        );
        assert_eq!(
            append(&partition, &config, (7, 0, 50), &[1], 0),
            50,
            "the next one"
        );
        let gap = partition.append(&samples::batch((7, 0, 99), &[1], b""), &config, 0);
        assert_eq!(gap.err(), Some(ResponseError::OutOfOrderSequenceNumber));
    }
}

#[test]
fn producers_are_found_again_without_their_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_segments();
    let partition = open(&Disk::default(), dir.path()).unwrap();
    append(&partition, &config, (7, 0, 0), &[1], 0);
    for _ in 0..50 {
        append(&partition, &config, NOBODY, &[1], 0);
    }
    crash(partition);
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "producers" || extension == "index")
        {
            fs::write(path, b"rotten").unwrap();
        }
    }
    let partition = open(&Disk::default(), dir.path()).unwrap();
    assert_eq!(append(&partition, &config, (7, 0, 0), &[1], 0), 0);
    assert_eq!(read_all(&partition).len(), 51);
}

#[test]
fn an_old_snapshot_is_not_believed_once_something_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let partition = open(&Disk::default(), dir.path()).unwrap();
    append(&partition, &settings(), (7, 0, 0), &[1], 0);
    partition.close().unwrap();
    let snapshot = fs::read(dir.path().join("clean.snapshot")).unwrap();
    let partition = open(&Disk::default(), dir.path()).unwrap();
    append(&partition, &settings(), (7, 0, 1), &[1], 0);
    crash(partition);
    fs::write(dir.path().join("clean.snapshot"), snapshot).unwrap();
    let partition = open(&Disk::default(), dir.path()).unwrap();
    assert_eq!(partition.extent().end, 2);
    assert_eq!(append(&partition, &settings(), (7, 0, 1), &[1], 0), 1);
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was_at_every_length() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let partition = open(&disk, dir.path()).unwrap();
    append(&partition, &settings(), NOBODY, &[1], 0);
    let before = fs::read(dir.path().join(SEGMENT)).unwrap();
    let next = samples::batch(NOBODY, &[2], b"some value");
    for room in 0..next.len() as u64 {
        disk.faults.leave_room(room);
        let refused = partition.append(&next, &settings(), 0);
        assert_eq!(refused.err(), Some(ResponseError::KafkaStorageError));
        assert_eq!(fs::read(dir.path().join(SEGMENT)).unwrap(), before);
    }
    disk.faults.give_space_back();
    assert_eq!(append(&partition, &settings(), NOBODY, &[2], 0), 1);
    assert_eq!(read_all(&partition).len(), 2);
}

#[test]
fn a_failed_fsync_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let partition = open(&disk, dir.path()).unwrap();
    let appended = partition
        .append(&samples::batch(NOBODY, &[1], b""), &settings(), 0)
        .unwrap();
    disk.faults.fail_every_sync();
    assert!(partition.sync(appended.sync_to).is_err());
    disk.faults.repair_sync();
    assert!(partition.sync(appended.sync_to).is_err());
    assert!(
        partition
            .append(&samples::batch(NOBODY, &[1], b""), &settings(), 0)
            .is_err()
    );
    assert_eq!(partition.extent().end, 0);
}

#[test]
fn retention_by_time_deletes_old_segments_and_rolls_an_aged_active_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = TopicConfig {
        retention: Some(Duration::from_millis(1000)),
        ..small_segments()
    };
    let partition = open(&Disk::default(), dir.path()).unwrap();
    for at in 0..30 {
        append(&partition, &config, NOBODY, &[at * 100], at * 100);
    }
    partition.retain(&config, 2900).unwrap();
    let extent = partition.extent();
    assert!(extent.start > 0 && extent.end == 30, "{extent:?}");
    let kept = partition.first_at_or_after(1900).unwrap().unwrap().0;
    assert_eq!(kept, 19, "nothing within the retention is deleted");

    // One moment before the last record is too old, and at that moment.
    partition.retain(&config, 3900).unwrap();
    assert!(partition.extent().start < 30);
    partition.retain(&config, 3901).unwrap();
    assert_eq!(partition.extent().start, 30);
    assert_eq!(log_files(dir.path()), ["00000000000000000030.log"]);
    assert_eq!(
        partition.read(29, 1000, true).err(),
        Some(ResponseError::OffsetOutOfRange)
    );
    crash(partition);
    let partition = open(&Disk::default(), dir.path()).unwrap();
    assert_eq!(
        append(&partition, &config, NOBODY, &[1], 5000),
        30,
        "offsets go on"
    );
}

#[test]
fn a_record_from_the_future_does_not_keep_its_segment_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let config = TopicConfig {
        retention: Some(Duration::from_millis(1000)),
        ..settings()
    };
    let partition = open(&Disk::default(), dir.path()).unwrap();
    append(&partition, &config, NOBODY, &[i64::MAX / 2], 100);
    partition.retain(&config, 1100).unwrap();
    assert_eq!(partition.extent().start, 0);
    partition.retain(&config, 1101).unwrap();
    assert_eq!(partition.extent().start, 1);
}

#[test]
fn an_active_segment_is_closed_at_its_age_without_deleting_anything() {
    let dir = tempfile::tempdir().unwrap();
    let config = TopicConfig {
        segment_age: Duration::from_millis(1000),
        retention: None,
        ..settings()
    };
    let partition = open(&Disk::default(), dir.path()).unwrap();
    append(&partition, &config, NOBODY, &[0], 0);
    partition.retain(&config, 999).unwrap();
    assert_eq!(log_files(dir.path()).len(), 1);
    partition.retain(&config, 1000).unwrap();
    assert_eq!(log_files(dir.path()).len(), 2);
    assert_eq!(read_all(&partition).len(), 1);
}

#[test]
fn retention_by_size_keeps_at_least_that_much() {
    let dir = tempfile::tempdir().unwrap();
    let config = TopicConfig {
        retention: None,
        retention_bytes: Some(3000),
        ..small_segments()
    };
    let partition = open(&Disk::default(), dir.path()).unwrap();
    for _ in 0..100 {
        append(&partition, &config, NOBODY, &[0], 0);
    }
    partition.retain(&config, 0).unwrap();
    let left: u64 = log_files(dir.path())
        .iter()
        .map(|name| fs::metadata(dir.path().join(name)).unwrap().len())
        .sum();
    assert!((3000..4000).contains(&left), "{left}");
    assert_eq!(partition.extent().end, 100);
    assert!(read_all(&partition).len() > 20);
}

#[test]
fn deleted_records_stay_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_segments();
    let partition = open(&Disk::default(), dir.path()).unwrap();
    for at in 0..50 {
        append(&partition, &config, NOBODY, &[at], 0);
    }
    assert_eq!(
        partition.delete_before(51).err(),
        Some(ResponseError::OffsetOutOfRange)
    );
    assert_eq!(partition.delete_before(25), Ok(25));
    assert_eq!(
        partition.delete_before(3),
        Ok(25),
        "the start never goes back"
    );
    crash(partition);
    let partition = open(&Disk::default(), dir.path()).unwrap();
    assert_eq!(
        (
            partition.extent().start,
            partition.first_at_or_after(0).unwrap()
        ),
        (25, Some((25, 25)))
    );
    assert_eq!(partition.delete_before(-1), Ok(50));
}

#[test]
fn damage_in_a_closed_segment_costs_its_batch_only() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_segments();
    let partition = open(&Disk::default(), dir.path()).unwrap();
    for _ in 0..50 {
        append(&partition, &config, NOBODY, &[1], 0);
    }
    crash(partition);
    let names = log_files(dir.path());
    let path = dir.path().join(&names[1]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    // With its index and without: a start that reads the segment finds it, else the first reader.
    for index in [true, false] {
        if !index {
            fs::write(&path, &bytes).unwrap();
            fs::remove_file(path.with_extension("index")).unwrap();
        }
        let partition = open(&Disk::default(), dir.path()).unwrap();
        let offsets = read_all(&partition).into_iter().map(|(offset, _)| offset);
        let damaged: i64 = names[1].trim_end_matches(".log").parse().unwrap();
        let expected: Vec<i64> = (0..50).filter(|offset| *offset != damaged + 1).collect();
        assert!(offsets.eq(expected), "index {index}");
    }
}

type Batches = Vec<(i64, Vec<u8>)>;

/// A log of one segment, its file, and what is in it.
fn written(values: &[Vec<u8>]) -> io::Result<(tempfile::TempDir, Vec<u8>, Batches)> {
    let dir = tempfile::tempdir()?;
    let partition = open(&Disk::default(), dir.path())?;
    for (sequence, value) in values.iter().enumerate() {
        let timestamps = vec![5; 1 + value.len() % 3];
        let sender = if value.len() % 2 == 0 {
            (1, sequence as i16, 0)
        } else {
            NOBODY
        };
        let appended = partition
            .append(&samples::batch(sender, &timestamps, value), &settings(), 0)
            .unwrap();
        partition.sync(appended.sync_to)?;
    }
    let batches = read_all(&partition);
    crash(partition);
    let file = fs::read(dir.path().join(SEGMENT))?;
    Ok((dir, file, batches))
}

/// How many batches end at or before a byte.
fn whole_before(batches: &[(i64, Vec<u8>)], at: usize) -> usize {
    let mut end = 0;
    batches
        .iter()
        .take_while(|(_, batch)| {
            end += batch.len();
            end <= at
        })
        .count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_cut_anywhere_keeps_its_whole_batches_and_goes_on(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let (dir, file, batches) = written(&values).unwrap();
        let cut = cut.index(file.len() + 1);
        fs::write(dir.path().join(SEGMENT), &file[..cut]).unwrap();
        let partition = open(&Disk::default(), dir.path()).unwrap();
        let kept = whole_before(&batches, cut);
        prop_assert_eq!(&read_all(&partition)[..], &batches[..kept]);
        let next = partition.extent().end;
        prop_assert_eq!(append(&partition, &settings(), NOBODY, &[9], 0), next);
        prop_assert_eq!(read_all(&partition).len(), kept + 1);
    }

    #[test]
    fn a_log_with_anything_behind_it_keeps_all_of_its_batches(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6),
        junk in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        let (dir, mut file, batches) = written(&values).unwrap();
        let len = file.len();
        file.extend(junk);
        fs::write(dir.path().join(SEGMENT), &file).unwrap();
        let partition = open(&Disk::default(), dir.path()).unwrap();
        prop_assert_eq!(read_all(&partition), batches);
        prop_assert_eq!(fs::metadata(dir.path().join(SEGMENT)).unwrap().len(), len as u64);
    }
}

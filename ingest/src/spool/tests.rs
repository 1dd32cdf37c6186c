//! The spool on a real disk: what was kept is there, in order, whatever happened to the process.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::segment::Open;
use super::*;

const TOPIC: &str = "events";
const ROOMY: u64 = 1 << 30;

fn open(dir: &TempDir, bytes_max: u64) -> Spool {
    Spool::open_in(dir.path().to_owned(), bytes_max, TOPIC).unwrap()
}

/// Waits for the writer's thread, which holds the lock.
fn close(spool: Spool) {
    let shared = Arc::downgrade(&spool.shared);
    drop(spool);
    let begun_at = Instant::now();
    while shared.upgrade().is_some() {
        assert!(begun_at.elapsed() < LOCK_WAIT);
        std::thread::yield_now();
    }
}

fn record(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Takes everything out, as the drain does; the records and their partitions.
async fn drain(spool: &Spool) -> Vec<(u32, String)> {
    let mut drained = Vec::new();
    while !spool.is_empty() {
        let segment = spool.oldest().await;
        let contents = spool.read(segment).unwrap();
        let frames = contents.frames();
        drained.extend(frames.frames.iter().map(|frame| {
            let text = String::from_utf8(frame.record.to_vec()).unwrap();
            (frame.partition, text)
        }));
        spool.done_with(segment, frames.damaged_bytes > 0);
    }
    drained
}

fn files(dir: &TempDir, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|is| is == extension))
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_comes_out_in_order_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    let mut expected = Vec::new();
    for nth in 0..50 {
        spool
            .append(nth % 8, record(&format!("flush {nth}")))
            .await
            .unwrap();
        expected.push((nth % 8, format!("flush {nth}")));
    }
    assert_eq!(drain(&spool).await, expected);
    assert_eq!(files(&dir, "spool"), Vec::<PathBuf>::new());
    assert_eq!(spool.shared.state().bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_is_there_after_a_new_start() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    spool.append(1, record("before")).await.unwrap();
    close(spool);
    let spool = open(&dir, ROOMY);
    assert!(!spool.is_empty());
    spool.append(2, record("after")).await.unwrap();
    let expected = [(1, "before".to_owned()), (2, "after".to_owned())];
    assert_eq!(drain(&spool).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_tore_is_passed_over_and_later_flushes_are_not_lost_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    // As a process leaves it that dies while it writes its second frame.
    let mut torn = Open::create(dir.path(), 1, 0).unwrap();
    let mut bytes = Vec::new();
    for text in ["whole", "torn"] {
        let frame = Frame {
            partition: 3,
            appended_at: 1,
            record: text.as_bytes(),
        };
        frame::write(&mut bytes, 1, frame);
    }
    torn.append(&bytes[..bytes.len() - 1]).unwrap();
    drop(torn);
    let spool = open(&dir, ROOMY);
    spool.append(4, record("after")).await.unwrap();
    let expected = [(3, "whole".to_owned()), (4, "after".to_owned())];
    assert_eq!(drain(&spool).await, expected);
    assert_eq!(files(&dir, "aside"), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_gives_what_is_whole_and_is_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    for text in ["first", "second", "third"] {
        spool.append(0, record(text)).await.unwrap();
    }
    close(spool);
    let file = files(&dir, "spool").remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(6).position(|six| six == b"second").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let spool = open(&dir, ROOMY);
    let expected = [(0, "first".to_owned()), (0, "third".to_owned())];
    assert_eq!(drain(&spool).await, expected);
    assert_eq!(files(&dir, "aside").len(), 1);
    // A number set aside is not given again.
    spool.append(0, record("fourth")).await.unwrap();
    assert!(files(&dir, "spool")[0].file_stem() > files(&dir, "aside")[0].file_stem());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_flush_of_a_segment_that_was_closed_cannot_pass_for_torn() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    spool.append(0, record("last")).await.unwrap();
    close(spool);
    let file = files(&dir, "spool").remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(4).position(|four| four == b"last").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let spool = open(&dir, ROOMY);
    assert_eq!(drain(&spool).await, []);
    assert_eq!(files(&dir, "aside").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_refuses_and_has_room_again_once_drained() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, 1000);
    let flush = record(&"x".repeat(400));
    spool.append(0, flush.clone()).await.unwrap();
    spool.append(0, flush.clone()).await.unwrap();
    let refused = spool.append(0, flush.clone()).await;
    assert_eq!(refused, Err(SpoolError::Full(1000)));
    assert_eq!(drain(&spool).await.len(), 2);
    spool.append(0, flush).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_takes_no_file_refuses_and_takes_flushes_again_later() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    // A segment's file that is in the way stands for a disk without room for one.
    let in_the_way = dir.path().join(format!("{:020}.spool", 1));
    fs::create_dir(&in_the_way).unwrap();
    let refused = spool.append(0, record("refused")).await;
    assert!(
        matches!(&refused, Err(SpoolError::Disk(why)) if why.contains("make a segment")),
        "{refused:?}"
    );
    fs::remove_dir(&in_the_way).unwrap();
    spool.append(0, record("taken")).await.unwrap();
    assert_eq!(drain(&spool).await, [(0, "taken".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_failed_attempt_left_behind_is_in_the_way_once() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    // As after a sync of the folder that failed, and a removal that failed with it.
    let left = dir.path().join(format!("{:020}.spool", 1));
    fs::write(&left, b"").unwrap();
    assert!(spool.append(0, record("refused")).await.is_err());
    spool.append(0, record("taken")).await.unwrap();
    assert!(left.exists());
    assert_eq!(drain(&spool).await, [(0, "taken".to_owned())]);
    close(spool);
    // It goes with the next flushes after a restart.
    let spool = open(&dir, ROOMY);
    spool.append(0, record("next")).await.unwrap();
    assert_eq!(drain(&spool).await, [(0, "next".to_owned())]);
    assert!(files(&dir, "spool").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_closed_at_their_size_and_none_is_lost_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    let flush = record(&"x".repeat(900_000));
    let mut appending = tokio::task::JoinSet::new();
    for partition in 0..60 {
        let (spool, flush) = (spool.clone(), flush.clone());
        appending.spawn(async move { spool.append(partition, flush).await });
    }
    for appended in appending.join_all().await {
        appended.unwrap();
    }
    assert!(files(&dir, "spool").len() >= 3);
    let mut partitions: Vec<u32> = drain(&spool).await.into_iter().map(|(at, _)| at).collect();
    partitions.sort_unstable();
    assert_eq!(partitions, (0..60).collect::<Vec<u32>>());
}

#[test]
fn no_other_user_can_enter_the_folder_not_even_one_from_before() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let _spool = open(&dir, ROOMY);
    let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn the_number_of_partitions_outlasts_the_process_for_its_topic_alone() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    assert_eq!(spool.partitions(), None);
    spool.remember(12);
    close(spool);
    let spool = open(&dir, ROOMY);
    assert_eq!(spool.partitions(), Some(12));
    close(spool);
    let other = Spool::open_in(dir.path().to_owned(), ROOMY, "other").unwrap();
    assert_eq!(other.partitions(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn flushes_for_one_topic_are_not_taken_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, ROOMY);
    spool.remember(8);
    spool.append(0, record("kept")).await.unwrap();
    close(spool);
    let refused = Spool::open_in(dir.path().to_owned(), ROOMY, "other");
    let said = format!("{:#}", refused.err().unwrap());
    assert!(said.contains("for topic events"), "{said}");
}

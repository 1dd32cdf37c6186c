//! The embedded broker's files rot or are cut: what is left counts once, and nothing stands still.
#![expect(clippy::unwrap_used, reason = "tests, and the helpers they share")]

#[expect(dead_code, reason = "shared with the other tests of the sink")]
mod world;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use world::servers::Broker;
use world::{Running, World, events};

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn cut(path: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len - bytes.min(len)).unwrap();
}

/// What becomes of a file of some length.
type Damage<'a> = &'a dyn Fn(&Path, u64);

/// A partition's folder, and its only segment.
fn partition(dir: &TempDir, world: &World, partition: u16) -> (PathBuf, PathBuf) {
    let folder = dir
        .path()
        .join("topics")
        .join(&world.kafka.topic)
        .join(partition.to_string());
    let log = folder.join("00000000000000000000.log");
    (folder, log)
}

/// Stops the broker, has its files damaged, and starts it where it was.
async fn damaged(broker: Broker, dir: &TempDir, damage: impl FnOnce()) -> Broker {
    let port = broker.address.port();
    broker.stop().await;
    damage();
    Broker::start(dir.path(), port).await
}

async fn missing_offsets(sink: &Running) -> u64 {
    let mut stream = TcpStream::connect(sink.operations).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: sink\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).await.unwrap();
    let lines = metrics.lines();
    let counts = lines.filter_map(|line| line.strip_prefix("weir_sink_offsets_missing_total "));
    counts.map(|count| count.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_rot_in_the_log_are_skipped_and_all_others_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), 0).await;
    let world = World::on(&broker.address.to_string(), 2).await;
    let mut ends = Vec::new();
    let (folder, log) = partition(&dir, &world, 0);
    for record in 0..6 {
        world.send(0, &events(record * 5..record * 5 + 5)).await;
        ends.push(fs::metadata(&log).unwrap().len());
    }
    for record in 0..4 {
        world.send(1, &events(record * 5..record * 5 + 5)).await;
    }
    let broker = damaged(broker, &dir, || {
        // The third of partition 0, which the start finds, and the last of 1, which the sink finds.
        flip(&log, ends[2] - 3);
        fs::remove_file(folder.join("clean.snapshot")).unwrap();
        let (_, log) = partition(&dir, &world, 1);
        flip(&log, fs::metadata(&log).unwrap().len() - 3);
    })
    .await;

    let sink = world.start().await;
    world.wait_until_committed(&[(0, 6), (1, 3)]).await;
    assert_eq!(sink.ready().await.0, 200);
    // What comes behind the gap at the end of the log.
    assert_eq!(world.send(1, &events(0..5)).await, 4);
    world.wait_until_committed(&[(1, 5)]).await;
    assert_eq!(missing_offsets(&sink).await, 2);
    sink.stop().await;
    world.assert_exactly(45).await;

    // A sink that takes over does not find the gaps either.
    world.send(0, &events(0..5)).await;
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 7)]).await;
    sink.stop().await;
    world.assert_exactly(50).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_that_rot_or_vanish_skip_nothing_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path(), 0).await;
    let world = World::on(&broker.address.to_string(), 2).await;
    let journal = dir.path().join("offsets.journal");
    let mut records = 0;
    let damages: [Damage<'_>; 6] = [
        &|_, _| {},
        &|path, len| flip(path, len - 2),
        &|path, len| flip(path, len / 2),
        &|path, _| flip(path, 1),
        &|path, len| cut(path, len * 2 / 3),
        &|path, _| fs::write(path, b"").unwrap(),
    ];
    for damage in damages {
        broker = damaged(broker, &dir, || {
            damage(&journal, fs::metadata(&journal).unwrap().len());
        })
        .await;
        for partition in 0..2 {
            world
                .send(partition, &events(records * 5..records * 5 + 5))
                .await;
        }
        records += 1;
        let sink = world.start().await;
        world
            .wait_until_committed(&[(0, records), (1, records)])
            .await;
        sink.stop().await;
        world.assert_exactly(records * 10).await;
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_records_that_are_stored_goes_on_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), 0).await;
    let world = World::on(&broker.address.to_string(), 1).await;
    for record in 0..4 {
        world.send(0, &events(record * 5..record * 5 + 5)).await;
    }
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 4)]).await;
    sink.stop().await;
    let broker = damaged(broker, &dir, || {
        let (folder, log) = partition(&dir, &world, 0);
        fs::remove_file(folder.join("clean.snapshot")).unwrap();
        cut(&log, fs::metadata(&log).unwrap().len() / 2);
    })
    .await;
    // Under an offset of one that is stored it would be taken for stored itself.
    assert_eq!(world.send(0, &events(0..5)).await, 4);
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 5)]).await;
    sink.stop().await;
    world.assert_exactly(25).await;
    broker.stop().await;
}

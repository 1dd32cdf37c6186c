//! What is left after the broker ended badly.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use embedded_broker::{Broker, Config};
use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    consumer::Consumer,
    error::KafkaError,
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};
use support::*;
use tokio_util::sync::CancellationToken;

const READY: &str = "listening on ";

/// Not a test: the broker process of the tests below, which name directory and address on its input.
#[test]
#[ignore = "it is the process that another test kills"]
fn broker_process() {
    let mut lines = std::io::stdin().lines();
    let (Some(Ok(dir)), Some(Ok(listen))) = (lines.next(), lines.next()) else {
        return;
    };
    let config = Config {
        data_dir: dir.into(),
        listen: listen.parse().unwrap(),
        segment_bytes: 1 << 20,
        lock_wait: Duration::from_secs(5),
        ..Config::default()
    };
    drop(lines);
    let shutdown = CancellationToken::new();
    let stopped = shutdown.clone();
    std::thread::spawn(move || {
        // Ends with the test that began it, however that one ends.
        for _ in std::io::stdin().lines() {}
        stopped.cancel();
    });
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let broker = Broker::bind(config).await.unwrap();
        println!("\n{READY}{}", broker.local_addr());
        broker.run(shutdown).await.unwrap();
    });
}

struct BrokerProcess {
    child: Child,
    address: SocketAddr,
}

impl BrokerProcess {
    fn start(dir: &tempfile::TempDir, listen: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "broker_process", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.as_mut().unwrap();
        writeln!(input, "{}\n{listen}", data_dir(dir).display()).unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix(READY)?.parse().ok());
        Self {
            child,
            address: ready.expect("the broker process opens"),
        }
    }

    /// SIGKILL: no destructor, no flush, no good-bye.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Keeps what was acknowledged.
#[derive(Clone, Default)]
struct Acknowledged(Arc<Mutex<BTreeSet<u64>>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let message = result.as_ref().expect("delivery goes on until it works");
        let number = std::str::from_utf8(message.payload().unwrap()).unwrap()[..12]
            .parse()
            .unwrap();
        assert!(self.0.lock().unwrap().insert(number));
    }
}

#[test]
fn everything_acknowledged_is_there_once_after_kills_under_load() {
    const KILLS: usize = 6;
    let dir = tempfile::tempdir().unwrap();
    let mut process = BrokerProcess::start(&dir, "127.0.0.1:0");
    let address = process.address.to_string();
    create_topic(&address, "events", 3, &[]);
    let acknowledged = Acknowledged::default();
    let producer: ThreadedProducer<Acknowledged> = client(&address)
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("compression.type", "lz4")
        .set("batch.num.messages", "100")
        .set("message.timeout.ms", "0")
        .set("reconnect.backoff.max.ms", "100")
        .set("retry.backoff.max.ms", "100")
        .create_with_context(acknowledged.clone())
        .unwrap();

    let mut sent = 0_u64;
    for round in 0..=KILLS {
        let before = acknowledged.0.lock().unwrap().len();
        let enough = || acknowledged.0.lock().unwrap().len() >= before + 5_000;
        wait_until("enough is acknowledged in this round", || {
            for _ in 0..200 {
                let value = format!("{sent:012} {}", "v".repeat(200));
                if producer
                    .send(
                        BaseRecord::<(), str>::to("events")
                            .partition((sent % 3) as i32)
                            .payload(&value),
                    )
                    .is_err()
                {
                    break;
                }
                sent += 1;
            }
            enough()
        });
        if round < KILLS {
            process.kill();
            process = BrokerProcess::start(&dir, &address);
        }
    }
    producer.flush(PATIENCE).unwrap();

    assert_eq!(acknowledged.0.lock().unwrap().len() as u64, sent);
    let mut numbers = BTreeSet::new();
    for (partition, values) in read_all(&address, "events") {
        for (expected, (offset, value)) in values.iter().enumerate() {
            assert_eq!(*offset, expected as i64, "a gap in partition {partition}");
            let number: u64 = std::str::from_utf8(value).unwrap()[..12].parse().unwrap();
            assert!(numbers.insert(number), "{number} is there twice");
        }
    }
    assert_eq!(numbers.len() as u64, sent);
    process.kill();
}

#[test]
fn a_torn_tail_is_cut_off_and_the_rest_is_intact() {
    let dir = tempfile::tempdir().unwrap();
    let process = BrokerProcess::start(&dir, "127.0.0.1:0");
    let address = process.address.to_string();
    create_topic(&address, "events", 1, &[]);
    produce(
        &address,
        "events",
        0,
        (0..500).map(|i| format!("value {i}")),
    );
    process.kill();

    let path = data_dir(&dir).join("topics/events/0/00000000000000000000.log");
    let whole = fs::read(&path).unwrap();
    // The beginning of one more batch, as an append cut short by a power failure leaves it.
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(&whole[..whole.len().min(90)])
        .unwrap();

    let broker = start(config(&dir));
    assert_eq!(fs::metadata(&path).unwrap().len(), whole.len() as u64);
    let intact = |count: usize| {
        let found = &read_all(&broker.bootstrap(), "events")[&0];
        let expected: Vec<_> = (0..count)
            .map(|i| (i as i64, format!("value {i}").into_bytes()))
            .collect();
        assert!(*found == expected, "{} records", found.len());
    };
    intact(500);
    produce(
        &broker.bootstrap(),
        "events",
        0,
        (500..600).map(|i| format!("value {i}")),
    );
    intact(600);
}

/// A consumer with the settings of any application sees the other records, and the end.
#[test]
fn consumers_go_on_behind_damage_in_the_middle_and_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let process = BrokerProcess::start(&dir, "127.0.0.1:0");
    let address = process.address.to_string();
    create_topic(&address, "events", 1, &[]);
    for round in 0..4 {
        let texts = (0..100).map(|i| format!("value {}", round * 100 + i));
        produce(&address, "events", 0, texts);
    }
    process.kill();

    // The last byte of a value in the second round, and the last byte of all.
    let path = data_dir(&dir).join("topics/events/0/00000000000000000000.log");
    let mut bytes = fs::read(&path).unwrap();
    let value = b"value 150";
    let at = bytes.windows(value.len()).position(|found| found == value);
    bytes[at.unwrap()] ^= 1;
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();

    let broker = start(config(&dir));
    let group = consumer(
        &broker.bootstrap(),
        "readers",
        &[("enable.partition.eof", "true")],
    );
    let mut positions = TopicPartitionList::new();
    positions
        .add_partition_offset("events", 0, Offset::Beginning)
        .unwrap();
    group.assign(&positions).unwrap();
    let mut found = BTreeMap::new();
    loop {
        match group.poll(PATIENCE).expect("a record or the end") {
            Ok(message) => {
                let value = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
                assert_eq!(found.insert(message.offset(), value), None);
            }
            Err(KafkaError::PartitionEOF(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        found.len() < 400 && found.contains_key(&99),
        "{}",
        found.len()
    );
    assert!(!found.contains_key(&150) && !found.contains_key(&399));
    for (offset, value) in &found {
        assert_eq!(*value, format!("value {offset}"));
    }
    // librdkafka may have made several batches of a round: only those two are missing.
    let missing: Vec<i64> = (0..400)
        .filter(|offset| !found.contains_key(offset))
        .collect();
    let runs = missing
        .chunk_by(|before, after| before + 1 == *after)
        .count();
    assert_eq!(runs, 2, "{missing:?}");

    produce(&broker.bootstrap(), "events", 0, ["next".to_owned()]);
    let next = group.poll(PATIENCE).expect("the next record").unwrap();
    assert_eq!((next.offset(), next.payload()), (400, Some(&b"next"[..])));
}

#[test]
fn a_clean_restart_keeps_everything_and_leaves_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let broker = start(config(&dir));
        if round == 0 {
            create_topic(
                &broker.bootstrap(),
                "events",
                2,
                &[("segment.bytes", "16384")],
            );
        }
        for partition in 0..2 {
            produce(
                &broker.bootstrap(),
                "events",
                partition,
                (0..1000).map(|i| format!("{round} {i}")),
            );
        }
        for (_, values) in read_all(&broker.bootstrap(), "events") {
            let expected: Vec<_> = (0..=round)
                .flat_map(|round| (0..1000).map(move |i| format!("{round} {i}").into_bytes()))
                .collect();
            assert!(values.into_iter().map(|(_, value)| value).eq(expected));
        }
        broker.stop().unwrap();
        assert!(
            data_dir(&dir)
                .join("topics/events/0/clean.snapshot")
                .exists()
        );
    }
}

#[test]
fn a_second_broker_on_the_same_directory_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(config(&dir));
    let impatient = Config {
        lock_wait: Duration::from_millis(200),
        ..config(&dir)
    };
    let refusal = block_on(Broker::bind(impatient)).err().unwrap().to_string();
    assert!(
        refusal.contains(&data_dir(&dir).display().to_string()),
        "{refusal}"
    );
    assert!(refusal.contains("another weir"), "{refusal}");
    assert!(
        refusal.contains(&std::process::id().to_string()),
        "{refusal}"
    );
    assert_eq!(refusal.lines().count(), 1);

    // One that is about to end is waited for.
    let successor = config(&dir);
    let waiting = std::thread::spawn(move || start(successor));
    std::thread::sleep(Duration::from_millis(200));
    first.stop().unwrap();
    waiting.join().unwrap().stop().unwrap();
}

#[test]
fn no_other_user_can_enter_the_log_not_even_one_from_before() {
    let dir = tempfile::tempdir().unwrap();
    let mode = || {
        let folder = fs::metadata(data_dir(&dir)).unwrap();
        folder.permissions().mode() & 0o777
    };
    start(config(&dir)).stop().unwrap();
    assert_eq!(mode(), 0o700);
    fs::set_permissions(data_dir(&dir), fs::Permissions::from_mode(0o755)).unwrap();
    start(config(&dir)).stop().unwrap();
    assert_eq!(mode(), 0o700);
}

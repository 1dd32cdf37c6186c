//! One broker and one engine for all tests of the process; they end with it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) struct Servers {
    pub(crate) brokers: String,
    pub(crate) clickhouse: String,
}

pub(crate) fn shared() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let log = infra::telemetry::Config {
            filter: "warn,rdkafka=off,librdkafka=off,sink=debug".to_owned(),
            ..Default::default()
        };
        infra::telemetry::init(&log).unwrap();
        let dir = dir();
        let _ = std::fs::remove_dir_all(&dir);
        Servers {
            brokers: broker(&dir),
            clickhouse: engine(),
        }
    })
}

/// On a thread and a runtime of its own: a test's runtime ends with the test.
fn broker(dir: &Path) -> String {
    let config = embedded_broker::Config {
        data_dir: dir.join("broker"),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        segment_bytes: 1 << 20,
        ..Default::default()
    };
    let (bound, address) = sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let broker = embedded_broker::Broker::bind(config).await.unwrap();
            bound.send(broker.local_addr().to_string()).unwrap();
            broker.run(CancellationToken::new()).await.unwrap();
        });
    });
    address.recv().unwrap()
}

const ENGINE_ANSWERS_ON: &str = "the engine answers on ";

/// In a process of its own, this very program: the engine wants to be closed before its process
/// ends, and here nobody knows which test is the last.
#[expect(
    clippy::zombie_processes,
    reason = "it lives as long as the tests, and nobody is left to wait for it"
)]
fn engine() -> String {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            "world::servers::engine_process",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    // Its standard input stays open as long as this process lives, and tells it when it does not.
    std::mem::forget(process.stdin.take());
    while let Some(line) = lines.next() {
        if let Some((_, address)) = line.unwrap().split_once(ENGINE_ANSWERS_ON) {
            let address = address.to_owned();
            // So does its standard output: its harness speaks up after a minute, and ends where
            // nobody listens.
            std::mem::forget(lines);
            return address;
        }
    }
    panic!("the engine did not start: {:?}", process.wait());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test: the process of the engine, which the tests start"]
async fn engine_process() {
    let config = embedded_clickhouse::Config {
        data_dir: dir().join("clickhouse"),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..Default::default()
    };
    let engine = embedded_clickhouse::Server::open(config).await.unwrap();
    println!("{ENGINE_ANSWERS_ON}http://{}", engine.local_addr());
    let shutdown = CancellationToken::new();
    let parent_gone = shutdown.clone().drop_guard();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(parent_gone);
    });
    engine.run(shutdown).await.unwrap();
    // Nobody reads what the test harness would say now.
    std::process::exit(0);
}

fn dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("sink")
}

/// A broker of one test's own, which may stop and come back.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Broker {
    pub(crate) async fn start(dir: &Path, port: u16) -> Self {
        Self::start_behind(dir, port, None).await
    }

    /// One that clients are told to find at `advertised`.
    pub(crate) async fn start_behind(
        dir: &Path,
        port: u16,
        advertised: Option<SocketAddr>,
    ) -> Self {
        let config = embedded_broker::Config {
            data_dir: dir.to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            advertised: advertised.map(|address| address.to_string()),
            ..Default::default()
        };
        let broker = embedded_broker::Broker::bind(config).await.unwrap();
        let address = broker.local_addr();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(broker.run(shutdown.clone()));
        Self {
            address,
            shutdown,
            task,
        }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Stays away for a while; comes back where it was.
    pub(crate) async fn restart(self, dir: &Path, away: Duration) -> Self {
        let port = self.address.port();
        self.stop().await;
        tokio::time::sleep(away).await;
        Self::start(dir, port).await
    }
}

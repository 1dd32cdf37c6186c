//! One broker and one engine for all tests of the process; they end with it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
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
            filter: "warn,rdkafka=error,librdkafka=off,sink=debug".to_owned(),
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

/// On a thread and a runtime of its own, too. Its process ends when this one does.
fn engine() -> String {
    let config = embedded_clickhouse::Config {
        data_dir: dir().join("clickhouse"),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        native_port: 0,
        ..Default::default()
    };
    let program = embedded_clickhouse::Program {
        path: std::env::current_exe().unwrap(),
        arguments: [
            "world::servers::engine_process",
            "--exact",
            "--ignored",
            "--nocapture",
        ]
        .map(Into::into)
        .into(),
    };
    let (started, address) = sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let engine = embedded_clickhouse::Server::start(config, program);
            let engine = engine.await.unwrap();
            started.send(format!("http://{}", engine.http())).unwrap();
            engine.run(CancellationToken::new()).await.unwrap();
        });
    });
    address.recv().unwrap()
}

#[test]
#[ignore = "not a test: the process that becomes the engine, which the tests start"]
fn engine_process() {
    embedded_clickhouse::serve();
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

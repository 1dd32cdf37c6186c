//! One broker and one engine for all tests of the process; they end with it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio_util::sync::CancellationToken;

pub(crate) struct Servers {
    pub(crate) brokers: String,
    pub(crate) clickhouse: String,
}

pub(crate) fn shared() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let log = infra::telemetry::Config {
            filter: "warn,sink=debug".to_owned(),
            ..Default::default()
        };
        infra::telemetry::init(&log).unwrap();
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sink");
        let _ = std::fs::remove_dir_all(&dir);
        Servers {
            brokers: broker(&dir),
            clickhouse: engine(&dir),
        }
    })
}

fn broker(dir: &Path) -> String {
    let config = embedded_broker::Config {
        data_dir: dir.join("broker"),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        segment_bytes: 1 << 20,
        ..Default::default()
    };
    apart(async move |bound| {
        let broker = embedded_broker::Broker::bind(config).await.unwrap();
        bound.send(broker.local_addr().to_string()).unwrap();
        broker.run(CancellationToken::new()).await.unwrap();
    })
}

fn engine(dir: &Path) -> String {
    let config = embedded_clickhouse::Config {
        data_dir: dir.join("clickhouse"),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..Default::default()
    };
    apart(async move |bound| {
        let engine = embedded_clickhouse::Server::open(config).await.unwrap();
        bound
            .send(format!("http://{}", engine.local_addr()))
            .unwrap();
        engine.run(CancellationToken::new()).await.unwrap();
    })
}

/// On a thread and a runtime of its own: a test's runtime ends with the test. Returns the address
/// that the server says it is bound to.
fn apart<F: Future<Output = ()>>(
    server: impl FnOnce(SyncSender<String>) -> F + Send + 'static,
) -> String {
    let (bound, address) = sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(server(bound));
    });
    address.recv().unwrap()
}

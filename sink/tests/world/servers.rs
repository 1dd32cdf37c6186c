//! One broker and one engine for all tests of the process; they end with it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;

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
            clickhouse: "http://127.0.0.1:38123".to_owned(),
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
    let (bound, address) = std::sync::mpsc::sync_channel(1);
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

//! Every service in a process of its own, against Apache Kafka: how weir runs beyond one machine.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::{Addresses, Topics};
use crate::{ApacheKafka, Leash, command, free_port, leash, run};

// One for all the tests of a process: they have topics and a group of their own. It is never
// dropped; its leashes end it.
static KAFKA: LazyLock<ApacheKafka> = LazyLock::new(|| ApacheKafka::start(1));

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// ClickHouse, ingest, sink and query. Dropping them kills them.
#[derive(Debug)]
pub(super) struct Services {
    processes: Vec<Leash>,
    folder: PathBuf,
}

impl Services {
    /// Starts on `folder` and waits until every service is ready.
    pub(super) fn start(folder: &Path, topics: &Topics) -> (Self, Addresses) {
        let [clickhouse, ingest, sink, query] =
            std::array::from_fn(|_| format!("127.0.0.1:{}", free_port()));
        let configured = || {
            let mut command = command(folder);
            command
                .env("WEIR_KAFKA__BROKERS", KAFKA.bootstrap())
                .env("WEIR_KAFKA__TOPIC", &topics.events)
                .env("WEIR_KAFKA__DEAD_LETTER_TOPIC", &topics.dead_letters)
                .env("WEIR_CLICKHOUSE__URL", format!("http://{clickhouse}"))
                .env("WEIR_INGEST__LISTEN", &ingest)
                .env("WEIR_SINK__LISTEN", &sink)
                .env("WEIR_SINK__GROUP", &topics.events)
                // A sink that was killed is waited for by the one that takes over.
                .env("WEIR_SINK__SESSION_TIMEOUT", "3s")
                .env("WEIR_QUERY__LISTEN", &query);
            command
        };
        let mut services = Self {
            processes: Vec::new(),
            folder: folder.to_owned(),
        };

        let mut server = configured();
        server
            .args(["clickhouse", "--listen", &clickhouse, "--data-dir"])
            .arg(folder.join("data/clickhouse"));
        services.run(folder, "clickhouse", &server);
        services.wait_for(folder, "clickhouse", &clickhouse, "/ping");

        let mut migrate = configured();
        migrate.arg("migrate");
        let migrated = run(migrate);
        assert!(migrated.success, "{migrated:?}");

        let listening = [("ingest", &ingest), ("sink", &sink), ("query", &query)];
        for (name, _) in listening {
            let mut service = configured();
            service.arg(name);
            services.run(folder, name, &service);
        }
        for (name, address) in listening {
            services.wait_for(folder, name, address, "/ready");
        }
        let addresses = Addresses {
            ingest: format!("http://{ingest}"),
            query: format!("http://{query}"),
            kafka: KAFKA.bootstrap(),
            clickhouse: format!("http://{clickhouse}"),
            native: None,
        };
        (services, addresses)
    }

    /// kill -9 of all of them; what they stored stays.
    pub(super) fn kill(&mut self) {
        for process in self.processes.drain(..) {
            process.kill();
        }
    }

    fn run(&mut self, folder: &Path, name: &str, command: &Command) {
        self.processes
            .push(Leash::start(&own(folder, name), command));
    }

    fn wait_for(&self, folder: &Path, name: &str, address: &str, path: &str) {
        let give_up_at = Instant::now() + READY_TIMEOUT;
        while !answers_with_success(address, path) {
            let all_run = self.processes.iter().all(Leash::is_running);
            assert!(
                all_run && Instant::now() < give_up_at,
                "weir {name} does not become ready: {}",
                leash::log(&own(folder, name))
            );
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // What they said goes with their folder, and is what the failed test is asked for.
        for name in ["clickhouse", "ingest", "sink", "query"] {
            eprintln!("weir {name}:\n{}", leash::log(&own(&self.folder, name)));
        }
    }
}

/// What the leash of one process may remove: only its output stands there.
fn own(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("process-{name}"))
}

// By hand: the tests' own client may not block inside their runtime.
fn answers_with_success(address: &str, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.set_read_timeout(Some(READY_TIMEOUT)).is_ok()
        && stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200 ")
}

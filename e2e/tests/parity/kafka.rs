//! One Kafka alone: the embedded broker as `weir broker`, or Apache Kafka on one node.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::{ApacheKafka, Leash, command, free_port, is_apache};
use tempfile::TempDir;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What `WEIR_E2E_KAFKA` asks for.
#[derive(Debug)]
pub(crate) enum Kafka {
    Embedded(EmbeddedBroker),
    Apache(ApacheKafka),
}

impl Kafka {
    /// Starts one and waits until it answers.
    pub(crate) fn start() -> Self {
        if is_apache() {
            Self::Apache(ApacheKafka::start(1))
        } else {
            Self::Embedded(EmbeddedBroker::start())
        }
    }

    /// `host:port`.
    pub(crate) fn bootstrap(&self) -> String {
        match self {
            Self::Embedded(broker) => broker.address.clone(),
            Self::Apache(cluster) => cluster.bootstrap(),
        }
    }

    /// kill -9, then the same again on its data.
    pub(crate) fn kill9_and_restart(&mut self) {
        match self {
            Self::Embedded(broker) => {
                if let Some(process) = broker.process.take() {
                    process.kill();
                }
                broker.run();
            }
            Self::Apache(cluster) => {
                cluster.kill9(0);
                cluster.restart(0);
                cluster.wait_for_all();
            }
        }
    }
}

/// `weir broker` in a folder of its own.
#[derive(Debug)]
pub(crate) struct EmbeddedBroker {
    folder: TempDir,
    address: String,
    process: Option<Leash>,
}

impl EmbeddedBroker {
    fn start() -> Self {
        let mut broker = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            address: format!("127.0.0.1:{}", free_port()),
            process: None,
        };
        broker.run();
        broker
    }

    fn run(&mut self) {
        let mut program = command(self.folder.path());
        program
            .args(["broker", "--listen", &self.address, "--data-dir"])
            .arg(self.folder.path().join("data"))
            // Tests let members' sessions expire.
            .env("WEIR_BROKER__SESSION_MIN", "100ms");
        let own = self.folder.path().join("process-broker");
        let process = Leash::start(&own, &program);
        let give_up_at = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(&self.address).is_err() {
            assert!(
                process.is_running() && Instant::now() < give_up_at,
                "weir broker does not come up: {}",
                std::fs::read_to_string(own.join("log")).unwrap_or_default()
            );
            std::thread::sleep(POLL);
        }
        self.process = Some(process);
    }
}

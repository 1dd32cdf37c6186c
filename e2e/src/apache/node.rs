//! One node: a JVM, its settings and its folder.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::leash::{self, Leash};

/// The ports of every node: its clients' and its controller's.
pub(crate) type Ports = [(u16, u16)];

// Any 22 characters of this alphabet that are 16 bytes; every cluster of the tests has its own
// ports, so they may share it.
pub(crate) const CLUSTER_ID: &str = "d2Vpci1lMmUta2Fma2EtMA";

#[derive(Debug)]
pub(super) struct Node {
    folder: TempDir,
    port: u16,
    process: Option<Leash>,
}

impl Node {
    /// Writes the settings, formats the folder and starts the process.
    pub(super) fn start(jars: &Path, index: usize, ports: &Ports) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("weir-kafka-")
            .tempdir()
            .expect("a temporary folder");
        let mut node = Self {
            folder,
            port: ports[index].0,
            process: None,
        };
        let settings = settings(index, ports, &node.folder.path().join("data"));
        std::fs::write(node.settings_file(), settings).expect("a temporary folder can be written");
        node.format(jars);
        node.run(jars);
        node
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn run(&mut self, jars: &Path) {
        let mut kafka = java(jars);
        kafka.arg("kafka.Kafka").arg(self.settings_file());
        self.process = Some(Leash::start(self.folder.path(), &kafka));
    }

    pub(super) fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    pub(super) fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("the node runs");
        process.signal(name);
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(Leash::is_running)
    }

    #[cfg(test)]
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Leash::pid)
    }

    pub(super) fn log(&self) -> String {
        leash::log(self.folder.path())
    }

    fn settings_file(&self) -> std::path::PathBuf {
        self.folder.path().join("server.properties")
    }

    fn format(&self, jars: &Path) {
        let output = java(jars)
            .args(["kafka.tools.StorageTool", "format"])
            .args(["--cluster-id", CLUSTER_ID, "--config"])
            .arg(self.settings_file())
            .output()
            .unwrap_or_else(|error| {
                panic!("java cannot be run ({error}): tests against Apache Kafka need Java 17 or newer and Maven; install both")
            });
        assert!(
            output.status.success(),
            "Apache Kafka's folder cannot be formatted (it wants Java 17 or newer):\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Small and quick to start: several of them share a machine with the tests.
pub(crate) const OPTIONS: [&str; 6] = [
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
];

fn java(jars: &Path) -> Command {
    let mut java = Command::new("java");
    java.args(OPTIONS).arg("-classpath").arg(jars.join("*"));
    java
}

/// What a node's `server.properties` holds.
pub(crate) fn settings(index: usize, ports: &Ports, data: &Path) -> String {
    let (port, controller_port) = ports[index];
    let voters: Vec<_> = (0..)
        .zip(ports)
        .map(|(id, (_, controller))| format!("{id}@127.0.0.1:{controller}"))
        .collect();
    let replicas = ports.len();
    let in_sync_min = if replicas == 1 { 1 } else { 2 };
    let mut text = String::new();
    for (key, value) in [
        ("process.roles", "broker,controller"),
        ("node.id", &index.to_string()),
        ("controller.quorum.voters", &voters.join(",")),
        (
            "listeners",
            &format!("CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}"),
        ),
        (
            "listener.security.protocol.map",
            "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        ),
        ("inter.broker.listener.name", "CLIENTS"),
        ("controller.listener.names", "CONTROLLER"),
        ("log.dirs", &data.display().to_string()),
        ("auto.create.topics.enable", "false"),
        ("default.replication.factor", &replicas.to_string()),
        ("min.insync.replicas", &in_sync_min.to_string()),
        ("offsets.topic.num.partitions", "4"),
        ("offsets.topic.replication.factor", &replicas.to_string()),
        ("transaction.state.log.num.partitions", "4"),
        (
            "transaction.state.log.replication.factor",
            &replicas.to_string(),
        ),
        ("transaction.state.log.min.isr", &in_sync_min.to_string()),
        ("share.coordinator.state.topic.num.partitions", "4"),
        (
            "share.coordinator.state.topic.replication.factor",
            &replicas.to_string(),
        ),
        (
            "share.coordinator.state.topic.min.isr",
            &in_sync_min.to_string(),
        ),
        // Tests let members' sessions expire, and nodes come back from the dead.
        ("group.initial.rebalance.delay.ms", "0"),
        ("group.min.session.timeout.ms", "100"),
        ("group.consumer.min.session.timeout.ms", "100"),
        ("group.consumer.min.heartbeat.interval.ms", "50"),
        ("group.consumer.heartbeat.interval.ms", "100"),
        ("group.consumer.session.timeout.ms", "3000"),
        ("broker.session.timeout.ms", "3000"),
        ("broker.heartbeat.interval.ms", "500"),
        // Small, for its memory.
        ("log.cleaner.dedupe.buffer.size", "2097152"),
        ("num.network.threads", "2"),
        ("num.io.threads", "4"),
    ] {
        writeln!(text, "{key}={value}").expect("a string takes everything");
    }
    text
}

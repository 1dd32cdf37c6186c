//! The Kafka of a fleet, node by node: the embedded broker, or nodes of Apache Kafka.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::process::{Door, Process, own_port};

/// The nodes of Apache Kafka that stand in for each other. One may be down: a record is acknowledged
/// by two.
const APACHE_NODES: usize = 3;
/// Any 16 bytes in base64.
const CLUSTER_ID: &str = "d2VpcidzIG93biB0ZXN0cw";

/// Its processes.
#[derive(Debug)]
pub struct Kafka {
    pub nodes: Vec<Process>,
    addresses: Vec<SocketAddr>,
}

impl Kafka {
    /// `weir broker`; nothing runs yet.
    #[must_use]
    pub fn embedded(folder: &Path, settings: &[(&'static str, String)]) -> Self {
        let address = own_port();
        let mut settings = settings.to_vec();
        settings.push(("WEIR_BROKER__LISTEN", address.to_string()));
        let data = folder.join("kafka").display().to_string();
        let arguments = ["broker", "--data-dir", &data];
        let door = Door::Tcp(address);
        Self {
            nodes: vec![Process::new("kafka-1", folder, &arguments, settings, door)],
            addresses: vec![address],
        }
    }

    /// Three nodes of Apache Kafka, each a broker and a controller, from the jars in `libraries`.
    /// Their folders are formatted; nothing runs yet.
    ///
    /// # Panics
    /// If there is no Java, or a folder cannot be formatted.
    #[must_use]
    pub fn apache(folder: &Path, libraries: &Path) -> Self {
        let addresses: Vec<SocketAddr> = (0..APACHE_NODES).map(|_| own_port()).collect();
        let controllers: Vec<SocketAddr> = (0..APACHE_NODES).map(|_| own_port()).collect();
        let class_path = format!("{}/*", libraries.display());
        let nodes = (0..APACHE_NODES).map(|index| {
            let name = format!("kafka-{}", index + 1);
            let file = folder.join(format!("{name}.properties"));
            let properties = properties(&folder.join(&name), index, &addresses, &controllers);
            std::fs::write(&file, properties).expect("a temporary folder can be written");
            let file = file.display().to_string();
            let formatted = Command::new("java")
                .args(["-cp", &class_path, "kafka.tools.StorageTool", "format"])
                .args(["-t", CLUSTER_ID, "-c", &file])
                .output()
                .expect("there is a Java");
            assert!(formatted.status.success(), "format {name}: {formatted:?}");
            let arguments = [
                "-Xmx384m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                &class_path,
                "kafka.Kafka",
                &file,
            ];
            let door = Door::Tcp(addresses[index]);
            Process::of_others(&name, folder, "java", &arguments, door)
        });
        Self {
            nodes: nodes.collect(),
            addresses,
        }
    }

    /// What clients are told.
    #[must_use]
    pub fn brokers(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        addresses.collect::<Vec<_>>().join(",")
    }
}

fn properties(
    data: &Path,
    index: usize,
    addresses: &[SocketAddr],
    controllers: &[SocketAddr],
) -> String {
    let voters = (1..).zip(controllers);
    let voters = voters.map(|(id, address)| format!("{id}@{address}"));
    let voters = voters.collect::<Vec<_>>().join(",");
    let (address, controller) = (addresses[index], controllers[index]);
    let copies = addresses.len();
    let in_sync = copies.min(2);
    let settings = [
        ("node.id", (index + 1).to_string()),
        ("process.roles", "broker,controller".to_owned()),
        ("controller.quorum.voters", voters),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        (
            "listeners",
            format!("PLAINTEXT://{address},CONTROLLER://{controller}"),
        ),
        ("advertised.listeners", format!("PLAINTEXT://{address}")),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
        ),
        ("log.dirs", data.display().to_string()),
        ("default.replication.factor", copies.to_string()),
        ("min.insync.replicas", in_sync.to_string()),
        ("offsets.topic.replication.factor", copies.to_string()),
        ("offsets.topic.num.partitions", "4".to_owned()),
        ("auto.create.topics.enable", "false".to_owned()),
        // A test waits for what takes long in production: a node's death and a member's.
        ("broker.session.timeout.ms", "3000".to_owned()),
        ("broker.heartbeat.interval.ms", "500".to_owned()),
        ("group.min.session.timeout.ms", "1000".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
    ];
    settings
        .iter()
        .fold(String::new(), |mut text, (key, value)| {
            writeln!(text, "{key}={value}").expect("a String grows");
            text
        })
}

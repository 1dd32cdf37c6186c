//! The Kafka of a fleet, node by node: the embedded broker, or nodes of Apache Kafka.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::process::{Door, Process};
use crate::{apache, free_port};

/// The nodes of Apache Kafka that stand in for each other. One may be down: a record is acknowledged
/// by two.
const APACHE_NODES: usize = 3;

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
        let address = loopback(free_port());
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

    /// Three nodes of Apache Kafka, each a broker and a controller. Their folders are formatted;
    /// nothing runs yet.
    ///
    /// # Panics
    /// If Java or Maven are missing, or a folder cannot be formatted.
    #[must_use]
    pub fn apache(folder: &Path) -> Self {
        let ports: Vec<(u16, u16)> = (0..APACHE_NODES)
            .map(|_| (free_port(), free_port()))
            .collect();
        let class_path = apache::jars().join("*").display().to_string();
        let nodes = (0..APACHE_NODES).map(|index| {
            let name = format!("kafka-{}", index + 1);
            let file = folder.join(format!("{name}.properties"));
            let settings = apache::settings(index, &ports, &folder.join(&name));
            std::fs::write(&file, settings).expect("a temporary folder can be written");
            let file = file.display().to_string();
            let formatted = Command::new("java")
                .args(["-cp", &class_path, "kafka.tools.StorageTool", "format"])
                .args(["-t", apache::CLUSTER_ID, "-c", &file])
                .output()
                .expect("there is a Java");
            assert!(formatted.status.success(), "format {name}: {formatted:?}");
            let mut arguments = apache::OPTIONS.to_vec();
            arguments.extend(["-cp", &class_path, "kafka.Kafka", &file]);
            let door = Door::Tcp(loopback(ports[index].0));
            Process::of_others(&name, folder, "java", &arguments, door)
        });
        Self {
            nodes: nodes.collect(),
            addresses: ports.iter().map(|(port, _)| loopback(*port)).collect(),
        }
    }

    /// What clients are told.
    #[must_use]
    pub fn brokers(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        addresses.collect::<Vec<_>>().join(",")
    }
}

/// Where a server of the tests listens.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

//! Apache Kafka as the tests start it: KRaft, every node broker and controller in one, on ports
//! and folders of its own, gone when the test is.

mod jars;
mod node;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::free_port;
use node::Node;

pub(crate) use jars::jars;
pub(crate) use node::{CLUSTER_ID, OPTIONS, settings};

const START_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// A cluster. Nodes are counted from 0.
#[derive(Debug)]
pub struct ApacheKafka {
    nodes: Vec<Node>,
}

impl ApacheKafka {
    /// Starts a cluster of one node, or of three with three replicas of which two must be in sync,
    /// and waits until every node has joined it.
    ///
    /// # Panics
    /// If Java 17 or Maven are missing, or the cluster does not come up.
    #[must_use]
    pub fn start(nodes: usize) -> Self {
        assert!(matches!(nodes, 1 | 3), "one node or three, not {nodes}");
        let jars = jars();
        let ports: Vec<_> = (0..nodes).map(|_| (free_port(), free_port())).collect();
        let nodes = std::thread::scope(|scope| {
            let starting: Vec<_> = (0..nodes)
                .map(|index| {
                    let ports = &ports;
                    scope.spawn(move || Node::start(jars, index, ports))
                })
                .collect();
            starting
                .into_iter()
                .map(|node| node.join().expect("a node starts"))
                .collect()
        });
        let cluster = Self { nodes };
        cluster.wait_for_all();
        cluster
    }

    /// `host:port` of every node, with commas.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(Node::address).collect();
        addresses.join(",")
    }

    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// kill -9 of one node; it is gone when this returns. Its data stays.
    pub fn kill9(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// SIGSTOP: the node hangs with all its connections open.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self, node: usize) {
        self.nodes[node].signal("STOP");
    }

    /// SIGCONT.
    ///
    /// # Panics
    /// If it does not run.
    pub fn resume(&self, node: usize) {
        self.nodes[node].signal("CONT");
    }

    /// Starts a node again on its ports and its data; kills it first if it runs. Does not wait: see
    /// [`Self::wait_for_all`].
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].kill();
        self.nodes[node].run(jars());
    }

    /// Whether the node's process is there, be it paused.
    #[must_use]
    pub fn is_up(&self, node: usize) -> bool {
        self.nodes[node].is_running()
    }

    /// Waits until all nodes are there and every one says so of all others, with a controller.
    ///
    /// # Panics
    /// After two minutes, or at once if a node has ended; with what the nodes said.
    pub fn wait_for_all(&self) {
        let give_up_at = Instant::now() + START_TIMEOUT;
        for node in &self.nodes {
            while brokers_known_to(&node.address()) != self.nodes.len() {
                if Instant::now() > give_up_at || self.nodes.iter().any(|node| !node.is_running()) {
                    let logs: Vec<_> = self.nodes.iter().map(Node::log).collect();
                    panic!("Apache Kafka does not come up:\n{}", logs.join("\n"));
                }
                std::thread::sleep(POLL);
            }
        }
    }
}

fn brokers_known_to(address: &str) -> usize {
    // Where nobody listens yet, a client would wait longer and longer between its attempts.
    if TcpStream::connect(address).is_err() {
        return 0;
    }
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("log_level", "0")
        .set("reconnect.backoff.max.ms", "100")
        .create()
        .expect("the settings are right");
    client
        .fetch_metadata(None, Duration::from_millis(500))
        .map_or(0, |metadata| metadata.brokers().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_nodes_come_up_survive_what_tests_do_to_them_and_go() {
        if !crate::is_apache() {
            return;
        }
        let mut cluster = ApacheKafka::start(3);
        assert_eq!(cluster.nodes(), 3);
        cluster.kill9(1);
        assert!(!cluster.is_up(1) && cluster.is_up(0) && cluster.is_up(2));
        cluster.pause(2);
        assert!(cluster.is_up(2));
        cluster.resume(2);
        cluster.restart(1);
        cluster.wait_for_all();
        let pids: Vec<_> = cluster.nodes.iter().map(Node::pid).collect();
        drop(cluster);
        for pid in pids {
            let process = format!("/proc/{}", pid.expect("it ran"));
            assert!(!std::path::Path::new(&process).exists());
        }
    }
}

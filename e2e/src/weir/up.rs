//! `weir up`: everything in one process tree, on the embedded broker.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use super::Addresses;
use crate::command;
use crate::leash::signal;
use crate::process::children;

/// Dropping it kills it, and the engine with it.
#[derive(Debug)]
pub(super) struct Up {
    child: Child,
}

impl Up {
    /// Starts on `folder` and waits for `ready`.
    pub(super) fn start(folder: &Path) -> (Self, Addresses) {
        let mut child = command(folder)
            .arg("up")
            .arg("--data-dir")
            .arg(folder.join("data"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("weir starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut up = Self { child };
        let mut addresses = Vec::new();
        let mut native = None;
        let mut ready = false;
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("stdout is text");
            if line == "ready" {
                ready = true;
                break;
            }
            let mut words = line.split_whitespace();
            if let (Some("ingest" | "query" | "Kafka" | "ClickHouse"), Some(address)) =
                (words.next(), words.next())
            {
                addresses.push(address.to_owned());
                // `(native 127.0.0.1:9000)`, behind ClickHouse's.
                native = words
                    .nth(1)
                    .map(|address| address.trim_end_matches(')').to_owned());
            }
        }
        assert!(ready, "weir up ended with {:?}", up.child.wait());
        let [ingest, query, kafka, clickhouse] =
            addresses.try_into().expect("weir up prints four addresses");
        let addresses = Addresses {
            ingest,
            query,
            kafka,
            clickhouse,
            native,
        };
        (up, addresses)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process of the engine, a child of this one.
    pub(super) fn engine_pid(&self) -> u32 {
        let children = children(self.pid());
        *children.first().expect("the engine runs")
    }

    /// Asks it to end as Ctrl-C does; whether it ended with success.
    pub(super) fn stop(&mut self) -> bool {
        let asked = signal("INT", self.pid()).expect("kill runs");
        assert!(asked.success(), "weir can be asked to end");
        self.child.wait().expect("weir ends").success()
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().expect("weir can be killed");
        self.child.wait().expect("weir ends");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // The engine ends by itself once its parent is gone. Neither call can fail in a way that
        // matters to a test that is over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

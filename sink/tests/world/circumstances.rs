//! What a test that waited in vain says: how its sinks, its group and its tables stand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::consumer::Consumer;

use super::World;

const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The sinks of a world, by the address of their operations: how each ended, if it has.
#[derive(Default)]
pub(super) struct Sinks(Mutex<BTreeMap<SocketAddr, Option<String>>>);

impl Sinks {
    pub(super) fn begun(&self, operations: SocketAddr) {
        self.0.lock().unwrap().insert(operations, None);
    }

    pub(super) fn ended(&self, operations: SocketAddr, ended: &anyhow::Result<()>) {
        let ended = match ended {
            Ok(()) => "ended".to_owned(),
            Err(error) => format!("failed: {error:#}"),
        };
        self.0.lock().unwrap().insert(operations, Some(ended));
    }
}

impl World {
    /// How things stand, in lines.
    pub(super) async fn circumstances(&self) -> String {
        let mut lines = vec![format!("committed: {:?}", self.committed())];
        let sinks = self.sinks.0.lock().unwrap().clone();
        for (operations, ended) in sinks {
            let how = match ended {
                Some(ended) => ended,
                None => match tokio::time::timeout(ASK_TIMEOUT, super::ready(operations)).await {
                    Ok(Ok(answer)) => answer.lines().last().unwrap_or_default().to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "no answer".to_owned(),
                },
            };
            lines.push(format!("sink {operations}: {how}"));
        }
        lines.push(format!("group: {}", self.group()));
        lines.extend(threads());
        for sql in [
            "SELECT format('runs for {} s: {}', toString(elapsed), query) FROM system.processes",
            "SELECT format('fence: {} is of {}', toString(partition), toString(owner)) FROM fences",
            "SELECT format('mend: {} until {}, {}', toString(id), toString(until), reason) FROM mends",
            "SELECT format('ledger: partition {} offsets {}..{}', toString(_partition), toString(from_offset), toString(to_offset)) FROM ledger",
        ] {
            match self.db.query(sql).fetch_all::<String>().await {
                Ok(found) => lines.extend(found),
                Err(error) => lines.push(format!("{sql}: {error}")),
            }
        }
        lines.join("\n")
    }

    fn group(&self) -> String {
        let groups = self
            .group_member()
            .fetch_group_list(Some(&self.config.group), ASK_TIMEOUT);
        match groups {
            Ok(groups) => {
                let told = groups.groups().iter().map(|group| {
                    let members: Vec<&str> =
                        group.members().iter().map(|member| member.id()).collect();
                    format!("{} with {members:?}", group.state())
                });
                told.collect::<Vec<_>>().join("; ")
            }
            Err(error) => error.to_string(),
        }
    }
}

/// What the sinks' own threads wait for in the kernel.
fn threads() -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let told = tasks.flatten().filter_map(|task| {
        let name = read(task.path().join("comm"));
        let wchan = read(task.path().join("wchan"));
        let name = name.trim_end();
        (name == "sink").then(|| format!("thread {name}: {wchan}"))
    });
    told.collect()
}

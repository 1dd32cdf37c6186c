//! All of weir in a folder of its own, on ports of its own.

mod http;
mod import;
mod services;
mod up;

use std::path::Path;

use tempfile::TempDir;

use crate::leash::signal;
use crate::{ClickHouse, Finished, command, is_apache, run};
use services::Services;
use up::Up;

/// A running weir: one `weir up`, or a process for every service against Apache Kafka. Dropping it
/// kills it.
#[derive(Debug)]
pub struct Weir {
    processes: Processes,
    folder: Folder,
    pub ingest: String,
    pub query: String,
    pub kafka: String,
    pub clickhouse: String,
    /// Of ClickHouse's native protocol, where `weir up` prints one.
    pub native: Option<String>,
    pub topics: Topics,
}

/// What the topics are called.
#[derive(Debug, Clone)]
pub struct Topics {
    pub events: String,
    pub dead_letters: String,
}

#[derive(Debug)]
enum Processes {
    Up(Up),
    Services(Services),
}

#[derive(Debug)]
enum Folder {
    Own(TempDir),
    /// Handed on by [`Weir::kill`]; the next one has it.
    Gone,
}

struct Addresses {
    ingest: String,
    query: String,
    kafka: String,
    clickhouse: String,
    native: Option<String>,
}

impl Weir {
    /// Starts on an empty folder and waits for `ready`: on the embedded broker, or with
    /// `WEIR_E2E_KAFKA=apache` on Apache Kafka.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn up() -> Self {
        Self::up_in(tempfile::tempdir().expect("a temporary folder"))
    }

    /// Starts on `folder`, which may hold what an earlier one left.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn up_in(folder: TempDir) -> Self {
        if !is_apache() {
            return Self::embedded_in(folder);
        }
        // The next one in this folder goes on with the topics of the last.
        let name = folder.path().file_name().expect("a folder has a name");
        let name = name.to_string_lossy().replace('.', "");
        let topics = Topics {
            events: format!("events-{name}"),
            dead_letters: format!("events-{name}.dlq"),
        };
        let (services, addresses) = Services::start(folder.path(), &topics);
        Self::new(Processes::Services(services), folder, addresses, topics)
    }

    /// `weir up`, whatever the tests run against: for what is true of it alone.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn embedded() -> Self {
        Self::embedded_in(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The same on `folder`, which may hold what an earlier one left.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn embedded_in(folder: TempDir) -> Self {
        let (up, addresses) = Up::start(folder.path());
        let topics = Topics {
            events: "events".to_owned(),
            dead_letters: "events.dlq".to_owned(),
        };
        Self::new(Processes::Up(up), folder, addresses, topics)
    }

    fn new(processes: Processes, folder: TempDir, addresses: Addresses, topics: Topics) -> Self {
        Self {
            processes,
            folder: Folder::Own(folder),
            ingest: addresses.ingest,
            query: addresses.query,
            kafka: addresses.kafka,
            clickhouse: addresses.clickhouse,
            native: addresses.native,
            topics,
        }
    }

    /// Its folder; the data lies in `data` below it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match &self.folder {
            Folder::Own(folder) => folder.path(),
            Folder::Gone => unreachable!("a running weir has a folder"),
        }
    }

    /// The process of [`Self::embedded`].
    ///
    /// # Panics
    /// If this is not one.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.as_up().pid()
    }

    /// The process of the engine, a child of [`Self::embedded`].
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn engine_pid(&self) -> u32 {
        self.as_up().engine_pid()
    }

    /// kill -9 of the engine alone, which [`Self::embedded`] starts again.
    ///
    /// # Panics
    /// If there is none.
    pub fn kill_engine(&self) {
        let killed = signal("KILL", self.engine_pid()).expect("kill runs");
        assert!(killed.success(), "the engine can be killed");
    }

    /// SIGSTOP to the engine: it holds its connections and answers nobody.
    ///
    /// # Panics
    /// If there is none.
    pub fn stop_engine(&self) {
        let stopped = signal("STOP", self.engine_pid()).expect("kill runs");
        assert!(stopped.success(), "the engine can be stopped");
    }

    fn as_up(&self) -> &Up {
        match &self.processes {
            Processes::Up(up) => up,
            Processes::Services(_) => panic!("this test is about `weir up`: Weir::embedded()"),
        }
    }

    /// Asks [`Self::embedded`] to end as Ctrl-C does; whether it ended with success, and its folder.
    ///
    /// # Panics
    /// If it cannot be asked.
    #[must_use]
    pub fn stop(mut self) -> (bool, TempDir) {
        let success = match &mut self.processes {
            Processes::Up(up) => up.stop(),
            Processes::Services(_) => panic!("this test is about `weir up`: Weir::embedded()"),
        };
        (success, self.take_folder())
    }

    /// kill -9 of all its processes; the folder with all it holds goes to the caller.
    ///
    /// # Panics
    /// If there is nothing to kill.
    #[must_use]
    pub fn kill(mut self) -> TempDir {
        match &mut self.processes {
            Processes::Up(up) => up.kill(),
            Processes::Services(services) => services.kill(),
        }
        self.take_folder()
    }

    fn take_folder(&mut self) -> TempDir {
        match std::mem::replace(&mut self.folder, Folder::Gone) {
            Folder::Own(folder) => folder,
            Folder::Gone => unreachable!("who takes the folder takes self"),
        }
    }

    /// The service's own user.
    #[must_use]
    pub fn clickhouse(&self) -> ClickHouse {
        ClickHouse {
            url: self.clickhouse.clone(),
            user: "default",
        }
    }

    /// The read-only user.
    #[must_use]
    pub fn analyst(&self) -> ClickHouse {
        ClickHouse {
            url: self.clickhouse.clone(),
            user: "analyst",
        }
    }
}

/// What became of every offset, where a test fails: whether an event is in Kafka, in ClickHouse or
/// in neither says where to look.
impl Drop for Weir {
    fn drop(&mut self) {
        let Folder::Own(folder) = &self.folder else {
            return;
        };
        if !std::thread::panicking() {
            return;
        }
        let mut audit = command(folder.path());
        audit
            .args(["audit", "--patience", "1"])
            .env("WEIR_KAFKA__BROKERS", &self.kafka)
            .env("WEIR_KAFKA__TOPIC", &self.topics.events)
            .env("WEIR_CLICKHOUSE__URL", &self.clickhouse);
        let Finished { stdout, stderr, .. } = run(audit);
        eprintln!("weir audit, after the failure:\n{stdout}{stderr}");
    }
}

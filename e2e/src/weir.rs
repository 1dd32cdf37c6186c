//! `weir up` in a folder of its own, on ports of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use crate::leash::signal;
use crate::{ClickHouse, weir};

/// A running `weir up`. Dropping it kills it, and the engine with it.
#[derive(Debug)]
pub struct Weir {
    child: Child,
    folder: Folder,
    pub ingest: String,
    pub query: String,
    pub kafka: String,
    pub clickhouse: String,
}

#[derive(Debug)]
enum Folder {
    Own(TempDir),
    /// Handed on by [`Weir::kill`]; the next one has it.
    Gone,
}

impl Weir {
    /// Starts on an empty folder and waits for `ready`.
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
        let mut child = command(folder.path())
            .arg("up")
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("weir starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut addresses = Vec::new();
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
            }
        }
        assert!(ready, "weir up ended with {:?}", child.wait());
        let [ingest, query, kafka, clickhouse] =
            addresses.try_into().expect("weir up prints four addresses");
        Self {
            child,
            folder: Folder::Own(folder),
            ingest,
            query,
            kafka,
            clickhouse,
        }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its folder; the data lies in `data` below it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match &self.folder {
            Folder::Own(folder) => folder.path(),
            Folder::Gone => unreachable!("a running weir has a folder"),
        }
    }

    /// The process of the engine, a child of this one.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn engine_pid(&self) -> u32 {
        let pid = self.pid();
        let children = std::fs::read_dir(format!("/proc/{pid}/task")).expect("weir runs");
        let children: String = children
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
            .collect();
        let child = children.split_whitespace().next().expect("the engine runs");
        child.parse().expect("a process has a number")
    }

    /// kill -9 of the engine alone.
    ///
    /// # Panics
    /// If there is none.
    pub fn kill_engine(&self) {
        let killed = signal("KILL", self.engine_pid());
        assert!(
            killed.expect("kill runs").success(),
            "the engine can be killed"
        );
    }

    /// Asks it to end as Ctrl-C does; whether it ended with success, and its folder.
    ///
    /// # Panics
    /// If it cannot be asked.
    #[must_use]
    pub fn stop(mut self) -> (bool, TempDir) {
        let asked = signal("INT", self.pid());
        assert!(
            asked.expect("kill runs").success(),
            "weir can be asked to end"
        );
        let ended = self.child.wait().expect("weir ends");
        (ended.success(), self.take_folder())
    }

    /// kill -9; the folder with all it holds goes to the caller.
    ///
    /// # Panics
    /// If there is nothing to kill.
    #[must_use]
    pub fn kill(mut self) -> TempDir {
        self.child.kill().expect("weir can be killed");
        self.child.wait().expect("weir ends");
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

    /// Posts a body to ingest; status and answer.
    ///
    /// # Panics
    /// If there is no answer, or it is not JSON.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let url = format!("{}{path}", self.ingest);
        let response = reqwest::Client::new()
            .post(url)
            .body(body)
            .send()
            .await
            .expect("ingest answers");
        let status = response.status();
        (
            status,
            response.json().await.expect("ingest answers with JSON"),
        )
    }

    /// `/stats` with this query string, which must be answered with success.
    ///
    /// # Panics
    /// If it is not.
    pub async fn stats(&self, query: &str) -> Value {
        let url = format!("{}/stats?{query}", self.query);
        let response = reqwest::get(url).await.expect("query answers");
        assert_eq!(response.status(), StatusCode::OK, "/stats?{query}");
        response.json().await.expect("query answers with JSON")
    }

    /// The same while ClickHouse may be away: null where there is no answer to be had.
    ///
    /// # Panics
    /// If query itself does not answer.
    pub async fn stats_if_any(&self, query: &str) -> Value {
        let url = format!("{}/stats?{query}", self.query);
        let response = reqwest::get(url).await.expect("query answers");
        match response.status() {
            StatusCode::SERVICE_UNAVAILABLE => Value::Null,
            StatusCode::OK => response.json().await.expect("query answers with JSON"),
            other => panic!("/stats?{query} answers {other}"),
        }
    }

    /// `weir import` of a file into this one; its exit and what it printed.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn import(&self, site_id: &str, file: &Path) -> Finished {
        run(self.import_command(site_id, file))
    }

    /// The same, started and not waited for.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn begin_import(&self, site_id: &str, file: &Path) -> Child {
        self.import_command(site_id, file)
            .args(["--retry-for", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("weir starts")
    }

    fn import_command(&self, site_id: &str, file: &Path) -> Command {
        let mut command = command(self.folder());
        command
            .args([
                "import",
                "--format",
                "combined",
                "--site-id",
                site_id,
                "--url",
                &self.ingest,
            ])
            .arg("--data-dir")
            .arg(self.folder().join("data"))
            .arg(file);
        command
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        // The engine ends by itself once its parent is gone. Neither call can fail in a way that
        // matters to a test that is over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command that ended left.
#[derive(Debug)]
pub struct Finished {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// A `weir` command with every port its own and nothing of the caller's environment in its
/// configuration.
#[must_use]
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(weir());
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(key);
        }
    }
    command
        .current_dir(folder)
        .env("WEIR_INGEST__LISTEN", "127.0.0.1:0")
        .env("WEIR_SINK__LISTEN", "127.0.0.1:0")
        .env("WEIR_QUERY__LISTEN", "127.0.0.1:0")
        .env("WEIR_BROKER__LISTEN", "127.0.0.1:0")
        .env("WEIR_ENGINE__LISTEN", "127.0.0.1:0");
    command
}

/// Runs a command that is expected to end by itself within a minute.
///
/// # Panics
/// If it does not, or cannot be started.
#[must_use]
pub fn run(mut command: Command) -> Finished {
    const GIVE_UP_AFTER: Duration = Duration::from_secs(120);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("weir starts");
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let (ended, watched) = std::sync::mpsc::sync_channel(1);
    let pid = child.id();
    let watchdog = std::thread::spawn(move || {
        if watched.recv_timeout(GIVE_UP_AFTER).is_err() {
            let _ = signal("KILL", pid);
        }
    });
    let mut text = String::new();
    stdout.read_to_string(&mut text).expect("stdout is text");
    let status = child.wait().expect("weir ends");
    let _ = ended.send(());
    watchdog.join().expect("the watchdog ends");
    let stderr = reader
        .join()
        .expect("the reader ends")
        .expect("stderr is text");
    Finished {
        success: status.success(),
        stdout: text,
        stderr,
    }
}

/// A file with this content, in `folder`.
///
/// # Panics
/// If it cannot be written.
#[must_use]
pub fn file(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a temporary folder can be written");
    path
}

//! The embedded engine as a process of its own, on a free port and a folder of its own.
#![expect(dead_code, reason = "each test file uses its own part of this")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Engine {
    process: Child,
    pub(crate) url: String,
    /// The address of the native protocol, or "none".
    pub(crate) native: String,
    _stdout: BufReader<ChildStdout>,
}

/// What a start that failed has said.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

impl Engine {
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(folder, json!({})).unwrap()
    }

    /// Starts with more configuration than a folder and a free port.
    pub(crate) fn start_with(folder: &Path, more: Value) -> Result<Self, Refusal> {
        let mut config = json!({"data_dir": folder, "listen": "127.0.0.1:0", "native_port": 0});
        for (name, value) in more.as_object().unwrap() {
            config[name] = value.clone();
        }
        let mut process = Command::new(env!("CARGO_BIN_EXE_embedded-clickhouse"))
            .arg(config.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let stderr = process.stderr.take().unwrap();
        let mut addresses = String::new();
        stdout.read_line(&mut addresses).unwrap();
        if addresses.is_empty() {
            return Err(Refusal {
                status: process.wait().unwrap(),
                stderr: text(stderr),
            });
        }
        // Read on, or the process would stop at a full pipe.
        thread::spawn(move || eprint!("{}", text(stderr)));
        let (http, native) = addresses.trim().split_once(' ').unwrap();
        Ok(Self {
            process,
            url: format!("http://{http}"),
            native: native.to_owned(),
            _stdout: stdout,
        })
    }

    pub(crate) fn client(&self) -> clickhouse::Client {
        clickhouse::Client::default().with_url(&self.url)
    }

    /// Posts a statement as the service's user.
    pub(crate) async fn post(&self, sql: &str) -> (u16, String) {
        self.post_as("default", sql).await
    }

    pub(crate) async fn post_as(&self, user: &str, sql: &str) -> (u16, String) {
        let url = format!("{}/?user={user}", self.url);
        let response = reqwest::Client::new()
            .post(url)
            .body(sql.to_owned())
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Runs a statement that must succeed and returns its answer without the last line end.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        let (status, text) = self.post(sql).await;
        assert_eq!(status, 200, "{sql}: {text}");
        text.trim_end().to_owned()
    }

    /// Processes that the engine runs in: one, or none while it is started again.
    pub(crate) fn engine_pids(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let children: String = tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
            .collect();
        children
            .split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect()
    }

    pub(crate) fn engine_pid(&self) -> u32 {
        self.engine_pids()[0]
    }

    /// kill -9 of the engine alone.
    pub(crate) fn kill_engine(&self) {
        let killed = Command::new("kill")
            .args(["-KILL", &self.engine_pid().to_string()])
            .status();
        assert!(killed.unwrap().success());
    }

    /// kill -9: nothing is flushed, nothing is said.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM, and the status of the exit.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the engine did not stop");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(mut stderr: ChildStderr) -> String {
    let mut text = String::new();
    let _ = stderr.read_to_string(&mut text);
    text
}

/// An engine with the database that analysts see, and a table of two rows in it.
pub(crate) async fn with_table(folder: &tempfile::TempDir) -> Engine {
    let engine = Engine::start(folder.path());
    engine.ask("CREATE DATABASE weir").await;
    engine
        .ask("CREATE TABLE weir.t (a UInt64) ENGINE = MergeTree ORDER BY a")
        .await;
    engine.ask("INSERT INTO weir.t VALUES (1), (2)").await;
    engine
}

/// Asks until the answer is as wanted.
pub(crate) async fn wait_until(engine: &Engine, sql: &str, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // An engine that is being started refuses connections.
        let request = reqwest::Client::new()
            .post(&engine.url)
            .body(sql.to_owned());
        let answer = match request.send().await {
            Ok(response) => response.text().await.unwrap(),
            Err(error) => error.to_string(),
        };
        if answer.trim_end() == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{sql} still answers {answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn wait_for(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come to pass");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! Who listens where others reach it says so, or is refused; and what clients send stays within its
//! line of the log.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use e2e::{command, run};

/// A weir that is ended with the test, and its log so far.
struct Running {
    child: Child,
    log: Receiver<String>,
    lines: Vec<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (line, log) = sync_channel(1000);
        std::thread::spawn(move || {
            for read in stderr.lines() {
                let Ok(read) = read else { return };
                if line.send(read).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            log,
            lines: Vec::new(),
        }
    }

    /// The first line of the log that holds `text`.
    fn line_with(&mut self, text: &str) -> String {
        let give_up_at = Instant::now() + Duration::from_secs(60);
        loop {
            let left = give_up_at.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no line with {text:?} in {:?}", self.lines));
            self.lines.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn broker(folder: &Path, listen: &str) -> Command {
    let mut command = command(folder);
    command
        .arg("broker")
        .arg("--data-dir")
        .arg(folder.join("kafka"));
    command.arg("--listen").arg(listen);
    command
}

#[test]
fn a_service_that_others_reach_says_so_and_names_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    for (service, variable, setting) in [
        ("ingest", "WEIR_INGEST__LISTEN", "ingest.keys"),
        ("query", "WEIR_QUERY__LISTEN", "query.keys"),
        ("sink", "WEIR_SINK__LISTEN", "sink.listen"),
    ] {
        let mut command = command(folder.path());
        command.arg(service).env(variable, "0.0.0.0:0");
        let mut running = Running::start(command);
        let line = running.line_with("anyone who reaches 0.0.0.0:");
        assert!(line.contains(setting), "{line}");
    }
}

#[test]
fn a_service_on_loopback_or_with_keys_says_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let with_keys = "[[ingest.keys.sites]]\nsite_id = \"shop\"\n";
    for (address, settings) in [("127.0.0.1:0", ""), ("0.0.0.0:0", with_keys)] {
        std::fs::write(folder.path().join("weir.toml"), settings).unwrap();
        let mut command = command(folder.path());
        command.arg("ingest").env("WEIR_INGEST__LISTEN", address);
        let mut running = Running::start(command);
        running.line_with("ingest listens on");
        assert!(
            !running
                .lines
                .iter()
                .any(|line| line.contains("anyone who reaches"))
        );
    }
}

#[test]
fn the_broker_has_no_passwords_and_is_refused_beyond_loopback_unless_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let refused = run(broker(folder.path(), "0.0.0.0:0"));
    assert!(!refused.success);
    let reasons: Vec<_> = refused.stderr.lines().collect();
    let [reason] = reasons[..] else {
        panic!("one line: {reasons:?}");
    };
    assert!(reason.contains("0.0.0.0:0"), "{reason}");
    assert!(
        reason.contains("broker.allow_open_access = true"),
        "{reason}"
    );

    let mut command = broker(folder.path(), "0.0.0.0:0");
    command.env("WEIR_BROKER__ALLOW_OPEN_ACCESS", "true");
    let line = Running::start(command).line_with("anyone who reaches");
    assert!(line.contains("read and write all events"), "{line}");
}

/// Stands for a ClickHouse that repeats in its errors what somebody sent.
fn clickhouse_that_answers(error: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let mut request = [0; 8192];
            let _ = client.read(&mut request);
            let length = error.len();
            let _ = write!(
                client,
                "HTTP/1.1 500 Internal Server Error\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{error}"
            );
        }
    });
    format!("http://{address}")
}

#[test]
fn what_clickhouse_repeats_of_a_clients_words_cannot_forge_a_line_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let url = clickhouse_that_answers(
        "Code: 1. DB::Exception: no such path: \n{\"level\":\"ERROR\",\"message\":\"forged\"}\u{1b}[2J",
    );
    for format in ["text", "json"] {
        let mut command = command(folder.path());
        command
            .arg("query")
            .env("WEIR_QUERY__LISTEN", "127.0.0.1:0")
            .env("WEIR_CLICKHOUSE__URL", &url)
            .env("WEIR_LOG__FORMAT", format);
        let mut running = Running::start(command);
        let line = running.line_with("forged");
        assert!(line.contains("no such path"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}

#[test]
fn a_clickhouse_that_others_reach_or_the_kernel_does_not_confine_says_so() {
    for (settings, parts) in [
        (
            [
                ("WEIR_ENGINE__LISTEN", "0.0.0.0:0"),
                ("WEIR_ENGINE__ALLOW_OPEN_ACCESS", "true"),
            ],
            [
                "anyone who reaches 0.0.0.0:0",
                "WEIR_ENGINE__READER_PASSWORD",
            ],
        ),
        (
            [
                ("WEIR_ENGINE__LISTEN", "127.0.0.1:0"),
                ("WEIR_ENGINE__LANDLOCK", "false"),
            ],
            ["does not confine", "engine.landlock"],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut clickhouse = command(folder.path());
        clickhouse.args(["clickhouse", "--data-dir", "engine"]);
        clickhouse.envs(settings);
        let mut running = Running::start(clickhouse);
        let line = running.line_with(parts[0]);
        assert!(line.contains(parts[1]), "{line}");
        running.line_with("ClickHouse listens on");
    }
}

//! `weir bench baseline` as a person runs it. What it measures is nothing to assert: machines differ.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// What runs while events are accepted, by a word of its command line.
const SERVERS: [&str; 5] = ["server.js", "redis-server", "postgres", "broker", "ingest"];

fn bench_baseline(folder: &Path) -> Command {
    let mut weir = common::weir(folder);
    weir.args(["bench", "baseline", "--json", "--dir"])
        .arg(folder);
    weir
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up_at = Instant::now() + WITHIN;
    while !is_so() {
        assert!(Instant::now() < give_up_at, "not within {WITHIN:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// Of those that work in a folder below `folder`.
fn commands_below(folder: &Path) -> Vec<String> {
    let folder = folder.canonicalize().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| {
            let process = entry.ok()?.path();
            let works_in = std::fs::read_link(process.join("cwd")).ok()?;
            let is_below = works_in.starts_with(&folder) && works_in != folder;
            let command = std::fs::read(process.join("cmdline")).ok()?;
            is_below.then(|| String::from_utf8_lossy(&command).into_owned())
        })
        .collect()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn what_is_missing_is_named_with_the_packages_that_bring_it_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = tempfile::tempdir().unwrap();
    let run = bench_baseline(folder.path())
        .env("PATH", nothing.path())
        .output()
        .unwrap();
    assert!(!run.status.success());
    let told = String::from_utf8_lossy(&run.stderr);
    for word in [
        "node, npm, redis-server",
        "apt-get install nodejs npm redis-server",
    ] {
        assert!(told.contains(word), "{told}");
    }
    assert!(is_empty(folder.path()));
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let run = bench_baseline(folder.path())
        .args(["--rows", "1"])
        .output()
        .unwrap();
    assert!(!run.status.success());
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(told.contains("--rows must be from 1000"), "{told}");
    assert!(is_empty(folder.path()));
}

#[test]
#[ignore = "needs Redis, PostgreSQL and npm's registry, which are not everywhere: --ignored asks for it"]
fn both_designs_store_what_they_accept_and_give_the_same_answers() {
    let folder = tempfile::tempdir().unwrap();
    let run = bench_baseline(folder.path())
        .args(["--rows", "5000", "--seconds", "0.3"])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&run.stderr);
    // It fails by itself where rows or answers are wrong.
    assert!(run.status.success(), "{log}");
    let document: Value = serde_json::from_slice(&run.stdout).unwrap();
    let loads = document["accepting"].as_array().unwrap();
    assert_eq!(loads.len(), 2);
    for side in ["baseline", "weir"] {
        for load in loads {
            let accepted = &load[side];
            assert!(accepted["events"].as_u64().unwrap() > 0, "{load}");
            assert_eq!(accepted["failed"], 0, "{load}");
            assert_eq!(accepted["refused"], serde_json::json!({}), "{load}");
        }
        let stored = &document["storing"][side];
        let accepted: u64 = loads
            .iter()
            .map(|load| load[side]["events"].as_u64().unwrap())
            .sum();
        assert_eq!(stored["accepted"], accepted, "{stored}");
        assert_eq!(stored["rows"], accepted, "{stored}");
        assert_eq!(stored["cpu"].as_array().unwrap().len(), 3, "{stored}");
    }
    let asked = document["stats"].as_array().unwrap();
    assert_eq!(asked.len(), 4);
    for question in asked {
        assert_eq!(question["agree"], true, "{question}");
        assert!(question["views"].as_u64().unwrap() > 0, "{question}");
        assert!(question["ratios"]["p50"].is_number(), "{question}");
        assert_eq!(question["baseline"]["failed"], 0, "{question}");
        assert_eq!(question["weir"]["failed"], 0, "{question}");
    }
    assert!(is_empty(folder.path()), "everything was cleared away");
}

/// Runs until both designs have started and are under load, then gives the process to `end`.
fn ended_by(folder: &Path, end: impl FnOnce(&mut Child)) {
    let mut run = bench_baseline(folder)
        .args(["--rows", "5000", "--seconds", "20"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("all servers run", || {
        let commands = commands_below(folder);
        let runs = |server| commands.iter().any(|command| command.contains(server));
        SERVERS.into_iter().all(runs)
    });
    end(&mut run);
    assert!(!run.wait().unwrap().success());
}

#[test]
#[ignore = "needs Redis, PostgreSQL and npm's registry, which are not everywhere: --ignored asks for it"]
fn an_interrupted_run_leaves_no_process_and_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    ended_by(folder.path(), |run| {
        let interrupt = format!("kill -INT {}", run.id());
        let told = Command::new("sh").args(["-c", &interrupt]).status();
        assert!(told.unwrap().success());
    });
    assert_eq!(commands_below(folder.path()), Vec::<String>::new());
    assert!(is_empty(folder.path()));
}

#[test]
#[ignore = "needs Redis, PostgreSQL and npm's registry, which are not everywhere: --ignored asks for it"]
fn a_killed_run_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    ended_by(folder.path(), |run| run.kill().unwrap());
    eventually("all servers ended", || {
        commands_below(folder.path()).is_empty()
    });
}

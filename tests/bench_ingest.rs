//! `weir bench ingest` as a person runs it. What it measures is nothing to assert: machines differ.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// A broker, ingest and the bare handler.
const SERVERS: usize = 3;

fn bench_ingest(folder: &Path) -> Command {
    let mut weir = common::weir(folder);
    weir.args(["bench", "ingest", "--dir"]).arg(folder);
    weir
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up_at = Instant::now() + WITHIN;
    while !is_so() {
        assert!(Instant::now() < give_up_at, "not within {WITHIN:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// How many processes work in a folder below `folder`.
fn processes_below(folder: &Path) -> usize {
    let folder = folder.canonicalize().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path().join("cwd")).ok())
        .filter(|works_in| works_in.starts_with(&folder) && *works_in != folder)
        .count()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

fn document(folder: &Path, options: &[&str]) -> Value {
    let run = bench_ingest(folder)
        .args(["--json", "--seconds", "0.5", "--rounds", "1"])
        .args(options)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{log}");
    serde_json::from_slice(&run.stdout).unwrap()
}

fn assert_whole(scenario: &Value) {
    for server in ["bare", "weir"] {
        let server = &scenario[server];
        assert_eq!(server["failed"], 0, "{scenario}");
        assert_eq!(server["refused"], serde_json::json!({}), "{scenario}");
        for figure in [
            &server["saturation"]["events_per_cpu_second"]["median"],
            &server["open_loop"]["p99_ms"]["median"],
            &server["rss_bytes_max"],
        ] {
            assert!(figure.as_f64().unwrap() > 0.0, "{scenario}");
        }
    }
    for ratio in ["requests_per_second", "events_per_cpu_second", "p99"] {
        assert!(scenario["ratios"][ratio].is_number(), "{scenario}");
    }
    assert!(scenario["accepted"].as_u64().unwrap() > 0, "{scenario}");
    assert_eq!(scenario["accepted"], scenario["found"], "{scenario}");
}

#[test]
fn single_events_are_all_answered_and_all_found_in_kafka() {
    let folder = tempfile::tempdir().unwrap();
    let document = document(folder.path(), &["--connections", "4"]);
    let scenarios = document["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 1);
    assert_eq!(scenarios[0]["events_per_request"], 1);
    assert_whole(&scenarios[0]);
    assert!(is_empty(folder.path()), "everything was cleared away");
}

#[test]
fn batches_with_ids_of_their_own_are_all_found_in_kafka() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--connections", "3", "--events-per-request", "20"];
    let ids_and_rate = ["--client-ids", "--rate", "50", "--load-threads", "2"];
    let document = document(folder.path(), &[&options[..], &ids_and_rate].concat());
    let scenario = &document["scenarios"][0];
    assert_whole(scenario);
    assert_eq!(scenario["weir"]["open_loop"]["requests_per_second"], 50.0);
    assert_eq!(document["conditions"]["client_ids"], true);
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let run = bench_ingest(folder.path())
        .args(["--connections", "0"])
        .output()
        .unwrap();
    assert!(!run.status.success());
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(told.contains("--connections must be from 1"), "{told}");
    assert!(is_empty(folder.path()));
}

fn start(folder: &Path) -> Child {
    let child = bench_ingest(folder)
        .args(["--seconds", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("all servers run", || processes_below(folder) == SERVERS);
    child
}

#[test]
fn an_interrupted_run_leaves_no_process_and_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = start(folder.path());
    let interrupt = format!("kill -INT {}", run.id());
    assert!(
        Command::new("sh")
            .args(["-c", &interrupt])
            .status()
            .unwrap()
            .success()
    );
    assert!(!run.wait().unwrap().success());
    assert_eq!(processes_below(folder.path()), 0);
    assert!(is_empty(folder.path()));
}

#[test]
fn a_killed_run_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = start(folder.path());
    run.kill().unwrap();
    run.wait().unwrap();
    eventually("all servers ended", || processes_below(folder.path()) == 0);
}

//! `weir bench query` as a person runs it. What it measures is nothing to assert: machines differ.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Output;

use serde_json::Value;

const QUESTIONS: usize = 24;

fn bench_query(folder: &Path, options: &[&str]) -> Output {
    common::weir(folder)
        .args(["bench", "query", "--json"])
        // A machine that is busy with other tests is no reason to give no answer.
        .args(["--set", "query.timeout=60s"])
        .args(["--seconds", "0.5", "--rate", "20", "--connections", "2"])
        .args(options)
        .output()
        .unwrap()
}

fn document(run: &Output) -> Value {
    let log = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{log}");
    serde_json::from_slice(&run.stdout).unwrap()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn every_question_is_measured_and_its_answers_equal_a_straight_count() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let sizes = ["--rows", "20000", "--beside", "5000"];
    let more = ["--requests", "2", "--insert-rate", "100", "--dir", dir];
    let document = document(&bench_query(folder.path(), &[&sizes[..], &more].concat()));

    let questions = document["questions"].as_array().unwrap();
    assert_eq!(questions.len(), QUESTIONS);
    for question in questions {
        for side in ["alone", "inserting", "again", "again_inserting", "beside"] {
            let timed = &question[side];
            assert_eq!(timed["requests"], 2, "{question}");
            assert_eq!(timed["failed"], 0, "{question}");
            assert!(timed["p99_ms"].as_f64().unwrap() > 0.0, "{question}");
        }
        assert!(question["raw_p50_ms"].as_f64().unwrap() > 0.0, "{question}");
    }
    let checks = &document["checks"];
    // Three variants of each, over many and over few events.
    assert_eq!(checks["compared"], QUESTIONS * 3 * 2, "{checks}");
    assert_eq!(checks["differing"], 0, "{checks}");
    assert_eq!(checks["unanswered"], 0, "{checks}");

    assert_eq!(document["loading"]["rows"], 20000);
    let tables = document["disk"]["tables"].as_array().unwrap();
    let events = tables.iter().find(|table| table["table"] == "events");
    assert_eq!(events.unwrap()["rows"], 20000);
    for bytes in ["raw_bytes", "rollup_bytes"] {
        assert!(document["disk"][bytes].as_u64().unwrap() > 0, "{bytes}");
    }
    assert!(document["inserted"]["events"].as_u64().unwrap() >= 100);
    assert_eq!(document["dashboard"]["loads"], 2);
    assert_eq!(document["dashboard_again"]["loads"], 2);
    let loads = document["loads"].as_array().unwrap();
    assert_eq!(loads.len(), 4);
    for load in loads {
        // Twenty a second for half a second.
        assert_eq!(load["requests"], 10, "{load}");
        assert!(load["p999_ms"].as_f64().unwrap() > 0.0, "{load}");
    }
    assert!(is_empty(folder.path()), "everything was cleared away");
}

#[test]
fn kept_tables_are_asked_again_without_being_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("kept");
    let sizes = ["--rows", "2000", "--beside", "0", "--requests", "1"];
    let kept = ["--insert-rate", "1", "--keep", keep.to_str().unwrap()];
    let options = [&sizes[..], &kept].concat();
    document(&bench_query(folder.path(), &options));
    let run = bench_query(folder.path(), &options);
    let log = String::from_utf8_lossy(&run.stderr);
    assert!(log.contains("are there from an earlier run"), "{log}");
    assert!(!log.contains("inserting 2000 events"), "{log}");
    let again = document(&run);
    assert_eq!(again["loading"]["rows"], 2000);
    assert_eq!(again["checks"]["differing"], 0);
    assert_eq!(again["questions"][0]["beside"], Value::Null);
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let run = bench_query(folder.path(), &["--rows", "0", "--dir", dir]);
    assert!(!run.status.success());
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(told.contains("--rows must be from 1"), "{told}");
    assert!(is_empty(folder.path()));
}

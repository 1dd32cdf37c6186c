//! `weir bench baseline` as a person runs it. What it measures is nothing to assert: machines differ.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn bench_baseline(folder: &Path) -> Command {
    let mut weir = common::weir(folder);
    weir.args(["bench", "baseline", "--json", "--dir"])
        .arg(folder);
    weir
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

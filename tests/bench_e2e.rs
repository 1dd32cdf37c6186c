//! `weir bench e2e` and `weir bench report` as a person runs them. What they measure is nothing to
//! assert: machines differ.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Output;

use serde_json::Value;

const PROCESSES: [&str; 5] = ["ingest", "broker", "sink", "clickhouse", "query"];

fn bench(folder: &Path, arguments: &[&str]) -> Output {
    let mut weir = common::weir(folder);
    weir.arg("bench").args(arguments).output().unwrap()
}

fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let run = bench(folder, arguments);
    assert!(!run.status.success());
    String::from_utf8_lossy(&run.stderr).into_owned()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

fn assert_measured(rate: &Value) {
    for process in PROCESSES {
        for figure in ["cpu_seconds_per_million", "rss_bytes"] {
            assert!(rate[figure][process].is_number(), "{rate}");
        }
    }
    assert!(rate["rss_bytes_all"].as_u64().unwrap() > 0, "{rate}");
    assert!(rate["accepted_events_per_second"].as_f64().unwrap() > 0.0);
    let visible = &rate["visible"];
    assert!(visible["probes"].as_u64().unwrap() > 0, "{visible}");
    assert!(visible["p99_ms"].as_f64().unwrap() > 0.0, "{visible}");
    assert_eq!(visible["unseen"], 0, "{visible}");
    assert_eq!(visible["repeated"], 0, "{visible}");
}

#[test]
fn a_page_is_written_of_what_all_of_weir_did_and_its_figures_can_be_compared() {
    let folder = tempfile::tempdir().unwrap();
    let worked_in = folder.path().join("worked-in");
    std::fs::create_dir(&worked_in).unwrap();
    let only = ["report", "--quick", "--only", "e2e", "--json", "kept"];
    let dir = ["--dir", worked_in.to_str().unwrap()];
    let run = bench(folder.path(), &[&only[..], &dir].concat());
    let log = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{log}");
    assert!(is_empty(&worked_in), "everything was cleared away");

    let kept = folder.path().join("kept/e2e.json");
    let document = std::fs::read(&kept).unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document["kind"], "e2e");
    assert!(document["machine"]["cpus"].as_u64().unwrap() > 0);
    assert!(document["versions"]["clickhouse"].is_string());
    let rates = document["rates"].as_array().unwrap();
    assert_eq!(rates.len(), 1);
    rates.iter().for_each(assert_measured);
    let check = &document["check"];
    let accepted = check["accepted"].as_u64().unwrap();
    let stored = check["stored"].as_u64().unwrap();
    let unpromised = check["unpromised"].as_u64().unwrap();
    assert!(
        (accepted..=accepted + unpromised).contains(&stored),
        "{check}"
    );
    assert_eq!(check["audit"]["sound"], true, "{check}");
    for state in ["before_merges", "after_merges"] {
        let disk = &document["disk"][state];
        assert!(disk["raw_bytes"].as_u64().unwrap() > 0, "{disk}");
        assert!(disk["rollup_bytes"].as_u64().unwrap() > 0, "{disk}");
    }

    let page = std::fs::read_to_string(folder.path().join("BENCHMARKS.md")).unwrap();
    for told in [
        "| ClickHouse | 2",
        "accepted events that are not stored, or stored twice | ≤ 0 | 0 | met | e2e |",
        "Not measured in this run: ingest, sink, query, e2e-single, baseline.",
        "`weir bench e2e --rates",
        "audit, in",
    ] {
        assert!(page.contains(told), "{told}\n{page}");
    }

    let compare = ["--compare", "kept/e2e.json"];
    let told = refusal(
        folder.path(),
        &[&["e2e", "--rates", "5"], &compare[..]].concat(),
    );
    assert!(told.contains("options.rates was"), "{told}");
    let told = refusal(folder.path(), &[&["sink"], &compare[..]].concat());
    assert!(told.contains("a report of weir bench e2e"), "{told}");
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let told = refusal(folder.path(), &["e2e", "--rates", "0", "--dir", dir]);
    assert!(told.contains("--rates must be from 1"), "{told}");
    let out = ["--out", "nowhere/page.md", "--dir", dir];
    let told = refusal(folder.path(), &[&["report"], &out[..]].concat());
    assert!(told.contains("there is no folder"), "{told}");
    assert!(is_empty(folder.path()));
}

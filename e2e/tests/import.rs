//! An access log comes in once, however often it is sent and whatever is killed meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use e2e::{Weir, command, eventually, file, run};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const SITE: &str = "log-site";

/// A log with known figures, by day and for all time (`None`).
struct Log {
    text: String,
    truth: BTreeMap<Option<String>, Truth>,
}

#[derive(Default)]
struct Truth {
    views: u64,
    /// Who came on a day: address and agent.
    visitors: BTreeSet<(u64, String, String)>,
    paths: BTreeMap<String, u64>,
}

impl Truth {
    fn answer(&self, date: Option<&str>) -> Value {
        let mut paths: Vec<_> = self.paths.iter().collect();
        paths.sort_by_key(|(path, views)| (std::cmp::Reverse(**views), path.as_str()));
        let top: Vec<_> = paths
            .iter()
            .take(10)
            .map(|(path, views)| json!({"path": path, "views": views}))
            .collect();
        let mut answer = json!({
            "site_id": SITE,
            "date": date,
            "total_views": self.views,
            "unique_users": self.visitors.len(),
            "unique_users_error_pct": 0.0,
            "top_paths": top,
        });
        if date.is_none() {
            answer["visitors_period"] = json!("day");
        }
        answer
    }
}

/// Lines over three days: pages, assets, errors, POSTs, and some that are no log lines.
fn log(lines: u64) -> Log {
    let mut text = String::new();
    let mut truth: BTreeMap<Option<String>, Truth> = BTreeMap::new();
    for n in 0..lines {
        if n % 97 == 13 {
            writeln!(text, "this is line {n} of no log").unwrap();
            continue;
        }
        let day = 17 + n * 3 / lines;
        let address = format!("10.0.{}.{}", n % 7, n * 31 % 50);
        let agent = format!(
            "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0 \\\"{}\\\"",
            n % 3
        );
        let path = format!("/page/{}", n * n % 23);
        let (method, target, status) = match n % 10 {
            0 => ("GET", format!("{path}.PNG?v=1"), 200),
            1 => ("POST", path.clone(), 200),
            2 => ("GET", path.clone(), 404),
            3 => ("GET", format!("{path}?q=a.css#top"), 304),
            _ => ("GET", path.clone(), 200),
        };
        let (hour, minute, second) = (n / 3600 % 24, n / 60 % 60, n % 60);
        writeln!(
            text,
            "{address} - - [{day}/May/2015:{hour:02}:{minute:02}:{second:02} +0000] \"{method} {target} HTTP/1.1\" {status} 17 \"-\" \"{agent}\""
        )
        .unwrap();
        if matches!(n % 10, 0..=2) {
            continue;
        }
        for date in [Some(format!("2015-05-{day}")), None] {
            let truth = truth.entry(date).or_default();
            truth.views += 1;
            let visitor = (day, address.clone(), agent.clone());
            truth.visitors.insert(visitor);
            *truth.paths.entry(path.clone()).or_default() += 1;
        }
    }
    Log { text, truth }
}

async fn assert_truth(weir: &Weir, log: &Log) {
    for (date, truth) in &log.truth {
        let date = date.as_deref();
        let query = match date {
            Some(date) => format!("site_id={SITE}&date={date}"),
            None => format!("site_id={SITE}"),
        };
        eventually(truth.answer(date), async || weir.stats(&query).await).await;
    }
    // Raw rows, not only rollups; and every row from a place of its own in Kafka.
    let views = log.truth[&None].views;
    let rows = "SELECT count(), uniqExact(event_id), uniqExact(_partition, _offset, _index) FROM weir.events WHERE site_id = 'log-site'";
    assert_eq!(
        weir.clickhouse().text(rows).await,
        format!("{views}\t{views}\t{views}")
    );
}

/// Waits until the sink has been through everything that was sent so far.
async fn settle(weir: &Weir, site: &str) {
    let markers: Vec<_> = (0..64)
        .map(|n| json!({"site_id": site, "event_type": "view", "event_id": format!("{site}-{n}")}))
        .collect();
    weir.post("/events", json!(markers).to_string()).await;
    let query = format!("site_id={site}");
    eventually(json!(64), async || {
        weir.stats(&query).await["total_views"].clone()
    })
    .await;
}

fn written(folder: &std::path::Path, log: &Log) -> PathBuf {
    file(folder, "access.log", log.text.as_bytes())
}

#[tokio::test]
async fn the_figures_are_those_of_the_log_also_after_a_second_import() {
    let weir = Weir::up();
    let folder = tempfile::tempdir().unwrap();
    let log = log(5_000);
    let path = written(folder.path(), &log);
    let first = weir.import(SITE, &path);
    assert!(first.success, "{first:?}");
    assert!(
        first
            .stdout
            .contains(&format!("{} page views", log.truth[&None].views)),
        "{first:?}"
    );
    assert!(
        first.stdout.contains("line 14: "),
        "the first malformed line is named: {first:?}"
    );
    assert_truth(&weir, &log).await;

    let second = weir.import(SITE, &path);
    assert!(second.success, "{second:?}");
    settle(&weir, "settled").await;
    assert_truth(&weir, &log).await;
}

#[tokio::test]
async fn a_log_that_has_grown_brings_in_only_what_is_new() {
    let weir = Weir::up();
    let folder = tempfile::tempdir().unwrap();
    let log = log(3_000);
    let half = log.text[..log.text.len() / 2].rfind('\n').unwrap() + 1;
    let path = file(folder.path(), "access.log", &log.text.as_bytes()[..half]);
    assert!(weir.import(SITE, &path).success);
    let path = written(folder.path(), &log);
    assert!(weir.import(SITE, &path).success);
    settle(&weir, "settled").await;
    assert_truth(&weir, &log).await;
}

#[tokio::test]
async fn killing_all_of_it_in_the_middle_of_an_import_changes_nothing_after_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(60_000);
    let path = written(folder.path(), &log);
    let mut weir = Weir::up();
    // At other moments of the work each time: soon, and when rows are on their way already.
    for rows_first in ["0", "1", "9000"] {
        let mut import = weir.begin_import(SITE, &path);
        let enough = format!("SELECT count() >= {rows_first} FROM weir.events");
        eventually("1".to_owned(), async || {
            weir.clickhouse().text(&enough).await
        })
        .await;
        let data = weir.kill();
        import.wait().unwrap();
        weir = Weir::up_in(data);
    }
    let last = weir.import(SITE, &path);
    assert!(last.success, "{last:?}");
    settle(&weir, "settled").await;
    assert_truth(&weir, &log).await;
}

#[tokio::test]
async fn a_log_and_a_demo_come_in_with_a_secret_key_where_keys_are_listed() {
    const KEY: &str = "ws_of-the-server";
    let digest = Sha256::digest(KEY);
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = tempfile::tempdir().unwrap();
    let keys = format!("[[ingest.keys.sites]]\nsite_id = '{SITE}'\nsecret_keys = ['{hash}']\n");
    let _ = file(folder.path(), "weir.toml", keys.as_bytes());
    let weir = Weir::embedded_in(folder);
    // One view of a person, one of a bot: the agent that the log names is believed.
    let lines = ["Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0", "Googlebot/2.1"]
        .map(|agent| format!("192.0.2.7 - - [17/May/2015:10:05:03 +0000] \"GET /a HTTP/1.1\" 200 1 \"-\" \"{agent}\"\n"));
    let log = file(weir.folder(), "access.log", lines.concat().as_bytes());
    let log = log.display().to_string();
    let import = ["import", "--format", "combined", "--data-dir", "data", &log];
    let demo = ["demo", "--days", "1", "--visits-per-day", "300"];
    for (arguments, variable) in [(&import[..], "WEIR_IMPORT__KEY"), (&demo, "WEIR_DEMO__KEY")] {
        let send = |key: Option<&str>, variables: &[(&str, &str)]| {
            let mut command = command(weir.folder());
            command.args(arguments);
            command.args(["--site-id", SITE, "--url", &weir.ingest]);
            command.args(key.map(|key| ["--key", key]).into_iter().flatten());
            command.env("WEIR_LOG__FILTER", "trace");
            command.envs(variables.iter().copied());
            run(command)
        };
        for refused in [send(None, &[]), send(Some("ws_other"), &[])] {
            assert!(!refused.success, "{refused:?}");
            let mut lines = refused.stderr.lines();
            let reason = lines.find(|line| line.starts_with("error: ")).unwrap();
            assert!(
                reason.contains("write key") && reason.contains("--key"),
                "{reason}"
            );
            assert!(reason.len() < 500, "{reason}");
        }
        // What the command says goes before the variable.
        for taken in [
            send(Some(KEY), &[(variable, "ws_other")]),
            send(None, &[(variable, KEY)]),
        ] {
            assert!(taken.success, "{taken:?}");
            let said = taken.stdout + &taken.stderr;
            assert!(!said.contains(KEY), "{said}");
        }
    }
    let day = format!("site_id={SITE}&date=2015-05-17");
    for (bots, views) in [("exclude", 1), ("include", 2)] {
        let query = format!("{day}&bots={bots}");
        eventually(json!(views), async || {
            weir.stats_if_any(&query).await["total_views"].clone()
        })
        .await;
    }
}

#[tokio::test]
async fn a_file_that_is_no_log_is_said_to_be_none() {
    let weir = Weir::up();
    let folder = tempfile::tempdir().unwrap();
    let nonsense = file(folder.path(), "nonsense", b"one\ntwo\n");
    let empty = file(folder.path(), "empty", b"");
    for (path, said) in [
        (nonsense, "no line of"),
        (empty, "is empty"),
        (folder.path().join("missing"), "open"),
    ] {
        let import = weir.import(SITE, &path);
        assert!(
            !import.success && import.stderr.contains(said),
            "{import:?}"
        );
    }
    tokio::time::timeout(Duration::from_secs(10), settle(&weir, "unharmed"))
        .await
        .unwrap();
}

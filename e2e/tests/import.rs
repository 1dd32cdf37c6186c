//! An access log comes in once, however often it is sent and whatever is killed meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use e2e::{Weir, eventually, file};
use serde_json::{Value, json};

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

//! `weir demo`: what it says it sent is what `/stats` tells, and sent again it changes nothing.

use std::process::{Child, Command, Output, Stdio};

use e2e::{Finished, Weir, command, eventually, run};
use serde_json::json;

fn demo(weir: &Weir, arguments: &[&str]) -> Finished {
    let mut command = command(weir.folder());
    command
        // With fewer a small site may have nothing but views for days.
        .args(["demo", "--url", &weir.ingest, "--dashboard", &weir.query])
        .args(["--visits-per-day", "300"])
        .args(arguments);
    run(command)
}

/// Site, events, page views.
fn told(finished: &Finished) -> Vec<(String, u64, u64)> {
    let line = |line: &str| {
        let (site, rest) = line.split_once(": ")?;
        let (events, rest) = rest.split_once(" events, ")?;
        let views = rest.split(' ').next()?;
        Some((site.to_owned(), events.parse().ok()?, views.parse().ok()?))
    };
    finished.stdout.lines().filter_map(line).collect()
}

#[tokio::test]
async fn a_history_is_what_stats_tell_and_counts_once_however_often_it_is_sent() {
    let weir = Weir::up();
    let first = demo(&weir, &["--days", "3"]);
    assert!(first.success, "{first:?}");
    let sent = told(&first);
    let sites: Vec<&str> = sent.iter().map(|(site, ..)| site.as_str()).collect();
    assert_eq!(sites, ["shop.example", "blog.example", "docs.example"]);
    let page_views = async |site: &str| {
        weir.stats_if_any(&format!("site_id={site}&event_type=page_view&bots=include"))
            .await["total_views"]
            .clone()
    };
    for (site, events, views) in &sent {
        assert!(events > views && *views > 0, "{sent:?}");
        eventually(json!(views), async || page_views(site).await).await;
    }

    let again = demo(&weir, &["--days", "3"]);
    assert!(again.success, "{again:?}");
    // Today has gone on meanwhile.
    for (site, _, views) in told(&again) {
        eventually(json!(views), async || page_views(&site).await).await;
    }
    let other = demo(&weir, &["--days", "2", "--seed", "2", "--site-id", "mine"]);
    assert!(other.success, "{other:?}");
    let [(site, _, views)] = &told(&other)[..] else {
        panic!("{other:?}");
    };
    assert_eq!(site, "mine");
    let link = format!("look at {}/?site=mine\n", weir.query);
    assert!(other.stdout.contains(&link), "{other:?}");
    eventually(json!(views), async || page_views("mine").await).await;
}

#[tokio::test]
async fn live_visitors_come_until_they_are_told_to_stop() {
    let weir = Weir::up();
    let mut command = command(weir.folder());
    command
        .args(["demo", "--days", "0", "--live", "--rate", "200"])
        .args(["--site-id", "now", "--url", &weir.ingest]);
    let child = command.stdout(Stdio::piped()).spawn().expect("weir starts");
    let mut live = Live(Some(child));
    eventually(true, async || {
        let views = weir.stats_if_any("site_id=now").await["total_views"].as_u64();
        views.is_some_and(|views| views >= 100)
    })
    .await;
    let output = live.interrupt();
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains(" live events"), "{stdout}");
}

/// Killed where a test fails before it has ended.
struct Live(Option<Child>);

impl Live {
    fn interrupt(&mut self) -> Output {
        let child = self.0.take().expect("it runs");
        let pid = child.id().to_string();
        let asked = Command::new("kill").args(["-INT", &pid]).status();
        assert!(asked.expect("kill runs").success());
        child.wait_with_output().expect("weir ends")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test]
async fn without_a_weir_it_says_how_to_start_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = command(folder.path());
    command.args(["demo", "--url", "http://127.0.0.1:9"]);
    let finished = run(command);
    assert!(!finished.success);
    assert!(finished.stderr.contains("weir up"), "{finished:?}");
}

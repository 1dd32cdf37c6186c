//! Who is there now.

use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta, Utc};
use query::Config;
use serde_json::Value;
use tokio::time::timeout;

use crate::world::{BOT, DEADLINE, EventRow, World, row};

const SITE: [(&str, &str); 1] = [("site_id", "s")];
const EVENTS: [(&str, &str); 1] = [("accept", "text/event-stream")];

fn ago(seconds: i64, kind: &str, user: &str) -> EventRow {
    let time = Utc::now() - TimeDelta::seconds(seconds);
    let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    row("s", kind, "/", user, &time)
}

/// The next event: its name and what it holds.
async fn next(response: &mut reqwest::Response) -> Option<(String, Value)> {
    let mut text = String::new();
    while !text.ends_with("\n\n") {
        let chunk = timeout(DEADLINE, response.chunk()).await.unwrap().ok()??;
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let line = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap().trim().to_owned()
    };
    Some((
        line("event:"),
        serde_json::from_str(&line("data:")).unwrap(),
    ))
}

fn assert_figures(answer: &Value, visitors: [u64; 2], views: [u64; 2]) {
    assert_eq!(answer["site_id"], "s");
    assert_eq!(answer["visitors_5m"], visitors[0], "{answer}");
    assert_eq!(answer["visitors_30m"], visitors[1], "{answer}");
    assert_eq!(answer["views_5m"], views[0], "{answer}");
    assert_eq!(answer["views_30m"], views[1], "{answer}");
    let at: chrono::DateTime<Utc> = answer["at"].as_str().unwrap().parse().unwrap();
    assert!((Utc::now() - at).abs() < TimeDelta::minutes(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn views_and_visitors_of_the_last_minutes_are_told_once_or_again_and_again() {
    let world = World::new().await;
    world
        .insert(&[
            ago(1, "view", "a"),
            ago(60, "page_view", "a"),
            ago(120, "view", ""),
            ago(200, "click", "b"),
            ago(600, "view", "c"),
            ago(1500, "view", "a"),
            ago(2000, "view", "d"),
        ])
        .await;
    let (status, answer) = world.json("/stats/realtime", &SITE).await;
    assert_eq!(status, 200);
    assert_figures(&answer, [1, 2], [3, 5]);
    let mut events = world.get_with("/stats/realtime", &SITE, &EVENTS).await;
    assert_eq!(events.status(), 200);
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let (name, told) = next(&mut events).await.unwrap();
    assert_eq!(name, "realtime");
    assert_figures(&told, [1, 2], [3, 5]);
    world.insert(&[ago(1, "view", "e")]).await;
    let (_, told) = next(&mut events).await.unwrap();
    assert_figures(&told, [2, 3], [4, 6]);
    world.stop().await;
    assert_eq!(
        next(&mut events).await,
        None,
        "a listener is told of the end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_hear_of_people_or_of_bots_as_they_asked() {
    let world = World::new().await;
    let bot = EventRow {
        _agent: BOT.to_owned(),
        ..ago(1, "view", "b")
    };
    world.insert(&[ago(1, "view", "a"), bot.clone(), bot]).await;
    let mut listening = Vec::new();
    for (bots, visitors, views) in [(None, 1, 1), (Some("include"), 2, 3), (Some("only"), 1, 2)] {
        let asked: Vec<_> = SITE
            .into_iter()
            .chain(bots.map(|bots| ("bots", bots)))
            .collect();
        let mut events = world.get_with("/stats/realtime", &asked, &EVENTS).await;
        let (_, told) = next(&mut events).await.unwrap();
        assert_figures(&told, [visitors; 2], [views; 2]);
        // Who comes next joins those who asked for the same, and no others.
        listening.push(events);
    }
    drop(listening);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_listeners_of_a_site_share_one_question() {
    let world = World::new().await;
    world.insert(&[ago(1, "view", "a")]).await;
    let mut listeners = Vec::new();
    for _ in 0..200 {
        listeners.push(world.get_with("/stats/realtime", &SITE, &EVENTS).await);
    }
    let mut told = std::collections::BTreeSet::new();
    for events in &mut listeners {
        for _ in 0..2 {
            let (name, news) = next(events).await.unwrap();
            assert_eq!(name, "realtime");
            // Every question has a moment of its own.
            told.insert(news["at"].as_str().unwrap().to_owned());
        }
    }
    assert!(told.len() <= 5, "{} questions: {told:?}", told.len());
    drop(listeners);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_listen_than_may() {
    let world = World::with(Config {
        listeners_max: 1,
        ..Config::default()
    })
    .await;
    let mut first = world.get_with("/stats/realtime", &SITE, &EVENTS).await;
    next(&mut first).await.unwrap();
    let second = world.get_with("/stats/realtime", &SITE, &EVENTS).await;
    assert_eq!(second.status(), 503);
    assert!(second.headers().contains_key("retry-after"));
    drop(first);
    // The place is free once it is seen that the first has left: when it is told something.
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while world
        .get_with("/stats/realtime", &SITE, &EVENTS)
        .await
        .status()
        != 200
    {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.stop().await;
}

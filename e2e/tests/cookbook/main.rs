//! The cookbook, run as an analyst would: its queries against answers that are known, the comments
//! they rely on, and Python's client with a data frame.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod answers;
mod data;
mod page;
mod python;

use chrono::{TimeDelta, Utc};
use e2e::{Weir, eventually};
use reqwest::StatusCode;
use serde_json::{Value, json};

use data::Event;
use page::Recipe;

/// Sends the events, and waits until rows and rollups have them all.
async fn send(weir: &Weir, events: &[Event]) {
    for batch in events.chunks(1_000) {
        let batch: Vec<Value> = batch.iter().map(Event::json).collect();
        let (status, answer) = weir.post("/events", json!(batch).to_string()).await;
        assert_eq!(
            (status, &answer["rejected"]),
            (StatusCode::ACCEPTED, &json!([])),
            "{answer}"
        );
    }
    let stored = "SELECT (SELECT count() FROM weir.events), (SELECT sum(events) FROM weir.daily_with_bots), (SELECT sum(events) FROM weir.monthly_paths_with_bots), (SELECT sum(rows) FROM weir.ledger)";
    let all = events.len();
    eventually(format!("{all}\t{all}\t{all}\t{all}"), async || {
        weir.analyst().text(stored).await
    })
    .await;
}

async fn ask(weir: &Weir, recipe: &Recipe) -> Vec<String> {
    let mut query = vec![("user", "analyst".to_owned())];
    let parameters = answers::parameters();
    let named: Vec<_> = parameters
        .iter()
        .map(|(name, value)| (format!("param_{name}"), value.clone()))
        .collect();
    query.extend(
        named
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone())),
    );
    let response = reqwest::Client::new()
        .post(&weir.clickhouse)
        .query(&query)
        .body(recipe.sql)
        .send()
        .await
        .unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{}: {text}", recipe.title);
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_query_of_the_cookbook_answers_what_is_true() {
    let weir = Weir::up();
    let events = data::events(Utc::now());
    send(&weir, &events).await;
    // A repeat of what is stored, for the ledger to tell.
    let order = events.iter().find(|event| event.id.is_some()).unwrap();
    let repeat = order.json().to_string();
    assert_eq!(weir.post("/event", repeat).await.0, StatusCode::ACCEPTED);
    let repeats = "SELECT sum(repeats) FROM weir.ledger";
    eventually("1".to_owned(), async || weir.analyst().text(repeats).await).await;

    let recipes = page::recipes();
    assert!(recipes.len() >= 15, "{} queries", recipes.len());
    for recipe in &recipes {
        let title = recipe.title;
        assert!(
            recipe.about.contains("Reads "),
            "{title}: which table does it read?"
        );
        let found = ask(&weir, recipe).await;
        match (title, answers::answer(title, &events)) {
            (_, Some(expected)) => {
                assert!(
                    !expected.is_empty(),
                    "{title}: an answer of nothing proves nothing"
                );
                assert_eq!(found, expected, "{title}");
            }
            ("The last thirty minutes", None) => assert_last_minutes(&found, &events),
            ("Proof of what was stored", None) => assert_ledger(&found, events.len()),
            (_, None) => panic!("{title} is not judged"),
        }
    }
}

/// Thirty minutes without a gap, and in them what is known of each.
fn assert_last_minutes(found: &[String], events: &[Event]) {
    assert_eq!(found.len(), 30, "{found:?}");
    let first = chrono::NaiveDateTime::parse_from_str(&found[0][..19], "%Y-%m-%d %H:%M:%S");
    let first = first.unwrap().and_utc();
    for (index, line) in found.iter().enumerate() {
        let minute = first + TimeDelta::minutes(index as i64);
        let minute = minute.format("%Y-%m-%d %H:%M:%S").to_string();
        assert!(line.starts_with(&minute), "{line}, {minute}");
    }
    let busy: Vec<String> = found
        .iter()
        .filter(|line| !line.ends_with("\t0\t0"))
        .cloned()
        .collect();
    assert!(!busy.is_empty(), "the live views are gone");
    assert_eq!(busy, answers::minutes(events, first));
}

/// Every line healthy; together all rows, and the one repeat.
fn assert_ledger(found: &[String], rows: usize) {
    let mut sums = [0_u64; 5];
    for line in found {
        let columns: Vec<&str> = line.split('\t').collect();
        let numbers: Vec<u64> = columns[2..8].iter().map(|n| n.parse().unwrap()).collect();
        let [_, events, stored, repeats, dead_letters, gaps] = numbers[..] else {
            panic!("{line}");
        };
        assert_eq!(events, stored + repeats, "{line}");
        for (sum, number) in sums
            .iter_mut()
            .zip([events, stored, repeats, dead_letters, gaps])
        {
            *sum += number;
        }
    }
    let rows = rows as u64;
    assert_eq!(sums, [rows + 1, rows, 1, 0, 0], "{found:?}");
}

#[tokio::test]
async fn every_column_of_every_table_and_view_says_what_it_is() {
    let weir = Weir::embedded();
    let analyst = weir.analyst();
    let silent = "SELECT concat(table, '.', name) FROM system.columns WHERE database = 'weir' AND comment = '' UNION ALL SELECT name FROM system.tables WHERE database = 'weir' AND comment = ''";
    assert_eq!(analyst.text(silent).await, "");
    let described = "SELECT uniqExact(table) FROM system.columns WHERE database = 'weir'";
    let tables: u64 = analyst.text(described).await.parse().unwrap();
    assert!(tables >= 20, "{tables} tables and views");
    // Views with parameters have no columns to comment on; their own comment has an example.
    for view in ["stats", "stats_of_types", "sessions"] {
        let comment = format!(
            "SELECT comment FROM system.tables WHERE database = 'weir' AND name = '{view}'"
        );
        let comment = analyst.text(&comment).await;
        assert!(comment.starts_with(&format!("{view}(site=")), "{comment}");
    }
}

//! A client that sends an event again under its id counts it once: in shuffled retries, beside
//! others, one by one or all at once.

use std::time::{Duration, Instant};

use e2e::chaos::{Generator, Random, Sent, Truth};
use e2e::{Fleet, Plan, number};
use reqwest::{Client, StatusCode};
use tokio::task::JoinSet;

/// A million in the release profile; unoptimized code would need minutes for them.
const EVENTS: u64 = if cfg!(debug_assertions) {
    50_000
} else {
    1_000_000
};
const SEED: u64 = 17;
const BATCH: usize = 500;
const CLIENTS: usize = 4;
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_sent_again_under_their_ids_count_once() {
    let events = number("WEIR_REPEATS_EVENTS").unwrap_or(EVENTS);
    let fleet = Fleet::start(Plan {
        sinks: 2,
        ..Plan::default()
    })
    .await;
    let generator = Generator {
        seed: SEED,
        without_id_every: 0,
    };
    let mut random = Random::new(SEED, 0);
    // Each once, and one in ten once more, anywhere after or before, often in the same batch.
    let again: Vec<u64> = (0..events).filter(|_| random.chance(10)).collect();
    let mut sending: Vec<u64> = (0..events).chain(again.iter().copied()).collect();
    random.shuffle(&mut sending);

    let begun = Instant::now();
    let mut clients = JoinSet::new();
    let batches = sending.len().div_ceil(BATCH);
    for share in sending.chunks(batches.div_ceil(CLIENTS) * BATCH) {
        let (share, url) = (share.to_vec(), format!("{}/events", fleet.ingest_url));
        clients.spawn(async move {
            let client = Client::builder().no_proxy().build().expect("a client");
            for batch in share.chunks(BATCH) {
                send(&client, &url, generator, batch).await;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client does not panic");
    }
    let accepted = begun.elapsed();
    fleet.group().settled(SETTLED_WITHIN).await;
    println!(
        "{} events accepted in {accepted:.1?}, {} of them repeats; stored after {:.1?}",
        sending.len(),
        again.len(),
        begun.elapsed()
    );

    let mut journal = vec![Sent::default(); events as usize];
    for number in sending {
        journal[number as usize].tries += 1;
        journal[number as usize].accepted += 1;
    }
    let truth = Truth::of_rows(fleet.clickhouse(), generator, &journal).await;
    assert_eq!(truth.rows(), events);
    truth.assert_told(&fleet).await;
    println!("{}", fleet.audit());
}

/// As NDJSON, until it is accepted: a busy ingest may ask for patience.
async fn send(client: &Client, url: &str, generator: Generator, batch: &[u64]) {
    let lines = batch
        .iter()
        .map(|number| generator.event(*number).json().to_string());
    let body = lines.collect::<Vec<_>>().join("\n");
    loop {
        let request = client.post(url).body(body.clone());
        let response = request.send().await.expect("ingest answers");
        match response.status() {
            StatusCode::ACCEPTED => return,
            StatusCode::SERVICE_UNAVAILABLE => tokio::time::sleep(Duration::from_millis(50)).await,
            other => panic!("{other}: {:?}", response.text().await),
        }
    }
}

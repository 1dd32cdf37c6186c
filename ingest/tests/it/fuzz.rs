//! Requests nobody would send, over the whole HTTP surface: no 5xx, no answer in a shape of its
//! own, no connection that hangs. `WEIR_FUZZ_CASES=1000000` sends as many;
//! `WEIR_FUZZ_ADDRESS=127.0.0.1:3000` sends them to a service that runs already, so that its memory
//! can be watched.

mod cases;
mod client;
mod shape;

use std::net::SocketAddr;

use ingest::{KeysConfig, SiteKeys, key_hash};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use crate::support::Edge;
use cases::{Case, cases, garbage};
use client::Client;

const CASES: u32 = 3_000;
/// Each on a connection and a thread of its own; the broker's acknowledgements are shared.
const CONNECTIONS: u32 = 16;

#[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
fn switch(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.into_string().unwrap())
}

fn cases_of_each() -> u32 {
    let cases = switch("WEIR_FUZZ_CASES").map_or(CASES, |count| count.parse().unwrap());
    cases.div_ceil(CONNECTIONS)
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        // A case costs an acknowledgement, and the smallest one is worth a few of them.
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_has_an_answer_of_the_documented_kind() {
    match switch("WEIR_FUZZ_ADDRESS") {
        Some(address) => send_all(address.parse().unwrap()).await,
        None => {
            let (edge, _broker) = Edge::ready().await;
            send_all(edge.address).await;
            edge.is_unharmed().await;
            edge.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_and_limits_it_has_one_as_well() {
    let keys = KeysConfig {
        sites: vec![SiteKeys {
            site_id: "shop".parse().unwrap(),
            origins: vec!["https://shop.example".to_owned().try_into().unwrap()],
            public_keys: vec![key_hash("wp_good").into()],
            secret_keys: vec![key_hash("ws_good")],
        }],
        unlisted_sites_open: true,
        ..KeysConfig::default()
    };
    let config = ingest::Config {
        keys,
        rate_limits: ingest::RateLimitsConfig {
            per_site: ingest::RateConfig {
                per_second: 1_000.0,
                burst: 0,
            },
            exempt_loopback: false,
            ..Default::default()
        },
        trusted_proxies: vec!["127.0.0.1".to_owned()],
        ..ingest::Config::default()
    };
    let (edge, _broker) = Edge::ready_with(config).await;
    send_all(edge.address).await;
    edge.get("/health").await.is(200);
    edge.stop().await;
}

async fn send_all(address: SocketAddr) {
    let cases_of_each = cases_of_each();
    let waiting = tokio::task::spawn_blocking(move || {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                std::thread::Builder::new()
                    .name("fuzz".to_owned())
                    // Strategies as large as these need more than usual without optimization.
                    .stack_size(64 << 20)
                    .spawn(move || send(address, cases_of_each))
                    .unwrap()
            })
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.collect::<Result<(), String>>()
    });
    if let Err(smallest) = waiting.await.unwrap() {
        panic!("{smallest}");
    }
}

/// The smallest case that is answered wrongly, if there is one.
fn send(address: SocketAddr, count: u32) -> Result<(), String> {
    // Shared by all cases of this thread, which come one after the other.
    let client = std::cell::RefCell::new(Client::new(address));
    runner(count)
        .run(&cases(), |case| {
            let answer = client.borrow_mut().ask(&case);
            let judged = answer.and_then(|answer| shape::check(&case, &answer));
            judged.map_err(TestCaseError::fail)
        })
        .map_err(|error| told(&error, Case::to_string))?;
    runner(count / 20)
        .run(&garbage(), |bytes| {
            let answers = client::answers_to_garbage(address, &bytes);
            answers
                .and_then(|answers| shape::check_garbage(&answers))
                .map_err(TestCaseError::fail)
        })
        .map_err(|error| told(&error, |bytes| String::from_utf8_lossy(bytes).into_owned()))
}

fn told<C: std::fmt::Debug>(error: &TestError<C>, text: impl Fn(&C) -> String) -> String {
    match error {
        TestError::Fail(reason, case) => format!("{reason}\n{}\n{case:?}", text(case)),
        TestError::Abort(reason) => reason.to_string(),
    }
}

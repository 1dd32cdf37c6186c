//! 429: too much of one address, or of one site.

use ingest::{RateConfig, RateLimitsConfig};
use serde_json::json;

use crate::support::{Answer, Edge, GOOD};

/// So slow that nothing comes back within a test.
const ONCE: f64 = 0.01;

fn limited(per_address: u32, per_site: u32) -> ingest::Config {
    let rate = |burst: u32| RateConfig {
        per_second: if burst == 0 { 0.0 } else { ONCE },
        burst,
    };
    ingest::Config {
        rate_limits: RateLimitsConfig {
            per_address: rate(per_address),
            per_site: rate(per_site),
            exempt_loopback: false,
            ..RateLimitsConfig::default()
        },
        ..ingest::Config::default()
    }
}

#[track_caller]
fn is_limited(answer: &Answer, whose: &str) {
    let errors = answer.refused(429);
    assert!(errors[0].contains(whose), "{errors:?}");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1_000_000).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn an_address_that_sends_too_much_is_told_when_to_try_again() {
    let (edge, broker) = Edge::ready_with(limited(3, 0)).await;
    edge.event(GOOD).await.is(202);
    // What is refused for its body was a request all the same.
    edge.events("nonsense").await.refused(400);
    edge.events(format!("[{GOOD},{GOOD}]")).await.is(202);
    is_limited(&edge.event(GOOD).await, "from this address");
    is_limited(&edge.events(vec![b'x'; 500_000]).await, "from this address");
    // Looking is free.
    edge.get("/health").await.is(200);
    broker.read(3).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_site_over_its_limit_refuses_the_whole_batch_and_no_other_site_pays() {
    let (edge, broker) = Edge::ready_with(limited(0, 3)).await;
    let event = |site: &str| json!({"site_id": site, "event_type": "x"}).to_string();
    edge.events([event("a"), event("a")].join("\n"))
        .await
        .is(202);
    let over = [event("a"), event("a"), event("b"), event("b"), event("b")].join("\n");
    is_limited(&edge.events(over).await, "of this site");
    edge.events([event("b"), event("b"), event("b")].join("\n"))
        .await
        .is(202);
    edge.event(event("a")).await.is(202);
    is_limited(&edge.event(event("a")).await, "of this site");
    // A bad event costs nothing.
    edge.events("{}\n{}").await.refused(400);
    edge.event(event("c")).await.is(202);
    broker.read(7).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_has_a_bucket_of_its_own() {
    let config = ingest::Config {
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        ..limited(1, 0)
    };
    let (edge, _broker) = Edge::ready_with(config).await;
    let send = async |client: &str| {
        Answer::of(edge.post("/event", GOOD).header("x-forwarded-for", client)).await
    };
    send("1.1.1.1").await.is(202);
    is_limited(&send("1.1.1.1").await, "from this address");
    is_limited(&send("6.6.6.6, 1.1.1.1").await, "from this address");
    send("1.1.1.2").await.is(202);
    send("2001:db8::1").await.is(202);
    is_limited(&send("2001:db8::2").await, "from this address");
    edge.stop().await;

    let (edge, _broker) = Edge::ready_with(limited(1, 0)).await;
    let send = async |client: &str| {
        Answer::of(edge.post("/event", GOOD).header("x-forwarded-for", client)).await
    };
    send("1.1.1.1").await.is(202);
    is_limited(&send("1.1.1.2").await, "from this address");
    edge.stop().await;
}

#[tokio::test]
async fn this_machine_is_exempt_unless_told_otherwise() {
    let mut config = limited(1, 1);
    config.rate_limits.exempt_loopback = true;
    let (edge, _broker) = Edge::ready_with(config).await;
    for _ in 0..5 {
        edge.event(GOOD).await.is(202);
    }
    edge.stop().await;
}

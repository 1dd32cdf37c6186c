//! ClickHouse away, silent, and back.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::engine::Engine;
use crate::world::{DEADLINE, World, row};

const SITE: [(&str, &str); 1] = [("site_id", "s")];
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

async fn assert_unavailable(world: &World) {
    let asked_at = Instant::now();
    let response = world.get("/stats", &SITE).await;
    assert!(
        asked_at.elapsed() < ANSWER_WITHIN,
        "{:?}",
        asked_at.elapsed()
    );
    assert_eq!(response.status(), 503);
    let wait: u64 = response.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(wait >= 1);
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!(body["status"], "error");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_stops_is_told_at_once_and_one_that_is_back_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path(), 0);
    let port = engine.address.port();
    let world = World::on(engine.address).await;
    world.migrate().await;
    world
        .insert(&[row("s", "view", "/", "u", "2025-11-15T00:00:00Z")])
        .await;
    world.wait_until_ready_is(200, "ready").await;
    assert_eq!(world.stats(&SITE).await["total_views"], 1);

    engine.stop();
    for _ in 0..3 {
        assert_unavailable(&world).await;
    }
    world.wait_until_ready_is(503, "ClickHouse").await;
    assert_eq!(world.get("/health", &[]).await.status(), 200);

    let engine = Engine::start(dir.path(), port);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let (status, answer) = world.json("/stats", &SITE).await;
        if status == 200 {
            assert_eq!(answer["total_views"], 1);
            break;
        }
        assert!(Instant::now() < deadline, "{status} {answer}");
        sleep(Duration::from_millis(50)).await;
    }
    world.wait_until_ready_is(200, "ready").await;
    world.stop().await;
    engine.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clickhouse_that_is_stopped_in_its_tracks_is_noticed_by_whoever_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path(), 0);
    let world = World::on(engine.address).await;
    world.migrate().await;
    world.wait_until_ready_is(200, "ready").await;
    world.stats(&SITE).await;
    engine.signal("STOP");
    // At once, while the service still believes that ClickHouse is there; of every kind.
    let exact = [SITE[0], ("exact", "true")];
    let asked_at = Instant::now();
    let (plain, exact, series, sites, now) = tokio::join!(
        world.get("/stats", &SITE),
        world.get("/stats", &exact),
        world.get("/stats/timeseries", &SITE),
        world.get("/sites", &[]),
        world.get("/stats/realtime", &SITE),
    );
    let took = asked_at.elapsed();
    for response in [plain, exact, series, sites, now] {
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
    }
    assert!(took < ANSWER_WITHIN, "{took:?}");
    assert_unavailable(&world).await;
    engine.signal("CONT");
    let deadline = Instant::now() + DEADLINE;
    while world.get("/stats", &SITE).await.status() != 200 {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(50)).await;
    }
    world.stop().await;
    engine.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clickhouse_that_takes_connections_and_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::on(silent.local_addr().unwrap()).await;
    let accepting = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            open.push(stream);
        }
    });
    world.wait_until_ready_is(503, "did not answer").await;
    assert_unavailable(&world).await;
    accepting.abort();
    world.stop().await;
}

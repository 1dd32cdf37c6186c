//! Questions that cost too much.

use query::Config;

use crate::world::{World, row};

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_would_read_too_many_rows_is_refused_and_says_what_to_do() {
    let world = World::with(Config {
        rows_max: 100,
        ..Config::default()
    })
    .await;
    let time = "2025-11-15T12:00:00Z";
    let rows: Vec<_> = (0..1000)
        .map(|nth| row("s", "view", "/", &format!("u{nth}"), time))
        .collect();
    world.insert(&rows).await;
    // From rollups it costs nothing worth mentioning.
    assert_eq!(world.stats(&[("site_id", "s")]).await["unique_users"], 1000);
    for extra in [("exact", "true"), ("filter", "user:is:u1"), ("path", "/")] {
        let (status, answer) = world.json("/stats", &[("site_id", "s"), extra]).await;
        assert_eq!(status, 422, "{extra:?}: {answer}");
        assert_eq!(answer["status"], "error");
        let sentence = answer["errors"][0].as_str().unwrap();
        assert!(sentence.contains("fewer days"), "{sentence}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_takes_too_long_or_too_much_memory_is_refused() {
    let time = "2025-11-15T12:00:00Z";
    for (config, word) in [
        (
            Config {
                raw_timeout: std::time::Duration::from_millis(1),
                ..Config::default()
            },
            "longer than 1ms",
        ),
        (
            Config {
                memory_bytes_max: 1000,
                ..Config::default()
            },
            "memory",
        ),
    ] {
        let world = World::with(config).await;
        world.insert(&[row("s", "view", "/", "u", time)]).await;
        let (status, answer) = world
            .json(
                "/stats/breakdown",
                &[("site_id", "s"), ("property", "user")],
            )
            .await;
        assert_eq!(status, 422, "{answer}");
        let sentence = answer["errors"][0].as_str().unwrap();
        assert!(sentence.contains(word), "{sentence}");
        world.stop().await;
    }
}

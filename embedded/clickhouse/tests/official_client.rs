//! The official `clickhouse` crate against the embedded engine.

#[cfg(test)]
mod common;

use clickhouse::Row;
use common::{Engine, wait_until};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Visit {
    id: u64,
    path: String,
    #[serde(with = "clickhouse::serde::uuid")]
    event: uuid::Uuid,
    referrer: Option<String>,
}

fn visit(id: u64) -> Visit {
    Visit {
        id,
        path: format!("/a/{id}\n\n;'\\\t\"`"),
        event: uuid::Uuid::from_u128(u128::from(id) << 64 | 7),
        referrer: id.is_multiple_of(2).then(|| "x".repeat(id as usize % 100)),
    }
}

const VISITS: &str = "CREATE TABLE weir.visits (id UInt64, path String, event UUID, referrer Nullable(String)) ENGINE = MergeTree ORDER BY id";

async fn with_table(folder: &tempfile::TempDir) -> Engine {
    let engine = Engine::start(folder.path());
    engine.ask("CREATE DATABASE weir").await;
    engine.ask(VISITS).await;
    engine
}

#[tokio::test]
async fn typed_rows_go_in_by_lz4_and_come_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let client = engine
        .client()
        .with_database("weir")
        .with_compression(clickhouse::Compression::Lz4);
    let rows: Vec<Visit> = (0..5000).map(visit).collect();
    let mut insert = client.insert::<Visit>("visits").await.unwrap();
    for row in &rows {
        insert.write(row).await.unwrap();
    }
    insert.end().await.unwrap();

    let stored: Vec<Visit> = client
        .query("SELECT ?fields FROM visits ORDER BY id")
        .fetch_all()
        .await
        .unwrap();
    assert_eq!(stored, rows);
}

#[tokio::test]
async fn awkward_strings_survive_bind_and_param() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let client = engine.client();
    for text in [
        "/a/1\n\n;'",
        "\\",
        "'; DROP TABLE weir.visits --",
        "\t\u{0}\u{1f30a}",
        "{x:String}",
    ] {
        let bound: String = client
            .query("SELECT ?")
            .bind(text)
            .fetch_one()
            .await
            .unwrap();
        assert_eq!(bound, text);
        let param: String = client
            .query("SELECT {x:String}")
            .param("x", text)
            .fetch_one()
            .await
            .unwrap();
        assert_eq!(param, text);
    }
}

#[tokio::test]
async fn a_cursor_reads_a_hundred_thousand_rows() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    let mut cursor = engine
        .client()
        .query("SELECT number, toString(number) FROM numbers(100000)")
        .fetch::<(u64, String)>()
        .unwrap();
    let mut expected = 0;
    while let Some((number, text)) = cursor.next().await.unwrap() {
        assert_eq!((number, text), (expected, expected.to_string()));
        expected += 1;
    }
    assert_eq!(expected, 100_000);
}

#[tokio::test]
async fn an_error_in_mid_stream_is_an_error_and_not_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    let mut cursor = engine
        .client()
        .query("SELECT rand64() + throwIf(number = 1000000) FROM numbers(2000000) SETTINGS max_block_size = 1000, max_threads = 1")
        .fetch::<u64>()
        .unwrap();
    let mut rows = 0;
    let error = loop {
        match cursor.next().await {
            Ok(Some(_)) => rows += 1,
            Ok(None) => panic!("the stream ended after {rows} rows"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(rows > 0, "the error came before the first row");
    assert!(error.contains("Code: 395"), "{error}");
}

#[tokio::test]
async fn a_statement_over_its_time_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    let error = engine
        .client()
        .with_setting("max_execution_time", "1")
        .query("SELECT sum(cityHash64(number)) FROM numbers(1000000000000)")
        .fetch_one::<u64>()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("TIMEOUT_EXCEEDED"), "{error}");
}

#[tokio::test]
async fn an_insert_into_other_columns_is_refused_before_it_is_sent() {
    #[derive(Row, Serialize)]
    struct Other {
        id: String,
    }
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let client = engine.client().with_database("weir");
    // The client panics on a schema that cannot match, so the insert has a task of its own.
    let outcome = tokio::spawn(async move {
        let mut insert = client.insert::<Other>("visits").await?;
        insert.write(&Other { id: "one".into() }).await?;
        insert.end().await
    })
    .await;
    assert!(
        !matches!(outcome, Ok(Ok(()))),
        "a String went into a UInt64"
    );
    assert_eq!(engine.ask("SELECT count() FROM weir.visits").await, "0");
}

#[tokio::test]
async fn one_token_counts_once_in_table_and_rollup() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    engine
        .ask("ALTER TABLE weir.visits MODIFY SETTING non_replicated_deduplication_window = 10000")
        .await;
    engine.ask("CREATE TABLE weir.days (visits AggregateFunction(count), users AggregateFunction(uniqCombined64(14), String)) ENGINE = AggregatingMergeTree ORDER BY tuple() SETTINGS non_replicated_deduplication_window = 10000").await;
    engine.ask("CREATE MATERIALIZED VIEW weir.days_mv TO weir.days AS SELECT countState() AS visits, uniqCombined64State(14)(path) AS users FROM weir.visits").await;
    let client = engine
        .client()
        .with_database("weir")
        .with_setting("async_insert", "0")
        .with_setting("deduplicate_insert", "enable")
        .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1");
    for token in ["one", "one", "two"] {
        let client = client
            .clone()
            .with_setting("insert_deduplication_token", token);
        let mut insert = client.insert::<Visit>("visits").await.unwrap();
        for id in 0..1000 {
            insert.write(&visit(id)).await.unwrap();
        }
        insert.end().await.unwrap();
    }
    let counts = "SELECT (SELECT count() FROM weir.visits), (SELECT countMerge(visits) FROM weir.days), (SELECT uniqCombined64Merge(14)(users) FROM weir.days) > 900";
    assert_eq!(engine.ask(counts).await, "2000\t2000\t1");
}

#[tokio::test]
async fn fifty_selects_at_once_are_all_answered() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    let client = engine.client();
    let mut answers = tokio::task::JoinSet::new();
    for number in 0..50_u64 {
        let client = client.clone();
        answers.spawn(async move {
            let sum: u64 = client
                .query("SELECT sum(number) + ? FROM numbers(1000000)")
                .bind(number)
                .fetch_one()
                .await
                .unwrap();
            assert_eq!(sum, 499_999_500_000 + number);
        });
    }
    while let Some(answer) = answers.join_next().await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_statement_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%1000000000001%' AND query NOT LIKE '%system.processes%'";
    // As the services' readers ask.
    let client = engine.client().with_setting("readonly", "2");
    let task = tokio::spawn(async move {
        client
            .query("SELECT sum(cityHash64(number)) FROM numbers(1000000000001)")
            .fetch_one::<u64>()
            .await
    });
    wait_until(&engine, running, "1").await;
    task.abort();
    wait_until(&engine, running, "0").await;
}

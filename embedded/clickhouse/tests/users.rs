//! Who may do what: the analysts' user reads, the service stays inside the database.

#[cfg(test)]
mod common;

use common::Engine;
use serde_json::json;

async fn with_table(folder: &tempfile::TempDir) -> Engine {
    let engine = Engine::start(folder.path());
    engine.ask("CREATE DATABASE weir").await;
    engine
        .ask("CREATE TABLE weir.t (a UInt64) ENGINE = MergeTree ORDER BY a")
        .await;
    engine.ask("INSERT INTO weir.t VALUES (1), (2)").await;
    engine
}

#[tokio::test]
async fn a_reader_reads() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    for (sql, answer) in [
        ("SELECT count() FROM weir.t", "2\n"),
        ("WITH 1 AS x SELECT x SETTINGS max_threads = 1", "1\n"),
        ("EXISTS weir.t", "1\n"),
        ("SHOW TABLES FROM weir", "t\n"),
    ] {
        assert_eq!(
            engine.post_as("analyst", sql).await,
            (200, answer.into()),
            "{sql}"
        );
    }
    assert_eq!(
        engine.post_as("analyst", "DESCRIBE TABLE weir.t").await.0,
        200
    );
    assert_eq!(engine.post_as("analyst", "EXPLAIN SELECT 1").await.0, 200);
}

#[tokio::test]
async fn a_reader_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    for sql in [
        "INSERT INTO weir.t VALUES (3)",
        "INSERT INTO weir.t SELECT 3",
        "CREATE TABLE weir.u (a UInt64) ENGINE = MergeTree ORDER BY a",
        "CREATE TEMPORARY TABLE u (a UInt64)",
        "DROP TABLE weir.t",
        "TRUNCATE TABLE weir.t",
        "ALTER TABLE weir.t DELETE WHERE 1",
        "OPTIMIZE TABLE weir.t FINAL",
        "KILL QUERY WHERE 1",
        "SET max_execution_time = 0",
        "SET readonly = 0",
        "USE weir",
        "SYSTEM SHUTDOWN",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SELECT 1 SETTINGS max_memory_usage = 100000000000",
        "SELECT 1 SETTINGS readonly = 0",
    ] {
        let (status, text) = engine.post_as("analyst", sql).await;
        assert_eq!(status, 403, "{sql}: {text}");
    }
    assert_eq!(engine.ask("SELECT sum(a) FROM weir.t").await, "3");
    let url = format!("{}/?user=analyst&max_execution_time=0", engine.url);
    let response = reqwest::Client::new()
        .post(url)
        .body("SELECT 1")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn nobody_leaves_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hidden").unwrap();
    let secret = secret.display();
    let target = folder.path().join("target");
    for sql in [
        format!("SELECT file('{secret}')"),
        format!("SELECT `file`('{secret}')"),
        format!("SELECT * APPLY(file) FROM (SELECT '{secret}')"),
        format!("SELECT * FROM file('{secret}', LineAsString)"),
        format!("SELECT * FROM '{secret}'"),
        format!("SELECT * FROM default.`{secret}`"),
        format!("DESCRIBE file('{secret}')"),
        format!("SELECT 1 INTO OUTFILE '{}'", target.display()),
        format!("INSERT INTO weir.t FROM INFILE '{secret}' FORMAT CSV"),
        format!("INSERT INTO weir.t VALUES (length(file('{secret}')))"),
        format!(
            "INSERT INTO FUNCTION file('{}', 'CSV', 'a UInt64') SELECT 1",
            target.display()
        ),
        format!("CREATE TABLE weir.f (a String) ENGINE = File(CSV, '{secret}')"),
        format!(
            "CREATE TABLE weir.f (a String DEFAULT file('{secret}')) ENGINE = MergeTree ORDER BY a"
        ),
        "CREATE TABLE weir.f (a String) ENGINE = URL('http://127.0.0.1:1/', CSV)".into(),
        "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)".into(),
        "SELECT * FROM s3('http://127.0.0.1:1/b/k', 'CSV', 'a String')".into(),
        "SELECT * FROM remote('127.0.0.1:1', 'system.one')".into(),
        "SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')".into(),
        "SELECT * FROM postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')".into(),
        "SELECT * FROM executable('sh', 'TSV', 'a String')".into(),
        format!(
            "CREATE DICTIONARY weir.d (a UInt64) PRIMARY KEY a SOURCE(FILE(path '{secret}' format 'CSV')) LAYOUT(FLAT()) LIFETIME(0)"
        ),
        format!("BACKUP DATABASE weir TO File('{}')", target.display()),
        "CREATE FUNCTION f AS x -> x".into(),
        "CREATE USER u".into(),
        "SYSTEM SHUTDOWN".into(),
        "ATTACH TABLE weir.f FROM '/etc' (a String) ENGINE = MergeTree ORDER BY a".into(),
        "ALTER TABLE weir.t FREEZE".into(),
    ] {
        for user in ["default", "analyst"] {
            let (status, text) = engine.post_as(user, &sql).await;
            assert!(
                (400..500).contains(&status),
                "{user}: {sql}: {status} {text}"
            );
            assert!(!text.contains("hidden"), "{user}: {sql}: {text}");
        }
    }
    for user in ["default", "analyst"] {
        let (status, text) = engine.post_as(user, "SELECT 1; SELECT 2").await;
        assert_eq!(
            (status, text.contains("multi-statements")),
            (400, true),
            "{text}"
        );
    }
    assert!(!target.exists());
    assert_eq!(engine.ask("SELECT sum(a) FROM weir.t").await, "3");
}

#[tokio::test]
async fn a_page_in_a_browser_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let page = reqwest::Client::new()
        .post(&engine.url)
        .header("origin", "https://example.com")
        .body("DROP TABLE weir.t");
    assert_eq!(page.send().await.unwrap().status(), 403);
    assert_eq!(engine.ask("SELECT count() FROM weir.t").await, "2");
}

#[tokio::test]
async fn passwords_are_asked_in_every_way_they_can_be_sent() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"password": "s", "reader_password": "r"});
    let engine = Engine::start_with(folder.path(), config).unwrap();
    let client = reqwest::Client::new();
    let ask = || client.post(&engine.url).body("SELECT 1");
    assert_eq!(ask().send().await.unwrap().status(), 403);
    let wrong = ask().basic_auth("default", Some("r")).send().await.unwrap();
    assert_eq!(
        (
            wrong.status().as_u16(),
            &wrong.headers()["x-clickhouse-exception-code"]
        ),
        (403, &"516".parse().unwrap())
    );
    assert_eq!(
        ask()
            .basic_auth("default", Some("s"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let headers = ask()
        .header("x-clickhouse-user", "analyst")
        .header("x-clickhouse-key", "r");
    assert_eq!(headers.send().await.unwrap().status(), 200);
    let url = format!("{}/?user=analyst&password=r", engine.url);
    assert_eq!(
        client
            .post(url)
            .body("SELECT 1")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[test]
fn an_address_beyond_loopback_needs_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = Engine::start_with(folder.path(), json!({"listen": "0.0.0.0:0"}))
        .err()
        .unwrap();
    assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
    assert!(
        refusal.stderr.contains("WEIR_CLICKHOUSE__PASSWORD"),
        "{}",
        refusal.stderr
    );
}

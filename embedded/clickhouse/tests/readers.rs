//! Where analysts end: at one database, at what describes it, at limits they cannot ask away.

#[cfg(test)]
mod common;

use common::{Engine, with_table};
use serde_json::json;

/// What of `system` readers may read: what describes SQL, and what they may see anyway.
const HARMLESS: &[&str] = &[
    "aggregate_function_combinators",
    "codecs",
    "collations",
    "columns",
    "completions",
    "constraints",
    "contributors",
    "current_roles",
    "data_skipping_index_types",
    "data_skipping_indices",
    "data_type_families",
    "database_engines",
    "databases",
    "dictionary_layouts",
    "dictionary_sources",
    "disk_types",
    "documentation",
    "enabled_roles",
    "formats",
    "functions",
    "keywords",
    "licenses",
    "merge_tree_settings",
    "numbers",
    "numbers_mt",
    "one",
    "parts",
    "primes",
    "privileges",
    "processes",
    "projections",
    "quota_usage",
    "settings",
    "settings_changes",
    "table_engines",
    "table_functions",
    "tables",
    "time_zones",
    "tokenizers",
    "unicode",
    "zeros",
    "zeros_mt",
];

#[tokio::test]
async fn a_reader_sees_one_database_and_what_describes_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    engine.ask("CREATE DATABASE other").await;
    engine
        .ask("CREATE TABLE other.t (a UInt64) ENGINE = MergeTree ORDER BY a")
        .await;
    engine
        .ask("CREATE TABLE default.t (a UInt64) ENGINE = MergeTree ORDER BY a")
        .await;
    engine.ask("INSERT INTO other.t VALUES (77)").await;
    // Its own database is where it is without saying so.
    let analyst = async |sql: &str| engine.post_as("analyst", sql).await;
    assert_eq!(
        analyst("SELECT currentDatabase(), count() FROM t").await,
        (200, "weir\t2\n".into())
    );
    for sql in [
        "SELECT * FROM other.t",
        "SELECT * FROM default.t",
        "SELECT * FROM `oth\\x65r`.t",
        "SELECT count() FROM weir.t WHERE a IN other.t",
        "SELECT (SELECT max(a) FROM other.t)",
        "WITH x AS (SELECT * FROM other.t) SELECT * FROM x",
        "SELECT * FROM merge('other', 't')",
        "SELECT * FROM merge(REGEXP('.*'), 't') WHERE a = 77",
        "SELECT * FROM loop(other.t) LIMIT 1",
        "SELECT * FROM mergeTreeIndex('other', 't')",
        "SELECT * FROM view(SELECT * FROM other.t)",
        "SELECT hasColumnInTable('other', 't', 'a')",
        "DESCRIBE TABLE other.t",
        "SHOW CREATE TABLE other.t",
        "EXISTS other.t",
        "EXPLAIN SELECT * FROM other.t",
        "EXPLAIN ESTIMATE SELECT * FROM other.t",
    ] {
        let (status, text) = analyst(sql).await;
        assert!(
            status >= 400 || text.trim().is_empty(),
            "{sql}: {status} {text}"
        );
        assert!(!text.contains("77"), "{sql}: {text}");
    }
    for (sql, answer) in [
        (
            "SELECT DISTINCT database FROM system.columns WHERE database NOT IN ('system', 'information_schema', 'INFORMATION_SCHEMA') ORDER BY 1",
            "weir\n",
        ),
        (
            "SELECT count() FROM system.tables WHERE database = 'other'",
            "0\n",
        ),
        (
            "SELECT count() FROM information_schema.tables WHERE table_schema = 'other'",
            "0\n",
        ),
        (
            "SELECT count() FROM system.completions WHERE word = 'other' OR belongs = 'other'",
            "0\n",
        ),
        (
            "SELECT count() FROM system.parts WHERE database = 'other'",
            "0\n",
        ),
        (
            "SELECT countIf(user != 'analyst') FROM system.processes",
            "0\n",
        ),
        ("SHOW TABLES FROM other", ""),
    ] {
        assert_eq!(analyst(sql).await, (200, answer.into()), "{sql}");
    }
    // An identifier that comes as a parameter, and a database that comes with the request.
    for parameters in [
        "param_d=other&param_t=t&query=SELECT+*+FROM+{d:Identifier}.{t:Identifier}",
        "database=other&query=SELECT+*+FROM+t",
    ] {
        let url = format!("{}/?user=analyst&{parameters}", engine.url);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        assert!(text.contains("Code: 497."), "{parameters}: {text}");
    }
}

#[tokio::test]
async fn a_reader_finds_the_machines_tables_empty() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let tables = engine
        .ask("SELECT name FROM system.tables WHERE database = 'system' AND NOT is_temporary")
        .await;
    assert!(tables.lines().count() > 100, "{tables}");
    for table in tables.lines().filter(|table| !HARMLESS.contains(table)) {
        let sql = format!("SELECT * FROM system.{table} LIMIT 1 FORMAT TSV");
        let (status, text) = engine.post_as("analyst", &sql).await;
        assert!(
            text.is_empty() || status != 200,
            "system.{table}: {status} {text}"
        );
    }
    let (_, processes) = engine.post("SELECT query FROM system.processes").await;
    assert!(processes.contains("system.processes"), "{processes}");
    for sql in [
        "SELECT query FROM `sys\\Ntem`.processes",
        "SELECT * FROM merge('system', '^processes$')",
    ] {
        let (_, text) = engine.post_as("analyst", sql).await;
        assert!(!text.contains("config/running"), "{sql}: {text}");
    }
    let url = format!("{}/?user=analyst&database=system", engine.url);
    let request = reqwest::Client::new().post(url).body("SELECT * FROM users");
    let text = request.send().await.unwrap().text().await.unwrap();
    assert!(text.contains("Code: 497."), "{text}");
}

#[tokio::test]
async fn a_readers_limits_hold_however_they_are_asked_away() {
    let folder = tempfile::tempdir().unwrap();
    let limits = json!({
        "reader_time_max": "1s",
        "reader_rows_max": 1000,
        "reader_read_rows_max": 1_000_000,
        "reader_memory_max": 100_000_000,
        "reader_result_bytes_max": 100_000,
    });
    let engine = Engine::start_with(folder.path(), limits).unwrap();
    engine.ask("CREATE DATABASE weir").await;
    let analyst = async |sql: &str| engine.post_as("analyst", sql).await;
    for (sql, code) in [
        (
            "SELECT sleepEachRow(1) FROM numbers(30) SETTINGS max_block_size = 1",
            "159",
        ),
        ("SELECT number FROM numbers(1001)", "396"),
        ("SELECT count() FROM numbers(1000001)", "158"),
        (
            "SELECT length(groupArray(repeat(toString(number), 50))) FROM numbers(999999) FORMAT Null",
            "241",
        ),
        (
            "SELECT repeat(toString(number), 1000) FROM numbers(200)",
            "396",
        ),
    ] {
        let (status, text) = analyst(sql).await;
        assert!(
            status >= 400 && text.contains(&format!("Code: {code}.")),
            "{sql}: {status} {text}"
        );
        // In more than one way it is told that the limit is not the reader's.
        for more in [
            "max_execution_time = 0, max_result_rows = 0, max_rows_to_read = 0",
            "`max\\x5fexecution_time` = 0",
            "max_memory_usage = 0",
            "max_execution_time/*/**/*/ = 0",
            "max_result_rows\u{a0}=\u{3000}0",
            "max_concurrent_queries_for_user = 0",
            "max_memory_usage_for_user = 0",
            "result_overflow_mode = 'break'",
            "max_result_bytes /* */ = 0",
        ] {
            let sql = format!("SELECT * FROM ({sql}) SETTINGS {more}").replace(" FORMAT Null", "");
            let (status, text) = analyst(&sql).await;
            assert!(
                status != 200 && text.contains("Code: 452."),
                "{sql}: {status} {text}"
            );
        }
    }
    let (status, text) = analyst(
        "SELECT \u{2018}'\u{2019}, number FROM numbers(2000) SETTINGS max_result_rows = 0 -- '",
    )
    .await;
    assert!(status != 200 && text.contains("Code: 452."), "{text}");
    for name in [
        "max_result_rows=0",
        "profile=default",
        "readonly=0",
        "max%5Frows_to_read=0",
        "max_concurrent_queries_for_user=0",
    ] {
        let url = format!("{}/?user=analyst&{name}", engine.url);
        let request = reqwest::Client::new().post(url).body("SELECT 1");
        let status = request.send().await.unwrap().status();
        assert!(!status.is_success(), "{name}");
    }
}

#[tokio::test]
async fn readers_that_sleep_leave_the_service_as_it_was() {
    const SLEEPERS: usize = 272;
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let client = reqwest::Client::new();
    let sleeper = |number: usize| {
        let url = format!("{}/?user=analyst", engine.url);
        // Each with another way to lift the limit.
        let lift = [
            "",
            ", max_concurrent_queries_for_user = 0",
            ", max_concurrent_queries_for_user/*/**/*/ = 1000",
        ][number % 3];
        let sql =
            format!("SELECT sleepEachRow(1) FROM numbers(50) SETTINGS max_block_size = 1{lift}");
        tokio::spawn(client.post(url).body(sql).send())
    };
    let sleepers: Vec<_> = (0..SLEEPERS).map(sleeper).collect();
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow(1)%' AND query NOT LIKE '%processes%'";
    common::wait_until(&engine, running, "8").await;
    for _ in 0..20 {
        assert_eq!(engine.ask("SELECT sum(a) FROM weir.t").await, "3");
        engine.ask("INSERT INTO weir.t VALUES (0)").await;
    }
    assert_eq!(engine.ask(running).await, "8");
    for sleeper in sleepers {
        sleeper.abort();
    }
    // They are not waited for by anybody.
    common::wait_until(&engine, running, "0").await;
}

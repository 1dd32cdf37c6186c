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
        "SET ROLE service",
        "SET ROLE ALL",
        "SET DEFAULT ROLE ALL TO default",
        "EXECUTE AS default",
        "CREATE VIEW weir.v AS SELECT 1",
        "RENAME TABLE weir.t TO weir.u",
        "EXCHANGE TABLES weir.t AND weir.t",
        "DETACH TABLE weir.t",
        "DELETE FROM weir.t WHERE 1",
        "UPDATE weir.t SET a = 2 WHERE 1",
        "GRANT ALL ON *.* TO default",
        "CREATE ROW POLICY p ON weir.t USING 1 TO ALL",
        "BACKUP TABLE weir.t TO Null",
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

/// What of `system` readers are told: what describes SQL, and what they may read anyway.
const HARMLESS: &[&str] = &[
    "aggregate_function_combinators",
    "codecs",
    "collations",
    "columns",
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
    "primes",
    "privileges",
    "projections",
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
        ("SHOW TABLES FROM other", ""),
        ("SHOW PROCESSLIST", ""),
    ] {
        assert_eq!(analyst(sql).await, (200, answer.into()), "{sql}");
    }
    // An identifier that comes as a parameter, and a database that comes with the request.
    for parameters in [
        "param_d=other&param_t=t&query=SELECT+*+FROM+{d:Identifier}.{t:Identifier}",
        "database=other&query=SELECT+*+FROM+t",
    ] {
        let url = format!("{}/?user=analyst&{parameters}", engine.url);
        let response = reqwest::get(url).await.unwrap();
        assert_eq!(response.status(), 403, "{parameters}");
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
    for dropped in ["models", "stack_trace"] {
        assert!(!tables.lines().any(|table| table == dropped), "{dropped}");
    }
    let (_, processes) = engine.post("SELECT query FROM system.processes").await;
    assert!(processes.contains("system.processes"), "{processes}");
    for sql in [
        "SELECT query FROM `sys\\Ntem`.processes",
        "SELECT * FROM merge('system', '^processes$')",
        "SELECT query FROM information_schema.processes",
    ] {
        let (_, text) = engine.post_as("analyst", sql).await;
        assert!(!text.contains("weir "), "{sql}: {text}");
    }
    let url = format!("{}/?user=analyst&database=system", engine.url);
    let processes = reqwest::Client::new()
        .post(url)
        .body("SELECT query FROM processes");
    assert_eq!(processes.send().await.unwrap().status(), 403);
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
            "result_overflow_mode = 'break'",
            "max_result_bytes /* */ = 0",
        ] {
            let sql = format!("SELECT * FROM ({sql}) SETTINGS {more}").replace(" FORMAT Null", "");
            let (status, text) = analyst(&sql).await;
            assert!(status == 403, "{sql}: {status} {text}");
        }
    }
    let (status, text) = analyst(
        "SELECT \u{2018}'\u{2019}, number FROM numbers(2000) SETTINGS max_result_rows = 0 -- '",
    )
    .await;
    assert_eq!(status, 403, "{text}");
    for name in [
        "dialect=prql",
        "max_result_rows=0",
        "profile=default",
        "max%5Frows_to_read=0",
    ] {
        let url = format!("{}/?user=analyst&{name}", engine.url);
        let request = reqwest::Client::new().post(url).body("SELECT 1");
        assert_eq!(request.send().await.unwrap().status(), 403, "{name}");
    }
}

#[tokio::test]
async fn readers_leave_the_service_its_places() {
    let folder = tempfile::tempdir().unwrap();
    let places = json!({"queries_max": 3, "reader_queries_max": 1});
    let engine = Engine::start_with(folder.path(), places).unwrap();
    engine.ask("CREATE DATABASE weir").await;
    let slow = || {
        let url = format!("{}/?user=analyst", engine.url);
        let sql = "SELECT sleepEachRow(0.5) FROM numbers(8) SETTINGS max_block_size = 1";
        tokio::spawn(reqwest::Client::new().post(url).body(sql).send())
    };
    let slow: Vec<_> = std::iter::repeat_with(slow).take(8).collect();
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow(0.5)%' AND query NOT LIKE '%processes%'";
    common::wait_until(&engine, running, "1").await;
    for _ in 0..20 {
        assert_eq!(engine.ask(running).await, "1");
    }
    for asked in slow {
        asked.abort();
    }
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
        format!("SELECT `fi\\Nle`('{secret}')"),
        format!("SELECT `fi\\x6ce`('{secret}')"),
        format!("SELECT \u{2018}'\u{2019}, file('{secret}') -- '"),
        format!("SELECT \u{201c}file\u{201d}('{secret}')"),
        format!("SELECT * FROM viewExplain('EXPLAIN', '', (SELECT file('{secret}')))"),
        format!(
            "SELECT * FROM eval('SELECT fi' || 'le(\\'{secret}\\')') SETTINGS allow_experimental_eval_table_function = 1"
        ),
        format!("SELECT * FROM filesystem('{}')", folder.path().display()),
        format!("SELECT 1 FORMAT Template SETTINGS format_template_row = '{secret}'"),
        format!("SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{secret}'"),
        format!("SELECT formatRow('Template', 1) SETTINGS `format_template\\x5frow` = '{secret}'"),
        format!(
            "SELECT 1 FORMAT Protobuf SETTINGS output_format_schema = '{}', format_protobuf_use_autogenerated_schema = 1",
            target.display()
        ),
        format!(
            "SELECT 1 SETTINGS additional_result_filter = 'throwIf(length(`fi\\\\x6ce`(\\'{secret}\\')) > 0)'"
        ),
        format!(
            "CREATE TABLE weir.f (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = 'local', path = '{}/')",
            target.display()
        ),
        format!("SELECT * FROM icebergLocal('{}')", folder.path().display()),
        format!(
            "SELECT * FROM deltaLakeLocal('{}')",
            folder.path().display()
        ),
        format!("SELECT * FROM sqlite('{secret}', 't')"),
        format!("SELECT * FROM fileCluster('default', '{secret}', 'LineAsString')"),
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
        "SELECT * FROM remoteSecure('127.0.0.1:1', 'system.one')".into(),
        "SELECT * FROM cluster('default', 'system.one')".into(),
        "SELECT * FROM hdfs('hdfs://127.0.0.1:1/x', 'CSV', 'a String')".into(),
        "SELECT * FROM gcs('http://127.0.0.1:1/bucket/key', 'CSV', 'a String')".into(),
        "SELECT * FROM redis('127.0.0.1:1', 'k', 'k String')".into(),
        "SELECT * FROM mongodb('127.0.0.1:1', 'd', 't', 'u', 'p', 'a Int8')".into(),
        "SELECT aiGenerate('x')".into(),
        "EXECUTE AS default SELECT 1".into(),
        "SELECT 1 SETTINGS dialect = 'prql', allow_experimental_prql_dialect = 1".into(),
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
                (400..500).contains(&status) || text.contains("CLUSTER_DOESNT_EXIST"),
                "{user}: {sql}: {status} {text}"
            );
            assert!(!text.contains("hidden"), "{user}: {sql}: {text}");
        }
    }
    for (name, value) in [
        ("format_template_row", secret.to_string()),
        ("format_template_resultset", secret.to_string()),
        ("output_format_schema", target.display().to_string()),
        (
            "input_format_record_errors_file_path",
            target.display().to_string(),
        ),
        (
            "format_avro_schema_registry_url",
            "http://127.0.0.1:1/".to_owned(),
        ),
        ("additional_result_filter", format!("file('{secret}') = ''")),
        ("dialect", "prql".to_owned()),
    ] {
        for user in ["default", "analyst"] {
            let request = reqwest::Client::new()
                .post(&engine.url)
                .query(&[
                    ("user", user),
                    ("default_format", "Template"),
                    (name, &value),
                ])
                .body("SELECT 1 AS a");
            let response = request.send().await.unwrap();
            let status = response.status();
            let text = response.text().await.unwrap();
            assert!(
                status == 403 && !text.contains("hidden"),
                "{user}: {name}: {text}"
            );
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
    let created = client
        .post(&engine.url)
        .basic_auth("default", Some("s"))
        .body("CREATE DATABASE weir");
    assert_eq!(created.send().await.unwrap().status(), 200);
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

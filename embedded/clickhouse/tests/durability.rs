//! What stands after a kill, who may open a folder, and how a process ends.

#[cfg(test)]
mod common;

use std::io::{Read as _, Write as _};
use std::time::Duration;

use common::Engine;
use reqwest::Client;
use serde_json::json;

const ROWS: u64 = 100;

#[tokio::test]
async fn every_acknowledged_insert_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    engine.ask("CREATE DATABASE weir").await;
    engine
        .ask("CREATE TABLE weir.t (batch UInt64, a UInt64) ENGINE = MergeTree ORDER BY batch")
        .await;
    let mut engine = engine;
    let mut acknowledged: Vec<u64> = Vec::new();
    for round in 0..3_u64 {
        let url = engine.url.clone();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
        let writer = tokio::spawn(async move {
            for number in 0.. {
                let batch = round * 1_000_000 + number;
                let sql = format!("INSERT INTO weir.t SELECT {batch}, number FROM numbers({ROWS})");
                match Client::new().post(&url).body(sql).send().await {
                    Ok(response) if response.status().is_success() => {
                        if sender.send(batch).await.is_err() {
                            return;
                        }
                    }
                    _ => return,
                }
            }
        });
        for _ in 0..20 {
            acknowledged.push(receiver.recv().await.unwrap());
        }
        engine.kill();
        while let Some(batch) = receiver.recv().await {
            acknowledged.push(batch);
        }
        writer.await.unwrap();
        engine = Engine::start(folder.path());
        let stored = engine
            .ask(&format!(
                "SELECT batch FROM weir.t GROUP BY batch HAVING count() = {ROWS} ORDER BY batch"
            ))
            .await;
        let stored: Vec<u64> = stored.lines().map(|line| line.parse().unwrap()).collect();
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|batch| !stored.contains(batch))
            .collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
        let torn = format!(
            "SELECT count() FROM (SELECT batch FROM weir.t GROUP BY batch HAVING count() != {ROWS})"
        );
        assert_eq!(engine.ask(&torn).await, "0");
    }
}

#[tokio::test]
async fn inserts_are_on_disk_before_they_are_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    let on = "SELECT count() FROM system.merge_tree_settings WHERE name IN ('fsync_after_insert', 'fsync_part_directory') AND value = '1'";
    assert_eq!(engine.ask(on).await, "2");
}

#[tokio::test]
async fn a_folder_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    let refusal = Engine::start_with(folder.path(), json!({})).err().unwrap();
    assert!(!refusal.status.success());
    assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
    assert!(
        refusal.stderr.contains(folder.path().to_str().unwrap()),
        "{}",
        refusal.stderr
    );
    assert_eq!(engine.ask("SELECT 1").await, "1");
}

#[tokio::test]
async fn a_clean_stop_exits_with_success_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    engine.ask("CREATE DATABASE weir").await;
    engine
        .ask("CREATE TABLE weir.t (a UInt64) ENGINE = MergeTree ORDER BY a")
        .await;
    engine.ask("INSERT INTO weir.t VALUES (1)").await;
    let access = folder.path().join("access.json");
    assert!(access.exists());
    assert_eq!(engine.stop().code(), Some(0));
    // Or a command would send a password to whatever listens there next.
    assert!(!access.exists());
    assert_eq!(
        Engine::start(folder.path())
            .ask("SELECT a FROM weir.t")
            .await,
        "1"
    );
}

#[tokio::test]
async fn a_stop_cancels_what_runs_longer_than_clickhouse_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    let url = engine.url.clone();
    let statement = tokio::spawn(async move {
        Client::new()
            .post(url)
            .body("SELECT sum(cityHash64(number)) FROM numbers(1000000000002)")
            .send()
            .await
    });
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%1000000000002%' AND query NOT LIKE '%system.processes%'";
    common::wait_until(&engine, running, "1").await;
    let started = std::time::Instant::now();
    assert_eq!(engine.stop().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(15));
    let _ = statement.await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_killed_is_started_again_on_its_ports() {
    let folder = tempfile::tempdir().unwrap();
    let engine = common::with_table(&folder).await;
    let pid = engine.engine_pid();
    engine.kill_engine();
    common::wait_for(|| engine.engine_pids().iter().any(|other| *other != pid)).await;
    common::wait_until(&engine, "SELECT sum(a) FROM weir.t", "3").await;
    let native: std::net::SocketAddr = engine.native.parse().unwrap();
    common::wait_for(|| std::net::TcpStream::connect(native).is_ok()).await;
}

#[tokio::test]
async fn an_engine_outlives_statements_that_are_killed_or_take_all_memory() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"memory_max": 400_000_000});
    let engine = Engine::start_with(folder.path(), config).unwrap();
    engine.ask("CREATE DATABASE weir").await;
    let pid = engine.engine_pid();
    engine.ask("KILL QUERY WHERE 1 SYNC").await;
    assert_eq!(
        engine.ask("SELECT count() FROM system.processes").await,
        "1"
    );
    for user in ["default", "analyst"] {
        let greedy = "SELECT length(groupArray(repeat(toString(number), 100))) FROM numbers(10000000) SETTINGS max_rows_to_read = 100000000";
        let (status, text) = engine.post_as(user, greedy).await;
        assert!(
            status != 200 && text.contains("Code: 241."),
            "{user}: {text}"
        );
    }
    assert_eq!(engine.ask("SELECT 1").await, "1");
    assert_eq!(engine.engine_pids(), [pid]);
}

#[tokio::test]
async fn a_client_that_resets_its_connection_leaves_the_engine_alive() {
    let folder = tempfile::tempdir().unwrap();
    let engine = common::with_table(&folder).await;
    let pid = engine.engine_pid();
    let address = engine.url.strip_prefix("http://").unwrap();
    let heads = [
        "POST /?query=INSERT+INTO+weir.t+FORMAT+CSV HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n1\n2\n",
        "POST /?query=INSERT+INTO+weir.t+FORMAT+CSV HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n1\n\r\n",
        "GET /?query=SELECT+number+FROM+numbers(100000000) HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /?query=SELECT+throwIf(1) HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /?quer",
    ];
    for head in heads.iter().cycle().take(200) {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // The end of a second request never comes, which is where it used to abort.
        stream
            .write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        stream.read_exact(&mut [0; 16]).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        // A reset in the place of an orderly end.
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        stream.set_zero_linger().unwrap();
    }
    assert_eq!(engine.ask("SELECT sum(a) FROM weir.t").await, "3");
    assert_eq!(engine.engine_pids(), [pid]);
}

#[tokio::test]
async fn an_engine_whose_parent_is_killed_ends_and_lets_go_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let engine = common::with_table(&folder).await;
    let pid = engine.engine_pid();
    engine.kill();
    common::wait_for(|| !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
    let engine = Engine::start(folder.path());
    assert_eq!(engine.ask("SELECT sum(a) FROM weir.t").await, "3");
}

#[tokio::test]
async fn an_engine_goes_on_without_the_native_protocol_where_its_port_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let engine = Engine::start_with(folder.path(), json!({"native_port": port})).unwrap();
    assert_eq!(engine.native, "none");
    assert_eq!(engine.ask("SELECT 1").await, "1");
}

#[tokio::test]
async fn what_the_engine_keeps_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // As an earlier version made it.
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let passwords = json!({"user": "weir", "password": "s", "reader_password": "r"});
    let engine = Engine::start_with(&data, passwords).unwrap();
    let mode = |path: &str| {
        std::fs::metadata(data.join(path))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("") & 0o777, 0o700);
    assert_eq!(mode("access.json") & 0o777, 0o600);
    assert_eq!(mode("config/users.xml") & 0o777, 0o600);
    // Only while the engine reads it.
    assert!(!data.join("config/users.d/passwords.xml").exists());
    drop(engine);
}

#[test]
fn a_folder_of_another_owner_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    // Only root may give a folder away.
    if std::os::unix::fs::chown(folder.path(), Some(65_534), None).is_err() {
        eprintln!("skipped: only root can make a folder of another owner");
        return;
    }
    let refusal = Engine::start_with(folder.path(), json!({})).err().unwrap();
    assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
    assert!(
        refusal.stderr.contains("belongs to user 65534"),
        "{}",
        refusal.stderr
    );
}

#[test]
fn a_library_cut_short_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libchdb.so");
    std::fs::write(&library, b"\x7fELF and no more").unwrap();
    let config = json!({"library": library});
    let refusal = Engine::start_with(&folder.path().join("data"), config)
        .err()
        .unwrap();
    assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
    assert!(
        refusal.stderr.contains("WEIR_CLICKHOUSE__LIBRARY"),
        "{}",
        refusal.stderr
    );
}

#[test]
fn a_port_in_use_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refusal = Engine::start_with(folder.path(), json!({"listen": address}))
        .err()
        .unwrap();
    assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
    assert!(refusal.stderr.contains(&address), "{}", refusal.stderr);
}

//! What keeps weir from starting is said in one line that says what to do.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use e2e::{Door, Finished, Process, Weir, command, eventually, file, free_port, run};

fn up(folder: &Path) -> Command {
    let mut command = command(folder);
    command.arg("up").arg("--data-dir").arg(folder.join("data"));
    command
}

/// The line that says why; logs stand beside it.
fn reason(finished: &Finished) -> &str {
    assert!(!finished.success, "{finished:?}");
    let mut reasons = finished
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "));
    let reason = reasons
        .next()
        .unwrap_or_else(|| panic!("no reason: {finished:?}"));
    assert_eq!(reasons.next(), None, "one line: {finished:?}");
    reason
}

#[test]
fn a_port_in_use_names_the_port_and_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (variable, setting) in [
        ("WEIR_INGEST__LISTEN", "ingest.listen"),
        ("WEIR_QUERY__LISTEN", "query.listen"),
        ("WEIR_SINK__LISTEN", "sink.listen"),
        ("WEIR_BROKER__LISTEN", "broker.listen"),
        ("WEIR_ENGINE__LISTEN", "engine.listen"),
    ] {
        let mut command = up(folder.path());
        command.env(variable, &address);
        let finished = run(command);
        let reason = reason(&finished);
        assert!(
            reason.contains(&address) && reason.contains(setting),
            "{variable}: {reason}"
        );
    }
}

#[test]
fn a_data_folder_of_another_user_is_named_with_both_users() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // Only root can give a folder away.
    if std::os::unix::fs::chown(&data, Some(4711), None).is_err() {
        return;
    }
    let finished = run(up(folder.path()));
    let reason = reason(&finished);
    assert!(reason.contains("belongs to user 4711"), "{reason}");
    assert!(reason.contains(&data.display().to_string()), "{reason}");
}

#[test]
fn a_data_directory_of_another_weir_is_left_alone() {
    let weir = Weir::embedded();
    let mut command = command(weir.folder());
    command
        .arg("up")
        .arg("--data-dir")
        .arg(weir.folder().join("data"));
    let finished = run(command);
    let reason = reason(&finished);
    assert!(reason.contains("data"), "{reason}");
}

#[test]
fn a_misspelt_setting_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut misspelt = command(folder.path());
    misspelt.arg("config").env("WEIR_KAFKA__BROKRES", "x");
    let finished = run(misspelt);
    assert!(
        reason(&finished).contains("WEIR_KAFKA__BROKRES"),
        "{finished:?}"
    );

    let _ = file(folder.path(), "weir.toml", b"[sink]\ngroop = 'x'\n");
    let mut misspelt = command(folder.path());
    misspelt.arg("config");
    let finished = run(misspelt);
    assert!(reason(&finished).contains("sink.groop"), "{finished:?}");
}

#[test]
fn the_environment_goes_before_the_file_and_secrets_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let toml = b"[kafka]\nbrokers = 'a:1'\ntopic = 't'\n[clickhouse]\npassword = 'hidden'\n";
    let _ = file(folder.path(), "weir.toml", toml);
    let mut config = command(folder.path());
    // Digits alone are text where text is wanted.
    config
        .arg("config")
        .env("WEIR_KAFKA__BROKERS", "b:2")
        .env("WEIR_KAFKA__TOPIC", "42");
    let finished = run(config);
    assert!(finished.success, "{finished:?}");
    assert!(
        finished.stdout.contains("brokers = \"b:2\""),
        "{finished:?}"
    );
    assert!(finished.stdout.contains("topic = \"42\""), "{finished:?}");
    assert!(finished.stdout.contains("[redacted]") && !finished.stdout.contains("hidden"));
}

#[test]
fn an_engine_that_is_cut_short_or_cannot_be_fetched_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let cut_short = file(folder.path(), "libchdb.so", b"\x7fELF");
    let mut broken = up(folder.path());
    broken.env("WEIR_CLICKHOUSE__LIBRARY", &cut_short);
    let finished = run(broken);
    assert!(finished.stderr.contains("libchdb.so"), "{finished:?}");
    assert!(!finished.success, "{finished:?}");

    let mut offline = up(folder.path());
    offline
        .env("WEIR_ENGINE__CACHE_DIR", folder.path().join("cache"))
        .env("WEIR_ENGINE__NPM", folder.path().join("no-npm-here"));
    let finished = run(offline);
    let reason = reason(&finished);
    assert!(
        reason.contains("npm") && reason.contains("WEIR_CLICKHOUSE__LIBRARY"),
        "{reason}"
    );
}

#[tokio::test]
async fn the_file_of_countries_is_fetched_by_the_npm_and_into_the_folder_of_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let npm = file(
        folder.path(),
        "npm-of-ones-own",
        b"#!/bin/sh\npwd > \"$0.ran\"\nexit 1\n",
    );
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&npm, executable).unwrap();
    let cache = folder.path().join("cache");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let settings = vec![
        ("WEIR_ENGINE__CACHE_DIR", cache.display().to_string()),
        ("WEIR_ENGINE__NPM", npm.display().to_string()),
        ("WEIR_INGEST__LISTEN", address.to_string()),
    ];
    let door = Door::Tcp(address);
    let ingest = Process::new("ingest", folder.path(), &["ingest"], settings, door);
    ingest.start();
    eventually(true, async || {
        let failure = "npm could not fetch the file of countries";
        ingest.log().contains(failure)
    })
    .await;
    let ran_in = std::fs::read_to_string(folder.path().join("npm-of-ones-own.ran")).unwrap();
    assert!(Path::new(ran_in.trim()).starts_with(&cache), "{ran_in}");
}

#[tokio::test]
async fn an_engine_that_dies_is_started_again_and_nothing_is_lost() {
    let weir = Weir::embedded();
    for round in 0..3 {
        let (status, _) = weir
            .post("/event", r#"{"site_id":"e","event_type":"view"}"#)
            .await;
        assert!(status.is_success());
        weir.kill_engine();
        let (status, _) = weir
            .post("/event", r#"{"site_id":"e","event_type":"view"}"#)
            .await;
        assert!(status.is_success(), "ingest does without the engine");
        let expected = serde_json::json!((round + 1) * 2);
        eventually(expected, async || {
            weir.stats_if_any("site_id=e").await["total_views"].clone()
        })
        .await;
    }
}

#[tokio::test]
async fn a_stop_by_signal_is_clean_and_leaves_nothing_running() {
    let weir = Weir::embedded();
    let (status, _) = weir
        .post("/event", r#"{"site_id":"e","event_type":"view"}"#)
        .await;
    assert!(status.is_success());
    let engine = weir.engine_pid();
    let (success, folder) = weir.stop();
    assert!(success);
    assert!(
        !Path::new(&format!("/proc/{engine}")).exists(),
        "the engine ended too"
    );
    let weir = Weir::embedded_in(folder);
    eventually(serde_json::json!(1), async || {
        weir.stats("site_id=e").await["total_views"].clone()
    })
    .await;
}

//! `weir sql` as a person runs it, with and without passwords.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use e2e::{Finished, Weir, command, file, run};

fn sql(folder: &Path, arguments: &[&str]) -> Finished {
    let mut command = command(folder);
    command.arg("sql").args(arguments);
    run(command)
}

#[tokio::test]
async fn a_statement_finds_the_running_clickhouse_and_its_answer_is_printed() {
    let up = Weir::embedded();
    let ask = |arguments: &[&str]| sql(up.folder(), arguments);
    let counted = ask(&["SELECT count() FROM events"]);
    assert_eq!(
        (counted.code, counted.stdout.as_str()),
        (Some(0), "0\n"),
        "{counted:?}"
    );
    let json = ask(&["--format", "JSONEachRow", "SELECT 1 AS one"]);
    assert_eq!(json.stdout, "{\"one\":1}\n");
    let named = ask(&[
        "--data-dir",
        "data",
        "--user",
        "analyst",
        "SELECT currentUser()",
    ]);
    assert_eq!(named.stdout, "analyst\n", "{named:?}");
    // More than anything here could hold at once.
    let large = ask(&["SELECT * FROM numbers(2000000)"]);
    assert_eq!(large.stdout.lines().count(), 2_000_000);

    let failed = ask(&["SELECT nothing"]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains("Code: 47."), "{}", failed.stderr);
    let refused = ask(&["--user", "analyst", "DROP TABLE events"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("Code: 497."), "{}", refused.stderr);
    let late = ask(&["SELECT throwIf(number = 3000000) + rand64() FROM numbers(4000000)"]);
    assert_eq!(late.code, Some(1));
    assert!(late.stderr.contains("Code: 395."), "{}", late.stderr);
    assert!(late.stdout.lines().count() > 1000, "{}", late.stdout.len());
    assert!(!late.stdout.contains("exception"), "words among the rows");
}

#[tokio::test]
async fn a_statement_and_its_rows_come_from_standard_input() {
    let up = Weir::embedded();
    let made = sql(
        up.folder(),
        &["CREATE TABLE lines (a UInt64) ENGINE = MergeTree ORDER BY a"],
    );
    assert!(made.success, "{made:?}");
    let mut inserting = command(up.folder())
        .arg("sql")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = inserting.stdin.take().unwrap();
    stdin.write_all(b"INSERT INTO lines FORMAT CSV\n").unwrap();
    for number in 0..200_000 {
        writeln!(stdin, "{number}").unwrap();
    }
    drop(stdin);
    assert!(inserting.wait().unwrap().success());
    let summed = sql(up.folder(), &["SELECT count(), sum(a) FROM lines"]);
    assert_eq!(summed.stdout, "200000\t19999900000\n");
}

#[tokio::test]
async fn passwords_are_found_in_the_data_folder_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let settings = b"[clickhouse]\nuser = \"weir\"\npassword = \"top-secret\"\n[engine]\nreader_password = \"other\"\n";
    let file = file(folder.path(), "weir.toml", settings);
    let up = Weir::embedded_in(folder);
    // As somebody who has not set them.
    std::fs::remove_file(file).unwrap();
    for user in ["weir", "analyst"] {
        let asked = sql(up.folder(), &["--user", user, "SELECT currentUser()"]);
        assert_eq!(asked.stdout, format!("{user}\n"), "{asked:?}");
    }
    let mut audit = command(up.folder());
    audit.arg("audit").env("WEIR_KAFKA__BROKERS", &up.kafka);
    let audited = run(audit);
    assert_eq!(audited.code, Some(0), "{audited:?}");

    // Who asks without them.
    let (_, text) = up.clickhouse().ask("SELECT 1").await.unwrap_err();
    assert!(text.contains("Code: 700."), "{text}");
    let (_, text) = up.analyst().ask("SELECT 1").await.unwrap_err();
    assert!(text.contains("Code: 516."), "{text}");

    // A file that points to another machine gets no password sent there.
    let access = up.folder().join("data/clickhouse/access.json");
    let text = std::fs::read_to_string(&access).unwrap();
    let port = text.split("127.0.0.1:").nth(1).unwrap();
    let port = port.split('"').next().unwrap();
    let elsewhere = text.replace(&format!("127.0.0.1:{port}"), "192.0.2.1:8123");
    std::fs::write(&access, elsewhere).unwrap();
    let refused = sql(up.folder(), &["SELECT 1"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("192.0.2.1:8123") && refused.stderr.contains("beyond this machine"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("top-secret"), "{}", refused.stderr);

    // One that somebody else has put there is not read. Only root may give a file away.
    std::fs::write(&access, text).unwrap();
    if std::os::unix::fs::chown(&access, Some(65_534), None).is_ok() {
        let refused = sql(up.folder(), &["SELECT 1"]);
        assert_eq!(refused.code, Some(1));
        assert!(
            refused.stderr.contains("belongs to user 65534"),
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn where_nothing_runs_one_line_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut nowhere = command(folder.path());
    nowhere
        .args(["sql", "SELECT 1"])
        .env("WEIR_CLICKHOUSE__URL", "http://127.0.0.1:1");
    for (finished, named) in [
        (run(nowhere), "http://127.0.0.1:1"),
        (
            sql(folder.path(), &["--data-dir", "other", "SELECT 1"]),
            "other/clickhouse",
        ),
    ] {
        assert_eq!(finished.code, Some(1));
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        assert!(finished.stderr.contains(named), "{}", finished.stderr);
    }
}

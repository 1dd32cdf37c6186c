//! What a client does, by whom, what is expected and what was found.

use std::fmt::Write as _;
use std::process::Command;

use e2e::{Weir, eventually, run};
use reqwest::StatusCode;
use serde_json::json;

/// Five events of each of four paths.
const PATHS: [&str; 4] = ["/a", "/b", "/c", "/d"];
const EVENTS_EACH: usize = 5;

/// What every client has to be refused as an analyst, with ClickHouse's code.
const REFUSALS: [&str; 2] = ["refused: 497", "refused: 452"];

pub(crate) struct Row {
    pub(crate) operation: String,
    pub(crate) user: String,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl Row {
    fn parse(line: &str) -> Self {
        let columns: Vec<String> = line.split('\t').map(str::to_owned).collect();
        let [operation, user, expected, found] = columns
            .try_into()
            .unwrap_or_else(|columns| panic!("no line of the matrix: {columns:?}"));
        Self {
            operation,
            user,
            expected,
            found,
        }
    }

    fn is_right(&self) -> bool {
        self.expected == self.found
    }
}

/// A weir with the events that the clients count.
pub(crate) async fn weir() -> Weir {
    let weir = Weir::embedded();
    for path in PATHS.repeat(EVENTS_EACH) {
        let event = json!({"site_id": "shop", "event_type": "view", "path": path, "user_id": "u"});
        let (status, answer) = weir.post("/event", event.to_string()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    }
    let count = (PATHS.len() * EVENTS_EACH).to_string();
    let counted = async || weir.analyst().text("SELECT count() FROM weir.events").await;
    eventually(count, counted).await;
    weir
}

/// Runs a client's program beside a weir, prints what it did, and fails where something else was
/// found than is expected.
pub(crate) async fn try_client(client: &str, mut program: Command) {
    let weir = weir().await;
    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    let native = weir.native.as_deref();
    let native = native.expect("weir up prints the address of the native protocol");
    program.arg(port(&weir.clickhouse)).arg(port(native));
    let ended = run(program);
    let rows: Vec<Row> = ended.stdout.lines().map(Row::parse).collect();
    print(client, &rows);
    assert!(ended.success, "{client} ended early: {}", ended.stderr);
    check(client, &rows);
}

pub(crate) fn check(client: &str, rows: &[Row]) {
    for user in ["default", "analyst"] {
        let tried = rows.iter().any(|row| row.user == user);
        assert!(tried, "{client} did nothing as {user}");
    }
    for refusal in REFUSALS {
        let refused = |row: &Row| row.user == "analyst" && row.expected == refusal;
        assert!(rows.iter().any(refused), "{client} was not {refusal}");
    }
    let wrong = rows.iter().filter(|row| !row.is_right()).count();
    assert_eq!(wrong, 0, "{client}: see the rows with `expected` above");
}

pub(crate) fn print(client: &str, rows: &[Row]) {
    let mut table = String::new();
    for row in rows {
        let Row {
            operation,
            user,
            expected,
            found,
        } = row;
        let found = found.replace('\n', " ");
        let _ = write!(table, "{client} | {operation} | {user} | {found}");
        if !row.is_right() {
            let _ = write!(table, " | expected: {expected}");
        }
        table.push('\n');
    }
    eprint!("{table}");
}

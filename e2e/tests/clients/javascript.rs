//! @clickhouse/client, of Node.js.

use std::path::Path;
use std::process::Command;

use e2e::pinned;

use crate::{WISH, matrix};

const FILES: [(&str, &str); 3] = [
    ("package.json", include_str!("javascript/package.json")),
    (
        "package-lock.json",
        include_str!("javascript/package-lock.json"),
    ),
    ("client.js", include_str!("javascript/client.js")),
];

#[tokio::test]
async fn javascript_streams_inserts_and_aborts() {
    let install = || pinned::pinned("javascript", &FILES, install);
    let Some(folder) = pinned::wished(WISH, "@clickhouse/client", install) else {
        return;
    };
    let mut node = Command::new("node");
    node.arg(folder.join("client.js"));
    matrix::try_client("@clickhouse/client", node).await;
}

fn install(folder: &Path) -> Result<(), String> {
    let mut npm = Command::new("npm");
    npm.current_dir(folder)
        // No package's own code runs while it is installed.
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .args(["--fetch-retries=2", "--fetch-timeout=30000"]);
    pinned::install("npm ci", npm)
}

//! clickhouse-go, which Grafana's data source uses.

use std::path::Path;
use std::process::Command;

use e2e::pinned;

use crate::{WISH, matrix};

const FILES: [(&str, &str); 3] = [
    ("go.mod", include_str!("go/go.mod")),
    ("go.sum", include_str!("go/go.sum")),
    ("main.go", include_str!("go/main.go")),
];

#[tokio::test]
async fn go_reads_in_every_compression_and_as_grafana_does() {
    let install = || pinned::pinned("go", &FILES, build);
    let Some(folder) = pinned::wished(WISH, "clickhouse-go", install) else {
        return;
    };
    matrix::try_client("clickhouse-go", Command::new(folder.join("client"))).await;
}

fn build(folder: &Path) -> Result<(), String> {
    let mut go = Command::new("go");
    go.current_dir(folder)
        .args(["build", "-mod=readonly", "-buildvcs=false", "-o", "client"])
        // An older Go would fetch a newer one.
        .env("GOTOOLCHAIN", "local");
    pinned::install("go build", go)
}

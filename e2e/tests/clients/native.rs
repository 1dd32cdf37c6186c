//! clickhouse-driver, a client of the native protocol.

use std::process::Command;

use e2e::{file, pinned};

use crate::{WISH, matrix};

const REQUIREMENTS: &str = include_str!("native/requirements.txt");
const PROGRAM: &str = include_str!("native/client.py");

#[tokio::test]
async fn a_client_of_the_native_protocol_reads_cancels_and_brings_tables() {
    let install = || pinned::python(REQUIREMENTS, "clickhouse_driver, lz4");
    let Some(python) = pinned::wished(WISH, "clickhouse-driver", install) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.arg(file(folder.path(), "client.py", PROGRAM.as_bytes()));
    matrix::try_client("clickhouse-driver", command).await;
}

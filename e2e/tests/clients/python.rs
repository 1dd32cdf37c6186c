//! clickhouse-connect and pandas, of Python. The cookbook's test uses the same environment.

use std::process::Command;

use e2e::{file, pinned};

use crate::{WISH, matrix};

const REQUIREMENTS: &str = include_str!("../cookbook/requirements.txt");
const PROGRAM: &str = include_str!("python/client.py");

#[tokio::test]
async fn python_inserts_and_reads_data_frames() {
    let install = || pinned::python(REQUIREMENTS, "clickhouse_connect, pandas");
    let Some(python) = pinned::wished(WISH, "clickhouse-connect", install) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.arg(file(folder.path(), "client.py", PROGRAM.as_bytes()));
    matrix::try_client("clickhouse-connect", command).await;
}

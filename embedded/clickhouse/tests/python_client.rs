//! Python's clickhouse-connect against the embedded engine, where Python has it.

#[cfg(test)]
mod common;

use std::process::Command;

use common::Engine;

const SCRIPT: &str = r#"
import sys, clickhouse_connect
client = clickhouse_connect.get_client(host='127.0.0.1', port=int(sys.argv[1]), username='default', password='')
client.command('CREATE DATABASE IF NOT EXISTS weir')
client.command('CREATE TABLE weir.p (a UInt64, b String) ENGINE = MergeTree ORDER BY a')
client.insert('weir.p', [[n, f'row {n}'] for n in range(5000)], column_names=['a', 'b'])
rows = client.query('SELECT a, b FROM weir.p WHERE a < {limit:UInt64} ORDER BY a', parameters={'limit': 3}).result_rows
assert rows == [(0, 'row 0'), (1, 'row 1'), (2, 'row 2')], rows
assert client.query('SELECT count() FROM weir.p').result_rows == [(5000,)]
reader = clickhouse_connect.get_client(host='127.0.0.1', port=int(sys.argv[1]), username='analyst', password='')
assert reader.query('SELECT sum(a) FROM weir.p').result_rows == [(12497500,)]
try:
    reader.command('DROP TABLE weir.p')
except clickhouse_connect.driver.exceptions.DatabaseError as error:
    assert '497' in str(error), error
else:
    raise AssertionError('a reader dropped a table')
"#;

#[test]
fn pythons_client_inserts_and_reads() {
    let python = |arguments: &[&str]| Command::new("python3").args(arguments).output();
    if !python(&["-c", "import clickhouse_connect"]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: python3 cannot import clickhouse_connect");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    let port = engine.url.rsplit(':').next().unwrap();
    let output = python(&["-c", SCRIPT, port]).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

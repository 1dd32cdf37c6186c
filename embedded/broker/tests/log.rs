//! What the broker writes to the log about clients, who could otherwise fill the disk with it.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod support;

use std::{
    io,
    sync::{Arc, Mutex},
};

use kafka_protocol::messages::ApiKey;
use support::{wire::Wire, *};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn clients_that_make_no_sense_are_one_line_in_ten_seconds() {
    let written = Written::default();
    let writer = written.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    for _ in 0..100 {
        let mut wire = Wire::connect(broker.address);
        assert!(wire.exchange(ApiKey::EndTxn, 0, &[0; 20]).is_none());
    }
    broker.stop().unwrap();
    let bytes = written.0.lock().unwrap().clone();
    let log = String::from_utf8(bytes).unwrap();
    assert_eq!(log.matches("closed a connection").count(), 1, "{log}");
    assert!(log.contains("unknown request 26"), "{log}");
}

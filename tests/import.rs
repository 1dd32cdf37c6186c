//! What `weir import` puts on the wire.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod common;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{SyncSender, sync_channel};

use common::weir;
use serde_json::Value;

const BODY_BYTES_MAX: usize = 16 << 20;

/// Reads requests and accepts whatever they bring; each body goes to `bodies`.
fn answer(stream: TcpStream, bodies: &SyncSender<Vec<u8>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 0 && line != "\r\n" {
            let line_of = line.to_ascii_lowercase();
            if let Some(value) = line_of.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        if line.is_empty() {
            return;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        bodies.send(body).unwrap();
        let accepted = "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}";
        writer.write_all(accepted.as_bytes()).unwrap();
    }
}

/// The bodies that an import of a log sends.
fn sent(log: &str, arguments: &[&str]) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("access.log"), log).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (bodies, received) = sync_channel(1_000);
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let bodies = bodies.clone();
            std::thread::spawn(move || answer(stream.unwrap(), &bodies));
        }
    });
    let ended = weir(folder.path())
        .args(["import", "--format", "combined", "--site-id", "s"])
        .args(["--url", &url])
        .args(arguments)
        .arg("access.log")
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    received.try_iter().collect()
}

#[test]
fn batches_of_the_longest_lines_are_bodies_that_ingest_takes() {
    let mut log = String::new();
    let agent = "a".repeat(65_000);
    for number in 0..1_000 {
        writeln!(log, "192.0.2.1 - - [30/Mar/2025:12:00:00 +0200] \"GET /{number} HTTP/1.1\" 200 1 \"-\" \"{agent}\"").unwrap();
    }
    let bodies = sent(&log, &[]);
    let views: usize = bodies
        .iter()
        .map(|body| serde_json::from_slice::<Vec<Value>>(body).unwrap().len())
        .sum();
    assert_eq!(views, 1_000);
    let largest = bodies.iter().map(Vec::len).max().unwrap();
    assert!(largest < BODY_BYTES_MAX, "{largest}");
}

#[test]
fn a_view_has_the_host_that_was_named_and_its_campaign() {
    let line = "192.0.2.1 - - [30/Mar/2025:12:00:00 +0200] \"GET /a?utm_source=letter HTTP/1.1\" 200 1 \"https://www.my-site.example/b\" \"Googlebot/2.1\"\n";
    let bodies = sent(line, &["--hostname", "www.my-site.example"]);
    let views: Vec<Value> = serde_json::from_slice(&bodies[0]).unwrap();
    let url = "https://www.my-site.example/a?utm_source=letter";
    assert_eq!(views[0]["url"], url);
    assert_eq!(views[0]["user_agent"], "Googlebot/2.1");
    assert_eq!(views[0]["ip"], "192.0.2.1");
}

//! Connections: slow, idle, too many, pipelined, and not HTTP at all.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{DEADLINE, Edge, GOOD};

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: weir\r\n\r\n";

async fn connect(edge: &Edge) -> TcpStream {
    TcpStream::connect(edge.address).await.unwrap()
}

/// Reads until the text ends as told, or the server hangs up.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        loop {
            // A reset is an end as well.
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            text.extend_from_slice(&buffer[..read]);
            if read == 0 || String::from_utf8_lossy(&text).ends_with(end) {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, reading)
        .await
        .expect("an answer or an end");
    String::from_utf8(text).unwrap()
}

async fn is_answered(stream: &mut TcpStream) {
    stream.write_all(HEALTH.as_bytes()).await.unwrap();
    let answer = read_until(stream, "}").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Waits for the server to hang up without a word, and says how long it took.
async fn is_closed(stream: &mut TcpStream) -> Duration {
    let begun_at = Instant::now();
    assert_eq!(read_until(stream, "\0").await, "");
    begun_at.elapsed()
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_cut_off_at_its_time_out() {
    let config = ingest::Config {
        header_timeout: Duration::from_secs(1),
        ..ingest::Config::default()
    };
    let (edge, _broker) = Edge::ready_with(config.clone()).await;
    let mut silent = connect(&edge).await;
    let mut second_head = connect(&edge).await;
    is_answered(&mut second_head).await;
    for earlier in [None, Some(second_head)] {
        // A new connection's head begins with the connection.
        let begun_at = Instant::now();
        let mut slow = match earlier {
            Some(earlier) => earlier,
            None => connect(&edge).await,
        };
        let (mut reader, mut writer) = slow.split();
        let writing = async {
            // A head without its end, for ever: not even a line break alone is in its last line.
            let endless = HEALTH.trim_end().bytes().chain(std::iter::repeat(b'r'));
            for byte in endless {
                if writer.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reading = async {
            let mut text = Vec::new();
            // A reset is an end as well.
            let _ = reader.read_to_end(&mut text).await;
            text
        };
        let text = tokio::time::timeout(DEADLINE, async {
            tokio::select! {
                text = reading => text,
                () = writing => Vec::new(),
            }
        });
        assert_eq!(text.await.expect("it is cut off"), b"");
        let taken = begun_at.elapsed();
        assert!(taken >= config.header_timeout, "{taken:?}");
    }
    is_closed(&mut silent).await;
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn a_connection_may_idle_longer_than_a_head_may_take() {
    let config = ingest::Config {
        header_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_secs(1),
        ..ingest::Config::default()
    };
    let (edge, _broker) = Edge::ready_with(config.clone()).await;
    let mut stream = connect(&edge).await;
    is_answered(&mut stream).await;
    tokio::time::sleep(3 * config.header_timeout).await;
    is_answered(&mut stream).await;
    let idle = is_closed(&mut stream).await;
    assert!(
        idle > config.idle_timeout - config.header_timeout,
        "{idle:?}"
    );
    edge.stop().await;
}

#[tokio::test]
async fn beyond_the_most_connections_new_ones_wait_and_idle_ones_make_room() {
    let config = ingest::Config {
        connections_max: 3,
        header_timeout: Duration::from_millis(500),
        ..ingest::Config::default()
    };
    let (edge, _broker) = Edge::ready_with(config.clone()).await;
    // One is the client's own, from waiting for readiness.
    let mut open = [connect(&edge).await, connect(&edge).await];
    for stream in &mut open {
        is_answered(stream).await;
    }
    let begun_at = Instant::now();
    let mut waiting = connect(&edge).await;
    is_answered(&mut waiting).await;
    let waited = begun_at.elapsed();
    assert!(waited > config.header_timeout / 2, "{waited:?}");
    assert!(waited < config.idle_timeout / 2, "{waited:?}");
    edge.is_unharmed().await;
    edge.stop().await;
}

async fn connect_from(address: &str, edge: &Edge) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(format!("{address}:0").parse().unwrap())
        .unwrap();
    socket.connect(edge.address).await.unwrap()
}

#[tokio::test]
async fn one_address_with_slow_bodies_in_all_places_gives_way_to_another() {
    let config = ingest::Config {
        connections_max: 20,
        ..ingest::Config::default()
    };
    let (edge, _broker) = Edge::ready_with(config.clone()).await;
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = connect_from("127.0.0.2", &edge).await;
        let half = "POST /event HTTP/1.1\r\nhost: weir\r\ncontent-length: 100\r\n\r\n{";
        stream.write_all(half.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let begun_at = Instant::now();
    let mut others = Vec::new();
    for _ in 0..5 {
        let mut other = connect(&edge).await;
        is_answered(&mut other).await;
        others.push(other);
    }
    let waited = begun_at.elapsed();
    assert!(waited < config.header_timeout / 2, "{waited:?}");
    let is_open = |stream: &&TcpStream| {
        let read = stream.try_read(&mut [0; 1]);
        read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    let left = slow.iter().filter(is_open).count();
    assert!(left >= 14, "{left} are left, fewer than need be");
    drop(others);
    edge.stop().await;
}

#[tokio::test]
async fn thousands_of_idle_connections_do_not_hold_up_a_request() {
    let (edge, _broker) = Edge::ready().await;
    // Both ends of each stand in this process.
    let open_count = (open_files_max() / 2).saturating_sub(500).min(10_000);
    assert!(open_count >= 2_000, "raise `ulimit -n`");
    let mut idle = Vec::with_capacity(open_count);
    for nth in 0..open_count {
        let mut stream = connect(&edge).await;
        if nth % 100 == 0 {
            is_answered(&mut stream).await;
        }
        idle.push(stream);
    }
    let begun_at = Instant::now();
    edge.is_unharmed().await;
    assert!(begun_at.elapsed() < Duration::from_secs(5));
    drop(idle);
    edge.stop().await;
}

/// Of this process, once the service has raised its soft limit.
fn open_files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    line.unwrap()
        .split_whitespace()
        .nth(3)
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let (edge, broker) = Edge::ready().await;
    let mut requests = String::new();
    for nth in 0..100 {
        let body = GOOD.replace('}', &format!(r#","event_id":"nth-{nth}"}}"#));
        requests += &format!(
            "POST /event HTTP/1.1\r\nhost: weir\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    let (mut reader, mut writer) = connect(&edge).await.into_split();
    let writing = tokio::spawn(async move {
        writer.write_all(requests.as_bytes()).await.unwrap();
        writer
    });
    let mut answers = String::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while answers.matches("\"event_id\":").count() < 100 || !answers.ends_with('}') {
            let read = reader.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{answers}");
            answers += std::str::from_utf8(&buffer[..read]).unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap();
    drop(writing.await.unwrap());
    assert_eq!(answers.matches("HTTP/1.1 202").count(), 100);
    let answered: Vec<&str> = answers
        .split("\"event_id\":\"")
        .skip(1)
        .map(|rest| &rest[..36])
        .collect();
    let namespace = uuid::Uuid::new_v5(&uuid::Uuid::nil(), b"shop");
    let sent: Vec<String> = (0..100)
        .map(|nth| uuid::Uuid::new_v5(&namespace, format!("nth-{nth}").as_bytes()).to_string())
        .collect();
    assert_eq!(answered, sent);
    broker.read(100).await;
    edge.stop().await;
}

#[tokio::test]
async fn garbage_after_a_request_is_a_400_and_the_end_of_the_connection() {
    let (edge, _broker) = Edge::ready().await;
    for garbage in [
        "\0\u{1}\u{2}\r\n\r\n",
        "GET\r\n\r\n",
        "GET /health HTTP/9.9\r\n\r\n",
        "POST /event HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        "POST /event HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "POST /event HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /a b c HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = connect(&edge).await;
        let bytes = format!("{HEALTH}{garbage}");
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let answers = read_until(&mut stream, "\0").await;
        assert!(
            answers.starts_with("HTTP/1.1 200"),
            "{garbage:?}: {answers}"
        );
        let (_, second) = answers.split_once('}').unwrap();
        assert!(second.starts_with("HTTP/1.1 400"), "{garbage:?}: {answers}");
    }
    let mut stream = connect(&edge).await;
    let head = format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    edge.is_unharmed().await;
    edge.stop().await;
}

//! The way from a page to ingest, which can refuse, break, or lose answers, and keeps what came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to events on their way. The script itself always passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    Open,
    /// Answered so, with `Retry-After` of so many seconds; ingest sees nothing.
    Refused(u16, u32),
    /// The connection is cut before anything reaches ingest.
    Cut,
    /// ingest takes the event, and the connection is cut before its answer.
    AnswerLost,
}

/// A request with an event.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) event: Value,
    pub(crate) target: String,
    pub(crate) head: String,
}

impl Sent {
    pub(crate) fn text(&self, field: &str) -> &str {
        self.event[field].as_str().unwrap_or_default()
    }
}

struct Shared {
    passage: Passage,
    sent: Vec<Sent>,
}

/// Listens on a port of its own as long as the test runs.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Gate {
    pub(crate) async fn to(ingest: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared {
            passage: Passage::Open,
            sent: Vec::new(),
        };
        let shared = Arc::new(Mutex::new(shared));
        let gate = Self { address, shared };
        let (ingest, own) = (
            ingest.trim_start_matches("http://").to_owned(),
            gate.clone(),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (ingest, own) = (ingest.clone(), own.clone());
                tokio::spawn(async move { own.carry(stream, &ingest).await });
            }
        });
        gate
    }

    pub(crate) fn set(&self, passage: Passage) {
        self.shared.lock().unwrap().passage = passage;
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.shared.lock().unwrap().sent.clone()
    }

    /// The requests for which this holds.
    pub(crate) fn count(&self, is_meant: impl Fn(&Sent) -> bool) -> usize {
        self.sent().iter().filter(|sent| is_meant(sent)).count()
    }

    /// One request a connection: what is cut is one request then.
    async fn carry(self, mut stream: TcpStream, ingest: &str) {
        let Some((head, body)) = request(&mut stream).await else {
            return;
        };
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let passage = if head.starts_with("POST ") {
            let mut shared = self.shared.lock().unwrap();
            let sent = Sent {
                event: serde_json::from_slice(&body).unwrap_or_default(),
                target,
                head: head.to_ascii_lowercase(),
            };
            shared.sent.push(sent);
            shared.passage
        } else {
            Passage::Open
        };
        match passage {
            Passage::Cut => {}
            Passage::Refused(status, seconds) => {
                let answer = format!(
                    "HTTP/1.1 {status} Refused\r\naccess-control-allow-origin: *\r\naccess-control-expose-headers: retry-after\r\nretry-after: {seconds}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            Passage::Open | Passage::AnswerLost => {
                let answer = forward(ingest, &head, &body).await;
                if passage == Passage::Open {
                    let _ = stream.write_all(&answer).await;
                }
            }
        }
    }
}

async fn forward(ingest: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let mut lines = head.lines();
    let mut asked = format!(
        "{}\r\nconnection: close\r\n",
        lines.next().unwrap_or_default()
    );
    for line in lines.filter(|line| !line.to_ascii_lowercase().starts_with("connection:")) {
        asked.push_str(line);
        asked.push_str("\r\n");
    }
    asked.push_str("\r\n");
    let mut server = TcpStream::connect(ingest).await.unwrap();
    server.write_all(asked.as_bytes()).await.unwrap();
    server.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.unwrap();
    answer
}

/// A request's head, without the empty line, and its body.
pub(crate) async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    const BYTES_MAX: usize = 1 << 20;
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > BYTES_MAX || stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(Some(0), |(_, length)| length.trim().parse().ok())?;
    let mut body = bytes.split_off(end + 4);
    while body.len() < length.min(BYTES_MAX) {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

impl Gate {
    /// Forgets the requests for which this holds.
    pub(crate) fn forget(&self, is_meant: impl Fn(&Sent) -> bool) {
        self.shared
            .lock()
            .unwrap()
            .sent
            .retain(|sent| !is_meant(sent));
    }
}

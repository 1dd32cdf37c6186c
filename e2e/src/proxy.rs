//! A way to ClickHouse that can be cut, or held up, at a chosen place of an INSERT.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const PIECE_BYTES: usize = 64 << 10;
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// What happens to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Every connection, open ones too, is cut after so many further bytes of requests.
    CutAfter(usize),
    /// Requests pass; the connection is cut when the answer comes.
    LoseAnswers,
    /// So many bytes of an INSERT pass, the rest waits until the way is another.
    HoldInserts(usize),
    /// An INSERT passes whole; its answer waits until the way is another.
    HoldAnswers,
}

/// What was seen so far, over all connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// INSERTs whose first bytes came.
    pub inserts: u64,
    /// INSERTs whose answer began to come.
    pub answers: u64,
    /// INSERTs, or answers to them, that were made to wait.
    pub held: u64,
    /// Connections that were cut.
    pub cut: u64,
}

/// Listens on a port of its own; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    seen: watch::Receiver<Seen>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// A way to `target`, open at first.
    ///
    /// # Panics
    /// If no port can be had.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (way, ways) = watch::channel(Way::Open);
        let (sees, seen) = watch::channel(Seen::default());
        let sees = Arc::new(sees);
        let listener = tokio::spawn(async move {
            // Connections end with the listener.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, target, ways.clone(), sees.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            way,
            seen,
            listener,
        }
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    #[must_use]
    pub fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// Waits until what was seen is as wanted, and returns it.
    ///
    /// # Panics
    /// After a minute.
    pub async fn until(&self, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let waited = tokio::time::timeout(SEEN_WITHIN, seen.wait_for(wanted)).await;
        let Ok(Ok(seen)) = waited else {
            panic!("the proxy has seen {:?} after {SEEN_WITHIN:?}", self.seen());
        };
        *seen
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn carry(
    mut client: TcpStream,
    target: SocketAddr,
    ways: watch::Receiver<Way>,
    seen: Arc<watch::Sender<Seen>>,
) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    // Small pieces that follow each other must not wait for acknowledgements.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (is_insert, insert) = watch::channel(false);
    let requests = requests(from_client, to_server, ways.clone(), &is_insert, &seen);
    let answers = answers(from_server, to_client, ways, insert, &seen);
    // Who ends first ends both, and the connections with them.
    let ended = tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
    };
    if matches!(ended, Err(Cut)) {
        seen.send_modify(|seen| seen.cut += 1);
    }
}

/// The proxy itself ended a connection.
struct Cut;

async fn requests(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut ways: watch::Receiver<Way>,
    is_insert: &watch::Sender<bool>,
    seen: &watch::Sender<Seen>,
) -> Result<(), Cut> {
    let mut buffer = vec![0; PIECE_BYTES];
    // Since the way was changed last, and of the present INSERT.
    let (mut passed, mut of_insert) = (0, 0);
    loop {
        let way = *ways.borrow_and_update();
        if let Way::CutAfter(bytes) = way
            && passed >= bytes
        {
            return Err(Cut);
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            changed = ways.changed() => {
                if changed.is_err() { return Ok(()); }
                passed = 0;
                continue;
            }
        };
        let Ok(read @ 1..) = read else { return Ok(()) };
        let mut piece = &buffer[..read];
        // A client writes a request's head at once, and sends the next after the answer. Only INSERTs
        // of events count as such: the sinks write smaller things too.
        if piece.starts_with(b"POST /") || piece.starts_with(b"GET /") {
            is_insert.send_replace(contains(piece, b"INSERT+INTO+events+"));
            of_insert = 0;
            if *is_insert.borrow() {
                seen.send_modify(|seen| seen.inserts += 1);
            }
        }
        match way {
            Way::CutAfter(bytes) => {
                let room = piece.len().min(bytes - passed);
                if to.write_all(&piece[..room]).await.is_err() {
                    return Ok(());
                }
                if room < piece.len() {
                    return Err(Cut);
                }
                passed += room;
                continue;
            }
            Way::HoldInserts(bytes) if *is_insert.borrow() && of_insert + piece.len() > bytes => {
                let (first, rest) = piece.split_at(bytes.saturating_sub(of_insert));
                if to.write_all(first).await.is_err() {
                    return Ok(());
                }
                of_insert += first.len();
                seen.send_modify(|seen| seen.held += 1);
                if ways.changed().await.is_err() {
                    return Ok(());
                }
                piece = rest;
            }
            _ => {}
        }
        if to.write_all(piece).await.is_err() {
            return Ok(());
        }
        of_insert += piece.len();
    }
}

async fn answers(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut ways: watch::Receiver<Way>,
    mut is_insert: watch::Receiver<bool>,
    seen: &watch::Sender<Seen>,
) -> Result<(), Cut> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return Ok(());
        };
        let is_insert = *is_insert.borrow_and_update();
        if is_insert {
            seen.send_modify(|seen| seen.answers += 1);
        }
        let way = *ways.borrow_and_update();
        match way {
            Way::LoseAnswers => return Err(Cut),
            Way::HoldAnswers if is_insert => {
                seen.send_modify(|seen| seen.held += 1);
                if ways.changed().await.is_err() {
                    return Ok(());
                }
            }
            _ => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return Ok(());
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

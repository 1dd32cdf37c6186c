//! A way to a server that can be cut, or fall silent.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How many bytes of each connection's requests pass before it is cut; None: all.
type Allowance = Option<usize>;

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    allowance: watch::Sender<Allowance>,
    silences: watch::Sender<u32>,
    is_mute: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn to(target: &str) -> Self {
        let target: Arc<str> = target.trim_start_matches("http://").into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (allowance, allowed) = watch::channel(None);
        let (silences, silenced) = watch::channel(0);
        let (is_mute, mute) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(
                    client,
                    target.clone(),
                    allowed.clone(),
                    silenced.clone(),
                    *mute.borrow(),
                ));
            }
        });
        Self {
            address,
            allowance,
            silences,
            is_mute,
        }
    }

    /// From now on every connection, open ones too, is cut after so many bytes of requests.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.allowance.send_replace(Some(bytes));
    }

    /// Connections that are open now bring no more answers, and stay open.
    pub(crate) fn fall_silent(&self) {
        self.silences.send_modify(|silences| *silences += 1);
    }

    /// Connections that are opened from now on bring no answers, and stay open.
    pub(crate) fn answer_nothing(&self) {
        self.is_mute.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.is_mute.send_replace(false);
        self.allowance.send_replace(None);
    }
}

async fn carry(
    mut client: TcpStream,
    target: Arc<str>,
    mut allowed: watch::Receiver<Allowance>,
    mut silenced: watch::Receiver<u32>,
    is_mute: bool,
) {
    silenced.mark_unchanged();
    if is_mute {
        silenced.mark_changed();
    }
    let Ok(mut server) = TcpStream::connect(&*target).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut passed = 0;
    let requests = async {
        let mut buffer = vec![0; 4096];
        loop {
            let limit = *allowed.borrow_and_update();
            let room = limit.map_or(buffer.len(), |limit| limit.saturating_sub(passed));
            if room == 0 {
                return;
            }
            let length = room.min(buffer.len());
            let read = tokio::select! {
                read = from_client.read(&mut buffer[..length]) => read,
                // A cut counts from where the connection stands.
                changed = allowed.changed() => {
                    if changed.is_err() { return; }
                    passed = 0;
                    continue;
                }
            };
            match read {
                Ok(read) if read > 0 => {
                    passed += read;
                    if to_server.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    let answers = async {
        tokio::select! {
            biased;
            Ok(()) = silenced.changed() => {
                // Read, so that the server does not notice, and lost.
                let _ = tokio::io::copy(&mut from_server, &mut tokio::io::sink()).await;
            }
            _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
        }
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}

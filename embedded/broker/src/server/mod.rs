//! From sockets to requests and back.

mod connection;
mod preflight;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::broker::Shared;
use connection::Connection;

/// After a failed accept, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Requests of all connections that may be in memory, counted in KiB.
pub(crate) struct Room {
    kib: Arc<Semaphore>,
    kib_max: u32,
}

impl Room {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let kib_max =
            (bytes_max / 1024).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize)) as u32;
        Self {
            kib: Arc::new(Semaphore::new(kib_max as usize)),
            kib_max,
        }
    }

    /// Waits until a request of this size fits. One that is too large for ever may have it all.
    async fn take(&self, bytes: usize) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes / 1024 + 1)
            .unwrap_or(u32::MAX)
            .min(self.kib_max);
        self.kib.clone().acquire_many_owned(kib).await.ok()
    }
}

/// Accepts until `stop`, then ends the connections.
pub(crate) async fn serve(listener: TcpListener, broker: Arc<Shared>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(broker.config.connections_max));
    let room = Arc::new(Room::new(broker.config.requests_bytes_max));
    let mut connections = JoinSet::new();
    let mut reap = interval(Duration::from_secs(1));
    reap.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
            _ = reap.tick() => {
                while let Some(ended) = connections.try_join_next() {
                    report(ended);
                }
                continue;
            }
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            warn!(client.address = %peer, "refused a connection, since {} are open", broker.config.connections_max);
            continue;
        };
        let connection = Connection::new(broker.clone(), room.clone(), peer);
        let stop = stop.clone();
        connections.spawn(async move {
            let _slot = slot;
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection.serve(stream) => match ended {
                    Ok(()) => debug!(client.address = %peer, "connection closed"),
                    Err(error) => warn!(client.address = %peer, "closed a connection: {error:#}"),
                },
            }
        });
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection ended in a panic: {error}");
    }
}

/// The host and port clients are told to come back to.
pub(crate) fn advertised(setting: Option<&str>, reached: SocketAddr) -> (String, i32) {
    let given = setting.and_then(|setting| setting.rsplit_once(':'));
    match given.and_then(|(host, port)| {
        Some((
            host.trim_matches(['[', ']']).to_owned(),
            port.parse::<u16>().ok()?,
        ))
    }) {
        Some((host, port)) => (host, i32::from(port)),
        None => (
            reached.ip().to_canonical().to_string(),
            i32::from(reached.port()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_to_the_address_they_reached_unless_told_otherwise() {
        let reached = "127.0.0.1:4711".parse().unwrap();
        assert_eq!(advertised(None, reached), ("127.0.0.1".to_owned(), 4711));
        assert_eq!(
            advertised(Some("broker:9092"), reached),
            ("broker".to_owned(), 9092)
        );
        assert_eq!(
            advertised(Some("[::1]:9092"), reached),
            ("::1".to_owned(), 9092)
        );
    }
}

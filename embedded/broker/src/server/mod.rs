//! From sockets to requests and back.

mod connection;
mod memory;
mod places;
mod preflight;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{broker::Shared, sometimes::Sometimes};
use connection::Connection;
pub(crate) use memory::Held;
use memory::Memory;
use places::{Kind, Places};

/// After a failed accept, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop`, then ends the connections.
pub(crate) async fn serve(listener: TcpListener, broker: Arc<Shared>, stop: CancellationToken) {
    let limits = &broker.config;
    let places = Places::new(limits.connections_max);
    let requests = Memory::new(Kind::Requests, limits.requests_bytes_max, places.clone());
    let answers = Memory::new(Kind::Answers, limits.answers_bytes_max, places.clone());
    let (full, not_accepted) = (Sometimes::default(), Sometimes::default());
    let bad = Arc::new(Sometimes::default());
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
                if let Some(times) = not_accepted.now() {
                    warn!(
                        connections.count = times,
                        "cannot accept a connection: {error} ({times} since the last such line)"
                    );
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(taken) = places.take(peer.ip()) else {
            if let Some(times) = full.now() {
                warn!(
                    client.address = %peer,
                    connections.count = times,
                    "refused a connection, since {} are open and in use (broker.connections_max; {times} since the last such line)",
                    broker.config.connections_max
                );
            }
            continue;
        };
        let memory = (requests.clone(), answers.clone());
        let connection = Connection::new(broker.clone(), taken, memory, peer);
        let (stop, bad) = (stop.clone(), bad.clone());
        connections.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection.gives_way() => {
                    debug!(client.address = %peer, "closed a connection to make room for others");
                }
                ended = connection.serve(stream) => match ended {
                    Ok(()) => debug!(client.address = %peer, "connection closed"),
                    Err(error) => match bad.now() {
                        Some(times) => warn!(
                            client.address = %peer,
                            connections.count = times,
                            "closed a connection: {error:#} ({times} since the last such line)"
                        ),
                        None => debug!(client.address = %peer, "closed a connection: {error:#}"),
                    },
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

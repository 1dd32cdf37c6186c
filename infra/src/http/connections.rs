//! Accepting connections and serving HTTP/1.1 on them, within bounds: how many are open and whose,
//! how long a request's head may take, how long a connection may idle.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{error, info, warn};

use super::activity::{Activity, Phase, Watched};
use super::open_files;
use super::places::Places;

/// A request's line and headers; beyond it the answer is 431.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// What cannot be accepted for want of file descriptors or memory is tried again after this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Want of file descriptors or places lasts; once in this time is often enough to log it.
const ACCEPT_TOLD_EVERY: Duration = Duration::from_secs(10);
/// This part of the places may wait for one.
const WAITING: usize = 8;

/// What connections may have.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Open at once. Beyond it new ones wait, an eighth as many, and idle ones have only
    /// `header_timeout` left, so that those who send nothing cannot keep out those who would. A new
    /// one of an address that holds fewer than another gets a place of the latter's at once.
    pub open_max: usize,
    /// From a connection's begin, or a request's first byte, to the end of the request's head.
    pub header_timeout: Duration,
    /// From an answer to the next request's first byte. A client that takes nothing of an answer
    /// is idle, too.
    pub idle_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            open_max: 20_000,
            header_timeout: Duration::from_secs(10),
            // Longer than what proxies and clients' pools commonly keep a connection for, so that
            // it is they who close it: a request sent into a closing connection is lost.
            idle_timeout: Duration::from_secs(120),
        }
    }
}

/// What answers requests: a router, or something of its kind.
pub trait Answers:
    Service<Request<Body>, Response = Response, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// All connections of one listener.
pub(super) struct Connections<S> {
    listener: TcpListener,
    service: S,
    limits: ConnectionLimits,
    slots: Arc<Semaphore>,
    open: JoinSet<()>,
    places: Places,
    /// Accepted, and without a slot so far.
    waiting: VecDeque<(TcpStream, SocketAddr)>,
    waiting_max: usize,
    stop: CancellationToken,
    told_at: Option<Instant>,
}

impl<S: Answers> Connections<S> {
    pub(super) fn new(
        listener: TcpListener,
        service: S,
        limits: ConnectionLimits,
        stop: CancellationToken,
    ) -> Self {
        let open_max = open_files::allow(limits.open_max);
        if open_max < limits.open_max {
            info!(
                connections.max = open_max,
                "the limit on open files allows {open_max} connections, not {}: raise `ulimit -n`",
                limits.open_max
            );
        }
        Self {
            listener,
            service,
            limits,
            slots: Arc::new(Semaphore::new(open_max.min(Semaphore::MAX_PERMITS))),
            open: JoinSet::new(),
            places: Places::default(),
            waiting: VecDeque::new(),
            waiting_max: (open_max / WAITING).max(1),
            stop,
            told_at: None,
        }
    }

    /// Accepts what comes, one at a time. To be called again and again; cancel-safe.
    pub(super) async fn accept(&mut self) {
        tokio::select! {
            accepted = self.listener.accept() => match accepted {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) if is_the_clients(error.kind()) => {}
                Err(error) => self.pause(&error).await,
            },
            Some(ended) = self.open.join_next_with_id() => self.ended(ended),
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.waiting.is_empty()
            && let Ok(slot) = self.slots.clone().try_acquire_owned()
        {
            self.open(stream, peer, slot);
        } else if self.places.make_room(peer.ip()) {
            // The slot is free when the other's task has ended.
            self.waiting.push_front((stream, peer));
        } else if self.waiting.len() < self.waiting_max {
            self.waiting.push_back((stream, peer));
        } else if self.is_told() {
            warn!(
                client.address = %peer,
                "refused a connection, since {} are open and {} wait for one to end (connections_max)",
                self.open.len(),
                self.waiting.len()
            );
        }
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        self.places.leave(match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        });
        told(ended);
        while !self.waiting.is_empty()
            && let Ok(slot) = self.slots.clone().try_acquire_owned()
            && let Some((stream, peer)) = self.waiting.pop_front()
        {
            self.open(stream, peer, slot);
        }
    }

    fn open(&mut self, stream: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit) {
        // Only a connection that is gone refuses, and that is seen soon enough.
        let _ = stream.set_nodelay(true);
        let activity = Activity::new();
        let connection = Connection {
            stream,
            peer,
            activity: activity.clone(),
            service: self.service.clone(),
            limits: self.limits,
            slots: self.slots.clone(),
            stop: self.stop.clone(),
        };
        let task = self.open.spawn(async move {
            connection.serve().await;
            drop(slot);
        });
        self.places.take(peer.ip(), activity, task);
    }

    /// Whether a line that may repeat is due.
    fn is_told(&mut self) -> bool {
        let now = Instant::now();
        let due = self.told_at.is_none_or(|at| now - at >= ACCEPT_TOLD_EVERY);
        if due {
            self.told_at = Some(now);
        }
        due
    }

    /// File descriptors or memory ran out, and every other try would fail as well.
    async fn pause(&mut self, error: &std::io::Error) {
        if self.is_told() {
            error!("connections cannot be accepted at the moment: {error}");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    /// Accepts no more and waits for the open requests. Idle connections have been told to close.
    pub(super) async fn finish(self) {
        let mut open = self.open;
        drop((self.listener, self.waiting));
        while let Some(ended) = open.join_next_with_id().await {
            told(ended);
        }
    }
}

/// Errors of a connection that was gone before it was accepted.
fn is_the_clients(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

fn told(ended: Result<(Id, ()), JoinError>) {
    if let Err(panic) = ended
        && panic.is_panic()
    {
        error!("a connection ended in a panic: {panic}");
    }
}

struct Connection<S> {
    stream: TcpStream,
    peer: SocketAddr,
    activity: Activity,
    service: S,
    limits: ConnectionLimits,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
}

impl<S: Answers> Connection<S> {
    async fn serve(self) {
        let Self {
            stream,
            peer,
            activity,
            service,
            limits,
            slots,
            stop,
        } = self;
        let io = TokioIo::new(Watched::new(stream, activity.clone()));
        let answers = service_fn(|mut request: Request<Incoming>| {
            activity.enter(Phase::Answer);
            request.extensions_mut().insert(ConnectInfo(peer));
            let answering = service.clone().call(request.map(Body::new));
            let activity = &activity;
            async move {
                let answer = answering.await;
                activity.enter(Phase::Client);
                answer
            }
        });
        let mut serving = pin!(
            http1::Builder::new()
                .max_header_size(HEAD_BYTES_MAX)
                .serve_connection(io, answers)
        );
        let mut stopped = pin!(stop.cancelled());
        let mut stopping = false;
        let mut look = pin!(sleep_until(Instant::now() + limits.header_timeout));
        loop {
            tokio::select! {
                biased;
                // An error is the client's: it is gone, or has its 400 already.
                _ = serving.as_mut() => return,
                () = &mut look => match next_look(activity.noted(), &limits, &slots) {
                    Some(at) => look.as_mut().reset(at),
                    None => return,
                },
                () = &mut stopped, if !stopping => {
                    stopping = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// When to look at a connection again, or `None`: its time is up.
fn next_look(
    (phase, since): (Phase, Instant),
    limits: &ConnectionLimits,
    slots: &Semaphore,
) -> Option<Instant> {
    let now = Instant::now();
    let often = now + limits.header_timeout;
    let due = match phase {
        Phase::Answer => return Some(often),
        Phase::Head => since + limits.header_timeout,
        Phase::Client if slots.available_permits() == 0 => since + limits.header_timeout,
        Phase::Client => since + limits.idle_timeout,
    };
    // Not at `due` itself: what is idle now may owe a head, or be one too many, before it.
    (due > now).then_some(due.min(often))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        open_max: 1,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(100),
    };
    const TICK: Duration = Duration::from_secs(1);

    fn closed(phase: Phase, for_: Duration, slots: usize) -> bool {
        let since = Instant::now() - for_;
        next_look((phase, since), &LIMITS, &Semaphore::new(slots)).is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_out_and_an_answer_takes_what_it_takes() {
        tokio::time::advance(LIMITS.idle_timeout * 2).await;
        assert!(!closed(Phase::Head, LIMITS.header_timeout - TICK, 1));
        assert!(closed(Phase::Head, LIMITS.header_timeout, 1));
        assert!(!closed(Phase::Answer, LIMITS.idle_timeout * 2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_has_less_time_once_no_other_can_be_opened() {
        tokio::time::advance(LIMITS.idle_timeout * 2).await;
        assert!(!closed(Phase::Client, LIMITS.idle_timeout - TICK, 1));
        assert!(closed(Phase::Client, LIMITS.idle_timeout, 1));
        assert!(!closed(Phase::Client, LIMITS.header_timeout - TICK, 0));
        assert!(closed(Phase::Client, LIMITS.header_timeout, 0));
    }
}

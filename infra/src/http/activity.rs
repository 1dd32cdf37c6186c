//! What a connection is doing, and since when. Noted where bytes pass, so that one timer a
//! connection, looked at every few seconds, bounds slow and idle clients; a timer a request would
//! cost each of them two visits to the runtime's timer wheel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The rest of a request's head; on a new connection the whole of it.
    Head = 0,
    /// This service's answer, or the request's body, whose time-out is the reader's affair.
    Answer = 1,
    /// The next request, or the client's reading of the last answer.
    Client = 2,
}

/// A connection's phase and its begin, in one word. Clones share it.
#[derive(Clone)]
pub(super) struct Activity {
    opened_at: Instant,
    /// Microseconds since the connection was opened, and the phase in the lowest two bits. Whole
    /// milliseconds would end a time-out up to one of them early.
    noted: Arc<AtomicU64>,
}

impl Activity {
    /// A new connection owes a head.
    pub(super) fn new() -> Self {
        Self {
            opened_at: Instant::now(),
            noted: Arc::new(AtomicU64::new(Phase::Head as u64)),
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        let micros = self.opened_at.elapsed().as_micros() as u64;
        self.noted.store(micros << 2 | phase as u64, Relaxed);
    }

    pub(super) fn noted(&self) -> (Phase, Instant) {
        let noted = self.noted.load(Relaxed);
        let phase = match noted & 3 {
            0 => Phase::Head,
            1 => Phase::Answer,
            _ => Phase::Client,
        };
        (phase, self.opened_at + Duration::from_micros(noted >> 2))
    }

    fn phase(&self) -> Phase {
        self.noted().0
    }
}

/// A stream that notes what passes.
pub(super) struct Watched {
    stream: TcpStream,
    activity: Activity,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, activity: Activity) -> Self {
        Self { stream, activity }
    }

    /// A client that reads slowly is not idle.
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(_))) && self.activity.phase() == Phase::Client {
            self.activity.enter(Phase::Client);
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        // The first byte of the next head; later ones must not put its time-out off.
        if buffer.filled().len() > before && self.activity.phase() == Phase::Client {
            self.activity.enter(Phase::Head);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

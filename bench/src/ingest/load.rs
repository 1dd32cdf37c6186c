//! The load: connections on threads of their own, each with one request under way, either as fast
//! as answers come (closed loop) or at a constant rate (open loop).

mod connection;
mod tally;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::runtime;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet, LocalSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::bodies::{Ids, Requests};
use crate::schedule::{Alarm, Due, Schedule};
use connection::Answer;
pub(crate) use connection::Connection;
pub(crate) use tally::Tally;

/// How long answers may take that are still open at the end.
const DRAIN_WITHIN: Duration = Duration::from_secs(15);

/// What to send, and how long.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) requests: Arc<Requests>,
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    pub(crate) pace: Pace,
    /// Before what counts: connections are opened, caches and clients warm up.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Each connection sends its next request once the last one is answered.
    Closed,
    /// So many requests a second in all, each due at its time.
    Open { rate: f64 },
}

/// A load under way; dropping it ends it.
pub(crate) struct Running {
    pub(crate) window: Window,
    _stop: DropGuard,
    threads: Vec<JoinHandle<anyhow::Result<Tally>>>,
}

/// What counts lies in here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
}

impl Window {
    fn holds(self, at: Instant) -> bool {
        (self.begin..self.end).contains(&at)
    }
}

impl Load {
    /// Begins at once, on threads of its own.
    pub(crate) fn start(&self, address: SocketAddr) -> Running {
        let begin = Instant::now();
        let window = Window {
            begin: begin + self.warm_up,
            end: begin + self.warm_up + self.measured,
        };
        let stop = CancellationToken::new();
        let threads = self.threads.clamp(1, self.connections);
        let threads = (0..threads)
            .map(|thread| {
                let (load, stop) = (self.clone(), stop.clone());
                tokio::task::spawn_blocking(move || {
                    load.run_thread(address, thread, threads, window, stop)
                })
            })
            .collect();
        Running {
            window,
            _stop: stop.drop_guard(),
            threads,
        }
    }

    fn run_thread(
        self,
        address: SocketAddr,
        thread: usize,
        threads: usize,
        window: Window,
        stop: CancellationToken,
    ) -> anyhow::Result<Tally> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("make a runtime")?;
        let schedule = match self.pace {
            Pace::Closed => None,
            Pace::Open { rate } => {
                let (first, step) = (thread as u64, threads as u64);
                let begin = window.begin - self.warm_up;
                Some(Schedule::new(begin, window.end, rate, first, step))
            }
        };
        // The first threads take one more each of what cannot be divided.
        let connections =
            self.connections / threads + usize::from(thread < self.connections % threads);
        let sender = Rc::new(Sender {
            load: self,
            address,
            window,
            schedule: RefCell::new(schedule.clone()),
            due: Notify::new(),
            tally: RefCell::new(Tally::new()?),
            under_way: RefCell::new(vec![None; connections]),
            // Threads begin at different requests, or they would send the same ones together.
            sent: Cell::new(thread as u64 * 7919),
            ids: RefCell::new(Ids::new()),
        });
        let running = sender.clone().run(connections, schedule);
        let tasks = LocalSet::new();
        // A run that is called off need not wait for its end.
        runtime.block_on(async {
            tokio::select! {
                sent = tasks.run_until(running) => sent,
                () = stop.cancelled() => Ok(()),
            }
        })?;
        sender.finish()
    }
}

impl Running {
    /// Waits for the last answer.
    ///
    /// # Errors
    /// If a thread could not do its work. A server's failures are counted, not returned.
    pub(crate) async fn finish(self) -> anyhow::Result<Tally> {
        let mut tally = Tally::new()?;
        for thread in self.threads {
            let of_thread = thread
                .await
                .map_err(|_| anyhow!("a load thread panicked"))??;
            tally.add(&of_thread)?;
        }
        Ok(tally)
    }
}

/// One thread's connections and what they share.
struct Sender {
    load: Load,
    address: SocketAddr,
    window: Window,
    /// `None` in the closed loop.
    schedule: RefCell<Option<Schedule>>,
    /// A request is due, or none will be any more.
    due: Notify,
    tally: RefCell<Tally>,
    /// Per connection, since when its open request has been due.
    under_way: RefCell<Vec<Option<Instant>>>,
    sent: Cell<u64>,
    ids: RefCell<Ids>,
}

impl Sender {
    async fn run(
        self: Rc<Self>,
        connections: usize,
        schedule: Option<Schedule>,
    ) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for index in 0..connections {
            tasks.spawn_local(self.clone().send(index));
        }
        if let Some(schedule) = schedule {
            tasks.spawn_local(self.clone().tick(schedule));
        }
        let give_up_at = tokio::time::Instant::from_std(self.window.end + DRAIN_WITHIN);
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                ended.context("send requests")??;
            }
            Ok(())
        };
        // Whatever is open by then counts as failed.
        tokio::time::timeout_at(give_up_at, all)
            .await
            .unwrap_or(Ok(()))
    }

    /// Wakes a connection for each request at the moment it is due.
    async fn tick(self: Rc<Self>, schedule: Schedule) -> anyhow::Result<()> {
        let alarm = Alarm::new()?;
        for due in schedule {
            alarm.wait_until(due).await?;
            self.due.notify_one();
        }
        self.due.notify_waiters();
        Ok(())
    }

    /// The life of one connection.
    async fn send(self: Rc<Self>, index: usize) -> anyhow::Result<()> {
        let mut connection = None;
        let mut scratch = Vec::new();
        while let Some(due) = self.next_due().await {
            self.under_way.borrow_mut()[index] = Some(due);
            let open = match connection.take() {
                Some(open) => Ok(open),
                None => Connection::open(self.address).await,
            };
            let Ok(mut open) = open else {
                // Nobody listens any more: to try again would only count the same failure often.
                self.answered(index, due, None);
                return Ok(());
            };
            let number = self.sent.replace(self.sent.get() + 1);
            let request = self.load.requests.get(number);
            let bytes = request.bytes(&mut scratch, || self.ids.borrow_mut().next());
            let answer = open.exchange(bytes).await.ok();
            self.answered(index, due, answer);
            connection = answer.map(|_| open);
        }
        Ok(())
    }

    /// When the next request was or is due; `None` after the end.
    async fn next_due(&self) -> Option<Instant> {
        loop {
            // Made before the look, so that the end is not missed in between.
            let due = self.due.notified();
            let now = Instant::now();
            match &mut *self.schedule.borrow_mut() {
                None => return (now < self.window.end).then_some(now),
                Some(schedule) => match schedule.take_due(now) {
                    Due::At(at) => return Some(at),
                    Due::Over => return None,
                    Due::NotYet => {}
                },
            }
            due.await;
        }
    }

    fn answered(&self, index: usize, due: Instant, answer: Option<Answer>) {
        self.under_way.borrow_mut()[index] = None;
        let now = Instant::now();
        let mut tally = self.tally.borrow_mut();
        let counts = match self.load.pace {
            Pace::Closed => self.window.holds(now),
            // By when it was due: the late ones of the end belong to it, those of the warm-up do not.
            Pace::Open { .. } => self.window.holds(due),
        };
        let events = self.load.requests.events_per_request as u64;
        tally.answer(answer, events, counts.then_some(now - due));
    }

    /// Counts what never got an answer, with the time it has waited so far.
    fn finish(&self) -> anyhow::Result<Tally> {
        let open = self.under_way.borrow().clone();
        for (index, due) in open.into_iter().enumerate() {
            if let Some(due) = due {
                self.answered(index, due, None);
            }
        }
        if let Some(schedule) = self.schedule.take() {
            for due in schedule {
                self.answered(0, due, None);
            }
        }
        let tally = self.tally.replace(Tally::new()?);
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const STALL: Duration = Duration::from_millis(400);
    const RATE: f64 = 200.0;

    /// Answers everything on its first connection, the first request after [`STALL`] only.
    async fn serve(listener: TcpListener) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut stall = STALL;
        let mut received = vec![0; 64 << 10];
        while stream.read(&mut received).await.unwrap() > 0 {
            tokio::time::sleep(std::mem::take(&mut stall)).await;
            let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    }

    async fn load(address: SocketAddr, pace: Pace) -> Tally {
        let load = Load {
            requests: Arc::new(Requests::prepare(
                1,
                false,
                crate::ingest::bodies::Shape::Full,
            )),
            connections: 1,
            threads: 1,
            pace,
            warm_up: Duration::ZERO,
            measured: 2 * STALL,
        };
        load.start(address).finish().await.unwrap()
    }

    #[tokio::test]
    async fn requests_due_while_the_server_stalls_count_the_time_since_they_were_due() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener));
        let tally = load(address, Pace::Open { rate: RATE }).await;
        // All were sent, also those that were due while the only connection was busy.
        assert_eq!(tally.failed, 0);
        assert_eq!(tally.accepted_requests, 160);
        assert_eq!(tally.latencies.len(), 160);
        // Half of the window was the stall: a quarter of all waited for half of it or more.
        let half_of_the_stall = u64::try_from(STALL.as_micros()).unwrap() / 2;
        let waited = tally.latencies.count_between(half_of_the_stall, u64::MAX);
        assert!(waited >= 39, "{waited}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_counted_as_failures() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let closed = load(address, Pace::Closed).await;
        assert_eq!((closed.failed, closed.accepted_requests), (1, 0));
        let open = load(address, Pace::Open { rate: RATE }).await;
        assert_eq!((open.failed, open.accepted_requests), (160, 0));
    }
}

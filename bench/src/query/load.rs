//! Many connections at once: as fast as answers come (closed loop), or at a constant rate whatever
//! the service does (open loop), where a latency counts from the moment a request was due.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinSet;

use super::asked::Tally;
use super::http::Connection;
use super::question::Question;
use super::world::Service;
use crate::process::Server;
use crate::schedule::{Alarm, Schedule};

/// How long requests that were due in time may still be sent and answered.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// A load, and what is asked.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) questions: Arc<[Question]>,
    /// Of each question; when all were asked, the first is asked again.
    pub(super) variants: u64,
    pub(super) connections: usize,
    /// Requests a second; `None`: as many as are answered.
    pub(super) rate: Option<f64>,
    pub(super) lasts: Duration,
}

/// What a load found.
pub(super) struct Loaded {
    pub(super) tally: Tally,
    pub(super) seconds: f64,
}

/// Requests of a load that nobody has taken yet.
struct Pending {
    schedule: Schedule,
    taken: u64,
}

impl Load {
    /// # Errors
    /// If a connection could not do its work. Answers other than 200 are counted, not returned.
    pub(super) async fn run(&self, service: &Service, engine: &Server) -> anyhow::Result<Loaded> {
        let times = || anyhow::Ok((engine.cpu_time()?, service.server.cpu_time()?));
        let (engine_before, query_before) = times()?;
        let begin = Instant::now();
        let mut tally = self.send(&service.url).await?;
        let seconds = begin.elapsed().as_secs_f64();
        let (engine_after, query_after) = times()?;
        tally.engine_cpu = engine_after.saturating_sub(engine_before);
        tally.query_cpu = query_after.saturating_sub(query_before);
        Ok(Loaded { tally, seconds })
    }

    async fn send(&self, url: &str) -> anyhow::Result<Tally> {
        let begin = Instant::now();
        let end = begin + self.lasts;
        // The closed loop takes from a schedule on which all is due at once.
        let rate = self.rate.unwrap_or(f64::MAX);
        let pending = Arc::new(Mutex::new(Pending {
            schedule: Schedule::new(begin, end, rate, 0, 1),
            taken: 0,
        }));
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            let (load, url, pending) = (self.clone(), url.to_owned(), pending.clone());
            tasks.spawn(async move { load.run_connection(&url, &pending, end).await });
        }
        let mut tally = Tally::new()?;
        while let Some(ended) = tasks.join_next().await {
            tally.add(&ended.context("send requests")??)?;
        }
        if self.rate.is_some() {
            // Those that were due and never sent have waited since.
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            for due in pending.schedule.by_ref() {
                tally.answered(due.elapsed(), false);
            }
        }
        Ok(tally)
    }

    async fn run_connection(
        &self,
        url: &str,
        pending: &Mutex<Pending>,
        end: Instant,
    ) -> anyhow::Result<Tally> {
        let connection = Connection::new()?;
        let alarm = Alarm::new()?;
        let mut tally = Tally::new()?;
        let give_up_at = end + DRAIN_WITHIN;
        loop {
            let now = Instant::now();
            if now > give_up_at || self.rate.is_none() && now > end {
                return Ok(tally);
            }
            let next = {
                let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
                pending.next()
            };
            let Some((nth, due)) = next else {
                return Ok(tally);
            };
            let due = if self.rate.is_some() { due } else { now };
            alarm.wait_until(due).await?;
            let url = format!("{url}{}", self.path(nth));
            let asking = connection.exchange(&url);
            let answer = tokio::time::timeout_at(give_up_at.into(), asking).await;
            tally.answered(due.elapsed(), matches!(answer, Ok(Ok((200, _)))));
        }
    }

    /// The questions in turn, each time its next variant.
    fn path(&self, nth: u64) -> String {
        let count = self.questions.len() as u64;
        let turn = usize::try_from(nth % count).unwrap_or_default();
        self.questions[turn].path(nth / count % self.variants)
    }
}

impl Pending {
    fn next(&mut self) -> Option<(u64, Instant)> {
        let due = self.schedule.next()?;
        self.taken += 1;
        Some((self.taken - 1, due))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const STALL: Duration = Duration::from_millis(400);
    const RATE: f64 = 200.0;
    const VARIANTS: u64 = 100;

    /// Answers everything on its first connection with `status`, the first request after [`STALL`]
    /// only.
    async fn serve(listener: TcpListener, status: u16) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut stall = STALL;
        let mut received = vec![0; 64 << 10];
        while stream.read(&mut received).await.unwrap() > 0 {
            tokio::time::sleep(std::mem::take(&mut stall)).await;
            let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: 2\r\n\r\n{{}}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    async fn load(status: u16, rate: Option<f64>) -> Tally {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, status));
        let load = Load {
            questions: Question::all().collect(),
            variants: VARIANTS,
            connections: 1,
            rate,
            lasts: 2 * STALL,
        };
        load.send(&url).await.unwrap()
    }

    #[tokio::test]
    async fn requests_due_while_the_service_stalls_count_the_time_since_they_were_due() {
        let tally = load(200, Some(RATE)).await;
        assert_eq!((tally.latencies.len(), tally.failed), (160, 0));
        // Half of the time was the stall: a quarter of all waited for half of it or more.
        let half_of_the_stall = u64::try_from(STALL.as_micros()).unwrap() / 2;
        let waited = tally.latencies.count_between(half_of_the_stall, u64::MAX);
        assert!(waited >= 39, "{waited}");
    }

    #[tokio::test]
    async fn another_status_than_200_is_a_failure() {
        let tally = load(503, Some(RATE)).await;
        assert_eq!(tally.failed, tally.latencies.len());
    }

    #[tokio::test]
    async fn the_closed_loop_sends_one_after_the_other_and_ends_in_time() {
        let tally = load(200, None).await;
        assert_eq!(tally.failed, 0);
        // One request met the stall, and the others did not wait for it.
        let half_of_the_stall = u64::try_from(STALL.as_micros()).unwrap() / 2;
        assert!(tally.latencies.max() > half_of_the_stall);
        assert!(tally.latencies.value_at_quantile(0.5) < half_of_the_stall);
    }
}

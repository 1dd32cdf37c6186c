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
        let begin = Instant::now();
        let end = begin + self.lasts;
        // The closed loop takes from a schedule on which all is due at once.
        let rate = self.rate.unwrap_or(f64::MAX);
        let pending = Arc::new(Mutex::new(Pending {
            schedule: Schedule::new(begin, end, rate, 0, 1),
            taken: 0,
        }));
        let times = || anyhow::Ok((engine.cpu_time()?, service.server.cpu_time()?));
        let (engine_before, query_before) = times()?;
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            let (load, url, pending) = (self.clone(), service.url.clone(), pending.clone());
            tasks.spawn(async move { load.run_connection(&url, &pending, end).await });
        }
        let mut tally = Tally::new()?;
        while let Some(ended) = tasks.join_next().await {
            tally.add(&ended.context("send requests")??)?;
        }
        let (engine_after, query_after) = times()?;
        tally.engine_cpu = engine_after.saturating_sub(engine_before);
        tally.query_cpu = query_after.saturating_sub(query_before);
        let seconds = begin.elapsed().as_secs_f64();
        if self.rate.is_some() {
            // Those that were due and never sent have waited since.
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            for due in pending.schedule.by_ref() {
                tally.answered(due.elapsed(), false);
            }
        }
        Ok(Loaded { tally, seconds })
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

    /// The questions in turn, each time another variant.
    fn path(&self, nth: u64) -> String {
        let count = self.questions.len() as u64;
        let turn = usize::try_from(nth % count).unwrap_or_default();
        self.questions[turn].path(nth / count)
    }
}

impl Pending {
    fn next(&mut self) -> Option<(u64, Instant)> {
        let due = self.schedule.next()?;
        self.taken += 1;
        Some((self.taken - 1, due))
    }
}

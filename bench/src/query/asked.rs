//! One connection, one question after the other: how long each answer takes, and what it costs.

use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;

use super::http::Connection;
use super::question::Question;
use super::world::Service;
use crate::process::Server;

const LATENCY_MICROS_MAX: u64 = 120_000_000;
/// Figures are right to a thousandth.
const DIGITS: u8 = 3;
const WARM_UP_REQUESTS_MAX: usize = 10;
/// Variants that warm up are far from those that are measured first.
const WARM_UP_FROM: u64 = 300;

/// What became of some requests.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Microseconds, whatever the answer.
    pub(crate) latencies: Histogram<u64>,
    /// Answers other than 200, and no answer.
    pub(crate) failed: u64,
    pub(crate) engine_cpu: Duration,
    pub(crate) query_cpu: Duration,
}

impl Tally {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, DIGITS);
        Ok(Self {
            latencies: latencies.context("make a histogram")?,
            failed: 0,
            engine_cpu: Duration::ZERO,
            query_cpu: Duration::ZERO,
        })
    }

    pub(crate) fn answered(&mut self, latency: Duration, is_answer: bool) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(micros.max(1));
        self.failed += u64::from(!is_answer);
    }

    /// # Errors
    /// If the histograms do not fit, which they do.
    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.failed += other.failed;
        self.engine_cpu += other.engine_cpu;
        self.query_cpu += other.query_cpu;
        self.latencies
            .add(&other.latencies)
            .context("add a histogram")
    }
}

/// A service under one question at a time.
pub(super) struct Asker<'w> {
    pub(super) service: &'w Service,
    pub(super) engine: &'w Server,
    pub(super) connection: Connection,
}

impl<'w> Asker<'w> {
    pub(super) fn new(service: &'w Service, engine: &'w Server) -> anyhow::Result<Self> {
        Ok(Self {
            service,
            engine,
            connection: Connection::new()?,
        })
    }

    /// Asks other variants before `requests` are measured.
    pub(super) async fn warm_up(&self, question: Question, requests: usize) {
        for variant in 0..requests.min(WARM_UP_REQUESTS_MAX) as u64 {
            let path = question.path(WARM_UP_FROM + variant);
            // What fails here fails again where it is counted.
            let _ = self.connection.exchange(&self.url(&path)).await;
        }
    }

    /// Asks the variants, one after the other.
    ///
    /// # Errors
    /// If the system does not tell what that cost.
    pub(super) async fn ask(
        &self,
        question: Question,
        variants: impl Iterator<Item = usize>,
    ) -> anyhow::Result<Tally> {
        let mut tally = Tally::new()?;
        let times = || anyhow::Ok((self.engine.cpu_time()?, self.service.server.cpu_time()?));
        let (engine_before, query_before) = times()?;
        for variant in variants {
            let url = self.url(&question.path(variant as u64));
            let begin = Instant::now();
            let answer = self.connection.exchange(&url).await;
            tally.answered(begin.elapsed(), matches!(answer, Ok((200, _))));
        }
        let (engine_after, query_after) = times()?;
        tally.engine_cpu = engine_after.saturating_sub(engine_before);
        tally.query_cpu = query_after.saturating_sub(query_before);
        Ok(tally)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.service.url)
    }
}

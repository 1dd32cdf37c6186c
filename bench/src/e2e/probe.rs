//! Time from sending an event to seeing it in `/stats`: single marked events beside the load, one
//! at each tick whatever the servers do, and a client that asks until each is counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::report::Visible;

/// One event a tick. Not a divisor of [`ASK_EVERY`], so that events meet questions at all phases.
pub(super) const SEND_EVERY: Duration = Duration::from_millis(47);
/// Every question takes ClickHouse some milliseconds away from the load. A latency is too long by at
/// most this and the question's own time, and never too short.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(200);
/// As many probes share a site; an answer names each of them.
const PER_SITE: u64 = 100;
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const LATENCY_MILLIS_MAX: u64 = 600_000;
const DIGITS: u8 = 3;

/// The probes of one rate.
pub(super) struct Probes {
    pub(super) ingest: SocketAddr,
    pub(super) query: SocketAddr,
    /// Part of the sites' names, so that no two rates share one.
    pub(super) round: usize,
    pub(super) begin: Instant,
    pub(super) end: Instant,
    /// What is not seen by then is not waited for.
    pub(super) give_up_at: Instant,
}

/// What became of the probes so far.
struct Open {
    /// Due then, and not counted yet.
    waiting: BTreeMap<u64, Instant>,
    all_sent: bool,
    latencies: Histogram<u64>,
    accepted: u64,
    refused: u64,
    /// Counted more often than sent.
    repeated: u64,
}

#[derive(Default)]
struct Asked {
    questions: u64,
    unanswered: u64,
}

#[derive(Deserialize)]
struct Stats {
    top_paths: Vec<PathViews>,
}

#[derive(Deserialize)]
struct PathViews {
    path: String,
    views: u64,
}

impl Probes {
    /// Sends them and waits until each is seen.
    ///
    /// # Errors
    /// If a client cannot be made. What the servers do wrong is counted.
    pub(super) async fn run(&self) -> anyhow::Result<Visible> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MILLIS_MAX, DIGITS);
        let open = Arc::new(Mutex::new(Open {
            waiting: BTreeMap::new(),
            all_sent: false,
            latencies: latencies.context("make a histogram")?,
            accepted: 0,
            refused: 0,
            repeated: 0,
        }));
        let client = client()?;
        let ((), asked) = tokio::join!(self.send(&client, &open), self.ask(&client, &open));
        let open = lock(&open);
        let at = |quantile: f64| open.latencies.value_at_quantile(quantile) as f64;
        Ok(Visible {
            probes: open.accepted,
            refused: open.refused,
            unseen: open.waiting.len() as u64,
            repeated: open.repeated,
            questions: asked.questions,
            unanswered: asked.unanswered,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        })
    }

    /// Asks for the first of them, one question after the other.
    ///
    /// # Errors
    /// If one is not answered.
    pub(super) async fn ask_again(&self, questions: u32) -> anyhow::Result<()> {
        let client = client()?;
        for _ in 0..questions {
            let stats = self.stats(&client, 0).await;
            stats.context("ask /stats for events that it has counted")?;
        }
        Ok(())
    }

    async fn send(&self, client: &reqwest::Client, open: &Arc<Mutex<Open>>) {
        let url = format!("http://{}/event", self.ingest);
        // Bounded: each ends within its timeout.
        let mut posts = JoinSet::new();
        let mut due = self.begin;
        for nth in 0.. {
            if due >= self.end {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            lock(open).waiting.insert(nth, due);
            let body = format!(
                r#"{{"site_id":"{}","event_type":"page_view","path":"/{nth}","user_id":"probe"}}"#,
                self.site(nth)
            );
            let (request, open) = (client.post(&url).body(body), open.clone());
            posts.spawn(async move {
                let accepted = matches!(request.send().await, Ok(answer) if answer.status() == 202);
                let mut open = lock(&open);
                if accepted {
                    open.accepted += 1;
                } else {
                    // It may come yet, but nobody promised.
                    open.refused += 1;
                    open.waiting.remove(&nth);
                }
            });
            due += SEND_EVERY;
        }
        while posts.join_next().await.is_some() {}
        lock(open).all_sent = true;
    }

    async fn ask(&self, client: &reqwest::Client, open: &Mutex<Open>) -> Asked {
        let mut ticks = tokio::time::interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = Asked::default();
        loop {
            ticks.tick().await;
            let sites: Vec<u64> = {
                let open = lock(open);
                if open.all_sent && open.waiting.is_empty() || Instant::now() > self.give_up_at {
                    return asked;
                }
                let mut sites: Vec<u64> = open.waiting.keys().map(|nth| nth / PER_SITE).collect();
                sites.dedup();
                sites
            };
            for site in sites {
                asked.questions += 1;
                match self.stats(client, site * PER_SITE).await {
                    Some(stats) => lock(open).saw(&stats, Instant::now()),
                    None => asked.unanswered += 1,
                }
            }
        }
    }

    async fn stats(&self, client: &reqwest::Client, nth: u64) -> Option<Stats> {
        let url = format!(
            "http://{}/stats?site_id={}&limit={PER_SITE}",
            self.query,
            self.site(nth)
        );
        let answer = client.get(url).send().await.ok()?;
        let body = answer.error_for_status().ok()?.bytes().await.ok()?;
        serde_json::from_slice(&body).ok()
    }

    fn site(&self, nth: u64) -> String {
        format!("probe-{}-{}", self.round, nth / PER_SITE)
    }
}

fn client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .tcp_nodelay(true)
        .timeout(ANSWER_WITHIN)
        .no_proxy()
        .build()
        .context("make an HTTP client")
}

impl Open {
    fn saw(&mut self, stats: &Stats, now: Instant) {
        for seen in &stats.top_paths {
            let nth = seen.path.strip_prefix('/').and_then(|nth| nth.parse().ok());
            let Some(due) = nth.and_then(|nth: u64| self.waiting.remove(&nth)) else {
                continue;
            };
            self.repeated += u64::from(seen.views > 1);
            let millis = u64::try_from((now - due).as_millis()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(millis.max(1));
        }
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_seen_once_and_counts_from_when_it_was_due() {
        let due = Instant::now();
        let mut open = Open {
            waiting: BTreeMap::from([(7, due), (8, due)]),
            all_sent: true,
            latencies: Histogram::new_with_bounds(1, LATENCY_MILLIS_MAX, DIGITS).unwrap(),
            accepted: 2,
            refused: 0,
            repeated: 0,
        };
        let stats = serde_json::from_str(
            r#"{"total_views":2,"top_paths":[{"path":"/7","views":1},{"path":"/else","views":1}]}"#,
        );
        let stats: Stats = stats.unwrap();
        open.saw(&stats, due + Duration::from_millis(750));
        open.saw(&stats, due + Duration::from_millis(900));
        assert_eq!(open.latencies.len(), 1);
        assert_eq!(open.latencies.max(), 750);
        assert_eq!(open.waiting.keys().collect::<Vec<_>>(), [&8]);
    }
}

//! One client that sends an event at fixed times, whatever happened to the one before, and notes
//! how each was answered and how late.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval, timeout};

use super::{Generator, Journal, Sent};

/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How requests were answered.
#[derive(Debug, Default, Clone)]
pub struct Answers {
    /// By status; 0 where there was no answer.
    pub statuses: BTreeMap<u16, usize>,
    /// From the time a request was due to its answer, in ascending order.
    pub latencies: Vec<Duration>,
}

impl Answers {
    /// The latency that this share of the requests did not exceed.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let at = (self.latencies.len() as f64 * share) as usize;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get(at.min(last))
            .copied()
            .unwrap_or_default()
    }
}

/// A client at work.
#[derive(Debug)]
pub struct Steady {
    shared: Arc<Shared>,
    sending: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    generator: Generator,
    url: String,
    client: Client,
    stop: AtomicBool,
    noted: Mutex<(Journal, Answers)>,
}

impl Steady {
    /// Begins to send an event to the ingest at `url` every `period`.
    ///
    /// # Panics
    /// If there can be no HTTP client.
    #[must_use]
    pub fn start(generator: Generator, url: &str, period: Duration) -> Self {
        let shared = Arc::new(Shared {
            generator,
            url: format!("{url}/event"),
            client: Client::builder().no_proxy().build().expect("a client"),
            stop: AtomicBool::new(false),
            noted: Mutex::default(),
        });
        let sending = tokio::spawn(shared.clone().send(period));
        Self { shared, sending }
    }

    /// Sends no more, and waits for the last answer.
    ///
    /// # Panics
    /// If a request panicked.
    pub async fn finish(self) -> (Journal, Answers) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.sending.await.expect("the client does not panic");
        let (journal, mut answers) = self.shared.noted().clone();
        answers.latencies.sort_unstable();
        (journal, answers)
    }
}

impl Shared {
    async fn send(self: Arc<Self>, period: Duration) {
        let mut due = interval(period);
        let mut requests = JoinSet::new();
        while !self.stop.load(Ordering::Relaxed) {
            let due_at = due.tick().await;
            let number = {
                let journal = &mut self.noted().0;
                journal.push(Sent::default());
                journal.len() - 1
            };
            requests.spawn(self.clone().send_one(number, due_at));
            while let Some(ended) = requests.try_join_next() {
                ended.expect("a request does not panic");
            }
        }
        while let Some(ended) = requests.join_next().await {
            ended.expect("a request does not panic");
        }
    }

    async fn send_one(self: Arc<Self>, number: usize, due_at: Instant) {
        let body = self.generator.event(number as u64).json().to_string();
        let request = self.client.post(&self.url).body(body).send();
        let answer = timeout(PATIENCE, request).await;
        let status = answer.ok().and_then(|sent| Some(sent.ok()?.status()));
        let mut noted = self.noted();
        let (journal, answers) = &mut *noted;
        let sent = &mut journal[number];
        sent.tries += 1;
        sent.accepted += u32::from(status == Some(StatusCode::ACCEPTED));
        let code = status.map_or(0, |status| status.as_u16());
        *answers.statuses.entry(code).or_default() += 1;
        answers.latencies.push(due_at.elapsed());
    }

    fn noted(&self) -> MutexGuard<'_, (Journal, Answers)> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

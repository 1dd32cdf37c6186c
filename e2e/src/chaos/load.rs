//! Clients that send events over HTTP until they are accepted, and some of them again later.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{Generator, Random};

const CLIENTS: u64 = 4;
const BATCH_MAX: u64 = 120;
/// Accepted events of which so many in a hundred are sent again later.
const REPEATED_PERCENT: u64 = 10;
/// Repeats wait until so many can be shuffled.
const REPEATS_TOGETHER: usize = 60;
const STREAM: u64 = 2 << 40;

/// What became of an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Requests with it that may have reached ingest.
    pub tries: u32,
    /// Of these, answered with 202.
    pub accepted: u32,
}

/// What became of every event, by its number.
pub type Journal = Vec<Sent>;

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    generator: Generator,
    url: String,
    /// Between two requests of one client.
    pause: Duration,
    stop: AtomicBool,
    parcels: AtomicU64,
    journal: Mutex<Journal>,
    repeats: Mutex<Vec<u64>>,
}

impl Load {
    /// Begins to send to the ingest at `url`.
    #[must_use]
    pub fn start(generator: Generator, url: &str, pause: Duration) -> Self {
        let shared = Arc::new(Shared {
            generator,
            url: url.to_owned(),
            pause,
            stop: AtomicBool::new(false),
            parcels: AtomicU64::new(0),
            journal: Mutex::default(),
            repeats: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(
                shared
                    .clone()
                    .client(Random::new(generator.seed, STREAM + number)),
            );
        }
        Self { shared, clients }
    }

    /// Events taken up so far.
    #[must_use]
    pub fn events(&self) -> usize {
        lock(&self.shared.journal).len()
    }

    /// Makes no more new events, waits until all that were made are accepted and repeated, and
    /// tells what became of each.
    ///
    /// # Panics
    /// If that takes longer than `within`.
    pub async fn finish(mut self, within: Duration) -> Journal {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = tokio::time::timeout(within, async {
            while let Some(ended) = self.clients.join_next().await {
                ended.expect("a client does not panic");
            }
        });
        assert!(
            ended.await.is_ok(),
            "not every event was accepted within {within:?}"
        );
        lock(&self.shared.journal).clone()
    }
}

impl Shared {
    async fn client(self: Arc<Self>, mut random: Random) {
        let client = Client::builder().no_proxy().build().expect("a client");
        while !self.stop.load(Ordering::Relaxed) {
            let fresh = self.take(&mut random);
            self.deliver(&client, &fresh, &mut random).await;
            let has_id = |number: &u64| self.generator.event(*number).event_id.is_some();
            let again = fresh.into_iter().filter(has_id);
            let again = again.filter(|_| random.chance(REPEATED_PERCENT));
            lock(&self.repeats).extend(again.collect::<Vec<_>>());
            if let Some(again) = self.some_repeats(&mut random, REPEATS_TOGETHER) {
                self.deliver(&client, &again, &mut random).await;
            }
            tokio::time::sleep(self.pause).await;
        }
        while let Some(again) = self.some_repeats(&mut random, 1) {
            self.deliver(&client, &again, &mut random).await;
        }
    }

    /// The next events that nobody has sent yet.
    fn take(&self, random: &mut Random) -> Vec<u64> {
        let count = if random.chance(40) {
            1
        } else {
            random.within(2..BATCH_MAX)
        };
        let mut journal = lock(&self.journal);
        let first = journal.len() as u64;
        let fresh: Vec<u64> = (first..first + count).collect();
        journal.resize((first + count) as usize, Sent::default());
        fresh
    }

    /// Some of those that are to be sent again, in any order, once there are `at_least` so many.
    fn some_repeats(&self, random: &mut Random, at_least: usize) -> Option<Vec<u64>> {
        let mut repeats = lock(&self.repeats);
        if repeats.len() < at_least {
            return None;
        }
        random.shuffle(&mut repeats);
        let rest = repeats.len().saturating_sub(BATCH_MAX as usize);
        Some(repeats.split_off(rest))
    }

    /// Sends the same until it is accepted.
    async fn deliver(&self, client: &Client, numbers: &[u64], random: &mut Random) {
        let parcel = self.parcels.fetch_add(1, Ordering::Relaxed);
        let (path, body) = parcel_of(&self.generator, numbers, parcel);
        loop {
            // The impatient ones ask again for what is still on its way.
            let patience = random.millis(300..4000);
            let request = client
                .post(format!("{}{path}", self.url))
                .body(body.clone());
            let outcome = request.timeout(patience).send().await;
            if matches!(&outcome, Err(error) if error.is_connect()) {
                tokio::time::sleep(random.millis(20..200)).await;
                continue;
            }
            self.note(numbers, |sent| sent.tries += 1);
            if let Ok(response) = outcome {
                let status = response.status();
                assert!(
                    status == StatusCode::ACCEPTED || status == StatusCode::SERVICE_UNAVAILABLE,
                    "{status} for a good parcel: {:?}",
                    response.text().await
                );
                if status == StatusCode::ACCEPTED {
                    self.note(numbers, |sent| sent.accepted += 1);
                    return;
                }
            }
            tokio::time::sleep(random.millis(20..200)).await;
        }
    }

    fn note(&self, numbers: &[u64], what: impl Fn(&mut Sent)) {
        let mut journal = lock(&self.journal);
        for &number in numbers {
            what(&mut journal[number as usize]);
        }
    }
}

/// One event, or several in each of the three forms.
fn parcel_of(generator: &Generator, numbers: &[u64], parcel: u64) -> (&'static str, String) {
    let events = numbers.iter().map(|number| generator.event(*number).json());
    let mut events: Vec<Value> = events.collect();
    if let [event] = events.as_slice() {
        return ("/event", event.to_string());
    }
    let body = match parcel % 3 {
        0 => Value::Array(events).to_string(),
        1 => serde_json::json!({ "events": events }).to_string(),
        _ => {
            let lines = events.iter_mut().map(|event| event.to_string());
            lines.collect::<Vec<_>>().join("\n")
        }
    };
    ("/events", body)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

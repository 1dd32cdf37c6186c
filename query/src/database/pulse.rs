//! Whether ClickHouse answers anybody at all, asked by those who wait for it.

use std::time::Duration;

use clickhouse::Client;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// Most answers are there long before.
const ASK_AFTER: Duration = Duration::from_millis(400);
/// A ClickHouse that is merely busy answers this by then; with `ASK_AFTER`, and one who asked just
/// before, well below the two seconds after which a client is told.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Pulse {
    client: Client,
    /// When it was last asked, and whether it answered. Held while asking, so that all who wait
    /// ask once.
    last: Mutex<Option<(Instant, bool)>>,
}

impl Pulse {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            // Any other database than weir's: the server refuses all questions in one that is not there.
            client: client.clone().with_database("system"),
            last: Mutex::new(None),
        }
    }

    /// Ends once ClickHouse was asked and did not answer.
    pub(super) async fn stopped(&self) {
        loop {
            sleep(ASK_AFTER).await;
            if !self.beats().await {
                return;
            }
        }
    }

    async fn beats(&self) -> bool {
        let wanted_at = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((asked_at, answered)) = *last
            && asked_at + ASK_AFTER >= wanted_at
        {
            return answered;
        }
        let asked_at = Instant::now();
        let answer = self.client.query("SELECT 1").fetch_all::<u8>();
        // A refusal is an answer, too.
        let answered = match timeout(ASK_TIMEOUT, answer).await {
            Err(_) | Ok(Err(clickhouse::error::Error::Network(_))) => false,
            Ok(_) => true,
        };
        *last = Some((asked_at, answered));
        answered
    }
}

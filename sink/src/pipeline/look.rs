//! A look now and then at what changes without failing anything: an INSERT does not fail where a view
//! was dropped, it leaves a rollup behind; and a topic that was deleted and made again may be read
//! on at the old offsets.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::warn;

use super::{Pipeline, State};
use crate::membership;
use crate::tables::{self, Unfit};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// An answer that takes longer is not waited for.
const ASK_TIMEOUT: Duration = Duration::from_secs(30);

/// When all of it was last looked at, and the answer that is on its way.
#[derive(Debug, Default)]
pub(super) struct Look {
    at: Option<Instant>,
    asked: Option<oneshot::Receiver<Found>>,
}

/// What could be found out.
#[derive(Debug, Default)]
struct Found {
    unfit: Option<Unfit>,
    /// Which life of the topic it is, and its partitions.
    topic: Option<(u32, BTreeSet<u16>)>,
}

impl Pipeline {
    /// What changed is left to takeovers: they wait until the tables are right, and begin a new
    /// topic at its start.
    pub(super) fn look_around(&mut self) {
        if let Some(asked) = &mut self.look.asked {
            let found = match asked.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                found => found.unwrap_or_default(),
            };
            self.look.asked = None;
            if let Some(unfit) = &found.unfit {
                self.readiness.unavailable("clickhouse", unfit.to_string());
                warn!("nothing more is stored: {unfit}");
                self.restart(self.live());
            }
            if let Some((log, partitions)) = found.topic {
                self.follow_the_topic(log, &partitions);
            }
        }
        let now = Instant::now();
        let is_due = self.look.at.is_none_or(|at| now - at >= LOOK_EVERY);
        if is_due && (!self.live().is_empty() || !self.gone().is_empty()) {
            self.look.at = Some(now);
            self.look.asked = Some(self.ask_around());
        }
    }

    fn follow_the_topic(&mut self, log: u32, partitions: &BTreeSet<u16>) {
        if log != self.log && !self.live().is_empty() {
            warn!(
                "topic {} was deleted and made again: taking its partitions over from the start",
                self.topic
            );
            self.restart(self.live());
        }
        let mut back = self.gone();
        back.retain(|partition| partitions.contains(partition));
        self.restart(back);
    }

    fn gone(&self) -> Vec<u16> {
        let owned = self.owned.iter();
        let gone = owned.filter(|(_, owned)| matches!(owned.state, State::Gone));
        gone.map(|(partition, _)| *partition).collect()
    }

    /// Beside the loop. Whether Kafka and ClickHouse can be reached is found out by those who work
    /// with them.
    fn ask_around(&self) -> oneshot::Receiver<Found> {
        let (send, answer) = oneshot::channel();
        let client = self.takeovers.client.clone();
        let kafka = self.takeovers.kafka.clone();
        let consumer = self.consumer.clone();
        // Ends by itself: each part of it has a time limit.
        self.runtime.spawn(async move {
            let unfit = tokio::time::timeout(ASK_TIMEOUT, tables::check(&client)).await;
            let log = infra::kafka::log_id(&kafka).await;
            let partitions = tokio::task::spawn_blocking(move || {
                membership::partitions(&consumer, &kafka.topic, ASK_TIMEOUT)
            });
            let partitions = partitions.await.ok().and_then(Result::ok);
            let found = Found {
                unfit: unfit.ok().and_then(Result::ok).flatten(),
                topic: log.ok().zip(partitions),
            };
            // The loop may have ended.
            let _ = send.send(found);
        });
        answer
    }
}

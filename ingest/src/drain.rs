//! From the spool to Kafka: in order, at a bounded rate, each segment whole.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use infra::retry::Backoff;
use metrics::counter;
use tokio::time::{Instant, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::publisher::{PublishError, Publisher};
use crate::spool::{Contents, Frame, Segment, Spool};

/// Records under way from the spool at once, beside those of live events. Many, because those of a
/// quiet edge are small; together they are never more than a segment.
const FLUSHES_MAX: usize = 256;
/// A segment that cannot be read in so many attempts, about seven seconds, holds up no others.
const READS_MAX: u32 = 10;
const SHOW_EVERY: Duration = Duration::from_secs(1);
const RETRY: Backoff = Backoff {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(1),
};

/// Drains until `shutdown`; what has not been acknowledged by then stays in the spool.
pub(crate) async fn run(
    spool: Spool,
    publisher: Publisher,
    bytes_per_second: u64,
    shutdown: CancellationToken,
) {
    let drain = Drain {
        spool: spool.clone(),
        publisher,
        pace: Pace::new(bytes_per_second),
    };
    let mut draining = std::pin::pin!(drain.forever());
    let mut shows = interval(SHOW_EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = &mut draining => return,
            _ = shows.tick() => spool.show_age(),
        }
    }
}

struct Drain {
    spool: Spool,
    publisher: Publisher,
    pace: Pace,
}

impl Drain {
    async fn forever(self) {
        loop {
            let segment = self.spool.oldest().await;
            self.publisher.reached().await;
            let contents = self.read(segment).await;
            let with_rest = match &contents {
                Some(contents) => self.send(contents).await,
                None => true,
            };
            let spool = self.spool.clone();
            let done = tokio::task::spawn_blocking(move || spool.done_with(segment, with_rest));
            if done.await.is_err() {
                // The runtime is ending.
                return;
            }
            if self.spool.is_empty() {
                self.publisher.kafka_is_back();
                info!("the spool is empty");
            }
        }
    }

    /// The segment's contents, or `None` if it cannot be read. A fault may pass, as a want of file
    /// descriptors does, and what was promised is not to wait for a person because of it.
    async fn read(&self, segment: Segment) -> Option<Contents> {
        for failures in 1..=READS_MAX {
            let spool = self.spool.clone();
            match tokio::task::spawn_blocking(move || spool.read(segment)).await {
                Ok(Ok(contents)) => return Some(contents),
                Ok(Err(fault)) => error!("read a segment of the spool: {fault}"),
                // The runtime is ending: whoever comes next reads it.
                Err(_) => std::future::pending().await,
            }
            sleep(RETRY.after(failures)).await;
        }
        None
    }

    /// Returns whether something is left that cannot be sent, once all the rest is acknowledged.
    async fn send(&self, contents: &Contents) -> bool {
        let found = contents.frames();
        if found.torn_bytes > 0 {
            info!(
                "the last {} bytes of a segment were torn; nobody was told that they are safe",
                found.torn_bytes
            );
        }
        if found.damaged_bytes > 0 {
            error!(
                "{} bytes of a segment of the spool are damaged",
                found.damaged_bytes
            );
        }
        let refused = self.send_all(&found.frames).await;
        refused > 0 || found.damaged_bytes > 0
    }

    /// Returns how many of `frames` Kafka refused for good.
    async fn send_all(&self, mut frames: &[Frame<'_>]) -> usize {
        let (mut refused, mut failures) = (0, 0);
        while !frames.is_empty() {
            let mut to_send = frames.iter().copied();
            let mut sending: FuturesOrdered<_> = to_send
                .by_ref()
                .take(FLUSHES_MAX)
                .map(|frame| self.send_one(frame))
                .collect();
            let mut done = 0;
            let mut fault = None;
            while let Some(sent) = sending.next().await {
                sending.extend(to_send.next().map(|frame| self.send_one(frame)));
                match sent {
                    Ok(()) => counter!("weir_ingest_spool_drained_total").increment(1),
                    Err(error @ PublishError::Refused(_)) => {
                        error!("a flush from the spool cannot go to Kafka: {error}");
                        refused += 1;
                    }
                    Err(error) => {
                        fault = Some(error);
                        break;
                    }
                }
                done += 1;
            }
            drop(sending);
            frames = &frames[done..];
            if let Some(fault) = fault {
                failures = if done > 0 { 1 } else { failures + 1 };
                if failures == 1 {
                    warn!("the spool waits for Kafka: {fault}");
                }
                sleep(RETRY.after(failures)).await;
                self.publisher.reached().await;
            }
        }
        refused
    }

    async fn send_one(&self, frame: Frame<'_>) -> Result<(), PublishError> {
        self.pace.wait(frame.record.len()).await;
        let sent = self
            .publisher
            .send_again(frame.partition, frame.record)
            .await;
        if sent.is_ok() {
            counter!("weir_ingest_spool_drained_bytes_total").increment(frame.record.len() as u64);
        }
        sent
    }
}

/// Spreads bytes over time.
struct Pace {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Returns when `bytes` may go.
    async fn wait(&self, bytes: usize) {
        let time = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let starts_at = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let starts_at = (*free_at).max(Instant::now());
            *free_at = starts_at + time;
            starts_at
        };
        sleep_until(starts_at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_go_at_the_rate_and_a_pause_gives_no_credit() {
        let pace = Pace::new(1000);
        let begun_at = Instant::now();
        pace.wait(500).await;
        assert_eq!(begun_at.elapsed(), Duration::ZERO);
        pace.wait(500).await;
        assert_eq!(begun_at.elapsed(), Duration::from_millis(500));
        sleep(Duration::from_secs(10)).await;
        pace.wait(500).await;
        pace.wait(1).await;
        assert_eq!(begun_at.elapsed(), Duration::from_millis(11_000));
    }
}

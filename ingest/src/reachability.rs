//! Whether Kafka, or the spool in its place, can take events: asked all the time, told on `/ready`.

use std::time::Duration;

use infra::http::Readiness;
use infra::retry::Backoff;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::publisher::Publisher;

const KAFKA: &str = "kafka";
/// New partitions are seen after this long.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A doubt is followed up at once, but not many times a second.
const DOUBT_PAUSE: Duration = Duration::from_millis(100);

/// What `/ready` says before the first look, which takes seconds where nobody answers.
pub(crate) fn before_asking(publisher: &Publisher) -> Readiness {
    let readiness = Readiness::default();
    if !publisher.can_spool() {
        readiness.unavailable(KAFKA, "Kafka has not been reached yet");
    }
    readiness
}

pub(crate) async fn watch(publisher: Publisher, readiness: Readiness, shutdown: CancellationToken) {
    let backoff = Backoff {
        max: LOOK_EVERY / 10,
        ..Backoff::default()
    };
    let mut failures = 0;
    let mut told = None;
    let mut reached = None;
    loop {
        let asked = publisher.clone();
        let looked = tokio::task::spawn_blocking(move || asked.look_up_partitions());
        let wait = match looked
            .await
            .unwrap_or_else(|panic| Err(panic.to_string().into()))
        {
            Ok(partitions) => {
                failures = 0;
                told = None;
                readiness.available(KAFKA);
                if reached.replace(partitions) != Some(partitions) {
                    info!(
                        kafka.partitions = partitions,
                        "Kafka takes events on {partitions} partitions"
                    );
                }
                LOOK_EVERY
            }
            Err(reason) => {
                failures += 1;
                reached = None;
                let can_spool = publisher.can_spool();
                if can_spool {
                    readiness.available(KAFKA);
                } else {
                    readiness.unavailable(KAFKA, &*reason);
                }
                if told != Some(can_spool) {
                    let means = if can_spool {
                        "events go to the spool"
                    } else {
                        "no events can be taken"
                    };
                    warn!("{means}: {reason}");
                    told = Some(can_spool);
                }
                backoff.after(failures)
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            () = publisher.doubted(), if failures == 0 => tokio::time::sleep(DOUBT_PAUSE).await,
        }
    }
}

//! A look at ClickHouse's tables now and then: an INSERT does not fail where a view was dropped, it
//! leaves a rollup behind.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::warn;

use super::Pipeline;
use crate::tables::{self, Unfit};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// An answer that takes longer is not waited for.
const ASK_TIMEOUT: Duration = Duration::from_secs(30);

/// When the tables were last looked at, and the answer that is on its way.
#[derive(Debug, Default)]
pub(super) struct Look {
    at: Option<Instant>,
    asked: Option<oneshot::Receiver<Option<Unfit>>>,
}

impl Pipeline {
    /// Where nothing may be stored any more, all partitions are taken over again: a takeover waits
    /// until the tables are right.
    pub(super) fn look_at_the_tables(&mut self) {
        if let Some(asked) = &mut self.look.asked {
            let answer = match asked.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                answer => answer.ok().flatten(),
            };
            self.look.asked = None;
            if let Some(unfit) = answer {
                self.readiness.unavailable("clickhouse", unfit.to_string());
                warn!("nothing more is stored: {unfit}");
                self.restart(self.live());
            }
        }
        let now = Instant::now();
        let is_due = self.look.at.is_none_or(|at| now - at >= LOOK_EVERY);
        if is_due && !self.live().is_empty() {
            self.look.at = Some(now);
            self.look.asked = Some(self.ask_for_faults());
        }
    }

    /// Beside the loop. Whether ClickHouse can be reached is found out by INSERTs.
    fn ask_for_faults(&self) -> oneshot::Receiver<Option<Unfit>> {
        let (send, answer) = oneshot::channel();
        let client = self.takeovers.client.clone();
        // Ends by itself: it has a time limit.
        self.runtime.spawn(async move {
            let checked = tokio::time::timeout(ASK_TIMEOUT, tables::check(&client)).await;
            // The loop may have ended.
            let _ = send.send(checked.ok().and_then(Result::ok).flatten());
        });
        answer
    }
}

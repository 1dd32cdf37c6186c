//! Whether every accepted event is stored once: counted, and by `weir audit`.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::rate::Sums;
use super::world::World;
use crate::process;

const AUDIT_WITHIN: Duration = Duration::from_secs(300);

/// What was accepted, and what is stored.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Events that were answered 202, over all rates, warm-ups and probes.
    pub accepted: u64,
    /// Events of requests that were refused or not answered: some of them may be stored.
    pub unpromised: u64,
    /// Rows of `events` in the end.
    pub stored: u64,
    pub audit: Audit,
    pub audit_seconds: f64,
}

/// What `weir audit` says of offsets, rows and rollups.
#[derive(Debug, Serialize, Deserialize)]
pub struct Audit {
    pub sound: bool,
    pub verdict: String,
}

impl Check {
    /// Whether every accepted event is there, and none twice.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let promised = self.accepted..=self.accepted + self.unpromised;
        promised.contains(&self.stored) && self.audit.sound
    }
}

/// # Errors
/// If ClickHouse or the audit does not answer.
pub(super) async fn check(world: &World, sums: &Sums) -> anyhow::Result<Check> {
    let stored = world.stored().await?;
    info!(
        "{stored} events are stored, {} were accepted; auditing",
        sums.accepted
    );
    let begin = Instant::now();
    Ok(Check {
        accepted: sums.accepted,
        unpromised: sums.unpromised,
        stored,
        audit: audit(world).await?,
        audit_seconds: begin.elapsed().as_secs_f64(),
    })
}

async fn audit(world: &World) -> anyhow::Result<Audit> {
    let command = process::command(world.folder(), &["audit", "--json"], &world.settings)?;
    let mut command = tokio::process::Command::from(command);
    let run = command.kill_on_drop(true).output();
    let run = tokio::time::timeout(AUDIT_WITHIN, run)
        .await
        .with_context(|| format!("weir audit did not end within {AUDIT_WITHIN:?}"))?
        .context("run weir audit")?;
    ensure!(
        !run.stdout.is_empty(),
        "weir audit found out nothing: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    serde_json::from_slice(&run.stdout).context("read what weir audit says")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accepted: u64, unpromised: u64, stored: u64, sound: bool) -> bool {
        let verdict = String::new();
        Check {
            accepted,
            unpromised,
            stored,
            audit: Audit { sound, verdict },
            audit_seconds: 0.0,
        }
        .is_whole()
    }

    #[test]
    fn as_many_events_are_stored_as_were_accepted() {
        assert!(check(100, 0, 100, true));
        assert!(!check(100, 0, 99, true));
        assert!(!check(100, 0, 101, true));
        assert!(!check(100, 0, 100, false));
    }

    #[test]
    fn what_was_not_promised_may_be_stored_or_not() {
        assert!(check(100, 5, 100, true));
        assert!(check(100, 5, 105, true));
        assert!(!check(100, 5, 106, true));
        assert!(!check(100, 5, 99, true));
    }
}

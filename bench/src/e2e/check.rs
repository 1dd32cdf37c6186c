//! Whether every accepted event is stored once: counted, and by `weir audit`.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::rate::Sums;
use super::world::World;
use crate::process;

const ENTERED_WITHIN: Duration = Duration::from_secs(60);
const AUDIT_WITHIN: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(20);

/// What was accepted, and what is stored.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Events that were answered 202, over all rates, warm-ups and probes.
    pub accepted: u64,
    /// Events of requests that were refused or not answered: some of them may be stored.
    pub unpromised: u64,
    /// Rows of `events` in the end.
    pub stored: u64,
    /// What `weir audit` says of offsets, rows and rollups.
    pub audit: Audit,
}

#[derive(Debug, Serialize)]
pub struct Audit {
    pub sound: bool,
    pub verdict: String,
    /// Rows that it has held against the log.
    pub rows: u64,
    pub seconds: f64,
}

#[derive(Deserialize)]
struct Told {
    sound: bool,
    verdict: String,
    partitions: Vec<Partition>,
}

#[derive(Deserialize)]
struct Partition {
    rows_found: u64,
}

impl Check {
    /// Whether every accepted event is there, and none twice.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let promised = self.accepted..=self.accepted + self.unpromised;
        promised.contains(&self.stored) && self.audit.sound && self.audit.rows == self.stored
    }
}

/// # Errors
/// If ClickHouse or the audit does not answer.
pub(super) async fn check(world: &World, sums: &Sums) -> anyhow::Result<Check> {
    until_entered(world).await?;
    let stored = world.stored().await?;
    info!(
        "{stored} events are stored, {} were accepted; auditing",
        sums.accepted
    );
    Ok(Check {
        accepted: sums.accepted,
        unpromised: sums.unpromised,
        stored,
        audit: audit(world).await?,
    })
}

/// What the ledger says of the last cut comes after its rows, and the audit follows the ledger.
async fn until_entered(world: &World) -> anyhow::Result<()> {
    let give_up_at = Instant::now() + ENTERED_WITHIN;
    loop {
        let stored = world.stored().await?;
        let entered = world.client.query("SELECT sum(rows) FROM ledger");
        let entered: u64 = entered.fetch_one().await.context("read the ledger")?;
        if entered >= stored {
            return Ok(());
        }
        ensure!(
            Instant::now() < give_up_at,
            "the ledger has {entered} of {stored} events"
        );
        tokio::time::sleep(POLL).await;
    }
}

async fn audit(world: &World) -> anyhow::Result<Audit> {
    let begin = Instant::now();
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
    let told: Told = serde_json::from_slice(&run.stdout).context("read what weir audit says")?;
    Ok(Audit {
        sound: told.sound,
        verdict: told.verdict,
        rows: told.partitions.iter().map(|each| each.rows_found).sum(),
        seconds: begin.elapsed().as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accepted: u64, unpromised: u64, stored: u64) -> Check {
        Check {
            accepted,
            unpromised,
            stored,
            audit: Audit {
                sound: true,
                verdict: String::new(),
                rows: stored,
                seconds: 0.0,
            },
        }
    }

    #[test]
    fn as_many_events_are_stored_as_were_accepted() {
        assert!(check(100, 0, 100).is_whole());
        assert!(!check(100, 0, 99).is_whole());
        assert!(!check(100, 0, 101).is_whole());
    }

    #[test]
    fn the_audit_has_seen_every_row_and_found_nothing() {
        let mut unsound = check(100, 0, 100);
        unsound.audit.sound = false;
        assert!(!unsound.is_whole());
        let mut unseen = check(100, 0, 100);
        unseen.audit.rows = 99;
        assert!(!unseen.is_whole());
    }

    #[test]
    fn what_was_not_promised_may_be_stored_or_not() {
        assert!(check(100, 5, 100).is_whole());
        assert!(check(100, 5, 105).is_whole());
        assert!(!check(100, 5, 106).is_whole());
        assert!(!check(100, 5, 99).is_whole());
    }
}

//! `weir audit`: whether every event counts once, in the rows and in every rollup.
//!
//! It believes nobody: Kafka says how far the group is, the ledger says what became of each range
//! of offsets, the rows say what is stored, and each rollup is compared with the rows key by key.

mod places;
mod rollups;

use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

use crate::tables;

pub use places::PartitionReport;
pub use rollups::RollupReport;
pub(crate) use rollups::differing_days;

/// What moves while the audit looks at it is looked at again.
const LOOKS: usize = 5;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// A report names so many findings and counts the rest.
const FINDINGS_MAX: usize = 1000;

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Do not ask Kafka: whether everything it holds is stored is then not known.
    pub without_kafka: bool,
    /// Compare rollups of these months alone, as 202501; all where None.
    pub from_month: Option<u32>,
    /// The last of them.
    pub to_month: Option<u32>,
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `events`, `ledger` or a rollup's name.
    pub table: &'static str,
    /// Where, as exactly as can be told.
    pub place: String,
    /// What is wrong there.
    pub fault: String,
}

/// What the audit found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether every event counts once.
    pub sound: bool,
    /// Per partition of each life of the topic.
    pub partitions: Vec<PartitionReport>,
    /// Per rollup.
    pub rollups: Vec<RollupReport>,
    /// What is wrong; the first thousand.
    pub findings: Vec<Finding>,
    /// How many findings there are in all.
    pub findings_total: usize,
}

/// Findings as they come.
#[derive(Debug, Default)]
struct Findings {
    kept: Vec<Finding>,
    total: usize,
}

impl Findings {
    fn add(&mut self, table: &'static str, place: String, fault: String) {
        self.total += 1;
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(Finding {
                table,
                place,
                fault,
            });
        }
    }
}

/// Looks at everything. `progress` is told what is being looked at.
///
/// # Errors
/// If Kafka or ClickHouse cannot be asked, or the tables are not there: then nothing is known.
pub async fn audit(
    group: &str,
    kafka: &infra::kafka::Config,
    clickhouse: &infra::clickhouse::Config,
    options: &Options,
    progress: &dyn Fn(&str),
) -> anyhow::Result<Report> {
    let client = infra::clickhouse::client(clickhouse)
        .with_setting("max_bytes_before_external_group_by", "300000000")
        .with_setting("max_bytes_before_external_sort", "300000000")
        .with_setting("max_threads", "2");
    if let Some(sentence) = tables::check(&client).await? {
        bail!(sentence);
    }
    let mut findings = Findings::default();
    let partitions = places::compare(
        &client,
        (!options.without_kafka).then_some((group, kafka)),
        &mut findings,
        progress,
    )
    .await?;
    let rollups = rollups::compare(&client, options, &mut findings, progress).await?;
    Ok(Report {
        sound: findings.total == 0,
        partitions,
        rollups,
        findings: findings.kept,
        findings_total: findings.total,
    })
}

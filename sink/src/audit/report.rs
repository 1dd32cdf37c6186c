//! What an audit found, as it is printed and as `weir audit --json` writes it. Field names are
//! part of that command's contract.

use serde::Serialize;

/// So many findings are kept and told one by one; further ones are counted.
const FINDINGS_MAX: usize = 1000;

/// The whole answer of an audit.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether every event counts once: no finding at all.
    pub sound: bool,
    /// The answer in one sentence.
    pub verdict: String,
    pub topic: String,
    pub group: String,
    pub database: String,
    /// Which life of the topic Kafka has now (`_log`); null where Kafka was not asked.
    pub log: Option<u32>,
    /// One for each life of the topic and partition that Kafka, the ledger or `events` knows.
    pub partitions: Vec<Partition>,
    /// One for each table that is filled from `events`.
    pub rollups: Vec<Rollup>,
    /// What is wrong, place by place.
    pub findings: Vec<Finding>,
    /// So many more were found than `findings` holds.
    pub findings_omitted: u64,
    /// What is no fault and still worth knowing.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether every event counts once.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.sound
    }
}

/// One partition of one life of the topic. Figures are sums over its ledger.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Partition {
    pub log: u32,
    pub partition: u16,
    /// Whether this is the life that Kafka has now.
    pub is_current: bool,
    /// Ranges of the ledger; one that stands there twice counts once.
    pub ranges: u64,
    /// First offset of the ledger.
    pub from_offset: u64,
    /// First offset after the ledger.
    pub to_offset: u64,
    /// Offsets that ranges of the ledger hold.
    pub offsets: u64,
    pub records: u64,
    pub events: u64,
    /// Rows that the ledger says were stored.
    pub rows: u64,
    /// Rows that stand in `events`, within the ledger's ranges.
    pub rows_found: u64,
    pub repeats: u64,
    /// Rows that were taken out again as repeats from beyond the window.
    pub removed: u64,
    pub dead_letters: u64,
    /// First offset that Kafka still has.
    pub kafka_from: Option<u64>,
    /// First offset that Kafka does not have yet.
    pub kafka_to: Option<u64>,
    /// Where the sink's group stands.
    pub committed: Option<u64>,
    pub sound: bool,
}

/// One table that is filled from `events`.
#[derive(Debug, Clone, Serialize)]
pub struct Rollup {
    pub table: &'static str,
    /// Days in UTC, or months, that were compared.
    pub periods: u64,
    /// "day" or "month".
    pub period: &'static str,
    /// Keys that were compared.
    pub keys: u64,
    /// Events as counted in the raw rows.
    pub events: u64,
    /// Keys whose figures differ.
    pub keys_differing: u64,
    pub sound: bool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    #[serde(flatten)]
    pub subject: Subject,
    /// The same in words.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// No range of the ledger holds these offsets.
    Gap,
    /// More than one cut holds these offsets.
    Overlap,
    /// The same cut stands in the ledger with figures that differ.
    Contradiction,
    /// A ledger row's events are not its rows and repeats.
    Unbalanced,
    /// Offsets of the range had no record.
    OffsetsWithoutRecord,
    MissingRows,
    SurplusRows,
    /// As many rows as there should be, but not the same ones.
    OtherRows,
    /// Rows that no range of the ledger holds.
    UnledgeredRows,
    /// Rows of a cut that was begun and is not in the ledger; the sink completes it.
    UnfinishedCut,
    /// Rows that `removed_repeats` names and that still stand in `events`.
    UnfinishedRemoval,
    /// The ledger holds offsets that the log does not have.
    BeyondLog,
    /// A rollup's figures are not those of the raw rows.
    Rollup,
}

/// Where it is wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Subject {
    Offsets(Offsets),
    Key(Box<Key>),
}

/// Offsets `from_offset..to_offset` of one partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Offsets {
    pub table: &'static str,
    pub log: u32,
    pub partition: u16,
    pub from_offset: u64,
    pub to_offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<u64>,
    /// The places at fault, as far as they can be told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Fault>,
}

/// What is wrong with one place of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub offset: u64,
    pub index: u16,
    pub what: Wrong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// No row has it, and one should.
    Missing,
    /// No row has it, and rows after it in the record stand.
    Hole,
    /// More than one row has it.
    Double,
    /// A row has it that the ledger does not know.
    Unknown,
    /// A row has it that was removed as a repeat.
    Removed,
}

/// One key of a rollup.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Key {
    pub table: &'static str,
    pub site_id: String,
    /// Quarter of an hour, day or month, in UTC.
    pub time: String,
    pub event_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether it counts events of bots.
    pub bot: bool,
    pub events_expected: u64,
    pub events_found: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_expected: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_found: Option<u64>,
}

/// Findings, up to a limit.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) kept: Vec<Finding>,
    pub(super) omitted: u64,
}

impl Findings {
    pub(super) fn push(&mut self, finding: Finding) {
        if self.is_full() {
            self.omitted += 1;
        } else {
            self.kept.push(finding);
        }
    }

    /// Whether a further one would only be counted.
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= FINDINGS_MAX
    }

    pub(super) fn count(&self) -> u64 {
        self.kept.len() as u64 + self.omitted
    }
}

//! One partition, from the ledger's first range to its last: is every offset in one range, and does
//! `events` hold the rows that the range says?

use super::log::Position;
use super::narrow::Narrowing;
use super::report::{Fault, Finding, Findings, Kind, Offsets, Partition, Subject, Wrong};
use super::segments::{Before, Flaw, Segment, Stray, Sum, assign, flaws, gap, segments};
use super::tables::{Extent, Patience, Place, Tables, Window};

/// So many places are named in a sentence.
const FAULTS_IN_TEXT: usize = 5;

/// What is known of a partition before its ledger is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Where Kafka and the group stand; None for an earlier life of the topic.
    pub(super) position: Option<Position>,
    /// What it has in each table.
    pub(super) stored: Extent,
    pub(super) ledgered: Extent,
    pub(super) removed: Extent,
    /// Rows of this partition from before there was a ledger.
    pub(super) unlogged: Extent,
}

/// Goes through one partition.
pub(super) struct Walk<'a> {
    pub(super) tables: &'a Tables,
    pub(super) place: Place,
    pub(super) known: &'a Known,
    pub(super) findings: &'a mut Findings,
    pub(super) patience: &'a mut Patience,
}

/// Segments of the ledger that are looked at together, and what there is of them.
struct Chunk {
    segments: Vec<Segment>,
    from: u64,
    to: u64,
}

struct Counted {
    sums: Vec<Sum>,
    removed: Vec<Sum>,
    strays: Vec<Stray>,
}

impl Counted {
    /// Segments whose rows are not those that the ledger promises.
    fn wrong(&self, segments: &[Segment]) -> Vec<usize> {
        let is_wrong = |index: &usize| {
            let expected = segments[*index].expected();
            expected.is_none_or(|sum| sum.minus(self.removed[*index]) != self.sums[*index])
        };
        (0..segments.len()).filter(is_wrong).collect()
    }
}

impl Walk<'_> {
    pub(super) async fn run(mut self) -> anyhow::Result<Partition> {
        let before = self.findings.count();
        let position = self.known.position.as_ref();
        let mut partition = Partition {
            log: self.place.log,
            partition: self.place.partition,
            is_current: position.is_some(),
            kafka_from: position.map(|position| position.from),
            kafka_to: position.map(|position| position.to),
            committed: position.and_then(|position| position.committed),
            ..Default::default()
        };
        let reached = self.ledger(&mut partition).await?;
        self.committed(reached);
        partition.sound = self.findings.count() == before;
        Ok(partition)
    }

    /// Goes through all ranges; returns the end of the last one, None where there is none.
    async fn ledger(&mut self, partition: &mut Partition) -> anyhow::Result<Option<u64>> {
        let mut before = Before::Unknown;
        let mut reached = None;
        let (mut next, mut from) = (0, 0);
        loop {
            let entries = self.tables.entries(self.place, next).await?;
            let is_last = entries.len() < self.tables.ranges_at_once as usize;
            let last_from = entries.iter().map(|entry| entry.from).max().unwrap_or(next);
            let mut segments = segments(entries);
            let mut to = u64::MAX;
            next = last_from.saturating_add(1);
            if !is_last {
                to = segments.last().map_or(to, |segment| segment.to);
                // What follows may overlap the last one: it is looked at with its successors.
                if segments.len() > 1
                    && let Some(last) = segments.pop()
                {
                    (to, next) = (last.from, last.from);
                }
            }
            let chunk = Chunk { segments, from, to };
            for segment in &chunk.segments {
                if reached.is_none() {
                    partition.from_offset = segment.from;
                    before = self.beginning(segment.from);
                }
                for flaw in flaws(segment, before) {
                    self.flaw(&flaw);
                }
                add(partition, segment);
                let end = segment.to.max(reached.unwrap_or(0));
                (reached, before) = (Some(end), Before::Segment(end));
            }
            let strays = self.chunk(&chunk, partition).await?;
            self.strays(strays, reached.unwrap_or(0), is_last).await?;
            if is_last {
                break;
            }
            from = to;
        }
        partition.to_offset = reached.unwrap_or(0);
        Ok(reached)
    }

    /// What lies before the ledger's first range.
    fn beginning(&self, first: u64) -> Before {
        let Some(position) = &self.known.position else {
            return Before::Unknown;
        };
        let unlogged = self.known.unlogged;
        let is_from_before = unlogged.rows > 0 && unlogged.first < first;
        if is_from_before {
            Before::Unknown
        } else {
            Before::Log(position.from)
        }
    }

    /// Compares rows with what the ledger promises; returns those that it does not know.
    async fn chunk(
        &mut self,
        chunk: &Chunk,
        partition: &mut Partition,
    ) -> anyhow::Result<Vec<Stray>> {
        let mut counted = self.count(chunk).await?;
        let mut wrong = counted.wrong(&chunk.segments);
        // Removed repeats leave `events` a moment after they were noted.
        while !wrong.is_empty() && self.patience.wait().await {
            counted = self.count(chunk).await?;
            wrong = counted.wrong(&chunk.segments);
        }
        for (sum, removed) in counted.sums.iter().zip(&counted.removed) {
            partition.rows_found += sum.rows;
            partition.removed += removed.rows;
        }
        for index in wrong {
            let segment = &chunk.segments[index];
            self.wrong(segment, counted.sums[index], counted.removed[index])
                .await?;
        }
        Ok(counted.strays)
    }

    fn window(&self, from: u64, to: u64) -> Window {
        let has_unlogged = self.known.unlogged.rows > 0;
        Window {
            place: self.place,
            unlogged: if has_unlogged { 0 } else { self.place.log },
            from,
            to,
        }
    }

    async fn count(&self, chunk: &Chunk) -> anyhow::Result<Counted> {
        let groups = self
            .tables
            .groups(self.window(chunk.from, chunk.to))
            .await?;
        let (sums, strays) = assign(&chunk.segments, &groups);
        let removed = self.known.removed;
        let has_removed =
            removed.rows > 0 && removed.first < chunk.to && removed.last >= chunk.from;
        let groups = if has_removed {
            let window = self.window(chunk.from, chunk.to);
            self.tables.removed_groups(window).await?
        } else {
            Vec::new()
        };
        let (removed, _) = assign(&chunk.segments, &groups);
        Ok(Counted {
            sums,
            removed,
            strays,
        })
    }

    /// Says what is wrong with a segment's rows, as narrowly as can be told.
    async fn wrong(&mut self, segment: &Segment, found: Sum, removed: Sum) -> anyhow::Result<()> {
        let (from, to) = (segment.from, segment.to);
        let expected = segment.expected().map(|sum| sum.minus(removed));
        let mut faults = Vec::new();
        let mut is_all = false;
        if !self.findings.is_full() {
            let mut narrowing = Narrowing::new(from, to, expected.unwrap_or(found));
            let push = |row: super::tables::PlaceRows| {
                narrowing.push(row.offset, row.index, row.rows, row.is_removed);
            };
            self.tables.places(self.window(from, to), push).await?;
            let repeats = segment.entries.iter().any(|entry| entry.repeats > 0);
            let narrowed = narrowing.finish(repeats || removed.rows > 0);
            (faults, is_all) = (narrowed.faults, narrowed.is_all);
        }
        let Some(expected) = expected else {
            // Ranges that overlap promise nothing: what they may have done is doubles.
            faults.retain(|fault| fault.what == Wrong::Double);
            if !faults.is_empty() {
                let what = "rows stand twice".to_owned();
                let finding = (Kind::SurplusRows, None, Some(found.rows));
                self.rows_finding(finding, from, to, faults, what);
            }
            return Ok(());
        };
        let (kind, what) = judge(expected.rows, found.rows, &faults, is_all);
        let finding = (kind, Some(expected.rows), Some(found.rows));
        self.rows_finding(finding, from, to, faults, what);
        Ok(())
    }

    fn rows_finding(
        &mut self,
        (kind, expected, found): (Kind, Option<u64>, Option<u64>),
        from: u64,
        to: u64,
        places: Vec<Fault>,
        what: String,
    ) {
        let named = name(&places);
        let text = if named.is_empty() {
            what
        } else {
            format!("{what}: {named}")
        };
        self.push(kind, "events", from, to, (expected, found), places, text);
    }

    /// Rows that no range of the ledger holds. Behind its end they may be on their way into it.
    async fn strays(
        &mut self,
        mut strays: Vec<Stray>,
        reached: u64,
        is_last: bool,
    ) -> anyhow::Result<()> {
        let may_come = |stray: &Stray| is_last && stray.last >= reached;
        while strays.iter().any(may_come) && self.patience.wait().await {
            let end = self.tables.ledgered_end(self.place).await?;
            strays.retain(|stray| !may_come(stray) || stray.last >= end);
        }
        for stray in strays {
            let plan = self.known.position.as_ref().and_then(|p| p.plan);
            let is_planned = plan.is_some_and(|plan| (plan.from..plan.to).contains(&stray.first));
            let (kind, what) = if is_planned {
                let what = "of a cut that was begun and not finished: the sink completes it";
                (Kind::UnfinishedCut, what)
            } else {
                (Kind::UnledgeredRows, "without an entry in the ledger")
            };
            let text = format!("{} stand {what}", rows(stray.rows));
            let to = stray.last.saturating_add(1);
            let found = (None, Some(stray.rows));
            self.push(kind, "events", stray.first, to, found, Vec::new(), text);
        }
        Ok(())
    }

    /// Holds where the group stands against where the ledger ends.
    fn committed(&mut self, reached: Option<u64>) {
        let Some(position) = &self.known.position else {
            return;
        };
        let is_from_before = reached.is_none() && self.known.unlogged.rows > 0;
        let reached = reached.unwrap_or(position.from);
        if let Some(committed) = position.committed
            && committed > reached
            && !is_from_before
        {
            let mut flaw = gap(reached, committed);
            flaw.text = format!("gap: the group stands at {committed}, the ledger ends here");
            self.flaw(&flaw);
        }
        // As of before Kafka was asked: the sink may have gone on since.
        let (ledgered, to) = (self.known.ledgered, position.to);
        if ledgered.rows > 0 && ledgered.last > to {
            let last = ledgered.last;
            let text = format!("the ledger holds them, but the log ends at {to}");
            let numbers = (Some(to), Some(last));
            self.push(
                Kind::BeyondLog,
                "ledger",
                to,
                last,
                numbers,
                Vec::new(),
                text,
            );
        }
    }

    fn flaw(&mut self, flaw: &Flaw) {
        let Flaw {
            kind,
            from,
            to,
            expected,
            found,
            text,
        } = flaw.clone();
        self.push(
            kind,
            "ledger",
            from,
            to,
            (expected, found),
            Vec::new(),
            text,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one finding")]
    fn push(
        &mut self,
        kind: Kind,
        table: &'static str,
        from_offset: u64,
        to_offset: u64,
        (expected, found): (Option<u64>, Option<u64>),
        places: Vec<Fault>,
        text: String,
    ) {
        let Place { log, partition } = self.place;
        let life = if self.known.position.is_some() {
            String::new()
        } else {
            format!(" of log {log}")
        };
        self.findings.push(Finding {
            kind,
            subject: Subject::Offsets(Offsets {
                table,
                log,
                partition,
                from_offset,
                to_offset,
                expected,
                found,
                places,
            }),
            text: format!(
                "partition {partition}{life}, offsets {from_offset}..{to_offset}: {text}"
            ),
        });
    }
}

fn add(partition: &mut Partition, segment: &Segment) {
    partition.offsets += segment.to.saturating_sub(segment.from);
    for entry in &segment.entries {
        partition.ranges += 1;
        partition.records = partition.records.saturating_add(entry.records);
        partition.events = partition.events.saturating_add(entry.events);
        partition.rows = partition.rows.saturating_add(entry.rows);
        partition.repeats = partition.repeats.saturating_add(entry.repeats);
        partition.dead_letters = partition.dead_letters.saturating_add(entry.dead_letters);
    }
}

fn judge(expected: u64, found: u64, faults: &[Fault], is_all: bool) -> (Kind, String) {
    let are_removed = !faults.is_empty() && faults.iter().all(|f| f.what == Wrong::Removed);
    if are_removed && is_all {
        let count = found.saturating_sub(expected);
        let verb = if count == 1 { "was" } else { "were" };
        let what = format!(
            "{} {verb} to be removed as a repeat and still stand: run weir seal again",
            rows(count)
        );
        (Kind::UnfinishedRemoval, what)
    } else if found < expected {
        let missing = expected - found;
        let verb = if missing == 1 { "is" } else { "are" };
        let what = format!("{} of {expected} {verb} missing", rows(missing));
        (Kind::MissingRows, what)
    } else if found > expected {
        let what = format!("{} too many, {expected} expected", rows(found - expected));
        (Kind::SurplusRows, what)
    } else {
        let what = format!("{}, but not those that were stored", rows(found));
        (Kind::OtherRows, what)
    }
}

fn rows(count: u64) -> String {
    let rows = if count == 1 { "row" } else { "rows" };
    format!("{count} {rows}")
}

fn name(faults: &[Fault]) -> String {
    let shown = faults.iter().take(FAULTS_IN_TEXT);
    let mut names: Vec<String> = shown
        .map(|fault| {
            let what = match fault.what {
                Wrong::Missing => "is missing",
                Wrong::Hole => "has no row",
                Wrong::Double => "stands more than once",
                Wrong::Unknown => "is not in the ledger",
                Wrong::Removed => "was to be removed",
            };
            format!("offset {} index {} {what}", fault.offset, fault.index)
        })
        .collect();
    if faults.len() > FAULTS_IN_TEXT {
        names.push("...".to_owned());
    }
    names.join(", ")
}

//! The cut under way, step by step: its plan, its INSERT, its end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::{info, warn};
use uuid::Uuid;

use super::{BUSY, Pipeline};
use crate::flight::{Flight, Progress};
use crate::membership::{self, Position};
use crate::mend;
use crate::plan::Range;
use crate::recovery;
use crate::writer::Fenced;

const COMMIT_RETRY: Duration = Duration::from_millis(200);
/// Rollups are seen to within moments, as a rule.
const GATE_RETRY: Duration = Duration::from_millis(100);

/// What was gathered at shutdown is given this long to be stored; Kafka keeps the rest.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

impl Pipeline {
    /// Moves the cut under way a step further.
    pub(super) fn advance(&mut self) {
        self.advance_landed();
        let now = Instant::now();
        let Some(flight) = &mut self.flight else {
            return;
        };
        if !flight.is_ready(now) {
            return;
        }
        if self.config.exactly_once && !flight.is_planned() {
            // All of its partitions are still those it was made from: it is dropped with the first
            // that goes (`restart`).
            let position = |(range, _): (Range, u64)| {
                let plan = flight.plan(range);
                let position = Position::new(range.partition, range.from, plan);
                (range.partition, position)
            };
            let mut positions: BTreeMap<u16, Position> =
                flight.ranges_with_epochs().map(position).collect();
            // One commit a cut: the ends of the one before ride along.
            for (&partition, &end) in &self.landed {
                positions
                    .entry(partition)
                    .or_insert_with(|| Position::new(partition, end, String::new()));
            }
            let positions: Vec<Position> = positions.into_values().collect();
            if let Err(error) = membership::commit(&self.consumer, &self.topic, &positions) {
                metrics::counter!("weir_sink_commit_failures_total").increment(1);
                if self.failing_commits.goes_on(now) {
                    warn!("commit a plan, trying on: {error}");
                }
                // A member of an old generation ends up here until it learns that its partitions
                // are gone; an unreachable broker until it is back.
                if let Some(flight) = &mut self.flight {
                    flight.postpone(now + COMMIT_RETRY);
                }
                return;
            }
            self.failing_commits.is_over();
            self.landed.clear();
            if let Some(flight) = &mut self.flight {
                flight.planned();
            }
        }
        if let Some(flight) = &mut self.flight {
            flight.begin(
                &self.runtime,
                self.writer.clone(),
                self.dead_letters.clone(),
            );
        }
    }

    /// Looks whether the cut under way has landed.
    pub(super) fn advance_landed(&mut self) {
        let Some(flight) = &mut self.flight else {
            return;
        };
        match flight.progress() {
            Progress::UnderWay => {}
            Progress::Fenced(Fenced::Gate) => {
                // Nothing of it landed, so it may be sent again.
                let now = Instant::now();
                flight.postpone(now + GATE_RETRY);
                // A takeover finds out whether who sees to the rollups is alive.
                if flight.waits(now) > mend::LEASE {
                    self.take_over_the_flight_anew();
                }
            }
            Progress::Fenced(Fenced::Owner) => {
                metrics::counter!("weir_sink_cuts_fenced_total").increment(1);
                info!(
                    "a partition was taken over by another sink: finding out where the cut's partitions stand"
                );
                self.take_over_the_flight_anew();
            }
            Progress::Failed(error) => {
                let dependency = recovery::dependency(&error);
                if dependency == "clickhouse" {
                    metrics::counter!("weir_sink_insert_failures_total").increment(1);
                }
                let reason = format!("{error:#}");
                if self.readiness.unavailable(dependency, &reason) {
                    warn!("a cut could not be stored, finding out what landed of it: {reason}");
                }
                self.take_over_the_flight_anew();
            }
            Progress::Landed => {
                if self.readiness.available("clickhouse") {
                    info!("cuts are stored again");
                }
                if self.readiness.available("dead_letters") {
                    info!("dead letters are written again");
                }
                flight.count();
                if self.landed.is_empty() {
                    self.commit_landed_at = Instant::now() + 2 * self.config.cut.age_max;
                }
                for (range, epoch) in flight.ranges_with_epochs() {
                    // Never for a partition that was given up, even if it came back since.
                    if self
                        .owned
                        .get(&range.partition)
                        .is_some_and(|owned| owned.epoch == epoch)
                    {
                        self.landed.insert(range.partition, range.to);
                    }
                }
                if let Some(cut) = self.flight.take().and_then(Flight::into_cut) {
                    self.gather.reuse(cut);
                }
            }
        }
    }

    /// Nobody knows what landed of the cut under way: its partitions are taken over as if another
    /// sink had left them, plan and all.
    fn take_over_the_flight_anew(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.restart(flight.partitions());
        }
    }

    pub(super) fn cut_if_due(&mut self) {
        if self.flight.is_none() && self.gather.is_due(&self.config.cut, Instant::now()) {
            self.cut();
            self.advance();
        }
    }

    pub(super) fn cut(&mut self) {
        let cut = self.gather.cut(Uuid::new_v4(), self.log);
        let epoch = |partition: u16| Some((partition, self.owned.get(&partition)?.epoch));
        let epochs = cut.ranges().filter_map(|range| epoch(range.partition));
        let epochs = epochs.collect();
        self.flight = Some(Flight::new(cut, epochs));
    }

    /// Commits ends that no plan took along.
    pub(super) fn commit_landed_if_due(&mut self) {
        if !self.landed.is_empty()
            && self.flight.is_none()
            && Instant::now() >= self.commit_landed_at
        {
            self.commit_landed();
        }
    }

    pub(super) fn commit_landed(&mut self) {
        let positions: Vec<Position> = self
            .landed
            .iter()
            .map(|(&partition, &end)| Position::new(partition, end, String::new()))
            .collect();
        match membership::commit(&self.consumer, &self.topic, &positions) {
            Ok(()) => {
                self.failing_commits.is_over();
                self.landed.clear();
            }
            Err(error) => {
                // Nothing is lost: the plan still stands, and following it again changes nothing.
                metrics::counter!("weir_sink_commit_failures_total").increment(1);
                let now = Instant::now();
                if self.failing_commits.goes_on(now) {
                    warn!("commit the ends of a cut, trying on: {error}");
                }
                self.commit_landed_at = now + COMMIT_RETRY;
            }
        }
    }

    /// Stores what was gathered, as far as the grace period allows; Kafka keeps the rest.
    pub(super) fn store_the_rest(&mut self) {
        let deadline = Instant::now() + SHUTDOWN_GRACE;
        while Instant::now() < deadline {
            if self.flight.is_none() && !self.gather.is_empty() {
                self.cut();
            }
            self.advance();
            match &mut self.flight {
                None => break,
                Some(flight) if flight.is_under_way() => self.runtime.block_on(flight.wait(BUSY)),
                Some(_) => std::thread::sleep(BUSY),
            }
        }
        if !self.landed.is_empty() {
            self.commit_landed();
        }
    }
}

//! Partitions that come, are taken over, and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{error, info, warn};

use super::{Owned, Pipeline, State};
use crate::flight::Flight;
use crate::membership::Change;
use crate::stage::Stage;
use crate::takeover::{Outcome, Takeover};

/// A partition asked back waits this long for the cut it is part of.
const REVOKE_GRACE: Duration = Duration::from_secs(5);

impl Pipeline {
    /// Does what the group asks for, and only then tells it so.
    pub(super) fn follow_the_group(&mut self) -> anyhow::Result<()> {
        while let Some(change) = self.consumer.context().next_change() {
            match change {
                Change::Assign(list) => {
                    self.consumer
                        .incremental_assign(&list)
                        .context("take partitions that the group assigned")?;
                    // Before the next poll, so nothing of them is delivered yet.
                    self.consumer
                        .pause(&list)
                        .context("pause partitions until they are taken over")?;
                    let partitions = partitions(&list);
                    info!("taking over partitions {partitions:?}");
                    self.begin_takeover(partitions);
                }
                Change::Revoke(list) => {
                    self.give_up(&partitions(&list));
                    self.consumer
                        .incremental_unassign(&list)
                        .context("give up partitions that the group took back")?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn begin_takeover(&mut self, partitions: impl IntoIterator<Item = u16>) {
        let mut epochs = BTreeMap::new();
        for partition in partitions {
            self.epochs += 1;
            epochs.insert(partition, self.epochs);
        }
        if epochs.is_empty() {
            return;
        }
        let abandon = self.abandon.child_token();
        let stage = Stage::default();
        for (&partition, &epoch) in &epochs {
            let owned = Owned {
                epoch,
                abandon: abandon.clone(),
                stage: stage.clone(),
                state: State::TakingOver,
            };
            if let Some(before) = self.owned.insert(partition, owned) {
                self.end_takeover(&before);
            }
        }
        let takeovers = self.takeovers.clone();
        let results = self.taken_over_to.clone();
        // Owned by this loop: it ends with `abandon`, and its result counts only for its epochs.
        self.runtime.spawn(async move {
            let taken = takeovers.take_over(epochs, stage, abandon).await;
            let _ = results.send(taken).await;
        });
    }

    /// Nobody wants to know any more what comes of it: it must not take partitions from those they
    /// went to. Partitions that it was for as well, and that stay, are taken over anew.
    pub(super) fn end_takeover(&mut self, gone: &Owned) {
        let is_under_way = |owned: &Owned| matches!(owned.state, State::TakingOver);
        if !is_under_way(gone) || gone.abandon.is_cancelled() {
            return;
        }
        gone.abandon.cancel();
        let left: Vec<u16> = self
            .owned
            .iter()
            .filter(|(_, owned)| is_under_way(owned) && owned.abandon.is_cancelled())
            .map(|(partition, _)| *partition)
            .collect();
        self.begin_takeover(left);
    }

    /// Forgets what is in memory of partitions, and takes those over again that are still owned. A
    /// cut without its plans goes with any of its partitions, for nothing says yet that it may be
    /// stored; a planned one may go on: the fences decide about it.
    pub(super) fn restart(&mut self, partitions: impl IntoIterator<Item = u16>) {
        let mut partitions: Vec<u16> = partitions.into_iter().collect();
        let is_unplanned =
            |flight: &mut Flight| !flight.is_planned() && flight.concerns(&partitions);
        if let Some(flight) = self.flight.take_if(is_unplanned) {
            let others = flight.partitions().filter(|of| !partitions.contains(of));
            partitions.extend(others.collect::<Vec<_>>());
        }
        for partition in &partitions {
            self.gather.forget(*partition);
            self.landed.remove(partition);
        }
        partitions.retain(|partition| self.owned.contains_key(partition));
        let list = self.list(partitions.iter().copied());
        if let Err(error) = self.consumer.pause(&list) {
            warn!("pause partitions {partitions:?}: {error}");
        }
        self.begin_takeover(partitions);
    }

    /// Finishes what can be finished of partitions the group takes back, and forgets the rest: it
    /// stands in Kafka, and a planned cut will be followed by whoever comes next.
    pub(super) fn give_up(&mut self, partitions: &[u16]) {
        let lost = self.consumer.assignment_lost();
        info!(
            "giving up partitions {partitions:?}{}",
            if lost { ", which were lost" } else { "" }
        );
        let flight = self.flight.as_mut().filter(|_| !lost);
        if let Some(flight) = flight.filter(|flight| flight.concerns(partitions)) {
            self.runtime.block_on(flight.wait(REVOKE_GRACE));
            self.advance_landed();
        }
        if !lost
            && partitions
                .iter()
                .any(|partition| self.landed.contains_key(partition))
        {
            self.commit_landed();
        }
        let gone: Vec<Owned> = partitions
            .iter()
            .filter_map(|partition| self.owned.remove(partition))
            .collect();
        for owned in gone {
            self.end_takeover(&owned);
        }
        self.restart(partitions.iter().copied());
    }

    /// Adopts partitions whose takeover is done, and tells the client where to begin in them.
    pub(super) fn take_over(&mut self) -> anyhow::Result<()> {
        while let Ok(takeovers) = self.taken_over.try_recv() {
            for takeover in takeovers? {
                let Takeover {
                    epoch,
                    partition,
                    outcome,
                } = takeover;
                let Some(owned) = self
                    .owned
                    .get_mut(&partition)
                    .filter(|owned| owned.epoch == epoch)
                else {
                    continue;
                };
                match outcome {
                    Outcome::Ready(start) => {
                        let is_another_log = self.log != 0 && self.log != start.log;
                        self.log = start.log;
                        owned.stage.set("telling the Kafka client where to begin");
                        owned.state = State::Placing(start);
                        if is_another_log {
                            let others = self.live();
                            warn!(
                                "topic {} was made anew: taking over partitions {others:?} too",
                                self.topic
                            );
                            self.restart(others);
                        }
                    }
                    Outcome::Gone => {
                        warn!(
                            kafka.partition = partition,
                            "topic {} has no partition {partition} any more", self.topic
                        );
                        owned.state = State::Gone;
                    }
                    Outcome::Refused(reason) => {
                        error!(kafka.partition = partition, "{reason}");
                        self.readiness.unavailable("plan", reason);
                        owned.state = State::Refused;
                    }
                }
            }
        }
        let placing: Vec<u16> = self
            .owned
            .iter()
            .filter(|(_, owned)| matches!(owned.state, State::Placing(_)))
            .map(|(partition, _)| *partition)
            .collect();
        for partition in placing {
            self.place(partition);
        }
        Ok(())
    }

    pub(super) fn place(&mut self, partition: u16) {
        let Some(owned) = self.owned.get_mut(&partition) else {
            return;
        };
        let State::Placing(start) = &owned.state else {
            return;
        };
        let offset = Offset::Offset(start.offset.cast_signed());
        let sought = self.consumer.seek(
            &self.topic,
            partition.into(),
            offset,
            Duration::from_secs(1),
        );
        if let Err(error) = sought {
            // Until the client has begun to fetch an assigned partition it cannot seek in it. It
            // begins once it knows the committed offset, and has been seen never to learn it.
            if !self.failing_seeks.goes_on(Instant::now()) {
                return;
            }
            warn!(
                kafka.partition = partition,
                "cannot seek in partition {partition} ({error}): assigning it to the Kafka client again"
            );
            if let Err(error) = self.assign_at(partition, offset) {
                warn!(
                    kafka.partition = partition,
                    "assign partition {partition} again, trying on: {error}"
                );
                return;
            }
        }
        let Some(owned) = self.owned.get_mut(&partition) else {
            return;
        };
        self.failing_seeks.is_over();
        let State::Placing(start) = std::mem::replace(&mut owned.state, State::TakingOver) else {
            return;
        };
        if start.moved {
            if self.landed.is_empty() {
                self.commit_landed_at = Instant::now();
            }
            self.landed.insert(partition, start.offset);
        }
        owned.state = State::Live {
            next: start.offset,
            memory: Box::new(start.memory),
            owner: start.owner,
        };
        if !self.paused {
            let list = self.list([partition]);
            if let Err(error) = self.consumer.resume(&list) {
                warn!(
                    kafka.partition = partition,
                    "resume partition {partition}: {error}"
                );
            }
            self.wake([partition]);
        }
    }

    /// Has the client begin at `offset` without asking for a committed one, paused as all partitions
    /// are that it is assigned.
    fn assign_at(&self, partition: u16, offset: Offset) -> rdkafka::error::KafkaResult<()> {
        let list = self.list([partition]);
        self.consumer.incremental_unassign(&list)?;
        let mut begun = TopicPartitionList::new();
        begun.add_partition_offset(&self.topic, partition.into(), offset)?;
        self.consumer.incremental_assign(&begun)?;
        self.consumer.pause(&list)
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<u16> {
    list.elements()
        .iter()
        .filter_map(|element| u16::try_from(element.partition()).ok())
        .collect()
}

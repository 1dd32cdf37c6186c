//! Partitions that come, are taken over, and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
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
                        owned.state = State::Refused(reason);
                    }
                }
            }
        }
        self.begin_placed()?;
        self.report_refused();
        Ok(())
    }

    /// A partition that stands still is not being ready for as long as it is this sink's.
    fn report_refused(&self) {
        let refused = self.owned.values().find_map(|owned| match &owned.state {
            State::Refused(reason) => Some(reason),
            _ => None,
        });
        match refused {
            // Logged when it was refused.
            Some(reason) => {
                self.readiness.unavailable("plan", reason);
            }
            None => {
                if self.readiness.available("plan") {
                    info!("no partition of this sink stands still any more");
                }
            }
        }
        // A sink that owns nothing has no letters to write.
        if self.owned.is_empty() {
            self.readiness.available("dead_letters");
        }
    }

    /// Has the client begin where the takeovers say, in all partitions at once: this thread polls.
    fn begin_placed(&mut self) -> anyhow::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(1);
        let mut list = TopicPartitionList::new();
        for (&partition, owned) in &self.owned {
            if let State::Placing(start) = &owned.state {
                let offset = Offset::Offset(start.offset.cast_signed());
                list.add_partition_offset(&self.topic, partition.into(), offset)
                    .context("name where to begin")?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let sought = self.consumer.seek_partitions(list.clone(), PATIENCE);
        let failures: BTreeMap<u16, KafkaError> = match sought {
            Ok(sought) => sought
                .elements()
                .iter()
                .filter_map(|element| {
                    let partition = u16::try_from(element.partition()).ok()?;
                    Some((partition, element.error().err()?))
                })
                .collect(),
            Err(error) => partitions(&list)
                .into_iter()
                .map(|partition| (partition, error.clone()))
                .collect(),
        };
        let mut begun = Vec::new();
        // Until the client has begun to fetch an assigned partition it cannot seek in it. It begins
        // once it knows the committed offset, and has been seen never to learn it.
        let is_stuck = !failures.is_empty() && self.failing_seeks.goes_on(Instant::now());
        for partition in partitions(&list) {
            match failures.get(&partition) {
                None => begun.push(partition),
                Some(error) if is_stuck => {
                    warn!(
                        kafka.partition = partition,
                        "cannot seek in partition {partition} ({error}): assigning it to the Kafka client again"
                    );
                    match self.assign_again(partition) {
                        Ok(()) => begun.push(partition),
                        Err(error) => warn!(
                            kafka.partition = partition,
                            "assign partition {partition} again, trying on: {error}"
                        ),
                    }
                }
                Some(_) => {}
            }
        }
        if failures.is_empty() || is_stuck {
            self.failing_seeks.is_over();
        }
        self.go_live(&begun);
        Ok(())
    }

    fn go_live(&mut self, partitions: &[u16]) {
        for &partition in partitions {
            let Some(owned) = self.owned.get_mut(&partition) else {
                continue;
            };
            let State::Placing(start) = std::mem::replace(&mut owned.state, State::TakingOver)
            else {
                continue;
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
        }
        if !self.paused && !partitions.is_empty() {
            let list = self.list(partitions.iter().copied());
            if let Err(error) = self.consumer.resume(&list) {
                warn!("resume partitions {partitions:?}: {error}");
            }
            self.wake(partitions.iter().copied());
        }
    }

    /// Has the client begin without asking for a committed offset, paused as all partitions are that
    /// it is assigned.
    fn assign_again(&self, partition: u16) -> rdkafka::error::KafkaResult<()> {
        let Some(State::Placing(start)) = self.owned.get(&partition).map(|owned| &owned.state)
        else {
            return Ok(());
        };
        let offset = Offset::Offset(start.offset.cast_signed());
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

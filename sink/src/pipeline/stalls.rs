//! What ought to move and does not: told, and begun anew where that can help.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{Owned, Pipeline, State};

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A partition that brings nothing for this long is looked into.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// What is tried again and again is worth a word after this.
const TROUBLE_TOLD_AFTER: Duration = Duration::from_secs(5);
/// ... and a cut that is not stored by then.
const SLOW_CUT: Duration = Duration::from_secs(15);
/// ... and a partition that is not taken over by then.
const SLOW_TAKEOVER: Duration = Duration::from_secs(15);

/// A trouble that may pass by itself: worth a word once it lasts.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    since: Option<Instant>,
    told: bool,
}

impl Trouble {
    /// Notes that it goes on; true once in a trouble, when it has lasted.
    pub(super) fn goes_on(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let is_news = !self.told && now - since >= TROUBLE_TOLD_AFTER;
        self.told |= is_news;
        is_news
    }

    pub(super) fn is_over(&mut self) {
        *self = Self::default();
    }
}

/// How far each partition has come, and since when it stands there.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    looked_at: Option<Instant>,
    standing: BTreeMap<u16, Standing>,
    /// The log's end at which a partition was begun anew: what lies before it may be no records at
    /// all, as the marks of transactions are not.
    begun_anew_at: BTreeMap<u16, u64>,
    /// The ends of the logs of silent partitions, once Kafka has said.
    asked: Option<oneshot::Receiver<Vec<(u16, u64)>>>,
    slow_cut_told: bool,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    next: u64,
    since: Instant,
}

impl Stalls {
    /// Those of `partitions`, each with its next offset, that have stood still for too long.
    fn silent(&mut self, partitions: impl Iterator<Item = (u16, u64)>, now: Instant) -> Vec<u16> {
        let mut standing = BTreeMap::new();
        let mut silent = Vec::new();
        for (partition, next) in partitions {
            let before = self.standing.get(&partition).copied();
            let stands = before
                .filter(|before| before.next == next)
                .unwrap_or(Standing { next, since: now });
            if now - stands.since >= SILENCE_MAX {
                silent.push(partition);
            }
            standing.insert(partition, stands);
        }
        self.standing = standing;
        silent
    }

    /// Whether a silent partition is to be begun anew, its log ending at `end`.
    fn is_stalled(&mut self, partition: u16, end: u64, now: Instant) -> bool {
        let silent = self.standing.get_mut(&partition);
        let Some(stands) = silent.filter(|stands| now - stands.since >= SILENCE_MAX) else {
            // It moved while Kafka was asked.
            return false;
        };
        stands.since = now;
        let begun_anew_at = self.begun_anew_at.entry(partition).or_default();
        let is_stalled = end > stands.next && end > *begun_anew_at;
        if is_stalled {
            *begun_anew_at = end;
        }
        is_stalled
    }
}

impl Pipeline {
    /// A partition whose log has more than was brought of it, for long, is taken over anew: the
    /// client lost track of it.
    pub(super) fn look_for_stalls(&mut self) {
        let now = Instant::now();
        let is_due = |at: Instant| now - at >= LOOK_EVERY;
        if !self.stalls.looked_at.is_none_or(is_due) {
            return;
        }
        self.stalls.looked_at = Some(now);
        self.tell_of_slow_takeovers(now);
        let age = self.flight.as_ref().map(|flight| flight.age(now));
        let slow = age.filter(|age| *age > SLOW_CUT);
        if let Some(age) = slow
            && !self.stalls.slow_cut_told
        {
            warn!("a cut was made {age:?} ago and is not stored yet");
        }
        self.stalls.slow_cut_told = slow.is_some();
        // A sink that takes nothing in hears of nothing.
        if self.paused || self.gather.is_full(&self.config.cut) {
            self.stalls.standing.clear();
            return;
        }
        let live = self.owned.iter().filter_map(|(partition, owned)| {
            let Owned {
                state: State::Live { next, .. },
                ..
            } = owned
            else {
                return None;
            };
            Some((*partition, *next))
        });
        let silent = self.stalls.silent(live, now);
        let ends = match &mut self.stalls.asked {
            None if silent.is_empty() => return,
            None => {
                self.stalls.asked = Some(self.ask_for_ends(silent));
                return;
            }
            Some(asked) => match asked.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                answer => {
                    self.stalls.asked = None;
                    // Whether Kafka can be reached is looked after elsewhere.
                    answer.unwrap_or_default()
                }
            },
        };
        for (partition, end) in ends {
            if self.stalls.is_stalled(partition, end, now) {
                metrics::counter!("weir_sink_stalls_total").increment(1);
                warn!(
                    kafka.partition = partition,
                    "nothing came of partition {partition} for {SILENCE_MAX:?}, and Kafka has records up to {end}: taking it over anew"
                );
                self.restart([partition]);
            }
        }
    }

    /// What waits for its takeover is not stored: that is worth a word, and is not being ready.
    fn tell_of_slow_takeovers(&self, now: Instant) {
        let slow = self.owned.iter().find(|(_, owned)| {
            matches!(owned.state, State::TakingOver | State::Placing(_))
                && owned.stage.age(now) > SLOW_TAKEOVER
        });
        let Some((partition, owned)) = slow else {
            if self.readiness.available("takeover") {
                info!("partitions are taken over");
            }
            return;
        };
        let reason = format!(
            "partition {partition} is being taken over for {} s: {}",
            owned.stage.age(now).as_secs(),
            owned.stage
        );
        if self.readiness.unavailable("takeover", &reason) {
            warn!(kafka.partition = partition, "{reason}");
        }
    }

    /// Beside the loop: an answer may wait behind a fetch that waits for records.
    fn ask_for_ends(&self, partitions: Vec<u16>) -> oneshot::Receiver<Vec<(u16, u64)>> {
        let (tell, told) = oneshot::channel();
        let (consumer, topic) = (self.consumer.clone(), self.topic.clone());
        // Ends by itself: each question has a time limit.
        self.runtime.spawn_blocking(move || {
            let end_of = |partition: u16| {
                let (_, end) = consumer
                    .fetch_watermarks(&topic, partition.into(), ASK_TIMEOUT)
                    .ok()?;
                Some((partition, u64::try_from(end).ok()?))
            };
            // The loop may have ended.
            let _ = tell.send(partitions.into_iter().map_while(end_of).collect());
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_stands_still_before_its_end_is_begun_anew_once() {
        let mut stalls = Stalls::default();
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let at = |next: u64| [(3_u16, next)].into_iter();
        assert!(stalls.silent(at(5), begin).is_empty());
        assert!(stalls.silent(at(5), after(9)).is_empty());
        assert_eq!(stalls.silent(at(5), after(10)), [3]);
        assert!(!stalls.is_stalled(3, 5, after(10)), "it is at the end");
        assert!(stalls.silent(at(5), after(12)).is_empty(), "asked already");
        assert_eq!(stalls.silent(at(5), after(20)), [3]);
        assert!(stalls.is_stalled(3, 6, after(20)));
        let nobody = std::iter::empty();
        assert!(stalls.silent(nobody, after(21)).is_empty(), "on its way");
        assert!(stalls.silent(at(5), after(22)).is_empty());
        assert_eq!(stalls.silent(at(5), after(32)), [3]);
        assert!(!stalls.is_stalled(3, 6, after(32)), "that did not help");
        assert_eq!(stalls.silent(at(5), after(42)), [3]);
        assert!(stalls.is_stalled(3, 7, after(42)), "there is more now");
        assert!(stalls.silent(at(7), after(60)).is_empty());
        assert!(!stalls.is_stalled(3, 9, after(61)), "it moved meanwhile");
    }

    #[test]
    fn a_trouble_is_told_once_when_it_lasts() {
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut trouble = Trouble::default();
        assert!(!trouble.goes_on(begin));
        assert!(!trouble.goes_on(after(4)));
        assert!(trouble.goes_on(after(5)));
        assert!(!trouble.goes_on(after(50)));
        trouble.is_over();
        assert!(!trouble.goes_on(after(60)));
        assert!(trouble.goes_on(after(65)));
    }
}

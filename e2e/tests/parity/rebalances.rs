//! Cooperative rebalancing as librdkafka lives it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};

use crate::clients::{KAFKA, client, create_topic, wait_until};

/// What a member was given and what was taken from it, as its callbacks were told.
#[derive(Default)]
struct Shares {
    owned: BTreeSet<i32>,
    revoked: Vec<i32>,
    faults: Vec<String>,
}

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Shares>>);

impl ClientContext for Told {}

impl ConsumerContext for Told {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut shares = self.0.lock().unwrap();
        match rebalance {
            Rebalance::Assign(list) => {
                for element in list.elements() {
                    if !shares.owned.insert(element.partition()) {
                        shares
                            .faults
                            .push(format!("{} given twice", element.partition()));
                    }
                }
            }
            Rebalance::Revoke(list) => {
                for element in list.elements() {
                    if !shares.owned.remove(&element.partition()) {
                        shares
                            .faults
                            .push(format!("{} was not its own", element.partition()));
                    }
                    shares.revoked.push(element.partition());
                }
            }
            Rebalance::Error(error) => shares.faults.push(error.to_string()),
        }
    }
}

/// A member that is polled by a thread of its own until it leaves.
struct Member {
    told: Told,
    leave: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Member {
    fn join(topic: &'static str) -> Self {
        let told = Told::default();
        let leave = Arc::new(AtomicBool::new(false));
        let (context, leaves) = (told.clone(), leave.clone());
        let thread = std::thread::spawn(move || {
            let consumer: BaseConsumer<Told> = client(&KAFKA.bootstrap())
                .set("group.id", topic)
                .set("enable.auto.commit", "false")
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("heartbeat.interval.ms", "100")
                .create_with_context(context)
                .unwrap();
            consumer.subscribe(&[topic]).unwrap();
            while !leaves.load(SeqCst) {
                drop(consumer.poll(Duration::from_millis(20)));
            }
        });
        Self {
            told,
            leave,
            thread,
        }
    }

    fn owned(&self) -> BTreeSet<i32> {
        self.told.0.lock().unwrap().owned.clone()
    }

    fn leave(self) {
        self.leave.store(true, SeqCst);
        self.thread.join().unwrap();
        assert!(self.told.0.lock().unwrap().faults.is_empty());
    }
}

/// Waits until the members share all of the partitions, each with one owner and fairly.
fn settle(members: &[&Member], partitions: i32) {
    wait_until("every partition has one owner", || {
        let shares: Vec<_> = members.iter().map(|member| member.owned()).collect();
        let all: BTreeSet<_> = shares.iter().flatten().copied().collect();
        let total: usize = shares.iter().map(BTreeSet::len).sum();
        let fair = partitions as usize / members.len();
        total == partitions as usize
            && all.len() == total
            && shares.iter().all(|share| share.len() >= fair)
    });
}

#[test]
fn only_what_moves_is_revoked_when_members_come_and_go() {
    let topic = "rebalances";
    create_topic(&KAFKA.bootstrap(), topic, 6);
    let first = Member::join(topic);
    settle(&[&first], 6);
    let second = Member::join(topic);
    settle(&[&first, &second], 6);
    let third = Member::join(topic);
    settle(&[&first, &second, &third], 6);

    // The first gave three, then one; the second one; nothing was taken and given back.
    let revoked = |member: &Member| member.told.0.lock().unwrap().revoked.clone();
    for member in [&first, &second] {
        let owned = member.owned();
        assert!(revoked(member).iter().all(|gone| !owned.contains(gone)));
    }
    let gone = || [&first, &second].map(|member| revoked(member).len());
    assert_eq!((gone(), revoked(&third).len()), ([4, 1], 0));

    let kept = first.owned();
    third.leave();
    settle(&[&first, &second], 6);
    assert!(kept.is_subset(&first.owned()));
    assert_eq!(gone(), [4, 1], "a leave takes nothing from who stays");
    second.leave();
    settle(&[&first], 6);
    first.leave();
}

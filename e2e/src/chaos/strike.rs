//! Strikes a fleet by a schedule, and heals it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::schedule::{Fault, Kind, Target};
use crate::{Fleet, Process, Proxy, Way};

/// An aimed fault waits so long for an INSERT. Nothing comes while everybody is down.
const AIM_WITHIN: Duration = Duration::from_secs(2);
/// A node that comes back has so long to catch up.
const REPLICATED_WITHIN: Duration = Duration::from_secs(120);
const AIM_POLL: Duration = Duration::from_millis(1);

/// How many of each there were.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<(String, &'static str), u32>);

impl Tally {
    /// The process of each kind that was killed, summed up.
    #[must_use]
    pub fn kills(&self) -> u32 {
        let kills = self.0.iter().filter(|((_, kind), _)| *kind == "killed");
        kills.map(|(_, count)| count).sum()
    }

    #[must_use]
    pub fn faults(&self) -> u32 {
        self.0.values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((target, kind), count) in &self.0 {
            writeln!(formatter, "  {target} {kind}: {count}")?;
        }
        Ok(())
    }
}

/// Strikes by the schedule. A fault waits until the one before it at the same target is over; with
/// several Kafka nodes, until none of them is down and all replicas are in sync. Returns once all
/// is healed.
///
/// # Panics
/// If a process ends by itself, or does not become ready again.
pub async fn strike(fleet: &Arc<Fleet>, faults: &[Fault]) -> Tally {
    let mut turns: BTreeMap<Target, Arc<Mutex<()>>> = BTreeMap::new();
    let mut under_way = JoinSet::new();
    let mut tally = Tally::default();
    for &fault in faults {
        tokio::time::sleep(fault.after).await;
        let shared = match fault.target {
            Target::Kafka(_) => Target::Kafka(0),
            alone => alone,
        };
        let turn = turns.entry(shared).or_default().clone();
        let fleet = fleet.clone();
        let (name, kind) = (name(&fleet, fault.target), kind(fault.kind));
        *tally.0.entry((name, kind)).or_default() += 1;
        under_way.spawn(async move {
            let _turn = turn.lock().await;
            hit(&fleet, fault).await;
        });
        while let Some(over) = under_way.try_join_next() {
            over.expect("a fault heals");
        }
    }
    while let Some(over) = under_way.join_next().await {
        over.expect("a fault heals");
    }
    for process in fleet.processes() {
        process.assert_alive();
    }
    tally
}

async fn hit(fleet: &Fleet, fault: Fault) {
    if let Some(delay) = fault.aim {
        let inserts = || inserts(fleet, fault.target);
        let before = inserts();
        within(AIM_WITHIN, || inserts() > before).await;
        tokio::time::sleep(delay).await;
    }
    let process = match fault.target {
        Target::Ingest => &fleet.ingest,
        Target::Engine => &fleet.engine,
        Target::Kafka(node) => &fleet.kafka.nodes[node],
        Target::Sink(number) => &fleet.sinks[number].process,
        Target::Way(number) => return hit_way(&fleet.sinks[number].proxy, fault).await,
    };
    hit_process(process, fault).await;
    // A sink may be struck again before it is ready: that depends on all the others.
    if !matches!(fault.target, Target::Sink(_)) {
        process.ready().await;
    }
    if matches!(fault.target, Target::Kafka(_)) {
        fleet.group().replicated(REPLICATED_WITHIN).await;
    }
}

/// INSERTs that have begun.
fn inserts(fleet: &Fleet, target: Target) -> u64 {
    match target {
        Target::Sink(number) => fleet.sinks[number].proxy.seen().inserts,
        _ => {
            let inserts = fleet.sinks.iter().map(|sink| sink.proxy.seen().inserts);
            inserts.sum()
        }
    }
}

/// Returns when `happened`, or when `patience` is at its end.
async fn within(patience: Duration, happened: impl Fn() -> bool) {
    let give_up_at = Instant::now() + patience;
    while !happened() && Instant::now() < give_up_at {
        tokio::time::sleep(AIM_POLL).await;
    }
}

async fn hit_way(proxy: &Proxy, fault: Fault) {
    let before = proxy.seen().cut;
    proxy.set(match fault.kind {
        Kind::Cut(bytes) => Way::CutAfter(bytes),
        _ => Way::LoseAnswers,
    });
    tokio::time::sleep(fault.hold).await;
    within(AIM_WITHIN, || proxy.seen().cut > before).await;
    proxy.set(Way::Open);
}

async fn hit_process(process: &Process, fault: Fault) {
    if fault.kind == Kind::Kill {
        process.kill();
        tokio::time::sleep(fault.hold).await;
        process.start();
    } else {
        process.stop();
        tokio::time::sleep(fault.hold).await;
        process.go_on();
    }
}

fn name(fleet: &Fleet, target: Target) -> String {
    match target {
        Target::Ingest => fleet.ingest.name().to_owned(),
        Target::Engine => fleet.engine.name().to_owned(),
        Target::Kafka(node) => fleet.kafka.nodes[node].name().to_owned(),
        Target::Sink(number) => fleet.sinks[number].process.name().to_owned(),
        Target::Way(number) => format!("way of {}", fleet.sinks[number].process.name()),
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Kill => "killed",
        Kind::Stop => "stopped",
        Kind::Cut(_) => "cut",
        Kind::LoseAnswers => "answers lost",
    }
}

//! When what fails, and for how long: decided by the seed alone.

use std::time::Duration;

use super::Random;

const STREAM: u64 = 4 << 40;
/// A schedule ends even where it draws few kills.
const FAULTS_A_KILL_MAX: usize = 10;

/// Whom it strikes; numbers are from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Ingest,
    Engine,
    Kafka(usize),
    Sink(usize),
    /// What lies between a sink and ClickHouse.
    Way(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// kill -9, and a new process after a while.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Stop,
    /// Connections are cut in the midst of what is sent.
    Cut(usize),
    /// ... and when the answer comes.
    LoseAnswers,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Since the one before.
    pub after: Duration,
    pub target: Target,
    pub kind: Kind,
    /// Strikes so long after the next INSERT has begun, a sink's own or anybody's; None: at once.
    pub aim: Option<Duration>,
    /// How long it lasts.
    pub hold: Duration,
}

/// A schedule with so many kills, and other faults between them.
#[must_use]
pub fn schedule(seed: u64, kills: usize, sinks: usize, kafka_nodes: usize) -> Vec<Fault> {
    let mut random = Random::new(seed, STREAM);
    let mut faults: Vec<Fault> = Vec::new();
    let mut killed = 0;
    while killed < kills && faults.len() < kills * FAULTS_A_KILL_MAX {
        let sink = random.within(0..sinks as u64) as usize;
        let node = random.within(0..kafka_nodes as u64) as usize;
        let target = match random.within(0..100) {
            0..38 => Target::Sink(sink),
            38..54 => Target::Way(sink),
            54..72 => Target::Engine,
            72..86 => Target::Kafka(node),
            _ => Target::Ingest,
        };
        let kind = match target {
            Target::Way(_) if random.chance(40) => Kind::LoseAnswers,
            // Small numbers too: most requests are.
            Target::Way(_) => {
                let below = 1 << random.within(1..17);
                Kind::Cut(random.within(0..below) as usize)
            }
            _ if random.chance(65) => Kind::Kill,
            _ => Kind::Stop,
        };
        let hold = match (kind, target) {
            (Kind::Kill, _) if random.chance(85) => random.millis(0..600),
            (Kind::Kill, _) => random.millis(600..3000),
            // Now and then beyond the session: the others take over, and it does not know.
            (Kind::Stop, Target::Sink(_)) if random.chance(25) => random.millis(3500..6000),
            (Kind::Stop, _) if random.chance(92) => random.millis(50..1500),
            (Kind::Stop, _) => random.millis(1500..4000),
            (Kind::Cut(_) | Kind::LoseAnswers, _) => random.millis(100..700),
        };
        // Left to luck, most would strike while nothing is in flight.
        let aim = match target {
            Target::Sink(_) | Target::Engine => random.chance(60),
            Target::Kafka(_) => random.chance(40),
            Target::Ingest | Target::Way(_) => false,
        };
        let aim = aim.then(|| random.millis(0..40));
        killed += usize::from(kind == Kind::Kill);
        // Without a calm now and then the group never comes to rest, and it would always be the same
        // few cuts that are struck.
        let after = if random.chance(10) {
            random.millis(3000..6000)
        } else {
            random.millis(200..900)
        };
        faults.push(Fault {
            after,
            target,
            kind,
            aim,
            hold,
        });
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_schedule_and_another_gives_another() {
        assert_eq!(schedule(1, 50, 3, 3), schedule(1, 50, 3, 3));
        assert_ne!(schedule(1, 50, 3, 3), schedule(2, 50, 3, 3));
    }

    #[test]
    fn a_schedule_has_the_kills_asked_for_and_ends_with_one() {
        let faults = schedule(7, 20, 3, 1);
        let kills = faults.iter().filter(|fault| fault.kind == Kind::Kill);
        assert_eq!(kills.count(), 20);
        assert_eq!(faults.last().map(|fault| fault.kind), Some(Kind::Kill));
    }
}

//! What cannot be told afterwards: how far ClickHouse is behind what ingest has accepted, and how
//! much memory all processes hold at one time.

use std::time::{Duration, Instant};

use super::each::Each;
use super::world::World;
use crate::process::Server;

/// Several times a cut, and seldom enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    at: Instant,
    /// Since ingest started.
    accepted: u64,
    /// Accepted and not stored yet. A look is not one instant, so it may be a little below zero.
    backlog: f64,
    rss_bytes: Each<u64>,
}

/// Looks until `end`, then returns what was seen.
///
/// # Errors
/// If a server does not tell.
pub(super) async fn until(world: &World, end: Instant) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    loop {
        let look = Instant::now();
        let accepted = world.accepted().await?;
        let at = Instant::now();
        if at >= end {
            return Ok(samples);
        }
        let stored = world.stored().await?;
        samples.push(Sample {
            at,
            accepted,
            backlog: accepted as f64 - stored as f64,
            rss_bytes: world.servers.try_map(Server::rss_bytes)?,
        });
        tokio::time::sleep_until((look + LOOK_EVERY).into()).await;
    }
}

/// Events a second that ingest accepted within the window, whenever they were due.
pub(super) fn accepted_per_second(samples: &[Sample], begin: Instant, end: Instant) -> Option<f64> {
    let mut within = samples
        .iter()
        .filter(|sample| (begin..end).contains(&sample.at));
    let (first, last) = (within.next()?, within.next_back()?);
    let events = last.accepted.saturating_sub(first.accepted);
    Some(events as f64 / (last.at - first.at).as_secs_f64())
}

/// Events a second by which the backlog grew from the first third of the window to the last. Thirds
/// hold several cuts each, or the saw they cut would be taken for growth.
pub(super) fn growth(samples: &[Sample], begin: Instant, end: Instant) -> f64 {
    let third = (end - begin) / 3;
    let mean = |from: Instant, to: Instant| {
        let within = samples
            .iter()
            .filter(|sample| (from..to).contains(&sample.at));
        let (count, sum) = within.fold((0u32, 0.0), |(count, sum), sample| {
            (count + 1, sum + sample.backlog)
        });
        (count > 0).then(|| sum / f64::from(count))
    };
    match (mean(begin, begin + third), mean(end - third, end)) {
        (Some(first), Some(last)) => (last - first) / (2 * third).as_secs_f64(),
        // Too short to be told.
        _ => 0.0,
    }
}

pub(super) fn backlog_max(samples: &[Sample]) -> u64 {
    let most = samples.iter().map(|sample| sample.backlog);
    most.fold(0.0, f64::max) as u64
}

/// The most that all held at one time, process by process, and the sum of that time.
pub(super) fn most_memory(samples: &[Sample]) -> Each<u64> {
    let most = samples.iter().map(|sample| sample.rss_bytes);
    most.max_by_key(Each::sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(begin: Instant, backlog: impl Fn(f64) -> f64) -> Vec<Sample> {
        let looks = (0..60).map(|nth| nth * LOOK_EVERY);
        looks
            .map(|after| Sample {
                at: begin + after,
                accepted: 7 + after.as_millis() as u64,
                backlog: backlog(after.as_secs_f64()),
                rss_bytes: Each::default(),
            })
            .collect()
    }

    #[test]
    fn a_backlog_that_grows_does_so_by_its_slope() {
        let begin = Instant::now();
        let growing = samples(begin, |seconds| 500.0 + 100.0 * seconds);
        let grown = growth(&growing, begin, begin + 60 * LOOK_EVERY);
        assert!((grown - 100.0).abs() < 1.0, "{grown}");
    }

    #[test]
    fn what_is_accepted_is_told_by_the_windows_own_looks() {
        let begin = Instant::now();
        let looks = samples(begin, |_| 0.0);
        let end = begin + 10 * LOOK_EVERY;
        let accepted = accepted_per_second(&looks, begin + LOOK_EVERY, end);
        // One a millisecond.
        assert_eq!(accepted.map(f64::round), Some(1000.0));
        assert_eq!(accepted_per_second(&looks[..1], begin, end), None);
    }

    #[test]
    fn a_saw_of_cuts_is_no_growth() {
        let begin = Instant::now();
        // Half a second of 1,000 events a second, stored at once.
        let saw = samples(begin, |seconds| seconds % 0.5 * 1000.0);
        let grown = growth(&saw, begin, begin + 60 * LOOK_EVERY);
        assert!(grown.abs() < 20.0, "{grown}");
        assert_eq!(backlog_max(&saw), 400);
    }

    #[test]
    fn memory_is_the_most_of_one_time_and_no_sum_of_several() {
        let begin = Instant::now();
        let mut looks = samples(begin, |_| 0.0);
        looks.truncate(2);
        looks[0].rss_bytes.sink = 300;
        looks[1].rss_bytes.ingest = 200;
        looks[1].rss_bytes.broker = 200;
        assert_eq!(most_memory(&looks).sum(), 400);
        assert_eq!(most_memory(&[]).sum(), 0);
    }
}

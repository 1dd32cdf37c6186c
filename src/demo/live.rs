//! Visitors who come now, until somebody has seen enough.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use infra::config::Secret;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::sites::Site;
use super::traffic::{EVENTS_A_VISIT, Event, Traffic};
use super::{Options, RETRY_FOR};
use crate::sender::Sender;

/// Visits begin, and what is due is sent, this often.
const STEP: Duration = Duration::from_millis(500);

/// Sends about `rate` events a second until `shutdown`. They are as new as they look: sent again,
/// they count again.
///
/// # Errors
/// If ingest cannot be reached for a minute.
#[expect(clippy::print_stdout, reason = "the command's answer")]
pub(super) async fn run(
    options: &Options,
    key: Option<&Secret>,
    sites: &[Site],
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (rate, seed) = (options.rate, options.seed);
    println!("live: about {rate} events a second, until Ctrl-C");
    let shares: f64 = sites.iter().map(|site| site.share).sum();
    let visits_a_step = rate / EVENTS_A_VISIT * STEP.as_secs_f64();
    let traffics: Vec<Traffic<'_>> = sites
        .iter()
        // As many different visitors as some thousand visits a day have.
        .map(|site| Traffic::new(site, seed, 2000.0))
        .collect();
    let mut rng = StdRng::from_rng(&mut rand::rng());
    let (mut waiting, mut visits, mut sent) = (Waiting::default(), 0, 0);
    while !shutdown.is_cancelled() {
        let now = Utc::now();
        for (site, traffic) in sites.iter().zip(&traffics) {
            let wanted = visits_a_step * site.share / shares;
            for _ in 0..whole(wanted, rng.random_range(0.0..1.0)) {
                visits += 1;
                for event in traffic.visit_at(now, visits) {
                    waiting.add(event);
                }
            }
        }
        let due = waiting.due(now);
        let mut sender = Sender::new(&options.url, key, RETRY_FOR, "start the demo again")?;
        for event in &due {
            sender.send(event, sent).await?;
            sent += 1;
        }
        let rejected = sender.finish().await?;
        if let Some((_, reason)) = rejected.shown.first() {
            warn!("ingest refused {} events: {reason}", rejected.count);
        }
        tokio::select! {
            () = sleep(STEP) => {}
            () = shutdown.cancelled() => {}
        }
    }
    println!("{sent} live events");
    Ok(())
}

/// A whole number whose average over all `chance` is `wanted`.
fn whole(wanted: f64, chance: f64) -> u64 {
    (wanted + chance).floor() as u64
}

/// What visitors will do, by its time.
#[derive(Default)]
struct Waiting<'s>(BinaryHeap<Reverse<Due<'s>>>);

struct Due<'s> {
    at: DateTime<Utc>,
    event: Event<'s>,
}

impl<'s> Waiting<'s> {
    fn add(&mut self, event: Event<'s>) {
        let at = event.timestamp.unwrap_or_default();
        self.0.push(Reverse(Due { at, event }));
    }

    /// Takes out what is due, as it happens: without a time of its own.
    fn due(&mut self, now: DateTime<Utc>) -> Vec<Event<'s>> {
        let mut due = Vec::new();
        while let Some(Reverse(first)) = self.0.peek()
            && first.at - now <= TimeDelta::zero()
            && let Some(Reverse(Due { mut event, .. })) = self.0.pop()
        {
            event.timestamp = None;
            due.push(event);
        }
        due
    }
}

impl Ord for Due<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Due<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due<'_> {}

#[cfg(test)]
mod tests {
    use super::super::sites;
    use super::*;

    #[test]
    fn what_waits_comes_out_when_it_is_due_and_in_order() {
        let site = sites::one("s");
        let traffic = Traffic::new(&site, 1, 100.0);
        let now = Utc::now();
        let mut waiting = Waiting::default();
        let mut all = 0;
        for visit in 0..50 {
            for event in traffic.visit_at(now, visit) {
                waiting.add(event);
                all += 1;
            }
        }
        let first = waiting.due(now);
        assert_eq!(first.len(), 50, "each visit begins now");
        assert!(first.iter().all(|event| event.timestamp.is_none()));
        assert!(waiting.due(now).is_empty());
        let rest = waiting.due(now + TimeDelta::days(1));
        assert_eq!(first.len() + rest.len(), all);
    }

    #[test]
    fn parts_of_a_visit_add_up() {
        let steps = 1000;
        let visits: u64 = (0..steps)
            .map(|step| whole(0.3, f64::from(step) / f64::from(steps)))
            .sum();
        assert_eq!(visits, 300);
    }
}

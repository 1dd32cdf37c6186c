//! One rate: the load, the probes beside it, and what all of it cost until everything was stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tracing::info;

use super::Plan;
use super::probe::{Probes, SEND_EVERY};
use super::report::{Idle, Rate, Visible};
use super::search::Outcome;
use super::watch;
use super::world::World;
use crate::ingest::bodies::Requests;
use crate::ingest::load::{Load, Pace, Tally};
use crate::process::{self, Server};

const WARM_UP: Duration = Duration::from_secs(2);
/// After the load, all that was accepted is stored within this, or the run fails.
const STORED_WITHIN: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);

/// A rate holds if so much of what was offered is accepted by the end of its time, ...
pub(super) const ACCEPTED_MIN: f64 = 0.97;
/// ... and the backlog grows by no more than this share of it.
pub(super) const GROWTH_MAX: f64 = 0.05;
/// Beyond these it is not worth a second try.
const NEARLY_ACCEPTED_MIN: f64 = 0.9;
const NEARLY_GROWTH_MAX: f64 = 0.2;

/// What was accepted over all rates, and what became of the rest.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) rounds: usize,
    pub(super) accepted: u64,
    /// Events of requests that were refused or not answered: they may have come, nobody promised.
    pub(super) unpromised: u64,
}

/// Offers `rate` events a second for `lasts` and waits until all of it is stored.
///
/// # Errors
/// If a server ends, does not tell what it cost, or accepted events are not stored in time.
pub(super) async fn measure(
    plan: &Plan,
    world: &mut World,
    requests: &Arc<Requests>,
    rate: f64,
    lasts: Duration,
    sums: &mut Sums,
) -> anyhow::Result<Rate> {
    let load = Load {
        requests: requests.clone(),
        connections: plan.connections,
        threads: plan.load_threads,
        pace: Pace::Open {
            rate: rate / requests.events_per_request as f64,
        },
        warm_up: WARM_UP,
        measured: lasts,
    };
    sums.rounds += 1;
    let cpu_before = world.servers.try_map(Server::cpu_time)?;
    let running = load.start(world.ingest);
    let window = running.window;
    let sending = async {
        let (begin, load_before) = (Instant::now(), process::own_cpu_time()?);
        let tally = running.finish().await?;
        let load_cpu = process::own_cpu_time()?.saturating_sub(load_before);
        anyhow::Ok((tally, begin.elapsed(), load_cpu))
    };
    let probes = probes(world, sums.rounds, window.begin, window.end);
    let ((tally, sent_for, load_cpu), visible, samples) =
        tokio::try_join!(sending, probes.run(), watch::until(world, window.end))?;
    sums.add(&tally, &visible, requests);
    settle(world, sums.accepted).await?;
    let cpu_after = world.servers.try_map(Server::cpu_time)?;

    let accepted = watch::accepted_per_second(&samples, window.begin, window.end)
        .context("the window is too short to look twice")?;
    let accepted = accepted - 1.0 / SEND_EVERY.as_secs_f64();
    let events = tally.accepted_events + visible.probes;
    let cpu = cpu_after.with(&cpu_before, |after, before| after.saturating_sub(*before));
    let rss_bytes = watch::most_memory(&samples);
    let [answer_p50_ms, answer_p99_ms] =
        [0.5, 0.99].map(|quantile| tally.latencies.value_at_quantile(quantile) as f64 / 1e3);
    let measured = Rate {
        offered_events_per_second: rate,
        seconds: lasts.as_secs_f64(),
        accepted_events_per_second: accepted,
        accepted_share: accepted / rate,
        backlog_growth_share: watch::growth(&samples, window.begin, window.end) / rate,
        backlog_events_max: watch::backlog_max(&samples),
        held: false,
        answer_p50_ms,
        answer_p99_ms,
        refused: tally.refused.values().sum(),
        failed: tally.failed,
        visible,
        cpu_seconds_per_million: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / events.max(1) as f64),
        load_cpus: load_cpu.as_secs_f64() / sent_for.as_secs_f64(),
        rss_bytes_all: rss_bytes.sum(),
        rss_bytes,
    };
    let measured = Rate {
        held: measured.outcome() == Outcome::Held,
        ..measured
    };
    info!(
        "{rate:.0} events/s offered: {:.0} accepted, backlog {:+.1} % of it, visible after {:.0} ms (p99 {:.0} ms): {}",
        measured.accepted_events_per_second,
        measured.backlog_growth_share * 100.0,
        measured.visible.p50_ms,
        measured.visible.p99_ms,
        if measured.held { "held" } else { "not held" }
    );
    Ok(measured)
}

/// The probes alone: what being looked at costs, and how fast an idle weir is.
///
/// # Errors
/// As [`measure`].
pub(super) async fn idle(
    world: &mut World,
    lasts: Duration,
    sums: &mut Sums,
) -> anyhow::Result<Idle> {
    let begin = Instant::now();
    let cpu_before = world.servers.try_map(Server::cpu_time)?;
    let visible = probes(world, sums.rounds, begin, begin + lasts)
        .run()
        .await?;
    let cpu_after = world.servers.try_map(Server::cpu_time)?;
    let seconds = begin.elapsed().as_secs_f64();
    sums.accepted += visible.probes;
    sums.unpromised += visible.refused;
    settle(world, sums.accepted).await?;
    Ok(Idle {
        visible,
        cpus: cpu_after.with(&cpu_before, |after, before| {
            after.saturating_sub(*before).as_secs_f64() / seconds
        }),
        rss_bytes: world.servers.try_map(Server::rss_bytes)?,
    })
}

fn probes(world: &World, round: usize, begin: Instant, end: Instant) -> Probes {
    Probes {
        ingest: world.ingest,
        query: world.query,
        round,
        begin,
        end,
        give_up_at: end + STORED_WITHIN,
    }
}

/// Waits until as many events are stored as were accepted so far.
async fn settle(world: &mut World, accepted: u64) -> anyhow::Result<()> {
    let give_up_at = Instant::now() + STORED_WITHIN;
    loop {
        let stored = world.stored().await?;
        if stored >= accepted {
            return Ok(());
        }
        world.check_alive()?;
        if Instant::now() > give_up_at {
            bail!(
                "{stored} of {accepted} accepted events are stored {STORED_WITHIN:?} after the load:\n{}",
                world.servers.sink.log_tail()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

impl Sums {
    fn add(&mut self, tally: &Tally, visible: &Visible, requests: &Requests) {
        let refused: u64 = tally.refused.values().sum();
        self.accepted += tally.accepted_events + visible.probes;
        self.unpromised +=
            (refused + tally.failed) * requests.events_per_request as u64 + visible.refused;
    }
}

impl Rate {
    pub(super) fn outcome(&self) -> Outcome {
        let (accepted, growth) = (self.accepted_share, self.backlog_growth_share);
        if self.visible.unseen > 0 {
            Outcome::Missed
        } else if accepted >= ACCEPTED_MIN && growth <= GROWTH_MAX {
            Outcome::Held
        } else if accepted >= NEARLY_ACCEPTED_MIN && growth <= NEARLY_GROWTH_MAX {
            Outcome::Nearly
        } else {
            Outcome::Missed
        }
    }
}

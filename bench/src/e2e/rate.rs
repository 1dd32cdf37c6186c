//! One rate: the load, the probes beside it, and what all of it cost until everything was stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use tracing::info;

use super::Plan;
use super::each::Each;
use super::probe::{Probes, SEND_EVERY};
use super::report::{Idle, Rate, Visible};
use super::search::Outcome;
use super::watch;
use super::world::World;
use crate::ingest::bodies::Requests;
use crate::ingest::load::{Load, Pace, Tally};
use crate::process::{self, Server};

const IDLE: Duration = Duration::from_secs(4);
/// So many are enough to tell what one costs, where the system counts in hundredths of a second.
const QUESTIONS: u32 = 50;
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
    pub(super) accepted: u64,
    /// Events of requests that were refused or not answered: they may have come, nobody promised.
    pub(super) unpromised: u64,
}

/// What the rates of a run share.
pub(super) struct Run<'p> {
    plan: &'p Plan,
    pub(super) world: World,
    pub(super) requests: Arc<Requests>,
    pub(super) sums: Sums,
    pub(super) rss_bytes_all_max: u64,
    /// Loads and idle times so far.
    rounds: usize,
    /// Processor time of one question of the probes, which no user would have asked.
    question_cpu: Each<f64>,
}

/// Processor time of every process up to an instant, in seconds.
struct Cost {
    cpu: Each<f64>,
    load: f64,
    machine: f64,
    began: Instant,
}

impl<'p> Run<'p> {
    pub(super) fn new(plan: &'p Plan, world: World) -> Self {
        let requests = Requests::prepare_varied(plan.events_per_request, plan.client_ids);
        Self {
            plan,
            world,
            requests: Arc::new(requests),
            sums: Sums::default(),
            rss_bytes_all_max: 0,
            rounds: 0,
            question_cpu: Each::default(),
        }
    }

    /// The probes alone, and then their questions alone: what being looked at costs, and how soon
    /// events count in an idle weir.
    ///
    /// # Errors
    /// If a server ends, does not tell what it cost, or accepted events are not stored in time.
    pub(super) async fn idle(&mut self) -> anyhow::Result<Idle> {
        // The first questions are slow, and nobody's measure.
        let first = self.probes(Instant::now(), IDLE / 4).run().await?;
        self.sums.add_probes(&first);
        let cost = self.cost()?;
        let probes = self.probes(cost.began, IDLE);
        let visible = probes.run().await?;
        self.sums.add_probes(&visible);
        let seconds = cost.began.elapsed().as_secs_f64();
        let spent = self.cost_since(&cost)?;
        self.settle().await?;
        let asking = self.cost()?;
        probes.ask_again(QUESTIONS).await?;
        let asked = self.cost_since(&asking)?.cpu;
        self.question_cpu = asked.map(|cpu| cpu / f64::from(QUESTIONS));
        Ok(Idle {
            visible,
            cpus: spent.cpu.map(|cpu| cpu / seconds),
            question_cpu_ms: self.question_cpu.map(|cpu| cpu * 1e3),
            rss_bytes: self.world.servers.try_map(Server::rss_bytes)?,
        })
    }

    /// Offers `rate` events a second for `lasts` and waits until all of it is stored.
    ///
    /// # Errors
    /// If a server ends, does not tell what it cost, or accepted events are not stored in time.
    pub(super) async fn measure(&mut self, rate: f64, lasts: Duration) -> anyhow::Result<Rate> {
        let measured = match self.offer(rate, lasts).await {
            Ok(measured) => measured,
            Err(error) => {
                // A server that has ended says more than whoever missed it.
                self.world.check_alive()?;
                return Err(error.context(format!("measure {rate:.0} events a second")));
            }
        };
        info!(
            "{rate:.0} events/s offered: {:.0} accepted, backlog {:+.1} % of it, visible after {:.0} ms (p99 {:.0} ms): {}",
            measured.accepted_events_per_second,
            measured.backlog_growth_share * 100.0,
            measured.visible.p50_ms,
            measured.visible.p99_ms,
            if measured.held { "held" } else { "not held" }
        );
        self.rss_bytes_all_max = self.rss_bytes_all_max.max(measured.rss_bytes_all);
        Ok(measured)
    }

    async fn offer(&mut self, rate: f64, lasts: Duration) -> anyhow::Result<Rate> {
        let each = self.requests.events_per_request as f64;
        let load = Load {
            requests: self.requests.clone(),
            connections: self.plan.connections,
            threads: self.plan.load_threads,
            pace: Pace::Open { rate: rate / each },
            warm_up: WARM_UP,
            measured: lasts,
        };
        let cost = self.cost()?;
        let running = load.start(self.world.ingest);
        let window = running.window;
        let probes = self.probes(window.begin, lasts);
        let (tally, visible, samples) = tokio::try_join!(
            running.finish(),
            probes.run(),
            watch::until(&self.world, window.end)
        )?;
        self.sums.add(&tally, &visible, &self.requests);
        self.settle().await?;

        let events = (tally.accepted_events + visible.probes).max(1) as f64;
        let asked = visible.questions as f64;
        let spent = self.cost_since(&cost)?;
        let seconds = cost.began.elapsed().as_secs_f64();
        let cpu = spent.cpu.with(&self.question_cpu, |cpu, question| {
            (cpu - asked * question).max(0.0)
        });
        let accepted = match watch::accepted_per_second(&samples, window.begin, window.end) {
            Some(all) => all - 1.0 / SEND_EVERY.as_secs_f64(),
            // On a machine too busy to look twice: what was due then, whenever it was accepted.
            None => tally.measured_events as f64 / lasts.as_secs_f64(),
        };
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
            cpu_seconds_per_million: cpu.map(|cpu| cpu * 1e6 / events),
            load_cpus: spent.load / seconds,
            other_cpus: (spent.machine - spent.cpu.sum() - spent.load).max(0.0) / seconds,
            rss_bytes_all: rss_bytes.sum(),
            rss_bytes,
        };
        Ok(Rate {
            held: measured.outcome() == Outcome::Held,
            ..measured
        })
    }

    fn probes(&mut self, begin: Instant, lasts: Duration) -> Probes {
        self.rounds += 1;
        Probes {
            ingest: self.world.ingest,
            query: self.world.query,
            round: self.rounds,
            begin,
            end: begin + lasts,
            give_up_at: begin + lasts + STORED_WITHIN,
        }
    }

    fn cost(&self) -> anyhow::Result<Cost> {
        let times = self.world.servers.try_map(Server::cpu_time)?;
        Ok(Cost {
            cpu: times.map(Duration::as_secs_f64),
            load: process::own_cpu_time()?.as_secs_f64(),
            machine: process::machine_cpu_time()?.as_secs_f64(),
            began: Instant::now(),
        })
    }

    fn cost_since(&self, before: &Cost) -> anyhow::Result<Cost> {
        let now = self.cost()?;
        Ok(Cost {
            cpu: now.cpu.with(&before.cpu, |after, before| after - before),
            load: now.load - before.load,
            machine: now.machine - before.machine,
            began: before.began,
        })
    }

    /// Waits until as many events are stored as were accepted so far.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let give_up_at = Instant::now() + STORED_WITHIN;
        let accepted = self.sums.accepted;
        loop {
            let stored = self.world.stored().await?;
            if stored >= accepted {
                return Ok(());
            }
            self.world.check_alive()?;
            if Instant::now() > give_up_at {
                bail!(
                    "{stored} of {accepted} accepted events are stored {STORED_WITHIN:?} after the load:\n{}",
                    self.world.servers.sink.log_tail()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Sums {
    fn add(&mut self, tally: &Tally, visible: &Visible, requests: &Requests) {
        let refused: u64 = tally.refused.values().sum();
        self.accepted += tally.accepted_events;
        self.unpromised += (refused + tally.failed) * requests.events_per_request as u64;
        self.add_probes(visible);
    }

    fn add_probes(&mut self, visible: &Visible) {
        self.accepted += visible.probes;
        self.unpromised += visible.refused;
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

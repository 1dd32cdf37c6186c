//! Both designs under the same load, in turns: how many events they accept, and what of the
//! machine that takes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use super::report::{Accepted, Accepting, Sides};
use crate::ingest::bodies::{Requests, Shape};
use crate::ingest::load::{Load, Pace, Tally};
use crate::ingest::report::Spread;
use crate::process::{Server, cpu_tick};

const ROUNDS: usize = 2;
const WARM_UP: Duration = Duration::from_millis(500);
/// Before the first round of a kind, at most: V8 compiles what it sees often.
const FIRST_WARM_UP_MAX: Duration = Duration::from_secs(2);

/// A kind of load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) connections: usize,
    pub(super) events_per_request: usize,
}

/// Who takes events: the process that clients talk to, and the one that keeps them for it.
pub(super) struct Door<'w> {
    pub(super) address: SocketAddr,
    pub(super) server: &'w Server,
    pub(super) keeper: &'w Server,
}

struct Round {
    tally: Tally,
    server_cpu: Duration,
    keeper_cpu: Duration,
}

pub(super) async fn measure(
    kind: Kind,
    measured: Duration,
    load_threads: usize,
    doors: &Sides<Door<'_>>,
) -> anyhow::Result<Accepting> {
    // Without referrer and props, which the Node design has no columns for.
    let requests = Arc::new(Requests::prepare(
        kind.events_per_request,
        false,
        Shape::Small,
    ));
    let load = Load {
        requests: requests.clone(),
        connections: kind.connections,
        threads: load_threads,
        pace: Pace::Closed,
        warm_up: WARM_UP,
        measured,
    };
    let first = Load {
        warm_up: measured.min(FIRST_WARM_UP_MAX),
        measured: Duration::ZERO,
        ..load.clone()
    };
    let warmed_up = Sides {
        baseline: first.start(doors.baseline.address).finish().await?,
        weir: first.start(doors.weir.address).finish().await?,
    };
    let mut rounds = Sides {
        baseline: Vec::new(),
        weir: Vec::new(),
    };
    for turn in 0..2 * ROUNDS {
        let is_weir = matches!(turn % 4, 1 | 2);
        let (name, door, rounds) = if is_weir {
            ("weir", &doors.weir, &mut rounds.weir)
        } else {
            ("the Node design", &doors.baseline, &mut rounds.baseline)
        };
        let round = measure_round(&load, door).await?;
        info!(
            "{name}: {:.0} events/s, {} a request",
            round.tally.measured_events as f64 / measured.as_secs_f64(),
            kind.events_per_request
        );
        rounds.push(round);
    }
    Ok(Accepting::new(
        kind.connections,
        kind.events_per_request,
        requests.event_bytes(),
        ROUNDS,
        Sides {
            baseline: accepted(&warmed_up.baseline, &rounds.baseline, measured)?,
            weir: accepted(&warmed_up.weir, &rounds.weir, measured)?,
        },
    ))
}

async fn measure_round(load: &Load, door: &Door<'_>) -> anyhow::Result<Round> {
    let running = load.start(door.address);
    let times = || {
        let (server, keeper) = (door.server.cpu_time()?, door.keeper.cpu_time()?);
        anyhow::Ok((Instant::now(), server, keeper))
    };
    tokio::time::sleep_until(running.window.begin.into()).await;
    let (begin, server_before, keeper_before) = times()?;
    tokio::time::sleep_until(running.window.end.into()).await;
    let (end, server_after, keeper_after) = times()?;
    // On a busy machine either look may come late.
    let looked = (end - begin).max(cpu_tick());
    let share = load.measured.as_secs_f64() / looked.as_secs_f64();
    Ok(Round {
        tally: running.finish().await?,
        server_cpu: server_after.saturating_sub(server_before).mul_f64(share),
        keeper_cpu: keeper_after.saturating_sub(keeper_before).mul_f64(share),
    })
}

fn accepted(warmed_up: &Tally, rounds: &[Round], measured: Duration) -> anyhow::Result<Accepted> {
    let seconds = measured.as_secs_f64();
    let spread = |of: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(of).collect());
    // The system counts in ticks; a server that used none cannot be told from one.
    let per_cpu = |events: u64, cpu: Duration| events as f64 / cpu.max(cpu_tick()).as_secs_f64();
    let mut all = Tally::new()?;
    all.add(warmed_up)?;
    for round in rounds {
        all.add(&round.tally)?;
    }
    Ok(Accepted {
        requests_per_second: spread(&|round| round.tally.measured_requests as f64 / seconds),
        events_per_second: spread(&|round| round.tally.measured_events as f64 / seconds),
        events_per_cpu_second: spread(&|round| {
            per_cpu(
                round.tally.measured_events,
                round.server_cpu + round.keeper_cpu,
            )
        }),
        events_per_server_cpu_second: spread(&|round| {
            per_cpu(round.tally.measured_events, round.server_cpu)
        }),
        cpus: spread(&|round| (round.server_cpu + round.keeper_cpu).as_secs_f64() / seconds),
        events: all.accepted_events,
        refused: all.refused,
        failed: all.failed,
    })
}

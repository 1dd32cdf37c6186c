//! What was accepted, stored: the worker that empties Redis into PostgreSQL, and the sink that
//! drains Kafka into ClickHouse, each until nothing is left.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tracing::info;

use super::node::{self, NodeDesign};
use super::report::{CpuSeconds, Stored};
use super::weir::{self, Weir};
use crate::process::{Server, cpu_tick};

const WITHIN: Duration = Duration::from_secs(600);
/// Seldom: the questions cost processor time too.
const POLL: Duration = Duration::from_millis(50);

/// One look at it.
struct Look {
    at: Instant,
    stored: u64,
    cpu: Vec<Duration>,
}

pub(super) async fn by_node(
    design: &mut NodeDesign,
    (accepted, unanswered): (u64, u64),
) -> anyhow::Result<Stored> {
    info!("the Node design stores {accepted} events");
    let mut worker = design.worker()?;
    let NodeDesign {
        redis, postgres, ..
    } = design;
    let begin = Instant::now();
    let mut before = None;
    let (from, to) = loop {
        ensure!(
            begin.elapsed() < WITHIN,
            "the worker did not store {accepted} events within {WITHIN:?}:\n{}",
            worker.log_tail()
        );
        let left = redis.waiting().await?;
        let stored = accepted.saturating_sub(left);
        for server in [&mut worker, &mut redis.server, &mut postgres.server] {
            server.check_alive()?;
        }
        let servers = [&worker, &redis.server, &postgres.server];
        if let Some(ends) = look(&mut before, accepted, stored, &servers)? {
            break ends;
        }
        tokio::time::sleep(POLL).await;
    };
    let rows = postgres.count(node::DATABASE).await?;
    let servers = ["worker", "redis", "postgresql"];
    Ok(Stored {
        accepted,
        unanswered,
        rows,
        ..stored(&from, &to, &servers)
    })
}

pub(super) async fn by_weir(
    weir: &mut Weir,
    (accepted, unanswered): (u64, u64),
) -> anyhow::Result<Stored> {
    info!("weir stores {accepted} events");
    let mut sink = weir.world.sink(weir::DATABASE)?;
    let client = weir.world.client(weir::DATABASE);
    let begin = Instant::now();
    let mut before = None;
    let (from, to) = loop {
        ensure!(
            begin.elapsed() < WITHIN,
            "the sink did not store {accepted} events within {WITHIN:?}:\n{}",
            sink.log_tail()
        );
        let rows: u64 = client
            .query("SELECT count() FROM events")
            .fetch_one()
            .await
            .context("count rows")?;
        sink.check_alive()?;
        weir.world.check_alive()?;
        let servers = [&sink, &weir.world.broker, &weir.world.engine];
        if let Some(ends) = look(&mut before, accepted, rows, &servers)? {
            break ends;
        }
        tokio::time::sleep(POLL).await;
    };
    // Once more, and after the ledger: a row too many may come as late as that.
    weir.world.until_entered(weir::DATABASE, accepted).await?;
    let rows = client.query("SELECT count() FROM events").fetch_one();
    let rows = rows.await.context("count rows")?;
    let servers = ["sink", "broker", "clickhouse"];
    Ok(Stored {
        accepted,
        unanswered,
        rows,
        ..stored(&from, &to, &servers)
    })
}

/// Both ends, once everything is stored. It begins with the first look that finds something
/// stored: before it lies the start of a process, and the joining of a group.
fn look(
    before: &mut Option<Look>,
    accepted: u64,
    stored: u64,
    servers: &[&Server],
) -> anyhow::Result<Option<(Look, Look)>> {
    // Only then: to look through all processes takes a while itself.
    let now = || {
        let cpu = servers.iter().map(|server| server.cpu_time());
        anyhow::Ok(Look {
            at: Instant::now(),
            stored,
            cpu: cpu.collect::<anyhow::Result<_>>()?,
        })
    };
    match before {
        None => *before = Some(now()?),
        // Of a few events the first look may find all: then there is nothing but the start.
        Some(_) if stored >= accepted => {
            let now = now()?;
            return Ok(before.take().map(|first| (first, now)));
        }
        Some(first) if first.stored == 0 && stored > 0 => *first = now()?,
        Some(_) => {}
    }
    Ok(None)
}

/// The figures, without the counts.
fn stored(from: &Look, to: &Look, servers: &[&'static str]) -> Stored {
    let events = to.stored - from.stored;
    let cpu: Vec<CpuSeconds> = servers
        .iter()
        .zip(from.cpu.iter().zip(&to.cpu))
        .map(|(process, (from, to))| CpuSeconds {
            process,
            cpu_seconds: to.saturating_sub(*from).as_secs_f64(),
        })
        .collect();
    let used: f64 = cpu.iter().map(|process| process.cpu_seconds).sum();
    let tick = cpu_tick().as_secs_f64();
    let seconds = (to.at - from.at).as_secs_f64();
    Stored {
        accepted: 0,
        unanswered: 0,
        rows: 0,
        seconds,
        events_per_second: events as f64 / seconds.max(tick),
        events_per_cpu_second: events as f64 / used.max(tick),
        cpu,
    }
}

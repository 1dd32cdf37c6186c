//! A run: tables, then each question in turns over many rows, few rows and the raw table, and asked
//! again; the same while events come in; many connections at once; the dashboard.

use anyhow::Context;
use tracing::{info, warn};

use super::asked::{Asker, Tally};
use super::inserts::Inserts;
use super::load::Load;
use super::question::{Question, Range};
use super::raw::{self, Answer};
use super::report::{
    Alone, Checks, Conditions, Loads, Memory, Report, Timed, median, quantiles_ms,
};
use super::world::{Service, World};
use super::{Plan, dashboard, disk, rows};
use crate::conditions::clickhouse_version;
use crate::ingest::{cpus, filesystem};

/// The raw table is asked about so many variants of each question.
const RAW_VARIANTS: u64 = 3;
/// Beyond what the service keeps users exactly, its answers may be off by so much.
const USERS_ERROR_MAX: f64 = 0.01;

/// Of what is asked again, there are so many variants of each question.
const AGAIN_VARIANTS: usize = 8;

/// What many connections ask about, in turns.
const MIXES: [(&str, &[Range]); 3] = [
    ("days", &[Range::Day]),
    ("days and 30 days", &[Range::Day, Range::Month]),
    ("all ranges", &Range::ALL),
];
/// The same few questions again and again, as dashboards do.
const AGAIN: (&str, &[Range]) = ("all ranges, asked again", &Range::ALL);

/// One database and those who answer for it.
struct Side<'w> {
    asker: Asker<'w>,
    client: clickhouse::Client,
}

pub(super) async fn measure(plan: &Plan) -> anyhow::Result<Report> {
    let world = World::start(&plan.place, &plan.settings).await?;
    let config = world.clickhouse(&rows::database(plan.rows));
    let loading = rows::prepare(&config, world.folder(), plan.rows, rows::TWO_YEARS).await?;
    let client = infra::clickhouse::client(&config);
    let disk = disk::measure(&client, &config.database).await?;
    let engine_after_loading = world.engine.rss_bytes_max()?;
    let service = world
        .serve_counting("query", &config.database, &plan.settings)
        .await?;
    let keeping = world.serve("query-keeping", &config.database, &plan.settings);
    let keeping = keeping.await?;
    let beside = match plan.beside {
        None => None,
        Some(rows) => Some(prepare_beside(plan, &world, rows).await?),
    };
    let many = Side {
        asker: Asker::new(&service, &world.engine)?,
        client: client.clone(),
    };
    let few = match &beside {
        None => None,
        Some((service, client)) => Some(Side {
            asker: Asker::new(service, &world.engine)?,
            client: client.clone(),
        }),
    };

    let again = Asker::new(&keeping, &world.engine)?;

    let mut checks = Checks::default();
    let mut questions = Vec::new();
    for question in Question::all() {
        let mut asked = ask(plan, question, &many, few.as_ref(), &mut checks).await?;
        asked.again = ask_again(plan, question, &again).await?;
        questions.push(asked);
    }
    info!("asking while events come in");
    let inserts = Inserts::start(client.clone(), plan.rows, plan.insert_rate);
    for (question, asked) in Question::all().zip(&mut questions) {
        many.asker.warm_up(question, plan.requests).await;
        let tally = many.asker.ask(question, 0..plan.requests).await?;
        asked.inserting = Timed::of(&tally);
        asked.again_inserting = ask_again(plan, question, &again).await?;
    }
    let inserted = inserts.finish().await?;
    let dashboard = dashboard::measure(&many.asker, plan.requests, None).await?;
    let dashboard_again = dashboard::measure(&again, plan.requests, Some(1)).await?;
    let mut loads = Vec::new();
    for mix in MIXES {
        loads.push(load(plan, mix, u64::MAX, &service, &world).await?);
    }
    loads.push(load(plan, AGAIN, AGAIN_VARIANTS as u64, &keeping, &world).await?);
    Ok(Report {
        conditions: Conditions {
            rows: plan.rows,
            rows_beside: plan.beside,
            sites: rows::SITES,
            days: rows::DAYS,
            cpus: cpus(),
            filesystem: filesystem(world.folder())?,
            requests: plan.requests,
            optimised: !cfg!(debug_assertions),
        },
        clickhouse: clickhouse_version(&client).await?,
        loading,
        disk,
        questions,
        checks,
        inserted,
        dashboard,
        dashboard_again,
        loads,
        memory: Memory {
            engine_after_loading,
            engine_max: world.engine.rss_bytes_max()?,
            engine: world.engine.rss_bytes()?,
            query_max: keeping.server.rss_bytes_max()?,
        },
    })
}

async fn prepare_beside(
    plan: &Plan,
    world: &World,
    rows: u64,
) -> anyhow::Result<(Service, clickhouse::Client)> {
    let config = world.clickhouse(&rows::database(rows));
    rows::prepare(&config, world.folder(), rows, rows::TWO_YEARS).await?;
    let service = world.serve_counting("query-beside", &config.database, &plan.settings);
    Ok((service.await?, infra::clickhouse::client(&config)))
}

/// Many, few, few, many: whatever else the machine does falls on both.
async fn ask(
    plan: &Plan,
    question: Question,
    many: &Side<'_>,
    few: Option<&Side<'_>>,
    checks: &mut Checks,
) -> anyhow::Result<Alone> {
    let half = plan.requests.div_ceil(2);
    let (mut of_many, mut of_few) = (Tally::new()?, Tally::new()?);
    for side in [Some(many), few].into_iter().flatten() {
        side.asker.warm_up(question, plan.requests).await;
    }
    of_many.add(&many.asker.ask(question, 0..half).await?)?;
    if let Some(few) = few {
        of_few.add(&few.asker.ask(question, 0..2 * half).await?)?;
    }
    of_many.add(&many.asker.ask(question, half..2 * half).await?)?;
    let raw_ms = check(question, many, checks).await?;
    if let Some(few) = few {
        check(question, few, checks).await?;
    }
    let timed = Timed::of(&of_many);
    info!(
        "{} of the {} site in {}: p50 {:.1} ms, p99 {:.1} ms; the raw table {raw_ms:.1} ms",
        question.range, question.size, question.zone, timed.p50_ms, timed.p99_ms
    );
    Ok(Alone {
        site: question.size,
        range: question.range,
        zone: question.zone,
        beside: few.map(|_| Timed::of(&of_few)),
        inserting: Timed::default(),
        again: Timed::default(),
        again_inserting: Timed::default(),
        raw_p50_ms: raw_ms,
        alone: timed,
    })
}

/// Compares answers with a straight count, and says how long the count took.
async fn check(question: Question, side: &Side<'_>, checks: &mut Checks) -> anyhow::Result<f64> {
    let mut took_ms = Vec::new();
    for variant in 0..RAW_VARIANTS {
        let (straight, took) = raw::ask(&side.client, question, variant).await?;
        took_ms.push(took.as_secs_f64() * 1e3);
        let path = question.path(variant);
        let (status, body) = side
            .asker
            .connection
            .exchange(&side.asker.url(&path))
            .await?;
        if status != 200 {
            checks.unanswered += 1;
            continue;
        }
        let answer: Answer = serde_json::from_slice(&body)
            .with_context(|| format!("read the answer to GET {path}"))?;
        let users_error = if answer.users == straight.users {
            0.0
        } else {
            (answer.users as f64 / straight.users as f64 - 1.0).abs()
        };
        let agrees = answer.views == straight.views
            && answer.top_paths == straight.top_paths
            && users_error <= USERS_ERROR_MAX;
        checks.compared += 1;
        checks.differing += u64::from(!agrees);
        checks.users_error_max = checks.users_error_max.max(users_error);
        if !agrees {
            warn!("GET {path} answers {answer:?}, and a straight count gives {straight:?}");
        }
    }
    Ok(median(took_ms))
}

/// The same few variants in turns, once all of them were asked.
async fn ask_again(plan: &Plan, question: Question, asker: &Asker<'_>) -> anyhow::Result<Timed> {
    asker.ask(question, 0..AGAIN_VARIANTS).await?;
    let variants = (0..plan.requests).map(|nth| nth % AGAIN_VARIANTS);
    Ok(Timed::of(&asker.ask(question, variants).await?))
}

async fn load(
    plan: &Plan,
    (mix, ranges): (&'static str, &[Range]),
    variants: u64,
    service: &Service,
    world: &World,
) -> anyhow::Result<Loads> {
    info!("{} connections asking about {mix}", plan.connections);
    let load = Load {
        questions: Question::all()
            .filter(|question| ranges.contains(&question.range))
            .collect(),
        variants,
        connections: plan.connections,
        rate: None,
        lasts: plan.paced / 4,
    };
    let closed = load.run(service, &world.engine).await?;
    let open = Load {
        rate: Some(plan.rate),
        lasts: plan.paced,
        ..load
    };
    let open = open.run(service, &world.engine).await?;
    let closed_requests = closed.tally.latencies.len() as f64;
    let per_thousand =
        |cpu: std::time::Duration| cpu.as_secs_f64() * 1e3 / closed_requests.max(1.0);
    let [p50_ms, p99_ms, p999_ms, max_ms] =
        quantiles_ms(&open.tally.latencies, [0.5, 0.99, 0.999, 1.0]);
    Ok(Loads {
        mix,
        connections: plan.connections,
        closed_requests_per_second: closed_requests / closed.seconds,
        engine_cpu_seconds_per_1000: per_thousand(closed.tally.engine_cpu),
        query_cpu_seconds_per_1000: per_thousand(closed.tally.query_cpu),
        rate: plan.rate,
        requests: open.tally.latencies.len(),
        failed: closed.tally.failed + open.tally.failed,
        p50_ms,
        p99_ms,
        p999_ms,
        max_ms,
    })
}

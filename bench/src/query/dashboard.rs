//! What the dashboard asks when it is opened, one request after the other.

use std::time::Instant;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::asked::{Asker, Tally};
use super::question::{Question, Range};
use super::report::quantiles_ms;

const LOADS_MAX: usize = 30;
const WARM_UP_LOADS: u64 = 3;

/// A load of the page with 30 days of the largest site.
#[derive(Debug, Serialize)]
pub struct Dashboard {
    pub loads: u64,
    /// Sums over the requests of a load: the wall time of each, from sending it to the end of its
    /// answer.
    pub sum_p50_ms: f64,
    pub sum_p99_ms: f64,
    pub engine_cpu_ms: f64,
    pub requests: Vec<Part>,
    /// What this binary's service does not answer, and is not part of the sums.
    pub unanswered: Vec<&'static str>,
}

/// One of its requests.
#[derive(Debug, Serialize)]
pub struct Part {
    pub name: &'static str,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Name, path, and what is asked beside site, days and zone.
const REQUESTS: [(&str, &str, &str); 9] = [
    ("sites", "/sites?limit=100", ""),
    ("totals", "/stats", "&compare=previous_period"),
    (
        "series",
        "/stats/timeseries",
        "&interval=day&compare=previous_period",
    ),
    ("pages", "/stats/breakdown", "&property=path&limit=10"),
    ("sources", "/stats/breakdown", "&property=source&limit=10"),
    ("countries", "/stats/breakdown", "&property=country&limit=8"),
    ("browsers", "/stats/breakdown", "&property=browser&limit=8"),
    ("types", "/stats/breakdown", "&property=event_type&limit=6"),
    ("now", "/stats/realtime", ""),
];

/// Each load asks about other days, `variants` of them if that is given.
///
/// # Errors
/// If the system does not tell what it cost.
pub(super) async fn measure(
    asker: &Asker<'_>,
    loads_max: usize,
    variants: Option<u64>,
) -> anyhow::Result<Dashboard> {
    let loads = loads_max.min(LOADS_MAX) as u64;
    let variants = variants.unwrap_or(u64::MAX);
    let question = Question::all()
        .find(|question| question.range == Range::Month)
        .expect("it is among them");
    let mut asked = Vec::new();
    let mut unanswered = Vec::new();
    for (name, path, more) in REQUESTS {
        let url = asker.url(&path_of(question, 0, path, more));
        let (status, _) = asker.connection.exchange(&url).await?;
        if status == 200 {
            asked.push((name, path, more, histogram()?));
        } else {
            unanswered.push(name);
        }
    }
    let mut sums = Tally::new()?;
    let mut cpu_before = asker.engine.cpu_time()?;
    for load in 0..WARM_UP_LOADS + loads {
        if load == WARM_UP_LOADS {
            cpu_before = asker.engine.cpu_time()?;
        }
        let mut sum = std::time::Duration::ZERO;
        let mut all_answered = true;
        for (_, path, more, latencies) in &mut asked {
            let url = asker.url(&path_of(question, load % variants, path, more));
            let begin = Instant::now();
            let answer = asker.connection.exchange(&url).await;
            let took = begin.elapsed();
            sum += took;
            all_answered &= matches!(answer, Ok((200, _)));
            if load >= WARM_UP_LOADS {
                latencies.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
        }
        if load >= WARM_UP_LOADS {
            sums.answered(sum, all_answered);
        }
    }
    let cpu = asker.engine.cpu_time()?.saturating_sub(cpu_before);
    let [sum_p50_ms, sum_p99_ms] = quantiles_ms(&sums.latencies, [0.5, 0.99]);
    Ok(Dashboard {
        loads,
        sum_p50_ms,
        sum_p99_ms,
        engine_cpu_ms: cpu.as_secs_f64() * 1e3 / loads as f64,
        requests: asked
            .into_iter()
            .map(|(name, _, _, latencies)| {
                let [p50_ms, p99_ms] = quantiles_ms(&latencies, [0.5, 0.99]);
                Part {
                    name,
                    p50_ms,
                    p99_ms,
                }
            })
            .collect(),
        unanswered,
    })
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Tally::new()?.latencies)
}

fn path_of(question: Question, variant: u64, path: &str, more: &str) -> String {
    match path {
        "/stats/realtime" => format!("{path}?site_id={}", question.site),
        _ if path.contains('?') => path.to_owned(),
        _ => {
            let stats = question.path(variant);
            let parameters = stats.strip_prefix("/stats").unwrap_or_default();
            format!("{path}{parameters}{more}")
        }
    }
}

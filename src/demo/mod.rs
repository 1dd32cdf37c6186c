//! `weir demo`: traffic to look at, for somebody who has none yet, sent through the front door.

mod live;
mod people;
mod sites;
mod traffic;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chrono::{Days, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use infra::config::Secret;
use infra::shutdown;
use infra::url::without_credentials;
use serde::{Deserialize, Serialize};

use crate::sender::Sender;
use sites::Site;
use traffic::{Event, Traffic};

const DAYS_MAX: u16 = 3650;
const VISITS_A_DAY_MAX: u32 = 1_000_000;
const RATE_MAX: f64 = 1000.0;
const RETRY_FOR: Duration = Duration::from_secs(60);

/// The `demo` section.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// A secret write key of the sites, where keys are listed; `--key` goes before it
    /// (`WEIR_DEMO__KEY`).
    pub(crate) key: Option<Secret>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Days of history, the last one today; enough to compare a month with the one before.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(0..=i64::from(DAYS_MAX)))]
    days: u16,
    /// Go on with visitors who come now, until Ctrl-C.
    #[arg(long)]
    live: bool,
    /// Events a second with --live, on average.
    #[arg(long, default_value_t = 5.0, value_parser = parse_rate)]
    rate: f64,
    /// Visits of the largest site on an ordinary day of the history.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=i64::from(VISITS_A_DAY_MAX)))]
    visits_per_day: u32,
    /// Another seed is other traffic, beside what was sent before.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Send for this site alone [default: shop.example, blog.example and docs.example].
    #[arg(long, value_parser = crate::import::parse_site_id, value_name = "ID")]
    site_id: Option<event::SiteId>,
    /// The ingest service to send to.
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    url: String,
    /// A secret write key, where keys are listed: of the site, or listed with each of the three.
    /// Other users of this machine can see arguments: WEIR_DEMO__KEY hides it from them.
    #[arg(long, value_name = "KEY")]
    key: Option<Secret>,
    /// Where the dashboard is, for the link at the end.
    #[arg(long, default_value = "http://127.0.0.1:3001", value_name = "URL")]
    dashboard: String,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err(format!("a number from 0.01 to {RATE_MAX} is wanted")),
    }
}

pub(crate) async fn run(config: Config, options: Options) -> anyhow::Result<()> {
    let key = options.key.as_ref().or(config.key.as_ref());
    let sites = match &options.site_id {
        Some(id) => vec![sites::one(id.as_str())],
        None => sites::all(),
    };
    reach(&options.url).await?;
    let shutdown = shutdown::on_signal()?;
    if options.days > 0 {
        send_history(&options, key, &sites).await?;
    }
    tell_where(&options, &sites);
    if options.live {
        live::run(&options, key, &sites, shutdown).await?;
    }
    Ok(())
}

/// # Errors
/// If no ingest service answers there, with what to do about it.
async fn reach(url: &str) -> anyhow::Result<()> {
    let health = format!("{}/health", url.trim_end_matches('/'));
    let asked = reqwest::Client::new()
        .get(&health)
        .timeout(Duration::from_secs(5))
        .send()
        .await;
    let is_there = asked.and_then(reqwest::Response::error_for_status);
    is_there
        .map_err(reqwest::Error::without_url)
        .with_context(|| {
            let url = without_credentials(url);
            format!(
                "no weir answers at {url}: start one with `weir up`, or name another with --url"
            )
        })?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
async fn send_history(
    options: &Options,
    key: Option<&Secret>,
    sites: &[Site],
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut sender = Sender::new(
        &options.url,
        key,
        RETRY_FOR,
        "run the same demo again, nothing is counted twice",
    )?;
    let progress = ProgressBar::new(u64::from(options.days)).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} days")
            .expect("the template is a constant"),
    );
    let now = Utc::now();
    let traffics: Vec<Traffic<'_>> = sites
        .iter()
        .map(|site| Traffic::new(site, options.seed, f64::from(options.visits_per_day)))
        .collect();
    let mut tallies = vec![Tally::default(); sites.len()];
    let mut sent = 0;
    for back in (0..u64::from(options.days)).rev() {
        for ((site, traffic), tally) in sites.iter().zip(&traffics).zip(&mut tallies) {
            let today = now.with_timezone(&site.zone).date_naive();
            let day = today - Days::new(back);
            // Of today only what has happened by now.
            let events = traffic.day(day);
            for event in events.iter().filter(|event| event.timestamp <= Some(now)) {
                sender.send(event, sent).await?;
                sent += 1;
                tally.add(event);
            }
        }
        progress.inc(1);
    }
    let rejected = sender.finish().await?;
    progress.finish_and_clear();
    for (site, tally) in sites.iter().zip(&tallies) {
        println!(
            "{}: {} events, {} of them page views",
            site.id, tally.events, tally.page_views
        );
    }
    println!(
        "{sent} events of {} days in {:.1} s",
        options.days,
        begun.elapsed().as_secs_f64()
    );
    let first = rejected.shown.first();
    ensure!(
        rejected.count == 0,
        "{} of them were refused by ingest: {}",
        rejected.count,
        first.map_or("", |(_, reason)| reason)
    );
    Ok(())
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    events: u64,
    page_views: u64,
}

impl Tally {
    fn add(&mut self, event: &Event<'_>) {
        self.events += 1;
        self.page_views += u64::from(event.event_type == "page_view");
    }
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn tell_where(options: &Options, sites: &[Site]) {
    let dashboard = options.dashboard.trim_end_matches('/');
    for site in sites {
        println!("look at {dashboard}/?site={}", site.id);
    }
}

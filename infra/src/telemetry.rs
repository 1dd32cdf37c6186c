//! Logs and metrics. Logs read as sentences on a terminal and are JSON elsewhere; both go to
//! stderr, because stdout belongs to the commands' answers.

use std::io::IsTerminal;
use std::sync::OnceLock;

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// The `log` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which lines are written: a level, or directives such as `info,sink=debug`
    /// (`WEIR_LOG__FILTER`).
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `text` on a terminal, `json` elsewhere.
    #[default]
    Auto,
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Self {
        // librdkafka tells of every connection it loses; the services say what matters of that.
        Self {
            filter: "info,rdkafka=error,librdkafka=error".to_owned(),
            format: LogFormat::Auto,
        }
    }
}

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Histograms of seconds: from half a millisecond to ten seconds.
const SECONDS_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Starts logging and metrics; once a process.
///
/// # Errors
/// If the filter cannot be parsed, or telemetry was started before.
pub fn init(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter)
        .with_context(|| format!("log.filter {:?} is not a list of directives", config.filter))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    let started = match config.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Auto if !terminal => builder.json().flatten_event(true).try_init(),
        LogFormat::Auto | LogFormat::Text => {
            builder.with_target(false).with_ansi(terminal).try_init()
        }
    };
    started
        .map_err(anyhow::Error::from_boxed)
        .context("start logging")?;

    let recorder = PrometheusBuilder::new()
        .set_buckets(SECONDS_BUCKETS)
        .context("set the histograms' buckets")?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("start metrics")?;
    METRICS.set(handle).ok().context("start metrics twice")
}

/// All metrics in Prometheus' text format; empty before [`init`].
#[must_use]
pub fn render_metrics() -> String {
    METRICS
        .get()
        .map(PrometheusHandle::render)
        .unwrap_or_default()
}

/// Folds recorded samples into their histograms. To be called every few seconds, or samples
/// gather in memory while nobody scrapes.
pub(crate) fn keep_up() {
    if let Some(handle) = METRICS.get() {
        handle.run_upkeep();
    }
}

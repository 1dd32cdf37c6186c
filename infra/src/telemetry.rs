//! Logs and metrics. Logs read as sentences on a terminal and are JSON elsewhere; both go to
//! stderr, because stdout belongs to the commands' answers.

mod one_line;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write as _};
use std::panic::{self, Location, PanicHookInfo};
use std::sync::OnceLock;
use std::thread;

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing::{Dispatch, Level, enabled, error, field};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

pub use one_line::one_line;

use one_line::{EscapedJson, fields};

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
    let terminal = std::io::stderr().is_terminal();
    logger(config, terminal, std::io::stderr)?
        .try_init()
        .context("start logging")?;
    panic::set_hook(Box::new(log_panic));

    let recorder = PrometheusBuilder::new()
        .set_buckets(SECONDS_BUCKETS)
        .context("set the histograms' buckets")?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("start metrics")?;
    METRICS.set(handle).ok().context("start metrics twice")
}

/// What writes the log. Every event is one line, whatever is in it.
fn logger<W>(
    config: &Config,
    terminal: bool,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> anyhow::Result<Dispatch>
where
    W: std::io::Write + 'static,
{
    let filter = EnvFilter::try_new(&config.filter)
        .with_context(|| format!("log.filter {:?} is not a list of directives", config.filter))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    let is_json = match config.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    Ok(if is_json {
        let builder = builder.json().flatten_event(true);
        builder.with_writer(move || EscapedJson(writer())).into()
    } else {
        let builder = builder.with_target(false).with_ansi(terminal);
        builder.fmt_fields(fields()).with_writer(writer).into()
    })
}

/// A panic is an event like others: its message may repeat what a client sent.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)");
    let place = panic
        .location()
        .map_or_else(String::new, Location::to_string);
    let thread = thread::current();
    let name = thread.name().unwrap_or("(no name)");
    let backtrace = Backtrace::capture();
    let backtrace = match backtrace.status() {
        BacktraceStatus::Captured => Some(field::display(backtrace)),
        _ => None,
    };
    if enabled!(Level::ERROR) {
        error!(
            panic.place = place,
            panic.thread = name,
            panic.backtrace = backtrace,
            "a defect of weir, please report it: panicked at {place}: {message}"
        );
    } else {
        // Whoever turns the log off still has to learn of this.
        let line = format!("weir: panicked at {place}: {message}");
        let _ = writeln!(std::io::stderr(), "{}", one_line(&line));
    }
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{info_span, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, terminal: bool, log: impl FnOnce()) -> String {
        let config = Config {
            format,
            ..Config::default()
        };
        let written = Written::default();
        let writer = written.clone();
        let logger = logger(&config, terminal, move || writer.clone()).unwrap();
        tracing::dispatcher::with_default(&logger, log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const HOSTILE: &str = "a\r\n{\"level\":\"ERROR\"}\u{1b}[2J\u{9b}2J\u{7f}\u{2028}\u{202e}b";

    fn hostile() {
        let span = info_span!("request", path = %HOSTILE);
        let _in = span.enter();
        let text = HOSTILE.to_owned();
        warn!(client.id = %text, topic = text, group = ?text, "{HOSTILE}");
        error!(
            error = &std::io::Error::other(HOSTILE) as &dyn std::error::Error,
            "failed: {text}"
        );
    }

    #[test]
    fn a_hostile_value_stays_within_its_line() {
        for (format, terminal) in [
            (LogFormat::Text, false),
            (LogFormat::Json, false),
            (LogFormat::Auto, false),
        ] {
            let written = logged(format, terminal, hostile);
            let lines = written.strip_suffix('\n').unwrap();
            assert_eq!(lines.split('\n').count(), 2, "{written:?}");
            let unruly = |c: char| (c.is_control() && c != '\n') || "\u{2028}\u{202e}".contains(c);
            assert!(!lines.contains(unruly), "{written:?}");
            assert!(
                lines.contains("2J"),
                "it is shown all the same: {written:?}"
            );
        }
    }

    #[test]
    #[ignore = "the process that the next test looks at"]
    fn panics_after_init() {
        init(&Config::default()).unwrap();
        let panicking = thread::spawn(|| HOSTILE.parse::<u8>().expect(HOSTILE));
        assert!(panicking.join().is_err());
    }

    #[test]
    fn a_panic_is_one_line_of_the_log_with_its_place() {
        let ended = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("telemetry::tests::panics_after_init")
            .output()
            .unwrap();
        assert!(ended.status.success(), "{ended:?}");
        let written = String::from_utf8(ended.stderr).unwrap();
        let lines: Vec<&str> = written.lines().collect();
        let [line] = lines[..] else {
            panic!("{written:?}");
        };
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "ERROR");
        let message = line["message"].as_str().unwrap();
        assert!(message.contains("infra/src/telemetry.rs:"), "{message:?}");
        assert!(message.contains(HOSTILE), "{message:?}");
    }

    #[test]
    fn json_gives_a_hostile_value_back_as_it_was() {
        let written = logged(LogFormat::Json, false, hostile);
        let line: serde_json::Value =
            serde_json::from_str(written.lines().next().unwrap()).unwrap();
        assert_eq!(line["client.id"], HOSTILE);
        assert_eq!(line["message"], HOSTILE);
    }

    #[test]
    fn a_terminal_gets_our_colours_and_none_of_a_value() {
        let written = logged(LogFormat::Text, true, hostile);
        assert_eq!(written.matches('\n').count(), 2, "{written:?}");
        assert!(
            written.contains("\u{1b}[3mclient.id\u{1b}[0m"),
            "{written:?}"
        );
        assert!(!written.contains("\u{1b}[2J"), "{written:?}");
    }

    #[test]
    fn a_line_of_text_reads_as_before() {
        let log = || warn!(batch.rows = 3, site = "my-site", "inserted a batch");
        let written = logged(LogFormat::Text, false, log);
        let end = " WARN inserted a batch batch.rows=3 site=\"my-site\"\n";
        assert!(written.ends_with(end), "{written:?}");
    }
}

//! What every report says of itself before its figures: its kind, when it was made, by which
//! versions, on which machine, with which options.

use anyhow::Context;
use chrono::{DateTime, SubsecRound, Utc};
use clickhouse::Client;
use serde::Serialize;
use serde_json::Value;

use crate::ingest::cpus;

/// What a benchmark found: serialised for machines, displayed for people.
pub trait Measured: Serialize + std::fmt::Display {
    /// The command's name.
    const KIND: &'static str;

    /// Which ClickHouse took part, if one did.
    fn clickhouse(&self) -> Option<&str> {
        None
    }

    /// What is wrong beyond any figure, such as a lost event.
    fn fault(&self) -> Option<&'static str> {
        None
    }
}

/// The head of a report.
#[derive(Debug, Clone, Serialize)]
pub struct Heading {
    pub kind: &'static str,
    pub date: DateTime<Utc>,
    pub versions: Versions,
    pub machine: Machine,
    /// What the command was told, defaults included; nothing of where it wrote or looked.
    pub options: Value,
}

#[derive(Debug, Clone, Serialize)]
pub struct Versions {
    pub weir: &'static str,
    pub clickhouse: Option<String>,
}

/// Figures of two machines have nothing to say to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cpus: usize,
    /// Rounded: how much of it the kernel keeps for itself differs from start to start.
    pub memory_gb: u64,
}

/// A whole report, as it is written.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'r, R> {
    #[serde(flatten)]
    pub(crate) heading: &'r Heading,
    #[serde(flatten)]
    pub(crate) report: &'r R,
}

impl Heading {
    /// Of a report that is made now.
    ///
    /// # Errors
    /// If the system does not tell what it is, or the options cannot be written.
    pub fn now(kind: &'static str, options: &impl Serialize) -> anyhow::Result<Self> {
        Ok(Self {
            kind,
            date: Utc::now().trunc_subsecs(0),
            versions: Versions {
                weir: env!("CARGO_PKG_VERSION"),
                clickhouse: None,
            },
            machine: Machine::this()?,
            options: serde_json::to_value(options).context("write the options as JSON")?,
        })
    }
}

impl Machine {
    fn this() -> anyhow::Result<Self> {
        let read = |file| std::fs::read_to_string(file).with_context(|| format!("read {file}"));
        let memory = read("/proc/meminfo")?;
        Ok(Self {
            cpu: cpu_in(&read("/proc/cpuinfo")?).unwrap_or_else(|| std::env::consts::ARCH.into()),
            cpus: cpus(),
            memory_gb: memory_gb_in(&memory).context("find MemTotal in /proc/meminfo")?,
        })
    }
}

/// # Errors
/// If ClickHouse does not tell.
pub(crate) async fn clickhouse_version(client: &Client) -> anyhow::Result<String> {
    let asking = client.query("SELECT version()").fetch_one();
    asking.await.context("ask for ClickHouse's version")
}

/// Not every architecture names its processors.
fn cpu_in(cpuinfo: &str) -> Option<String> {
    let (_, name) = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?
        .split_once(':')?;
    Some(name.trim().to_owned())
}

fn memory_gb_in(meminfo: &str) -> Option<u64> {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix(" kB")?.parse().ok()?;
    Some((kib * 1024 + 500_000_000) / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_as_the_kernel_names_it() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU 3000\nprocessor\t: 1\nmodel name\t: Some CPU 3000\n";
        assert_eq!(cpu_in(cpuinfo).as_deref(), Some("Some CPU 3000"));
        assert_eq!(cpu_in("processor\t: 0\n"), None);
    }

    #[test]
    fn memory_is_rounded_to_what_was_bought() {
        assert_eq!(memory_gb_in("MemTotal:       24576000 kB\n"), Some(25));
        assert_eq!(memory_gb_in("MemTotal:       24586000 kB\n"), Some(25));
        assert_eq!(memory_gb_in("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn a_document_is_its_heading_and_its_report_side_by_side() {
        let options = serde_json::json!({"rounds": 3});
        let heading = Heading::now("ingest", &options).unwrap();
        let document = Document {
            heading: &heading,
            report: &serde_json::json!({"figure": 1.5}),
        };
        let written = serde_json::to_value(document).unwrap();
        assert_eq!(written["kind"], "ingest");
        assert_eq!(written["options"]["rounds"], 3);
        assert_eq!(written["figure"], 1.5);
        assert!(written["machine"]["memory_gb"].as_u64().unwrap() > 0);
    }
}

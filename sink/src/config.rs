//! The `sink` section of the configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use infra::retry::Backoff;
use serde::{Deserialize, Serialize};

/// How the sink gathers, inserts and remembers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where `/health`, `/ready` and `/metrics` are (`WEIR_SINK__LISTEN`).
    pub listen: SocketAddr,
    /// The names under which it answers, beside addresses, names of one label and Kubernetes' own
    /// (`WEIR_SINK__HOSTS=metrics.example.com`).
    #[serde(deserialize_with = "infra::config::list")]
    pub hosts: Vec<String>,
    /// The consumer group; sinks of one group share the partitions (`WEIR_SINK__GROUP`).
    pub group: String,
    /// When a cut is inserted (`WEIR_SINK__CUT__..`).
    pub cut: CutLimits,
    /// So many of a partition's last client-made event ids, and as many of its last batches' ids,
    /// are remembered, in at most 17 bytes each; an event or a batch that brings one of them again
    /// is dropped. 0 turns this off (`WEIR_SINK__REPEAT_WINDOW`).
    pub repeat_window: u32,
    /// Off only to measure what it costs: without plans, tokens and the ledger, whatever is killed
    /// or cut off counts twice (`WEIR_SINK__EXACTLY_ONCE`).
    pub exactly_once: bool,
    /// One attempt at an INSERT may take this long, and one stage of a takeover twice that at
    /// first (`WEIR_SINK__INSERT_TIMEOUT`).
    #[serde(with = "humantime_serde")]
    pub insert_timeout: Duration,
    /// A sink that is silent for this long loses its partitions to the others
    /// (`WEIR_SINK__SESSION_TIMEOUT`).
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// Waits between attempts to reach what is down (`WEIR_SINK__RETRY__..`).
    pub retry: Backoff,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 3002)),
            hosts: Vec::new(),
            group: "weir-sink".to_owned(),
            cut: CutLimits::default(),
            repeat_window: 2_000_000,
            exactly_once: true,
            insert_timeout: Duration::from_secs(120),
            session_timeout: Duration::from_secs(10),
            retry: Backoff::default(),
        }
    }
}

/// A cut is due as soon as one of these is reached. Age is the usual trigger, the others bound
/// memory; a cut may exceed them by one Kafka record.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CutLimits {
    /// Rows (`WEIR_SINK__CUT__ROWS_MAX`).
    pub rows_max: usize,
    /// Bytes of rows as they are sent, before compression (`WEIR_SINK__CUT__BYTES_MAX`).
    pub bytes_max: usize,
    /// The wait of the first row (`WEIR_SINK__CUT__AGE_MAX`).
    #[serde(with = "humantime_serde")]
    pub age_max: Duration,
}

impl Default for CutLimits {
    fn default() -> Self {
        Self {
            rows_max: 450_000,
            bytes_max: 48 * 1024 * 1024,
            age_max: Duration::from_millis(500),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Window;

    const COMPOSE: &str = include_str!("../../docker-compose.yml");
    const MIB: usize = 1 << 20;
    /// What it may take beside its windows: two cuts, one gathered while the other is inserted, their
    /// columns half as large again, 32 MiB of records from Kafka, and the program.
    const OTHERWISE: usize = 256 * MIB;

    /// `mem_limit` of a service.
    fn limit_of(service: &str) -> usize {
        let after = COMPOSE.split_once(&format!("\n  {service}:\n")).unwrap().1;
        let limit = after.split_once("mem_limit: ").unwrap().1;
        let limit = limit.lines().next().unwrap();
        let (number, unit) = limit.split_at(limit.len() - 1);
        let unit = match unit {
            "m" => MIB,
            "g" => 1024 * MIB,
            other => panic!("{other} in {limit}"),
        };
        number.parse::<usize>().unwrap() * unit
    }

    /// The tracker's events all bring an id, so the windows of all partitions fill.
    #[test]
    fn full_windows_of_all_partitions_fit_the_limit_of_docker_compose() {
        let mut window = Window::new(Config::default().repeat_window, []);
        let mut key = 0_u64;
        while window.len() < Config::default().repeat_window as usize {
            key = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
            window.admit(key);
        }
        let partitions = usize::from(infra::kafka::Config::default().partitions);
        // One of events, one of batches.
        let windows = window.bytes() * 2 * partitions;
        let limit = limit_of("sink");
        assert!(
            windows + OTHERWISE <= limit,
            "{} MiB of windows, and {} beside them, of {}",
            windows / MIB,
            OTHERWISE / MIB,
            limit / MIB
        );
    }
}

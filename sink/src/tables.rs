//! Whether the tables are such that every event can count once.

use std::fmt;

use anyhow::Context;
use clickhouse::{Client, Row};
use infra::clickhouse::{FaultyView, faulty_views, rollups};
use serde::Deserialize;

/// The least window that [`check`] lets pass, in blocks.
pub(crate) const BLOCKS_REMEMBERED: u64 = 10_000;

/// Tables that `weir migrate` makes, and their engines.
fn engines() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rollups = rollups::ALL.iter();
    [
        ("events", "MergeTree"),
        ("ledger", "MergeTree"),
        ("fences", "Join"),
        ("mends", "MergeTree"),
        ("removed_repeats", "ReplacingMergeTree"),
    ]
    .into_iter()
    .chain(rollups.map(|rollup| (rollup.table, "AggregatingMergeTree")))
}

/// Whether a cut's block goes through it: sent again, it must be dropped by each of these.
fn takes_blocks(table: &str) -> bool {
    ["events", "ledger"].contains(&table) || rollups::named(table).is_some()
}

/// Settings of a table whose parts are on the disk before its server acknowledges them.
const DURABLE: [&str; 2] = ["fsync_after_insert", "fsync_part_directory"];

/// Why nothing may be stored in these tables. Its text says what to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unfit {
    missing: Vec<String>,
    /// Tables, each with the engine that it has and the one that it should have.
    engines: Vec<(String, String, &'static str)>,
    /// Tables that would count a block twice.
    windows: Vec<String>,
    /// Tables whose rows a power cut may take after the ledger has vouched for them.
    volatile: Vec<String>,
    views: Vec<FaultyView>,
}

impl Unfit {
    /// Whether there is nothing to look at.
    pub(crate) fn is_missing(&self) -> bool {
        !self.missing.is_empty()
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sentences = Vec::new();
        if !self.missing.is_empty() {
            let missing = self.missing.join(", ");
            sentences.push(format!("there is no table {missing}: run weir migrate"));
        }
        for (table, engine, expected) in &self.engines {
            let why = if engine.starts_with("Replicated") || engine.starts_with("Shared") {
                "a fence on one replica does not stop an INSERT on another, so events would count twice. \
                 weir needs one ClickHouse server, with a database of its own that is not replicated: point clickhouse.url at one and run weir migrate"
            } else {
                "weir migrate does not make it so, and what it stores may count twice or not at all. \
                 Rename it, run weir migrate, and copy its rows back"
            };
            sentences.push(format!(
                "table {table} has the engine {engine} and not {expected}: {why}"
            ));
        }
        if !self.windows.is_empty() {
            sentences.push(format!(
                "table {} has no deduplication window of {BLOCKS_REMEMBERED} blocks or more: ALTER TABLE it MODIFY SETTING non_replicated_deduplication_window = {BLOCKS_REMEMBERED}",
                self.windows.join(", ")
            ));
        }
        if !self.volatile.is_empty() {
            let settings = DURABLE.map(|name| format!("{name} = 1")).join(", ");
            sentences.push(format!(
                "table {} may lose rows that it acknowledged in a power cut: ALTER TABLE it MODIFY SETTING {settings}",
                self.volatile.join(", ")
            ));
        }
        for FaultyView { name, is_there } in &self.views {
            let fault = if *is_there {
                format!("view {name} has another query or table than weir migrate gives it")
            } else {
                format!("there is no view {name}")
            };
            sentences.push(format!(
                "{fault}, so what is stored is missing from a rollup: run weir migrate, which puts it back; \
                 then weir audit says on which days events are missing, and weir seal over these days fills them"
            ));
        }
        f.write_str(&sentences.join("; "))
    }
}

/// A table as ClickHouse describes it.
#[derive(Debug, Clone, Row, Deserialize)]
struct Table {
    name: String,
    engine: String,
    engine_full: String,
}

/// What forbids to store anything in the tables that there are; None where all is well.
///
/// # Errors
/// If ClickHouse cannot be asked.
pub(crate) async fn check(client: &Client) -> anyhow::Result<Option<Unfit>> {
    let names: Vec<&str> = engines().map(|(name, _)| name).collect();
    let asked = client
        .query("SELECT name, engine, engine_full FROM system.tables WHERE database = currentDatabase() AND name IN ({tables:Array(String)})")
        .param("tables", names.as_slice())
        .fetch_all::<Table>()
        .await;
    let tables = match asked {
        Ok(tables) => tables,
        // UNKNOWN_DATABASE: as good as no table.
        Err(error) if error.to_string().contains("Code: 81.") => Vec::new(),
        Err(error) => return Err(error).context("look at the tables"),
    };
    let mut unfit = judge(&tables);
    if !unfit.is_missing() {
        unfit.views = faulty_views(client).await?;
    }
    Ok((unfit != Unfit::default()).then_some(unfit))
}

fn judge(tables: &[Table]) -> Unfit {
    let mut unfit = Unfit::default();
    for (name, expected) in engines() {
        let Some(table) = tables.iter().find(|table| table.name == name) else {
            unfit.missing.push(name.to_owned());
            continue;
        };
        if table.engine != expected {
            let engine = table.engine.clone();
            unfit.engines.push((name.to_owned(), engine, expected));
            continue;
        }
        let window = setting(&table.engine_full, "non_replicated_deduplication_window");
        let blocks = window.and_then(|blocks| blocks.parse::<u64>().ok());
        if takes_blocks(name) && blocks.is_none_or(|blocks| blocks < BLOCKS_REMEMBERED) {
            unfit.windows.push(name.to_owned());
        }
        let is_on = |name: &&str| matches!(setting(&table.engine_full, name), Some("1" | "true"));
        if expected.ends_with("MergeTree") && !DURABLE.iter().all(is_on) {
            unfit.volatile.push(name.to_owned());
        }
    }
    unfit
}

/// The value of a setting that a table itself has.
fn setting<'t>(engine_full: &'t str, name: &str) -> Option<&'t str> {
    let (_, settings) = engine_full.split_once(" SETTINGS ")?;
    let mut settings = settings.split(", ").filter_map(|set| set.split_once(" = "));
    settings.find(|set| set.0 == name).map(|set| set.1)
}

/// Those of these settings that the server knows: one that it does not is an error.
///
/// # Errors
/// If ClickHouse cannot be asked.
pub(crate) async fn known_settings(client: &Client, names: &[&str]) -> anyhow::Result<Vec<String>> {
    client
        .query("SELECT name FROM system.settings WHERE name IN ({names:Array(String)})")
        .param("names", names)
        .fetch_all::<String>()
        .await
        .context("ask which settings ClickHouse knows")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migrated() -> Vec<Table> {
        let table = |(name, engine): (&str, &str)| Table {
            name: name.to_owned(),
            engine: engine.to_owned(),
            engine_full: format!(
                "{engine} ORDER BY a SETTINGS index_granularity = 64, non_replicated_deduplication_window = 10000, auto_statistics_types = '', fsync_after_insert = 1, fsync_part_directory = true"
            ),
        };
        engines().map(table).collect()
    }

    #[test]
    fn replicated_and_shared_tables_are_refused_by_name() {
        assert_eq!(judge(&migrated()), Unfit::default());
        for engine in [
            "ReplicatedMergeTree",
            "ReplicatedAggregatingMergeTree",
            "SharedMergeTree",
            "SharedJoin",
        ] {
            for nth in 0..migrated().len() {
                let mut tables = migrated();
                tables[nth].engine = engine.to_owned();
                let refusal = judge(&tables).to_string();
                let named = format!("table {} has the engine {engine}", tables[nth].name);
                assert!(refusal.starts_with(&named), "{refusal}");
                assert!(refusal.contains("one ClickHouse server"), "{refusal}");
            }
        }
    }

    #[test]
    fn a_window_is_large_enough_from_ten_thousand_blocks_on() {
        for (window, is_fit) in [
            ("0", false),
            ("9999", false),
            ("10000", true),
            ("99999", true),
        ] {
            let mut tables = migrated();
            let events = &mut tables[0];
            events.engine_full = events.engine_full.replace("10000", window);
            assert_eq!(judge(&tables) == Unfit::default(), is_fit, "{window}");
        }
    }

    #[test]
    fn every_table_but_the_fences_has_to_be_durable() {
        for setting in DURABLE {
            let mut tables = migrated();
            for table in &mut tables {
                table.engine_full = table.engine_full.replace(setting, "another");
            }
            let volatile = judge(&tables).volatile;
            assert_eq!(volatile.len(), tables.len() - 1, "{setting}");
            assert!(!volatile.contains(&"fences".to_owned()), "{setting}");
        }
    }
}

//! The numbered .sql files under `infra/clickhouse/`, each applied once and recorded.

use anyhow::{Context, bail};
use clickhouse::Row;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tracing::info;

use super::{Config, client, views};

/// In order. A file that has been released is never edited: what comes next is a new file.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "events and rollups",
        sql: include_str!("../../clickhouse/0001_events_and_rollups.sql"),
    },
    Migration {
        version: 2,
        name: "ledger and fences",
        sql: include_str!("../../clickhouse/0002_ledger_and_fences.sql"),
    },
    Migration {
        version: 3,
        name: "views for people",
        sql: include_str!("../../clickhouse/0003_views_for_people.sql"),
    },
    Migration {
        version: 4,
        name: "months of users",
        sql: include_str!("../../clickhouse/0004_months_of_users.sql"),
    },
    Migration {
        version: 5,
        name: "merged rollups",
        sql: include_str!("../../clickhouse/0005_merged_rollups.sql"),
    },
    Migration {
        version: 6,
        name: "no statistics of columns",
        sql: include_str!("../../clickhouse/0006_no_statistics.sql"),
    },
    Migration {
        version: 7,
        name: "context of events",
        sql: include_str!("../../clickhouse/0007_context_of_events.sql"),
    },
    Migration {
        version: 8,
        name: "bots in rollups",
        sql: include_str!("../../clickhouse/0008_bots_in_rollups.sql"),
    },
    Migration {
        version: 9,
        name: "durable parts",
        sql: include_str!("../../clickhouse/0009_durable_parts.sql"),
    },
];

/// Stands for the database's name where a statement must not depend on who runs it.
const DATABASE: &str = "{database}";

struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

/// What [`migrate`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    pub applied: usize,
    /// The version the database is at.
    pub version: u32,
}

#[derive(Row, Deserialize)]
struct Applied {
    version: u32,
    checksum: String,
}

/// Brings the database to this binary's version, and puts views back that are missing or were
/// changed; does nothing where all is as it should be.
///
/// # Errors
/// If ClickHouse cannot be reached or refuses, if a file that was applied has changed since, or if
/// the database was made by a newer weir.
pub async fn migrate(config: &Config) -> anyhow::Result<Migrated> {
    let database = &config.database;
    client(config)
        .with_database("default")
        .query("CREATE DATABASE IF NOT EXISTS ?")
        .bind(clickhouse::sql::Identifier(database))
        .execute()
        .await
        .with_context(|| format!("create database {database} at {}", config.url))?;
    let client = client(config);
    client
        .query(include_str!("../../clickhouse/migrations.sql"))
        .execute()
        .await
        .context("create the table of migrations")?;
    let applied: Vec<Applied> = client
        .query("SELECT version, any(checksum) AS checksum FROM migrations GROUP BY version ORDER BY version")
        .fetch_all()
        .await
        .context("read the table of migrations")?;

    if let Some(newer) = applied
        .iter()
        .find(|row| MIGRATIONS.iter().all(|m| m.version != row.version))
    {
        bail!(
            "database {database} is at version {}, which this weir does not know: run a newer one",
            newer.version
        );
    }
    let mut count = 0;
    for migration in MIGRATIONS {
        let checksum = hex(&Sha256::digest(migration.sql));
        if let Some(row) = applied.iter().find(|row| row.version == migration.version) {
            if row.checksum != checksum {
                bail!(
                    "migration {} ({}) of database {database} was applied from another text",
                    migration.version,
                    migration.name
                );
            }
            continue;
        }
        for statement in statements(migration.sql) {
            client
                .query(&escape(&statement.replace(DATABASE, database)))
                .execute()
                .await
                .with_context(|| {
                    format!("apply migration {} ({})", migration.version, migration.name)
                })?;
        }
        client
            .query("INSERT INTO migrations (version, name, checksum) VALUES (?, ?, ?)")
            .bind(migration.version)
            .bind(migration.name)
            .bind(checksum)
            .execute()
            .await
            .with_context(|| format!("record migration {}", migration.version))?;
        info!(
            migration.version,
            "applied migration {} ({})", migration.version, migration.name
        );
        count += 1;
    }
    views::put_back(&client).await?;
    let version = MIGRATIONS.last().map_or(0, |migration| migration.version);
    Ok(Migrated {
        applied: count,
        version,
    })
}

/// A statement ends with a semicolon at the end of a line.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(";\n")
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
}

/// The statements of all migrations, in order, without the comments before them.
pub(super) fn all_statements() -> impl Iterator<Item = &'static str> {
    let all = MIGRATIONS.iter();
    all.flat_map(|migration| statements(migration.sql))
        .map(code)
}

fn code(statement: &str) -> &str {
    let mut code = statement;
    while code.starts_with("--") || code.starts_with('\n') {
        let Some((_, rest)) = code.split_once('\n') else {
            break;
        };
        code = rest;
    }
    code
}

/// The client takes `?` for a parameter; in DDL it is a character.
pub(super) fn escape(statement: &str) -> String {
    statement.trim_end_matches(';').replace('?', "??")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_from_one() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, index + 1);
        }
    }

    #[test]
    fn every_statement_of_every_file_makes_something_that_may_be_there() {
        // A migration that was cut off half way is applied again from its start.
        for migration in MIGRATIONS {
            for statement in statements(migration.sql) {
                let code = statement
                    .lines()
                    .find(|line| !line.is_empty() && !line.starts_with("--"))
                    .unwrap();
                // How a column is packed, not what it is.
                let packs = |line: &str| {
                    let change = line.strip_prefix("MODIFY COLUMN ");
                    let change = change.and_then(|change| change.split_once(' '));
                    change.is_some_and(|(_, change)| change.starts_with("CODEC("))
                };
                // What is set may be set twice.
                let sets = |line: &str| {
                    let starts = ["COMMENT COLUMN", "MODIFY COMMENT", "MODIFY SETTING"];
                    starts.iter().any(|start| line.starts_with(start)) || packs(line)
                };
                let adds =
                    |line: &str| line.starts_with("ADD ") && line.contains(" IF NOT EXISTS ");
                let is_repeatable = if code.ends_with("_mv MODIFY QUERY") {
                    code.starts_with("ALTER TABLE ")
                } else if code.starts_with("ALTER TABLE ") {
                    let changes = statement.lines().skip_while(|line| *line != code).skip(1);
                    let changes: Vec<_> = changes.map(str::trim_start).collect();
                    match changes.as_slice() {
                        // A key grows by a column that the same statement adds, or not at all.
                        [column, key] if key.starts_with("MODIFY ORDER BY (") => {
                            let name = column.strip_prefix("ADD COLUMN IF NOT EXISTS ");
                            let name = name.and_then(|column| column.split_once(' '));
                            name.is_some_and(|(name, _)| key.ends_with(&format!(", {name})")))
                        }
                        changes => changes.iter().all(|line| sets(line) || adds(line)),
                    }
                } else {
                    code.starts_with("CREATE OR REPLACE VIEW")
                        || code.starts_with("CREATE") && code.contains("IF NOT EXISTS")
                };
                assert!(is_repeatable, "migration {}: {code}", migration.version);
            }
        }
    }
}

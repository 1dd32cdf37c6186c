//! The table that a partition of a rollup is rebuilt in, and how it takes that one's place.
//!
//! A server that dies while it replaces a partition may have the old rows and the new ones
//! afterwards. So a table that is to take a partition's place bears a name that says so, and where
//! that was cut off it is done again: with the same table it comes to the same, as long as the gate
//! has not been opened since.

use anyhow::Context;
use clickhouse::Client;
use tracing::warn;
use uuid::Uuid;

use crate::fences::Fences;
use crate::tables;

/// Events of a whole partition may have been removed by hand.
const FROM_EMPTY: &str = "allow_replace_partition_from_empty_source";

/// Makes drafts and puts them in their places. Cheap to clone.
#[derive(Clone)]
pub(super) struct Drafts {
    pub(super) client: Client,
    pub(super) fences: Fences,
}

/// Where a partition is rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) mend: Uuid,
    /// How the gate was closed when its rows were read.
    pub(super) gate: u64,
    pub(super) partition: u32,
    /// The rollup.
    pub(super) table: String,
}

impl Draft {
    /// Its name while it is made.
    pub(super) fn unfinished(mend: Uuid, table: &str) -> String {
        format!("mend_{}_{table}", mend.simple())
    }

    /// Its name from when it is to take the partition's place.
    fn finished(&self) -> String {
        let Self {
            mend,
            gate,
            partition,
            table,
        } = self;
        format!("swap_{}_{gate}_{partition}_{table}", mend.simple())
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("swap_")?.splitn(4, '_');
        Some(Self {
            mend: parts.next()?.parse().ok()?,
            gate: parts.next()?.parse().ok()?,
            partition: parts.next()?.parse().ok()?,
            table: parts.next()?.to_owned(),
        })
    }
}

impl Drafts {
    /// Leaves nothing of a mend behind: what it was making is dropped, and what it was putting in
    /// place is put there.
    pub(super) async fn put_away(&self, mend: Uuid, tables: &[&str]) -> anyhow::Result<()> {
        // First, so that its maker, who may wake up, cannot finish any more of them.
        for table in tables {
            self.drop(&Draft::unfinished(mend, table)).await?;
        }
        for draft in self.finished(mend).await? {
            if self.swap(&draft).await? {
                warn!(
                    mend.id = %mend,
                    "putting partition {} of {} in place was cut off, and was done again",
                    draft.partition, draft.table
                );
            } else {
                warn!(
                    mend.id = %mend,
                    "putting partition {} of {} in place was cut off, and sinks have gone on since: run weir audit, which says whether it is right",
                    draft.partition, draft.table
                );
            }
        }
        Ok(())
    }

    /// Says of a table whose rows are all there that it is to take the partition's place, and puts
    /// it there. False if the gate is not as it was: the draft lacks what was inserted since.
    pub(super) async fn put_in_place(&self, draft: &Draft) -> anyhow::Result<bool> {
        let unfinished = Draft::unfinished(draft.mend, &draft.table);
        self.run(&format!(
            "RENAME TABLE {unfinished} TO {}",
            draft.finished()
        ))
        .await?;
        self.swap(draft).await
    }

    async fn swap(&self, draft: &Draft) -> anyhow::Result<bool> {
        let (table, partition, finished) = (&draft.table, draft.partition, draft.finished());
        let is_as_it_was = self.fences.is_closed(draft.gate).await?;
        if is_as_it_was {
            self.replace(table, partition, &finished).await?;
        }
        self.drop(&finished).await?;
        Ok(is_as_it_was)
    }

    /// Whatever happens late, this cannot once the draft is dropped: a partition is never dropped by
    /// itself, not even where its draft is empty.
    async fn replace(&self, table: &str, partition: u32, draft: &str) -> anyhow::Result<()> {
        let statement = format!("ALTER TABLE {table} REPLACE PARTITION {partition} FROM {draft}");
        let mut replace = self.client.query(&statement);
        // Servers that know it refuse to replace by nothing, and others do it unasked.
        for name in tables::known_settings(&self.client, &[FROM_EMPTY]).await? {
            replace = replace.with_setting(name, "1");
        }
        replace.execute().await.with_context(|| statement.clone())
    }

    async fn finished(&self, mend: Uuid) -> anyhow::Result<Vec<Draft>> {
        let names = self
            .client
            .query("SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, {prefix:String})")
            .param("prefix", format!("swap_{}_", mend.simple()))
            .fetch_all::<String>()
            .await
            .context("ask which partitions are being swapped")?;
        Ok(names.iter().filter_map(|name| Draft::parse(name)).collect())
    }

    async fn drop(&self, name: &str) -> anyhow::Result<()> {
        self.run(&format!("DROP TABLE IF EXISTS {name} SYNC")).await
    }

    async fn run(&self, statement: &str) -> anyhow::Result<()> {
        let done = self.client.query(statement).execute().await;
        done.with_context(|| statement.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_to_be_put_where() {
        let draft = Draft {
            mend: Uuid::from_u128(7),
            gate: u64::MAX,
            partition: 202_411,
            table: "stats_quarter_hour".to_owned(),
        };
        assert_eq!(Draft::parse(&draft.finished()), Some(draft));
        for name in ["stats_day", "swap_7_1_2024_stats_day", "swap_"] {
            assert_eq!(Draft::parse(name), None, "{name}");
        }
    }
}

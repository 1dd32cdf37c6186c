//! What the events take on disk: as the run left them, and after everything was merged.

use anyhow::Context;
use serde::Serialize;
use tracing::info;

use super::world::World;
use crate::query::disk::{self, Disk};

/// Before and after a forced merge of every table.
#[derive(Debug, Serialize)]
pub struct Disks {
    pub before_merges: Disk,
    pub after_merges: Disk,
}

/// # Errors
/// If ClickHouse does not merge or does not tell.
pub(super) async fn measure(world: &World) -> anyhow::Result<Disks> {
    let before_merges = disk::measure(&world.client, &world.database).await?;
    info!("merging everything");
    for table in &before_merges.tables {
        let name = &table.table;
        world
            .client
            .query("OPTIMIZE TABLE ? FINAL")
            .bind(clickhouse::sql::Identifier(name))
            .execute()
            .await
            .with_context(|| format!("merge {name}"))?;
    }
    Ok(Disks {
        before_merges,
        after_merges: disk::measure(&world.client, &world.database).await?,
    })
}

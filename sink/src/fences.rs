//! Who may insert rows of a partition. The server asks this table at every INSERT, so a sink that
//! lost a partition without knowing it is refused, however late it wakes up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Its owner is 0 unless nobody may insert.
const EVERY_PARTITION: u16 = u16::MAX;
const POLL: Duration = Duration::from_millis(20);

/// Reads and raises fences. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fences {
    client: Client,
    /// Longer than any INSERT may take.
    drain_timeout: Duration,
}

#[derive(Row, Serialize, Deserialize)]
struct Fence {
    partition: u16,
    owner: u64,
}

/// A number for who takes partitions over, and as long as that lasts. Never 0, which is nobody's.
pub(crate) fn draw_owner() -> u64 {
    Uuid::new_v4().as_u64_pair().1 | TAKEOVER
}

/// The number under which a takeover goes on once it is done.
pub(crate) fn settled(owner: u64) -> u64 {
    owner ^ TAKEOVER
}

/// Set in the number of a takeover under way.
const TAKEOVER: u64 = 1;

impl Fences {
    pub(crate) fn new(client: Client, insert_timeout: Duration) -> Self {
        Self {
            client,
            drain_timeout: insert_timeout + Duration::from_secs(10),
        }
    }

    /// From here on only `owner` may insert rows of these partitions. What was accepted before may
    /// still be on its way: see [`drain`](Self::drain).
    pub(crate) async fn raise(
        &self,
        partitions: impl IntoIterator<Item = u16>,
        owner: u64,
    ) -> anyhow::Result<()> {
        let context = "take partitions over in ClickHouse";
        let mut insert = self
            .client
            .insert::<Fence>("fences")
            .await
            .context(context)?;
        for partition in partitions {
            let fence = Fence { partition, owner };
            insert.write(&fence).await.context(context)?;
        }
        insert.end().await.context(context)
    }

    /// From here on nobody may insert, until [`open`](Self::open). Returns by which number it is
    /// told that nobody has opened or closed since.
    pub(crate) async fn close(&self) -> anyhow::Result<u64> {
        let gate = draw_owner();
        self.raise([EVERY_PARTITION], gate).await?;
        Ok(gate)
    }

    /// Whether it is closed as `gate` left it.
    pub(crate) async fn is_closed(&self, gate: u64) -> anyhow::Result<bool> {
        Ok(self.gate().await? == Some(gate))
    }

    /// The number by which it was closed, if it is.
    pub(crate) async fn gate(&self) -> anyhow::Result<Option<u64>> {
        let gate = self.owners().await?.get(&EVERY_PARTITION).copied();
        Ok(gate.filter(|gate| *gate != 0))
    }

    /// Takes their partitions from all takeovers under way but `keep`: they have to begin again.
    pub(crate) async fn shut_takeovers_out(&self, keep: Option<u64>) -> anyhow::Result<()> {
        let partitions: Vec<u16> = self
            .owners()
            .await?
            .into_iter()
            .filter(|(partition, owner)| {
                *partition != EVERY_PARTITION && owner & TAKEOVER != 0 && Some(*owner) != keep
            })
            .map(|(partition, _)| partition)
            .collect();
        if partitions.is_empty() {
            return Ok(());
        }
        self.raise(partitions, draw_owner()).await
    }

    /// Lets the owners insert again, unless somebody else has closed it since.
    pub(crate) async fn open(&self, gate: u64) -> anyhow::Result<()> {
        // The server compares: this process may be stopped at any line.
        self.client
            .query("INSERT INTO fences SELECT {all:UInt16} AS partition, 0 AS owner WHERE (SELECT any(owner) FROM fences WHERE partition = {all:UInt16}) = {gate:UInt64}")
            .param("all", EVERY_PARTITION)
            .param("gate", gate)
            .execute()
            .await
            .context("let the sinks insert again")
    }

    /// The owner of each partition that has one.
    pub(crate) async fn owners(&self) -> anyhow::Result<BTreeMap<u16, u64>> {
        let fences = self
            .client
            .query("SELECT partition, owner FROM fences")
            .fetch_all::<Fence>()
            .await
            .context("ask who may insert")?;
        Ok(fences
            .into_iter()
            .map(|fence| (fence.partition, fence.owner))
            .collect())
    }

    /// Whether all these partitions are still `owner`'s.
    pub(crate) async fn are_of(
        &self,
        partitions: impl IntoIterator<Item = u16>,
        owner: u64,
    ) -> anyhow::Result<bool> {
        let owners = self.owners().await?;
        Ok(partitions
            .into_iter()
            .all(|partition| owners.get(&partition) == Some(&owner)))
    }

    /// Waits until every INSERT into `events` or `ledger` that began before `raised` has ended.
    pub(crate) async fn drain(&self, raised: Instant) -> anyhow::Result<()> {
        loop {
            let since = raised.elapsed();
            let running = self
                .client
                .query("SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND elapsed > {since:Float64} AND current_database = currentDatabase() AND match(query, '^INSERT INTO (events|ledger) ')")
                .param("since", since.as_secs_f64())
                .fetch_all::<u64>()
                .await
                .context("ask which INSERTs are running")?;
            if running == [0] {
                return Ok(());
            }
            if since > self.drain_timeout {
                bail!("an INSERT that began {since:?} ago has not ended");
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

//! The five processes, and a figure of each.

use std::ops::Add;

use serde::Serialize;

/// Something of every process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Each<T> {
    pub ingest: T,
    pub broker: T,
    pub sink: T,
    pub clickhouse: T,
    pub query: T,
}

impl<T> Each<T> {
    pub(super) fn map<U>(&self, of: impl Fn(&T) -> U) -> Each<U> {
        Each {
            ingest: of(&self.ingest),
            broker: of(&self.broker),
            sink: of(&self.sink),
            clickhouse: of(&self.clickhouse),
            query: of(&self.query),
        }
    }

    pub(super) fn try_map<U>(
        &self,
        of: impl Fn(&T) -> anyhow::Result<U>,
    ) -> anyhow::Result<Each<U>> {
        Ok(Each {
            ingest: of(&self.ingest)?,
            broker: of(&self.broker)?,
            sink: of(&self.sink)?,
            clickhouse: of(&self.clickhouse)?,
            query: of(&self.query)?,
        })
    }

    pub(super) fn with<U, V>(&self, other: &Each<U>, of: impl Fn(&T, &U) -> V) -> Each<V> {
        Each {
            ingest: of(&self.ingest, &other.ingest),
            broker: of(&self.broker, &other.broker),
            sink: of(&self.sink, &other.sink),
            clickhouse: of(&self.clickhouse, &other.clickhouse),
            query: of(&self.query, &other.query),
        }
    }
}

impl<T: Copy + Add<Output = T>> Each<T> {
    pub(super) fn sum(&self) -> T {
        self.ingest + self.broker + self.sink + self.clickhouse + self.query
    }
}

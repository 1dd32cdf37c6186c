//! What each request does, one family a file. Here: which requests there are, and who answers them.

mod admin;
mod commits;
mod configs;
mod fetch;
mod list_offsets;
mod membership;
mod metadata;
mod produce;
pub(crate) mod versions;

use std::{collections::HashSet, hash::Hash, pin::Pin, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, RequestKind, ResponseKind},
    protocol::StrBytes,
};

use tokio::sync::Mutex;

use crate::{broker::Shared, groups::Client, server::Held, topics::Refusal};
pub(crate) use versions::find;

/// This node, the only one there is.
const NODE: i32 = 1;

/// What a handler knows beside the request's own fields.
pub(crate) struct Request {
    pub(crate) broker: Arc<Shared>,
    pub(crate) version: i16,
    pub(crate) client: Client,
    /// Where this client is told to find the broker.
    pub(crate) host: String,
    pub(crate) port: i32,
    /// Memory for the answer. What an answer takes is counted in any case when it is sent; a large
    /// one waits here before it is made.
    pub(crate) room: Room,
}

pub(crate) type Room = Arc<Mutex<Held>>;

impl Request {
    /// Waits for room for an answer of about so many bytes.
    async fn reserve(&self, bytes: usize) {
        self.room.lock().await.between(bytes, bytes).await;
    }
}

/// The rest of the work on a request, to be awaited when its turn to be answered comes. An error
/// closes the connection without an answer.
pub(crate) type Pending =
    Pin<Box<dyn Future<Output = anyhow::Result<Option<ResponseKind>>> + Send>>;

pub(crate) fn decode(key: ApiKey, version: i16, body: &mut Bytes) -> anyhow::Result<RequestKind> {
    RequestKind::decode(key, body, version)
}

/// Begins a request. Produce has written its records when this returns; all others have done nothing.
pub(crate) async fn begin(request: Request, body: RequestKind) -> anyhow::Result<Pending> {
    Ok(match body {
        RequestKind::Produce(body) => produce::begin(request, body).await?,
        body => Box::pin(async move { answer(request, body).await.map(Some) }),
    })
}

async fn answer(request: Request, body: RequestKind) -> anyhow::Result<ResponseKind> {
    Ok(match body {
        RequestKind::ApiVersions(_) => versions::supported(),
        RequestKind::Fetch(body) => ResponseKind::Fetch(fetch::answer(request, body).await?),
        RequestKind::ListOffsets(body) => {
            ResponseKind::ListOffsets(list_offsets::answer(request, body).await?)
        }
        RequestKind::Metadata(body) => {
            ResponseKind::Metadata(metadata::answer(request, body).await?)
        }
        RequestKind::DescribeCluster(_) => {
            ResponseKind::DescribeCluster(metadata::describe_cluster(&request))
        }
        RequestKind::FindCoordinator(body) => {
            ResponseKind::FindCoordinator(metadata::find_coordinator(&request, body))
        }
        RequestKind::InitProducerId(body) => {
            ResponseKind::InitProducerId(produce::init_producer_id(request, body).await?)
        }
        RequestKind::JoinGroup(body) => {
            ResponseKind::JoinGroup(membership::join(request, body).await)
        }
        RequestKind::SyncGroup(body) => {
            ResponseKind::SyncGroup(membership::sync(request, body).await)
        }
        RequestKind::Heartbeat(body) => {
            ResponseKind::Heartbeat(membership::heartbeat(&request, &body))
        }
        RequestKind::LeaveGroup(body) => {
            ResponseKind::LeaveGroup(membership::leave(&request, body))
        }
        RequestKind::DescribeGroups(body) => {
            ResponseKind::DescribeGroups(membership::describe(request, body).await)
        }
        RequestKind::ListGroups(body) => {
            ResponseKind::ListGroups(membership::list(request, body).await)
        }
        RequestKind::DeleteGroups(body) => {
            ResponseKind::DeleteGroups(membership::delete(request, body).await?)
        }
        RequestKind::OffsetCommit(body) => {
            ResponseKind::OffsetCommit(commits::commit(request, body).await?)
        }
        RequestKind::OffsetFetch(body) => {
            ResponseKind::OffsetFetch(commits::fetch(request, body).await)
        }
        RequestKind::CreateTopics(body) => {
            ResponseKind::CreateTopics(admin::create_topics(request, body).await?)
        }
        RequestKind::DeleteTopics(body) => {
            ResponseKind::DeleteTopics(admin::delete_topics(request, body).await?)
        }
        RequestKind::CreatePartitions(body) => {
            ResponseKind::CreatePartitions(admin::create_partitions(request, body).await?)
        }
        RequestKind::DeleteRecords(body) => {
            ResponseKind::DeleteRecords(admin::delete_records(request, body).await?)
        }
        RequestKind::DescribeConfigs(body) => {
            ResponseKind::DescribeConfigs(configs::describe(request, body).await)
        }
        RequestKind::AlterConfigs(body) => {
            ResponseKind::AlterConfigs(configs::alter(request, body).await?)
        }
        RequestKind::IncrementalAlterConfigs(body) => ResponseKind::IncrementalAlterConfigs(
            configs::alter_incrementally(request, body).await?,
        ),
        other => anyhow::bail!("{other:?} has no handler"),
    })
}

/// Runs what blocks on the disk away from the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("work on the disk panicked")
}

/// Each item once: a request that repeats a name must not be answered with as many copies of what is
/// behind it.
fn once<T, K: Eq + Hash>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::new();
    let mut items = items;
    items.retain(|item| seen.insert(key(item)));
    items
}

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// The protocol's code, 0 for success.
fn code<T>(result: &Result<T, ResponseError>) -> i16 {
    result.as_ref().err().map_or(0, ResponseError::code)
}

/// Code and message of an administrator's request.
fn verdict<T>(result: &Result<T, Refusal>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(_) => (0, None),
        Err(refusal) => (refusal.error.code(), Some(text(refusal.message.clone()))),
    }
}

//! The requests this broker answers, one file per family.

mod configs;
mod fetch;
mod groups;
mod metadata;
mod produce;
mod topics;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use kafka_protocol::protocol::StrBytes;

pub(crate) use metadata::api_versions;

use crate::Shared;

/// The only broker of its cluster.
const NODE_ID: i32 = 1;

/// What is answered, in which versions. librdkafka takes a produce request from version 0 as the
/// sign of a broker that knows compression.
pub(crate) const SUPPORTED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 0, 9),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::OffsetCommit, 2, 8),
    (ApiKey::OffsetFetch, 1, 8),
    (ApiKey::FindCoordinator, 0, 4),
    (ApiKey::JoinGroup, 0, 6),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 4),
    (ApiKey::SyncGroup, 0, 4),
    (ApiKey::DescribeGroups, 0, 5),
    (ApiKey::ListGroups, 0, 4),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 5),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::DescribeCluster, 0, 0),
];

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) host: String,
}

/// `None`: the client does not want an answer.
///
/// # Errors
/// If the request is none that a client would send; the connection ends.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    client: &Client,
    version: i16,
    request: RequestKind,
) -> anyhow::Result<Option<ResponseKind>> {
    let shared = shared.clone();
    Ok(Some(match request {
        RequestKind::ApiVersions(_) => api_versions(None),
        RequestKind::Fetch(request) => fetch::fetch(shared, request).await?,
        RequestKind::JoinGroup(request) => groups::join(&shared, client, version, request).await,
        RequestKind::SyncGroup(request) => groups::sync(&shared, request).await,
        RequestKind::Produce(request) => {
            let wants_answer = request.acks != 0;
            let response = produce::produce(shared, request).await?;
            return Ok(wants_answer.then_some(response));
        }
        // All the others may touch the disk or wait for somebody who does.
        request => {
            tokio::task::spawn_blocking(move || blocking(&shared, version, request)).await??
        }
    }))
}

fn blocking(shared: &Shared, version: i16, request: RequestKind) -> anyhow::Result<ResponseKind> {
    Ok(match request {
        RequestKind::Metadata(request) => metadata::metadata(shared, version, &request),
        RequestKind::DescribeCluster(_) => metadata::describe_cluster(shared),
        RequestKind::FindCoordinator(request) => metadata::find_coordinator(shared, &request),
        RequestKind::ListOffsets(request) => fetch::list_offsets(shared, &request),
        RequestKind::InitProducerId(request) => produce::init_producer_id(shared, &request),
        RequestKind::OffsetCommit(request) => groups::commit(shared, request),
        RequestKind::OffsetFetch(request) => groups::committed(shared, version, request),
        RequestKind::Heartbeat(request) => groups::heartbeat(shared, &request),
        RequestKind::LeaveGroup(request) => groups::leave(shared, version, request),
        RequestKind::DescribeGroups(request) => groups::describe(shared, request),
        RequestKind::ListGroups(request) => groups::list(shared, &request),
        RequestKind::DeleteGroups(request) => groups::delete(shared, request),
        RequestKind::CreateTopics(request) => topics::create(shared, request),
        RequestKind::DeleteTopics(request) => topics::delete(shared, request),
        RequestKind::DescribeConfigs(request) => configs::describe(shared, request),
        RequestKind::IncrementalAlterConfigs(request) => configs::alter(shared, request),
        other => anyhow::bail!("a request this broker does not answer: {other:?}"),
    })
}

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// The broker's clock, as records have it.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

//! The requests this broker answers, and in which versions.

use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, ApiVersionsResponse, ResponseKind, api_versions_response::ApiVersion},
};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    pub(crate) min: i16,
    pub(crate) max: i16,
}

const fn api(key: ApiKey, min: i16, max: i16) -> Api {
    Api { key, min, max }
}

const APIS: [Api; 24] = [
    api(ApiKey::Produce, 3, 9),
    api(ApiKey::Fetch, 4, 12),
    api(ApiKey::ListOffsets, 1, 7),
    api(ApiKey::Metadata, 0, 12),
    api(ApiKey::OffsetCommit, 2, 8),
    api(ApiKey::OffsetFetch, 1, 8),
    api(ApiKey::FindCoordinator, 0, 4),
    api(ApiKey::JoinGroup, 0, 9),
    api(ApiKey::Heartbeat, 0, 4),
    api(ApiKey::LeaveGroup, 0, 5),
    api(ApiKey::SyncGroup, 0, 5),
    api(ApiKey::DescribeGroups, 0, 5),
    api(ApiKey::ListGroups, 0, 4),
    api(ApiKey::ApiVersions, 0, 3),
    api(ApiKey::CreateTopics, 2, 7),
    api(ApiKey::DeleteTopics, 1, 6),
    api(ApiKey::DeleteRecords, 0, 2),
    api(ApiKey::InitProducerId, 0, 4),
    api(ApiKey::DescribeConfigs, 1, 4),
    api(ApiKey::AlterConfigs, 0, 2),
    api(ApiKey::IncrementalAlterConfigs, 0, 1),
    api(ApiKey::CreatePartitions, 0, 3),
    api(ApiKey::DeleteGroups, 0, 2),
    api(ApiKey::DescribeCluster, 0, 1),
];

pub(crate) fn find(code: i16) -> Option<Api> {
    APIS.into_iter().find(|api| api.key as i16 == code)
}

pub(super) fn supported() -> ResponseKind {
    let listed = APIS.map(|api| {
        // librdkafka takes a broker without Produce 0 for one that knows no compression; Apache Kafka
        // 4 announces it for the same reason and does not serve it either.
        let min = if api.key == ApiKey::Produce {
            0
        } else {
            api.min
        };
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(min)
            .with_max_version(api.max)
    });
    ResponseKind::ApiVersions(ApiVersionsResponse::default().with_api_keys(listed.to_vec()))
}

/// For a client newer than this broker: it asks again in a version it finds here.
pub(crate) fn unsupported() -> ResponseKind {
    let own = find(ApiKey::ApiVersions as i16).map(|api| {
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(api.min)
            .with_max_version(api.max)
    });
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(own.into_iter().collect());
    ResponseKind::ApiVersions(response)
}

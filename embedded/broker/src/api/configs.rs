//! Settings looked at and changed by Kafka's own tools.

use kafka_protocol::{
    ResponseError,
    messages::{
        AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
        IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, alter_configs_response,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::{
            DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
        },
        incremental_alter_configs_request::AlterableConfig,
        incremental_alter_configs_response,
    },
};

use super::{NODE, Request, blocking, once, text, verdict};
use crate::{
    clock,
    config::Config,
    topic_config::{Kind, Overrides, Setting},
    topics::Refusal,
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

const FROM_TOPIC: i8 = 1;
const FROM_BROKER_FILE: i8 = 4;
const FROM_DEFAULT: i8 = 5;

/// About what the description of a topic or of the broker takes.
const RESOURCE_BYTES: usize = 4 << 10;

const SET: i8 = 0;
const DELETE: i8 = 1;

pub(super) async fn describe(
    request: Request,
    body: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let resources = once(body.resources, |resource| {
        (resource.resource_type, resource.resource_name.clone())
    });
    request.reserve(resources.len() * RESOURCE_BYTES).await;
    let results = resources.into_iter().map(|resource| {
        let outcome = describe_resource(&request, &resource, body.include_synonyms);
        let (error_code, message) = verdict(&outcome);
        DescribeConfigsResult::default()
            .with_error_code(error_code)
            .with_error_message(message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_configs(outcome.unwrap_or_default())
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe_resource(
    request: &Request,
    resource: &DescribeConfigsResource,
    synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let settings: Vec<(Setting, i8)> = match resource.resource_type {
        TOPIC => {
            let topic = request
                .broker
                .topics
                .get(&resource.resource_name)
                .ok_or_else(|| {
                    let message = format!("there is no topic {}", resource.resource_name);
                    Refusal::new(ResponseError::UnknownTopicOrPartition, message)
                })?;
            let current = topic.current();
            let source = |name| {
                if current.overrides.contains_key(name) {
                    FROM_TOPIC
                } else {
                    FROM_DEFAULT
                }
            };
            let settings = current.config.describe().into_iter();
            settings
                .map(|setting| (setting.clone(), source(setting.name)))
                .collect()
        }
        BROKER
            if resource.resource_name.is_empty()
                || *resource.resource_name == *NODE.to_string() =>
        {
            of_broker(&request.broker.config)
                .into_iter()
                .map(|setting| (setting, FROM_BROKER_FILE))
                .collect()
        }
        _ => {
            let message = "only topics and broker 1 have settings";
            return Err(Refusal::new(ResponseError::InvalidRequest, message));
        }
    };
    let wanted = |name: &str| {
        resource
            .configuration_keys
            .as_ref()
            .is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
    };
    let described = settings
        .into_iter()
        .filter(|(setting, _)| wanted(setting.name))
        .map(|(setting, source)| {
            let value = Some(text(setting.value));
            let synonym = DescribeConfigsSynonym::default()
                .with_name(text(setting.name))
                .with_value(value.clone())
                .with_source(source);
            DescribeConfigsResourceResult::default()
                .with_name(text(setting.name))
                .with_value(value)
                .with_read_only(setting.read_only)
                .with_config_source(source)
                .with_synonyms(if synonyms { vec![synonym] } else { Vec::new() })
                .with_config_type(if request.version >= 3 {
                    setting.kind as i8
                } else {
                    0
                })
        });
    Ok(described.collect())
}

/// The broker's own settings, as far as Kafka has a name for them. They change in its configuration.
fn of_broker(config: &Config) -> Vec<Setting> {
    let long = |name, value: i64| Setting {
        name,
        value: value.to_string(),
        kind: Kind::Long,
        read_only: true,
    };
    let flag = |name, value: bool| Setting {
        name,
        value: value.to_string(),
        kind: Kind::Text,
        read_only: true,
    };
    vec![
        flag("auto.create.topics.enable", config.auto_create_topics),
        long("num.partitions", i64::from(config.partitions)),
        long(
            "log.retention.ms",
            if config.retention.is_zero() {
                -1
            } else {
                clock::millis(config.retention)
            },
        ),
        long(
            "log.retention.bytes",
            config.retention_bytes.map_or(-1, |bytes| bytes as i64),
        ),
        long("log.segment.bytes", config.segment_bytes as i64),
        long("message.max.bytes", config.message_bytes_max as i64),
        long("socket.request.max.bytes", config.request_bytes_max as i64),
        long("max.connections", config.connections_max as i64),
        long("group.max.size", config.group_members_max as i64),
        long(
            "offset.metadata.max.bytes",
            config.offset_metadata_bytes_max as i64,
        ),
        long(
            "group.min.session.timeout.ms",
            clock::millis(config.session_min),
        ),
        long(
            "group.max.session.timeout.ms",
            clock::millis(config.session_max),
        ),
    ]
}

/// Replaces all overrides of a topic.
pub(super) async fn alter(
    request: Request,
    body: AlterConfigsRequest,
) -> anyhow::Result<AlterConfigsResponse> {
    blocking(move || {
        let responses = body.resources.into_iter().map(|resource| {
            let overrides: Overrides = resource
                .configs
                .into_iter()
                .filter_map(|config| Some((config.name.to_string(), config.value?.to_string())))
                .collect();
            let outcome = only_topics(resource.resource_type).and_then(|()| {
                request
                    .broker
                    .topics
                    .configure(&resource.resource_name, body.validate_only, |_| {
                        Ok(overrides)
                    })
            });
            let (error_code, message) = verdict(&outcome);
            alter_configs_response::AlterConfigsResourceResponse::default()
                .with_error_code(error_code)
                .with_error_message(message)
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name)
        });
        AlterConfigsResponse::default().with_responses(responses.collect())
    })
    .await
}

/// Changes single overrides of a topic.
pub(super) async fn alter_incrementally(
    request: Request,
    body: IncrementalAlterConfigsRequest,
) -> anyhow::Result<IncrementalAlterConfigsResponse> {
    blocking(move || {
        let responses = body.resources.into_iter().map(|resource| {
            let changes = resource.configs;
            let outcome = only_topics(resource.resource_type).and_then(|()| {
                let change = |overrides| apply(overrides, &changes);
                request
                    .broker
                    .topics
                    .configure(&resource.resource_name, body.validate_only, change)
            });
            let (error_code, message) = verdict(&outcome);
            incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                .with_error_code(error_code)
                .with_error_message(message)
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name)
        });
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
    })
    .await
}

fn apply(mut overrides: Overrides, changes: &[AlterableConfig]) -> Result<Overrides, Refusal> {
    for change in changes {
        match (change.config_operation, &change.value) {
            (SET, Some(value)) => overrides.insert(change.name.to_string(), value.to_string()),
            (DELETE, _) => overrides.remove(change.name.as_str()),
            _ => {
                let message = format!("{} can be set or deleted, nothing else", change.name);
                return Err(Refusal::new(ResponseError::InvalidRequest, message));
            }
        };
    }
    Ok(overrides)
}

fn only_topics(resource_type: i8) -> Result<(), Refusal> {
    if resource_type == TOPIC {
        return Ok(());
    }
    let message = "only the settings of topics can be changed this way; the broker's are in its configuration";
    Err(Refusal::new(ResponseError::InvalidRequest, message))
}

//! The settings of topics, shown and changed.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, ResponseKind, TopicName,
};

use super::text;
use crate::Shared;
use crate::topics::CreateError;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET_BY_TOPIC: i8 = 1;
const DEFAULT: i8 = 5;
const SET: i8 = 0;
const DELETE: i8 = 1;

pub(super) fn describe(shared: &Shared, request: DescribeConfigsRequest) -> ResponseKind {
    let results = request
        .resources
        .into_iter()
        .map(|wanted| describe_one(shared, wanted))
        .collect();
    ResponseKind::DescribeConfigs(DescribeConfigsResponse::default().with_results(results))
}

fn describe_one(shared: &Shared, wanted: DescribeConfigsResource) -> DescribeConfigsResult {
    let settings = match wanted.resource_type {
        TOPIC => shared
            .topics
            .get(&TopicName(wanted.resource_name.clone()))
            .map(|topic| topic.settings())
            .ok_or(ResponseError::UnknownTopicOrPartition),
        // It has none that a client could ask for; its own are in its process's configuration.
        BROKER => Ok(Vec::new()),
        _ => Err(ResponseError::InvalidRequest),
    };
    let result = DescribeConfigsResult::default()
        .with_resource_type(wanted.resource_type)
        .with_resource_name(wanted.resource_name);
    match settings {
        Err(error) => result.with_error_code(error.code()),
        Ok(settings) => {
            let asked = |name: &str| {
                let keys = wanted.configuration_keys.as_ref();
                keys.is_none_or(|keys| keys.iter().any(|key| &**key == name))
            };
            let configs =
                settings
                    .into_iter()
                    .filter(|(name, ..)| asked(name))
                    .map(|(name, value, own)| {
                        DescribeConfigsResourceResult::default()
                            .with_name(text(name))
                            .with_value(Some(text(value)))
                            .with_config_source(if own { SET_BY_TOPIC } else { DEFAULT })
                    });
            result.with_configs(configs.collect())
        }
    }
}

pub(super) fn alter(shared: &Shared, request: IncrementalAlterConfigsRequest) -> ResponseKind {
    let validate_only = request.validate_only;
    let responses = request
        .resources
        .into_iter()
        .map(|resource| {
            let altered = if validate_only {
                Err((
                    ResponseError::InvalidRequest,
                    "cannot validate without altering".to_owned(),
                ))
            } else {
                alter_one(shared, &resource)
            };
            let (error, reason) = altered.err().unzip();
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name)
                .with_error_code(error.map_or(0, |error: ResponseError| error.code()))
                .with_error_message(reason.map(text))
        })
        .collect();
    let response = IncrementalAlterConfigsResponse::default().with_responses(responses);
    ResponseKind::IncrementalAlterConfigs(response)
}

fn alter_one(
    shared: &Shared,
    resource: &AlterConfigsResource,
) -> Result<(), (ResponseError, String)> {
    if resource.resource_type != TOPIC {
        return Err((
            ResponseError::InvalidRequest,
            "only topics have settings".to_owned(),
        ));
    }
    let topic = shared
        .topics
        .get(&TopicName(resource.resource_name.clone()))
        .ok_or((
            ResponseError::UnknownTopicOrPartition,
            "no such topic".to_owned(),
        ))?;
    let mut changes = BTreeMap::new();
    for config in &resource.configs {
        let value = match (config.config_operation, &config.value) {
            (SET, Some(value)) => Some(value.to_string()),
            (DELETE, _) => None,
            _ => {
                let reason = format!("{} can be set or deleted", &*config.name);
                return Err((ResponseError::InvalidRequest, reason));
            }
        };
        changes.insert(config.name.to_string(), value);
    }
    topic.alter(changes).map_err(|error| {
        let code = match error {
            CreateError::Disk(_) => ResponseError::KafkaStorageError,
            _ => ResponseError::InvalidConfig,
        };
        (code, error.to_string())
    })
}

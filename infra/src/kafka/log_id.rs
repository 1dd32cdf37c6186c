//! Which life of a topic this is. One that is deleted and made anew under its name begins at
//! offset 0 again; only its topic id tells the two apart.
#![expect(
    unsafe_code,
    reason = "rdkafka has no safe call that describes topics; every call is made here"
)]

use std::ffi::{CStr, CString};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rdkafka::admin::AdminClient;
use rdkafka::bindings as ffi;
use rdkafka::client::DefaultClientContext;

use super::Config;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The id of the configured topic, folded to 32 bits; never 0. Two lives of a topic share one with
/// a chance of one in four billion.
///
/// # Errors
/// If Kafka cannot be reached, or has no such topic.
pub async fn log_id(config: &Config) -> anyhow::Result<u32> {
    let (config, topic) = (config.clone(), config.topic.clone());
    let (high, low) = tokio::task::spawn_blocking(move || topic_id(&config))
        .await
        .context("ask Kafka")?
        .with_context(|| format!("ask Kafka for the id of topic {topic}"))?;
    Ok(fold(high, low))
}

fn fold(high: u64, low: u64) -> u32 {
    let both = high ^ low;
    ((both >> 32) ^ (both & 0xFFFF_FFFF)).max(1) as u32
}

/// Frees what the client's C API hands out, however the call that asked for it ends.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pointer came from the API that names this function as its end, and is
            // freed nowhere else.
            unsafe { (self.1)(self.0) };
        }
    }
}

fn topic_id(config: &Config) -> anyhow::Result<(u64, u64)> {
    let admin: AdminClient<DefaultClientContext> = config
        .client("weir-log-id")
        .create()
        .context("create a Kafka admin client")?;
    let client = admin.inner().native_ptr();
    let topic = CString::new(config.topic.as_str()).context("a topic's name")?;
    let timeout_ms = TIMEOUT.as_millis() as i32;
    // SAFETY: the client outlives every handle below, each handle is checked for null where the
    // API may return it and freed once by `Owned`; the name outlives the call that copies it; what
    // an event's result points to is read before the event is dropped.
    unsafe {
        let queue = Owned(ffi::rd_kafka_queue_new(client), ffi::rd_kafka_queue_destroy);
        let options = Owned(
            ffi::rd_kafka_AdminOptions_new(
                client,
                ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            ffi::rd_kafka_AdminOptions_destroy,
        );
        let mut reason = [0; 256];
        ffi::rd_kafka_AdminOptions_set_request_timeout(
            options.0,
            timeout_ms,
            reason.as_mut_ptr(),
            reason.len(),
        );
        let mut names = [topic.as_ptr()];
        let topics = Owned(
            ffi::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            ffi::rd_kafka_TopicCollection_destroy,
        );
        ffi::rd_kafka_DescribeTopics(client, topics.0, options.0, queue.0);
        // A little longer than the request may take: its own time-out is the better answer.
        let event = Owned(
            ffi::rd_kafka_queue_poll(queue.0, timeout_ms + 1000),
            ffi::rd_kafka_event_destroy,
        );
        if event.0.is_null() {
            bail!("no answer within {TIMEOUT:?}");
        }
        if ffi::rd_kafka_event_error(event.0)
            != ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            let text = ffi::rd_kafka_event_error_string(event.0);
            bail!("{}", CStr::from_ptr(text).to_string_lossy());
        }
        let result = ffi::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            bail!("the answer is of another kind");
        }
        let mut count = 0;
        let described = ffi::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if count != 1 {
            bail!("{count} topics were described instead of one");
        }
        let topic = *described;
        let error = ffi::rd_kafka_TopicDescription_error(topic);
        if !error.is_null()
            && ffi::rd_kafka_error_code(error)
                != ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            let text = CStr::from_ptr(ffi::rd_kafka_error_string(error));
            return Err(anyhow!("{}: run weir migrate", text.to_string_lossy()));
        }
        let id = ffi::rd_kafka_TopicDescription_topic_id(topic);
        Ok((
            ffi::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned(),
            ffi::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_folded_to_what_is_never_zero() {
        assert_eq!(fold(0, 0), 1);
        assert_eq!(fold(0x0000_0001_0000_0002, 0), 3);
        assert_eq!(fold(7, 7), 1, "halves that cancel out");
        assert_ne!(fold(1, 2), fold(1, 4));
    }
}

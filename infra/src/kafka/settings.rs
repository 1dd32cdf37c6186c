//! Settings of a Kafka client, which keep to themselves what they are set to: any of them may be a
//! secret.

use std::fmt;

use anyhow::anyhow;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig, FromClientConfigAndContext};
use rdkafka::error::KafkaError;

/// A client that is yet to be created.
#[derive(Clone)]
pub struct ClientSettings(ClientConfig);

impl fmt::Debug for ClientSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientSettings")
    }
}

impl ClientSettings {
    pub(super) fn new() -> Self {
        Self(ClientConfig::new())
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.set(name, value);
        self
    }

    /// # Errors
    /// If the client does not take its settings: which one, and not its value.
    pub fn create<T: FromClientConfig>(&self) -> anyhow::Result<T> {
        self.0.create().map_err(without_value)
    }

    /// # Errors
    /// If the client does not take its settings: which one, and not its value.
    pub fn create_with_context<C, T>(&self, context: C) -> anyhow::Result<T>
    where
        C: ClientContext,
        T: FromClientConfigAndContext<C>,
    {
        self.0.create_with_context(context).map_err(without_value)
    }
}

fn without_value(error: KafkaError) -> anyhow::Error {
    match error {
        KafkaError::ClientConfig(_, reason, name, value) => {
            let reason = match value.as_str() {
                "" => reason,
                value => reason.replace(value, "[redacted]"),
            };
            anyhow!("the Kafka client refuses its setting {name}: {reason}")
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;

    use super::*;

    #[test]
    fn a_setting_that_is_refused_is_named_and_its_value_is_not() {
        for name in [
            "sasl.pasword",
            "ssl.key.password.",
            "acks",
            "security.protocol",
        ] {
            let mut settings = ClientSettings::new();
            settings.set(name, "hunter2");
            let refused = settings.create::<BaseConsumer>().map(|_| ()).unwrap_err();
            let told = format!("{refused:#} {refused:?} {settings:?}");
            assert!(told.contains(name), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}

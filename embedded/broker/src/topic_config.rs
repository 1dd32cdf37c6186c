//! The settings of a topic under the names Kafka's tools know them by.

use std::{collections::BTreeMap, time::Duration};

use crate::{clock, config::Config};

/// What a topic is run with: the broker's defaults under its own overrides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicConfig {
    pub(crate) retention: Option<Duration>,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) segment_bytes: u64,
    pub(crate) segment_age: Duration,
    pub(crate) message_bytes_max: usize,
    pub(crate) producer_retention: Duration,
}

pub(crate) type Overrides = BTreeMap<String, String>;

/// Kafka's type codes in a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text = 2,
    Int = 3,
    Long = 5,
    List = 7,
}

/// One line of a description.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) kind: Kind,
    pub(crate) read_only: bool,
}

/// Settings that exist here with one value only; naming that value is fine.
const FIXED: [(&str, &str, Kind); 4] = [
    ("cleanup.policy", "delete", Kind::List),
    ("compression.type", "producer", Kind::Text),
    ("message.timestamp.type", "CreateTime", Kind::Text),
    ("min.insync.replicas", "1", Kind::Int),
];

/// Smaller segments would mean thousands of files for nothing.
const SEGMENT_BYTES_MIN: u64 = 16 << 10;

/// Longer than any value that is meant. Values are kept as they were written, and a number may have
/// blanks around it.
const VALUE_BYTES_MAX: usize = 64;

impl TopicConfig {
    /// The sentence of the error names the setting.
    pub(crate) fn new(defaults: &Config, overrides: &Overrides) -> Result<Self, String> {
        let mut config = Self {
            retention: Some(defaults.retention).filter(|limit| !limit.is_zero()),
            retention_bytes: defaults.retention_bytes,
            segment_bytes: defaults.segment_bytes,
            segment_age: defaults.segment_age,
            message_bytes_max: defaults.message_bytes_max,
            producer_retention: defaults.producer_retention,
        };
        for (name, value) in overrides {
            if value.len() > VALUE_BYTES_MAX {
                return Err(format!(
                    "{name} has a value of {} bytes, more than {VALUE_BYTES_MAX}",
                    value.len()
                ));
            }
            config.set(name, value)?;
        }
        Ok(config)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || {
            value
                .trim()
                .parse::<i64>()
                .map_err(|_| format!("{name} must be a whole number, not {value:?}"))
        };
        let at_least = |min: i64| {
            number()?
                .checked_sub(min)
                .filter(|above| *above >= 0)
                .map_or_else(
                    || Err(format!("{name} must be at least {min}, not {value}")),
                    |above| Ok((above + min) as u64),
                )
        };
        match name {
            "retention.ms" => {
                self.retention = unless_unlimited(at_least(-1)?).map(Duration::from_millis)
            }
            "retention.bytes" => self.retention_bytes = unless_unlimited(at_least(-1)?),
            "segment.bytes" => self.segment_bytes = at_least(SEGMENT_BYTES_MIN as i64)?,
            "segment.ms" => self.segment_age = Duration::from_millis(at_least(1)?),
            "max.message.bytes" => self.message_bytes_max = at_least(0)? as usize,
            _ => match FIXED.iter().find(|(fixed, ..)| *fixed == name) {
                Some((_, only, _)) if *only == value => {}
                Some((_, only, _)) => {
                    return Err(format!(
                        "{name} can only be {only} on this broker, not {value:?}"
                    ));
                }
                None => return Err(format!("{name} is not a setting of a topic on this broker")),
            },
        }
        Ok(())
    }

    pub(crate) fn describe(&self) -> Vec<Setting> {
        let long = |name, value: i64| Setting {
            name,
            value: value.to_string(),
            kind: Kind::Long,
            read_only: false,
        };
        let int = |name, value: i64| Setting {
            name,
            value: value.to_string(),
            kind: Kind::Int,
            read_only: false,
        };
        let mut settings = vec![
            long("retention.ms", self.retention.map_or(-1, clock::millis)),
            long(
                "retention.bytes",
                self.retention_bytes.map_or(-1, |bytes| bytes as i64),
            ),
            int("segment.bytes", self.segment_bytes as i64),
            long("segment.ms", clock::millis(self.segment_age)),
            int("max.message.bytes", self.message_bytes_max as i64),
        ];
        settings.extend(FIXED.iter().map(|(name, value, kind)| Setting {
            name,
            value: (*value).to_owned(),
            kind: *kind,
            read_only: true,
        }));
        settings
    }
}

/// Kafka writes "no limit" as -1.
fn unless_unlimited(value: u64) -> Option<u64> {
    (value as i64 != -1).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Result<TopicConfig, String> {
        TopicConfig::new(
            &Config::default(),
            &[(name.to_owned(), value.to_owned())].into(),
        )
    }

    #[test]
    fn overrides_win_and_minus_one_lifts_a_limit() {
        assert_eq!(
            with("retention.ms", "5").unwrap().retention,
            Some(Duration::from_millis(5))
        );
        assert_eq!(with("retention.ms", "-1").unwrap().retention, None);
        assert_eq!(with("retention.bytes", "-1").unwrap().retention_bytes, None);
        assert_eq!(
            with("max.message.bytes", "77").unwrap().message_bytes_max,
            77
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (name, value) in [
            ("retention.ms", "-2"),
            ("segment.bytes", "1"),
            ("cleanup.policy", "compact"),
            ("nonsense", "1"),
            ("segment.ms", "soon"),
        ] {
            assert!(
                with(name, value).unwrap_err().contains(name),
                "{name}={value}"
            );
        }
        assert!(with("cleanup.policy", "delete").is_ok());
    }

    #[test]
    fn a_value_longer_than_any_number_is_refused() {
        let padded = |len: usize| with("retention.ms", &format!("{:>len$}", 5));
        assert_eq!(
            padded(64).unwrap().retention,
            Some(Duration::from_millis(5))
        );
        assert!(padded(65).unwrap_err().contains("65 bytes"));
    }

    #[test]
    fn a_description_can_be_set_again() {
        let config = with("retention.bytes", "12345").unwrap();
        let overrides = config
            .describe()
            .into_iter()
            .map(|setting| (setting.name.to_owned(), setting.value))
            .collect();
        assert_eq!(
            TopicConfig::new(&Config::default(), &overrides).unwrap(),
            config
        );
    }
}

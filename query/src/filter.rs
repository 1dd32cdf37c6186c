//! `filter=PROPERTY:OP:VALUE`: one condition on a property of events.

use std::fmt;
use std::str::FromStr;

/// More conditions than anybody asks for.
pub(crate) const FILTERS_MAX: usize = 20;
/// As long as the longest value that events can have where it matters, a path's.
const VALUE_BYTES_MAX: usize = 2048;
const KEY_BYTES_MAX: usize = 256;

/// What of an event is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Property {
    Path,
    EventType,
    Referrer,
    User,
    /// One of the event's own, by its key.
    Prop(String),
}

/// How a property is compared. All of it is literal and minds case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Op {
    Is,
    IsNot,
    Contains,
    StartsWith,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Filter {
    pub(crate) property: Property,
    pub(crate) op: Op,
    pub(crate) value: String,
}

pub(crate) const PROPERTIES: &str = "path, event_type, referrer, user or props.KEY";

impl FromStr for Property {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "path" => Ok(Self::Path),
            "event_type" => Ok(Self::EventType),
            "referrer" => Ok(Self::Referrer),
            "user" => Ok(Self::User),
            _ => match text.strip_prefix("props.") {
                Some(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) => {
                    Ok(Self::Prop(key.to_owned()))
                }
                _ => Err(()),
            },
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => formatter.write_str("path"),
            Self::EventType => formatter.write_str("event_type"),
            Self::Referrer => formatter.write_str("referrer"),
            Self::User => formatter.write_str("user"),
            Self::Prop(key) => write!(formatter, "props.{key}"),
        }
    }
}

impl Filter {
    pub(crate) fn is(property: Property, value: &str) -> Self {
        Self {
            property,
            op: Op::Is,
            value: value.to_owned(),
        }
    }

    /// What it takes of memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let key = match &self.property {
            Property::Prop(key) => key.len(),
            Property::Path | Property::EventType | Property::Referrer | Property::User => 0,
        };
        size_of::<Self>() + key + self.value.len()
    }

    /// The value is all that follows the second colon, so it may hold colons.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (property, rest) = text.split_once(':').ok_or("PROPERTY:OP:VALUE")?;
        let (op, value) = rest.split_once(':').ok_or("PROPERTY:OP:VALUE")?;
        let property = property.parse().map_err(|()| PROPERTIES)?;
        let op = match op {
            "is" => Op::Is,
            "is_not" => Op::IsNot,
            "contains" => Op::Contains,
            "starts_with" => Op::StartsWith,
            _ => return Err("is, is_not, contains or starts_with"),
        };
        if value.len() > VALUE_BYTES_MAX {
            return Err("a value of at most 2048 bytes");
        }
        Ok(Self {
            property,
            op,
            value: value.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_all_that_follows_the_second_colon() {
        let filter = Filter::parse("referrer:is:https://a.example/?x=1:2").unwrap();
        assert_eq!(filter.property, Property::Referrer);
        assert_eq!(filter.op, Op::Is);
        assert_eq!(filter.value, "https://a.example/?x=1:2");
        assert_eq!(Filter::parse("path:is:").unwrap().value, "");
        let prop = Filter::parse("props.a.b' OR 1:starts_with:x").unwrap();
        assert_eq!(prop.property, Property::Prop("a.b' OR 1".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let long = format!("path:is:{}", "x".repeat(2049));
        for (text, wanted) in [
            ("", "PROPERTY:OP:VALUE"),
            ("path", "PROPERTY:OP:VALUE"),
            ("path:is", "PROPERTY:OP:VALUE"),
            ("paths:is:/", PROPERTIES),
            ("Path:is:/", PROPERTIES),
            ("props.:is:/", PROPERTIES),
            ("path:=:/", "is, is_not, contains or starts_with"),
            (&long, "a value of at most 2048 bytes"),
        ] {
            assert_eq!(Filter::parse(text), Err(wanted), "{text}");
        }
    }
}

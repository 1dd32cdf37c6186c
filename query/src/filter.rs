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
    Context(Context),
    /// One of the event's own, by its key.
    Prop(String),
}

/// What weir knows of an event beside its client's words. Only the raw rows have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Context {
    ReferrerHost,
    Source,
    Channel,
    UtmSource,
    UtmMedium,
    UtmCampaign,
    UtmTerm,
    UtmContent,
    Hostname,
    Country,
    Region,
    City,
    Browser,
    BrowserVersion,
    System,
    Device,
    Language,
    Screen,
    Bot,
}

/// Name, what it is in a condition on `events`, and the same as a string. All are of low cardinality:
/// ClickHouse computes each distinct value of a block once. Grouping by the packed column first, and
/// taking the value out of each group, merges more states of users and takes as long or longer.
macro_rules! columns {
    ($($context:ident: $name:literal = $column:literal,)*) => {
        impl Context {
            pub(crate) const ALL: &[Self] = &[$(Self::$context),*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$context => $name),* }
            }

            pub(crate) fn column(self) -> &'static str {
                match self { $(Self::$context => $column),* }
            }

            pub(crate) fn string(self) -> &'static str {
                match self { $(Self::$context => concat!("toString(", $column, ")")),* }
            }
        }
    };
}

columns! {
    // Unlike domainWithoutWWW it knows hosts of one label and IPv6. \x3f is a question mark, which would
    // stand for a value.
    ReferrerHost: "referrer_host" = r"regexpExtract(lower(referrer), '^(|[a-z][a-z0-9+.-]*:)//(www\\.|)(\\[[^]]*\\]|[^/:#\\x3f]*)', 3)",
    Source: "source" = "source",
    Channel: "channel" = "channel",
    UtmSource: "utm_source" = "utm_source",
    UtmMedium: "utm_medium" = "utm_medium",
    UtmCampaign: "utm_campaign" = "utm_campaign",
    UtmTerm: "utm_term" = "utm_term",
    UtmContent: "utm_content" = "utm_content",
    Hostname: "hostname" = "hostname",
    Country: "country" = "country",
    Region: "region" = "region",
    City: "city" = "city",
    Browser: "browser" = "browser",
    BrowserVersion: "browser_version" = "browser_version",
    System: "system" = "system",
    Device: "device" = "device",
    Language: "language" = "language",
    Screen: "screen" = "screen",
    Bot: "bot" = "bot",
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

pub(crate) const PROPERTIES: &str = "path, event_type, referrer, referrer_host, user, source, channel, \
    utm_source, utm_medium, utm_campaign, utm_term, utm_content, hostname, country, region, city, \
    browser, browser_version, system, device, language, screen, bot or props.KEY";

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
                Some(_) => Err(()),
                None => {
                    let known = Context::ALL.iter().find(|known| known.name() == text);
                    known.map(|known| Self::Context(*known)).ok_or(())
                }
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
            Self::Context(context) => formatter.write_str(context.name()),
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
            _ => 0,
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
    fn every_property_is_read_as_it_is_written_and_is_named_to_who_misspells_it() {
        let named: Vec<_> = PROPERTIES.split([',', ' ']).collect();
        for context in Context::ALL {
            let property: Property = context.name().parse().unwrap();
            assert_eq!(property, Property::Context(*context));
            assert_eq!(property.to_string(), context.name());
            assert!(named.contains(&context.name()), "{}", context.name());
        }
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
            ("Browser:is:Firefox", PROPERTIES),
            ("_agent:is:", PROPERTIES),
            ("props.:is:/", PROPERTIES),
            ("path:=:/", "is, is_not, contains or starts_with"),
            (&long, "a value of at most 2048 bytes"),
        ] {
            assert_eq!(Filter::parse(text), Err(wanted), "{text}");
        }
    }
}

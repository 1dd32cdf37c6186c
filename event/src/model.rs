//! An accepted event, kept or borrowed.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use crate::fields::{EventId, EventType, Path, SiteId};
use crate::limits::CONTEXT_BYTES_MAX;
use crate::request::Scalar;

/// An event that obeys every rule of the contract. Times are whole milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    pub site_id: SiteId,
    pub event_type: EventType,
    pub path: Path,
    /// At most 256 bytes; empty where the client sent none.
    pub user_id: String,
    /// When it happened, by the client's clock.
    pub timestamp: DateTime<Utc>,
    /// When the edge took it in.
    pub received_at: DateTime<Utc>,
    /// At most 2048 bytes; empty where the client sent none.
    pub referrer: String,
    /// At most 30 pairs, each key once, in the order sent. Numbers and booleans stand as JSON
    /// writes them; a key whose value was null is left out.
    pub props: Vec<(String, String)>,
    pub context: Context,
}

/// What is known of an event beside its client's words. A text is empty where nothing is known, at
/// most [`CONTEXT_BYTES_MAX`] bytes long, and without control characters.
///
/// Those of several values have them in one order, with a tab between: so many columns would cost
/// more than the event itself, and few of their combinations occur.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Context<T = String> {
    /// Host of the page.
    pub hostname: T,
    /// Channel, source, and the campaign: utm_source, utm_medium, utm_campaign, utm_term and
    /// utm_content.
    pub source: T,
    /// Browser, its major version, system, device, bot.
    pub agent: T,
    /// Country, region, city.
    pub place: T,
    /// `en` or `en-US`.
    pub language: T,
    /// `small`, `medium`, `large` or `wide`.
    pub screen: T,
    pub user_origin: UserOrigin,
}

/// Who made an event's user_id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UserOrigin {
    #[default]
    Client,
    /// A keyed hash, made at the edge.
    Edge,
}

impl<T: AsRef<str>> Context<T> {
    /// The same in borrowed texts.
    pub fn as_deref(&self) -> Context<&str> {
        Context {
            hostname: self.hostname.as_ref(),
            source: self.source.as_ref(),
            agent: self.agent.as_ref(),
            place: self.place.as_ref(),
            language: self.language.as_ref(),
            screen: self.screen.as_ref(),
            user_origin: self.user_origin,
        }
    }

    fn kept(&self) -> Context {
        let Context {
            hostname,
            source,
            agent,
            place,
            language,
            screen,
            user_origin,
        } = self.as_deref();
        Context {
            hostname: hostname.to_owned(),
            source: source.to_owned(),
            agent: agent.to_owned(),
            place: place.to_owned(),
            language: language.to_owned(),
            screen: screen.to_owned(),
            user_origin,
        }
    }
}

impl Context<&str> {
    /// Why a text is none of the edge: what is wrong with it, after its name.
    pub(crate) fn fault(&self) -> Option<String> {
        // Each with the tabs that are between its values.
        let texts = [
            ("hostname", self.hostname, 0),
            ("source", self.source, 6),
            ("agent", self.agent, 4),
            ("place", self.place, 2),
            ("language", self.language, 0),
            ("screen", self.screen, 0),
        ];
        for (name, text, tabs) in texts {
            if text.is_empty() {
                continue;
            }
            if text.len() > CONTEXT_BYTES_MAX {
                return Some(format!("{name} has more than {CONTEXT_BYTES_MAX} bytes"));
            }
            // Looks at every byte, which is done many at a time.
            let (mut found, mut controls) = (0_usize, 0_usize);
            for byte in text.bytes() {
                found += usize::from(byte == b'\t');
                controls += usize::from(byte.is_ascii_control());
            }
            if controls > found {
                return Some(format!("{name} has control characters"));
            }
            if found != tabs {
                return Some(format!(
                    "{name} has {found} tabs between its values, not {tabs}"
                ));
            }
        }
        None
    }
}

/// The same in texts of others: of the request that it was judged from, or of an [`Event`].
#[derive(Debug, Clone, Copy)]
pub struct EventRef<'t> {
    pub id: EventId,
    pub site_id: SiteId<&'t str>,
    pub event_type: EventType<&'t str>,
    pub path: Path<&'t str>,
    pub user_id: &'t str,
    pub timestamp: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    pub referrer: &'t str,
    pub(crate) props: Props<'t>,
    pub context: Context<&'t str>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Props<'t> {
    /// Judged; null stands for nothing.
    Sent(&'t [(Cow<'t, str>, Scalar<'t>)]),
    Kept(&'t [(String, String)]),
    /// As they stand in a record.
    Read(&'t [(&'t str, &'t str)]),
}

impl<'t> Props<'t> {
    pub(crate) fn for_each(self, mut take: impl FnMut(&'t str, &'t str)) {
        match self {
            Self::Sent(sent) => sent.iter().for_each(|(key, value)| match value {
                Scalar::Text(text) => take(key, text),
                Scalar::Null | Scalar::Nested => {}
            }),
            Self::Kept(kept) => kept.iter().for_each(|(key, value)| take(key, value)),
            Self::Read(read) => read.iter().for_each(|(key, value)| take(key, value)),
        }
    }
}

impl<'t> EventRef<'t> {
    /// Each property's key and value, in the order sent.
    pub fn for_each_prop(&self, take: impl FnMut(&'t str, &'t str)) {
        self.props.for_each(take);
    }
}

impl<'t> From<&'t Event> for EventRef<'t> {
    fn from(event: &'t Event) -> Self {
        Self {
            id: event.id,
            site_id: event.site_id.borrowed(),
            event_type: event.event_type.borrowed(),
            path: event.path.borrowed(),
            user_id: &event.user_id,
            timestamp: event.timestamp,
            received_at: event.received_at,
            referrer: &event.referrer,
            props: Props::Kept(&event.props),
            context: event.context.as_deref(),
        }
    }
}

impl From<EventRef<'_>> for Event {
    fn from(event: EventRef<'_>) -> Self {
        let mut props = Vec::new();
        event.props.for_each(|key, value| {
            props.push((key.to_owned(), value.to_owned()));
        });
        Self {
            id: event.id,
            site_id: event.site_id.kept(),
            event_type: event.event_type.kept(),
            path: event.path.kept(),
            user_id: event.user_id.to_owned(),
            timestamp: event.timestamp,
            received_at: event.received_at,
            referrer: event.referrer.to_owned(),
            props,
            context: event.context.kept(),
        }
    }
}

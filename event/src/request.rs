//! What a client sent, as far as the contract cares for it, and not yet judged.

mod json;
mod plain;

use std::borrow::Cow;

use crate::fault::{Fault, whole_chars};
use crate::limits::REFERRER_BYTES_MAX;
use crate::referrer::ReferrerPart;
use plain::Plain;

/// One event as JSON brought it: borrowed where it can be, and not yet judged, so that a wrong
/// type is one fault among others and not the end of parsing. Fields it does not know are ignored;
/// a known field given twice is a JSON error, and so is nesting deeper than serde_json's limit of
/// 128, in an unknown field too.
#[derive(Debug, Default, PartialEq)]
pub struct EventRequest<'a> {
    pub(crate) site_id: Value<'a>,
    pub(crate) event_type: Value<'a>,
    pub(crate) path: Value<'a>,
    pub(crate) user_id: Value<'a>,
    pub(crate) timestamp: Value<'a>,
    pub(crate) event_id: Value<'a>,
    pub(crate) referrer: Value<'a>,
    pub(crate) props: Value<'a>,
    /// What else it said, in the order sent.
    pub(crate) details: Vec<(Detail, Value<'a>)>,
}

/// A field that says where an event happened: the edge makes the event's
/// [`Context`](crate::Context) of these. All are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The page's address.
    Url,
    Hostname,
    Ref,
    Source,
    UtmSource,
    UtmMedium,
    UtmCampaign,
    UtmTerm,
    UtmContent,
    Country,
    Region,
    City,
    Browser,
    BrowserVersion,
    System,
    Device,
    Language,
    Screen,
    /// The visitor's address. Used, never stored.
    Ip,
    /// The visitor's user agent. Used, never stored.
    UserAgent,
}

impl Detail {
    /// Each with its name.
    pub const ALL: [(&'static str, Self); 20] = [
        ("url", Self::Url),
        ("hostname", Self::Hostname),
        ("ref", Self::Ref),
        ("source", Self::Source),
        ("utm_source", Self::UtmSource),
        ("utm_medium", Self::UtmMedium),
        ("utm_campaign", Self::UtmCampaign),
        ("utm_term", Self::UtmTerm),
        ("utm_content", Self::UtmContent),
        ("country", Self::Country),
        ("region", Self::Region),
        ("city", Self::City),
        ("browser", Self::Browser),
        ("browser_version", Self::BrowserVersion),
        ("system", Self::System),
        ("device", Self::Device),
        ("language", Self::Language),
        ("screen", Self::Screen),
        ("ip", Self::Ip),
        ("user_agent", Self::UserAgent),
    ];

    /// Its name in a request.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// A JSON value. JSON null reads as absent.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Value<'a> {
    #[default]
    Absent,
    String(Cow<'a, str>),
    Object(Props<'a>),
    Other,
}

pub(crate) type Props<'a> = Vec<(Cow<'a, str>, Scalar<'a>)>;

/// A value inside `props`. Numbers and booleans are kept as JSON writes them.
#[derive(Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Text(Cow<'a, str>),
    Nested,
}

impl<'a> EventRequest<'a> {
    /// Reads the request at the begin of `text` in place of this one, whose room is used again.
    /// Returns the bytes it takes there; what follows is not looked at.
    ///
    /// # Errors
    /// If that is not JSON, or no event.
    ///
    /// ```
    /// let text = r#"{"site_id":"shop","event_type":"click"}, and so on"#;
    /// let bytes = event::EventRequest::default().read(text).unwrap();
    /// assert_eq!(&text[bytes..], ", and so on");
    /// ```
    pub fn read(&mut self, text: &'a str) -> Result<usize, serde_json::Error> {
        // Nearly all that is sent is plain, and read in half the time.
        if let Some(bytes) = Plain::new(text).read(self) {
            return Ok(bytes);
        }
        let (request, bytes) = json::first_of(text)?;
        *self = request;
        Ok(bytes)
    }

    /// The request that all of `text` is.
    ///
    /// # Errors
    /// If it is not JSON, or no event.
    pub fn from_json(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut request = Self::default();
        match Plain::new(text).read(&mut request) {
            Some(bytes) if text[bytes..].trim_ascii().is_empty() => Ok(request),
            _ => serde_json::from_str(text),
        }
    }

    /// A request from names and values, as a query string brings them. Names it does not know are
    /// ignored, and `props` is one of them: its values are not texts. An empty value is a field
    /// left out, because a template fills in nothing where it knows nothing.
    ///
    /// # Errors
    /// If a name is given twice.
    ///
    /// ```
    /// let pairs = [("site_id", "shop"), ("event_type", "page_view"), ("user_id", "")];
    /// let pairs = pairs.map(|(name, value)| (name.into(), value.into()));
    /// assert!(event::EventRequest::from_pairs(pairs).is_ok());
    /// ```
    pub fn from_pairs(
        pairs: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
    ) -> Result<Self, Fault> {
        let mut request = Self::default();
        let mut seen = 0_u32;
        for (name, value) in pairs {
            let (bit, name, field) = match request.field(&name) {
                None | Some((_, "props", _)) => continue,
                Some(known) => known,
            };
            if seen & (1 << bit) != 0 {
                return Err(Fault::GivenTwice(name));
            }
            seen |= 1 << bit;
            if !value.is_empty() {
                *field = Value::String(value);
            }
        }
        Ok(request)
    }

    /// Leaves a part of the referrer. To be done before it is judged, so that a long query does not
    /// cost the event.
    pub fn cut_referrer(&mut self, part: ReferrerPart) {
        if let Value::String(referrer) = &mut self.referrer {
            *referrer = match std::mem::take(referrer) {
                Cow::Borrowed(text) => part.of(text),
                Cow::Owned(text) => Cow::Owned(part.of(&text).into_owned()),
            };
            if referrer.len() > REFERRER_BYTES_MAX {
                let end = whole_chars(referrer, REFERRER_BYTES_MAX);
                *referrer = match std::mem::take(referrer) {
                    Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
                    Cow::Owned(mut text) => {
                        text.truncate(end);
                        Cow::Owned(text)
                    }
                };
            }
        }
    }

    /// The path as it was sent, with all that follows it.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.text()
    }

    /// What it says of a detail, if that is a text.
    #[must_use]
    pub fn detail(&self, wanted: Detail) -> Option<&str> {
        let mut details = self.details.iter();
        let found = details.find(|(detail, _)| *detail == wanted);
        found.and_then(|(_, value)| value.text())
    }

    /// Whether it has any.
    #[must_use]
    pub fn has_details(&self) -> bool {
        !self.details.is_empty()
    }

    /// As new, but for the room of its props.
    fn clear(&mut self) -> Props<'a> {
        self.details.clear();
        let props = std::mem::take(&mut self.props);
        for text in [
            &mut self.site_id,
            &mut self.event_type,
            &mut self.path,
            &mut self.user_id,
            &mut self.timestamp,
            &mut self.event_id,
            &mut self.referrer,
        ] {
            *text = Value::Absent;
        }
        match props {
            Value::Object(mut props) => {
                props.clear();
                props
            }
            _ => Vec::new(),
        }
    }

    /// The field of that name, its number and its name for good.
    fn field(&mut self, name: &str) -> Option<(u8, &'static str, &mut Value<'a>)> {
        Some(match name {
            "site_id" => (0, "site_id", &mut self.site_id),
            "event_type" => (1, "event_type", &mut self.event_type),
            "path" => (2, "path", &mut self.path),
            "user_id" => (3, "user_id", &mut self.user_id),
            "timestamp" => (4, "timestamp", &mut self.timestamp),
            "event_id" => (5, "event_id", &mut self.event_id),
            "referrer" => (6, "referrer", &mut self.referrer),
            "props" => (7, "props", &mut self.props),
            _ => {
                let mut all = Detail::ALL.iter();
                let &(name, detail) = all.find(|(known, _)| *known == name)?;
                self.details.push((detail, Value::Absent));
                let (_, value) = self.details.last_mut()?;
                (8 + detail as u8, name, value)
            }
        })
    }
}

impl Value<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

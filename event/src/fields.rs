//! The typed fields of an event. Each has one way in, so holding one proves that it is valid.
//!
//! Their text is a `String` where an event is kept, and a `&str` where it is still the client's.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::fault::Fault;
use crate::limits::{EVENT_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX, PATH_BYTES_MAX, SITE_ID_BYTES_MAX};

/// Whose traffic it is: 1 to 128 bytes of `A-Z a-z 0-9 . _ : -`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId<T = String>(T);

const SITE_ID_ALPHABET: [bool; 256] = {
    let mut alphabet = [false; 256];
    let mut byte = 0;
    while byte < alphabet.len() {
        let allowed = matches!(byte as u8, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b':' | b'-');
        alphabet[byte] = allowed;
        byte += 1;
    }
    alphabet
};

impl<T: AsRef<str>> SiteId<T> {
    /// # Errors
    /// [`Fault::SiteId`]
    pub fn new(text: T) -> Result<Self, Fault> {
        let bytes = text.as_ref().as_bytes();
        let is_allowed = |byte: &u8| SITE_ID_ALPHABET[usize::from(*byte)];
        if bytes.is_empty() || bytes.len() > SITE_ID_BYTES_MAX || !bytes.iter().all(is_allowed) {
            return Err(Fault::SiteId);
        }
        Ok(Self(text))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }
}

impl FromStr for SiteId {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        SiteId::new(text).map(|SiteId(text)| Self(text.to_owned()))
    }
}

// So that one that is borrowed finds one that is kept.
impl Borrow<str> for SiteId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<T: fmt::Display> fmt::Display for SiteId<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What happened, `page_view` for instance: 1 to 64 bytes without control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventType<T = String>(T);

impl<T: AsRef<str>> EventType<T> {
    /// # Errors
    /// [`Fault::EventType`]
    pub fn new(text: T) -> Result<Self, Fault> {
        let shown = text.as_ref();
        let is_plain = shown.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let is_shown = is_plain || !shown.chars().any(char::is_control);
        if shown.is_empty() || shown.len() > EVENT_TYPE_BYTES_MAX || !is_shown {
            return Err(Fault::EventType);
        }
        Ok(Self(text))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// Whether the type is one of [`VIEW_TYPES`](crate::VIEW_TYPES).
    #[must_use]
    pub fn is_view(&self) -> bool {
        crate::VIEW_TYPES.contains(&self.as_str())
    }
}

impl FromStr for EventType {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        EventType::new(text).map(|EventType(text)| Self(text.to_owned()))
    }
}

/// The part of a URL that names a page, at most 2048 bytes: without query and fragment, except
/// where these make the page. Empty where the client sent none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Path<T = String>(T);

impl<T: AsRef<str>> Path<T> {
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }
}

impl<'t> Path<&'t str> {
    /// Cuts at `?` and `#` first, so a long query never costs the event.
    ///
    /// # Errors
    /// [`Fault::Path`]
    pub fn of(url: &'t str) -> Result<Self, Fault> {
        let cut = url.bytes().position(|byte| matches!(byte, b'?' | b'#'));
        let path = &url[..cut.unwrap_or(url.len())];
        if path.len() > PATH_BYTES_MAX {
            return Err(Fault::Path);
        }
        Ok(Self(path))
    }

    /// A path in its form: what looks like a query or a fragment is part of it.
    ///
    /// # Errors
    /// [`Fault::Path`]
    pub fn normal(text: &'t str) -> Result<Self, Fault> {
        if text.len() > PATH_BYTES_MAX {
            return Err(Fault::Path);
        }
        Ok(Self(text))
    }

    /// The path of a view is never empty: no path of its own means the site's root.
    #[must_use]
    pub fn or_root_of(self, event_type: EventType<&str>) -> Self {
        if self.0.is_empty() && event_type.is_view() {
            Self("/")
        } else {
            self
        }
    }
}

impl From<Path<&str>> for Path {
    fn from(path: Path<&str>) -> Self {
        path.kept()
    }
}

impl FromStr for Path {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        Path::of(text).map(|Path(path)| Self(path.to_owned()))
    }
}

/// An event's identity, and whether a repeat of it means the same event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId {
    pub uuid: Uuid,
    pub origin: IdOrigin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdOrigin {
    /// Made at the edge, a UUIDv7.
    Edge,
    /// The client's idempotency key.
    Client,
}

impl EventId {
    /// An id made at the edge.
    #[must_use]
    pub fn edge(uuid: Uuid) -> Self {
        Self {
            uuid,
            origin: IdOrigin::Edge,
        }
    }

    /// The client's key: a hyphenated UUID as it is, any other string as the UUIDv5 of site and
    /// string. The namespace of that UUIDv5 is the UUIDv5 of the site under the nil UUID.
    ///
    /// # Errors
    /// [`Fault::EventId`] if the key is empty or longer than 128 bytes. An empty key is refused,
    /// not replaced: taken as a key it would make one event of all.
    pub fn client<T: AsRef<str>>(key: &str, site_id: &SiteId<T>) -> Result<Self, Fault> {
        Self::check_key(key)?;
        let hyphenated = (key.len() == 36)
            .then(|| Uuid::try_parse(key).ok())
            .flatten();
        let uuid = hyphenated.unwrap_or_else(|| {
            let namespace = Uuid::new_v5(&Uuid::nil(), site_id.as_str().as_bytes());
            Uuid::new_v5(&namespace, key.as_bytes())
        });
        Ok(Self {
            uuid,
            origin: IdOrigin::Client,
        })
    }

    pub(crate) fn check_key(key: &str) -> Result<(), Fault> {
        if key.is_empty() || key.len() > EVENT_ID_BYTES_MAX {
            return Err(Fault::EventId);
        }
        Ok(())
    }
}

/// Of a text that is kept, its borrowed self.
macro_rules! borrowed {
    ($field:ident) => {
        impl $field {
            pub(crate) fn borrowed(&self) -> $field<&str> {
                $field(&self.0)
            }
        }

        impl $field<&str> {
            pub(crate) fn kept(&self) -> $field {
                $field(self.0.to_owned())
            }
        }
    };
}

borrowed!(SiteId);
borrowed!(EventType);
borrowed!(Path);

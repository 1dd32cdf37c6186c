//! The typed fields of an event. Each has one way in, so holding one proves that it is valid.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::fault::Fault;
use crate::limits::{EVENT_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX, PATH_BYTES_MAX, SITE_ID_BYTES_MAX};

/// Whose traffic it is: 1 to 128 bytes of `A-Z a-z 0-9 . _ : -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(String);

impl SiteId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SiteId {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if text.is_empty() || text.len() > SITE_ID_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(Fault::SiteId);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What happened, `page_view` for instance: 1 to 64 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventType(String);

impl EventType {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
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
        if text.is_empty()
            || text.len() > EVENT_TYPE_BYTES_MAX
            || text.chars().any(char::is_control)
        {
            return Err(Fault::EventType);
        }
        Ok(Self(text.to_owned()))
    }
}

/// The part of a URL before `?` and `#`, at most 2048 bytes. Empty where the client sent none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Path(String);

impl Path {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of a view is never empty: no path of its own means the site's root.
    #[must_use]
    pub(crate) fn or_root(self) -> Self {
        if self.0.is_empty() {
            Self("/".to_owned())
        } else {
            self
        }
    }
}

impl FromStr for Path {
    type Err = Fault;

    /// Cuts at `?` and `#` first, so a long query never costs the event.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let end = text.find(['?', '#']).unwrap_or(text.len());
        if end > PATH_BYTES_MAX {
            return Err(Fault::Path);
        }
        Ok(Self(text[..end].to_owned()))
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
    pub fn client(key: &str, site_id: &SiteId) -> Result<Self, Fault> {
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

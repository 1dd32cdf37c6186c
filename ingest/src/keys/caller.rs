//! The key that a request presents, and what it may send with it.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{ORIGIN, REFERER};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use event::SiteId;
use infra::keys::bearer;

use super::{Grant, KeyHash, KeyRing, Keys, Origin, hash};
use crate::head::Door;
use crate::query_string;

/// Who sends, as far as keys can tell.
pub(crate) struct Caller {
    keys: Arc<Keys>,
    key: Option<KeyHash>,
    origin: Option<Origin>,
}

/// Why an event may not be sent. The first is the one that tells a client most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum Denied {
    #[error("a write key is required: send `Authorization: Bearer <key>`, or the parameter key")]
    Missing,
    #[error("the write key is not one of this site")]
    Wrong,
    #[error("this site takes no events from this origin with a public key")]
    Origin,
}

impl Denied {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Missing => StatusCode::UNAUTHORIZED,
            Self::Wrong | Self::Origin => StatusCode::FORBIDDEN,
        }
    }
}

impl Caller {
    pub(crate) fn new(ring: &KeyRing, request: &Request, door: Door) -> Self {
        let headers = request.headers();
        let query = request.uri().query().unwrap_or_default();
        // An image is asked for without an Origin; the page it stands on is its referrer.
        let origin = url(headers, ORIGIN).or_else(|| {
            (door == Door::Pixel)
                .then(|| url(headers, REFERER))
                .flatten()
        });
        Self {
            keys: ring.current(),
            key: bearer(headers)
                .map(hash)
                .or_else(|| parameter(query).map(|key| hash(&key))),
            origin,
        }
    }

    pub(crate) fn may_send(&self, site_id: SiteId<&str>) -> Result<Grant, Denied> {
        let site = self.keys.sites.get(site_id.as_str());
        if site.is_none() && self.keys.unlisted_sites_open {
            return Ok(Grant::Open);
        }
        let key = self.key.as_ref().ok_or(Denied::Missing)?;
        // A site without keys reads as one with others: who has no key need not learn which.
        let site = site.ok_or(Denied::Wrong)?;
        let grant = site.grant(key).ok_or(Denied::Wrong)?;
        match &self.origin {
            _ if grant == Grant::Secret || site.origins.is_empty() => Ok(grant),
            Some(origin) if site.origins.contains(origin) => Ok(grant),
            _ => Err(Denied::Origin),
        }
    }
}

/// A beacon and an image cannot send a header.
fn parameter(query: &str) -> Option<String> {
    query_string::pairs(query)
        .filter_map(Result::ok)
        .find(|(name, value)| name == "key" && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}

fn url(headers: &HeaderMap, name: HeaderName) -> Option<Origin> {
    Origin::of(headers.get(name)?.to_str().ok()?)
}

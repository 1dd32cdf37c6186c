//! Read keys: who may read the figures of which site. Off unless keys are listed.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::ensure;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use event::SiteId;
use infra::http::error;
use infra::keys::{KeyHash, bearer, hash};
use serde::{Deserialize, Serialize};

/// The name that stands for all sites.
const ALL: &str = "*";

/// A site's read keys, each as its SHA-256; `weir key --read` makes one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadKeys {
    /// A site, or `*` for all of them.
    pub site_id: String,
    pub read_keys: Vec<KeyHash>,
}

/// The keys in force. Clones share them.
#[derive(Clone)]
pub(crate) struct KeyRing(Option<Arc<HashMap<String, Vec<KeyHash>>>>);

impl KeyRing {
    /// # Errors
    /// If a site is no site, or listed twice.
    pub(crate) fn new(listed: &[ReadKeys]) -> anyhow::Result<Self> {
        if listed.is_empty() {
            return Ok(Self(None));
        }
        let mut sites = HashMap::new();
        for ReadKeys { site_id, read_keys } in listed {
            ensure!(
                site_id == ALL || site_id.parse::<SiteId>().is_ok(),
                "query.keys: {site_id:?} is neither a site nor {ALL:?}"
            );
            let before = sites.insert(site_id.clone(), read_keys.clone());
            ensure!(
                before.is_none(),
                "site {site_id} is listed twice in query.keys"
            );
        }
        Ok(Self(Some(Arc::new(sites))))
    }

    pub(crate) fn is_off(&self) -> bool {
        self.0.is_none()
    }

    /// Whether this request may read a site; the refusal, if not.
    pub(crate) fn open(&self, headers: &HeaderMap, site: &SiteId) -> Result<(), Box<Response>> {
        let Some(sites) = &self.0 else {
            return Ok(());
        };
        let key = key(headers)?;
        let opens = |name: &str| sites.get(name).is_some_and(|hashes| key.is_among(hashes));
        // A site without keys reads as one with others: who has no key need not learn which.
        if opens(site.as_str()) || opens(ALL) {
            Ok(())
        } else {
            Err(Box::new(error(
                StatusCode::FORBIDDEN,
                vec!["the read key is not one of this site".to_owned()],
            )))
        }
    }

    /// The sites that this request may read; none: all of them.
    pub(crate) fn opened(&self, headers: &HeaderMap) -> Result<Option<Vec<SiteId>>, Box<Response>> {
        let Some(sites) = &self.0 else {
            return Ok(None);
        };
        let key = key(headers)?;
        let opened = sites.iter().filter(|(_, hashes)| key.is_among(*hashes));
        let mut opened: Vec<&String> = opened.map(|(name, _)| name).collect();
        if opened.iter().any(|name| *name == ALL) {
            return Ok(None);
        }
        if opened.is_empty() {
            return Err(Box::new(error(
                StatusCode::FORBIDDEN,
                vec!["the read key is not one of any site".to_owned()],
            )));
        }
        // In one order, so that the same question is known to be the same.
        opened.sort();
        Ok(Some(
            opened.iter().filter_map(|name| name.parse().ok()).collect(),
        ))
    }
}

fn key(headers: &HeaderMap) -> Result<KeyHash, Box<Response>> {
    bearer(headers).map(hash).ok_or_else(|| {
        let mut response = error(
            StatusCode::UNAUTHORIZED,
            vec!["a read key is required: send `Authorization: Bearer <key>`".to_owned()],
        );
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Box::new(response)
    })
}

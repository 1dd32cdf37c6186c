//! The `ingest.keys` section, and what stands in a file of keys: parsed at the edge, so that a
//! wrong hash is reported with its place.

use std::path::PathBuf;

use event::SiteId;
use infra::http::Origin;
use infra::keys::KeyHash;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::PublicKey;

/// Who may send.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeysConfig {
    /// A TOML file with more `[[sites]]`; read again on SIGHUP (`WEIR_INGEST__KEYS__FILE`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Whether a site that is not listed takes events without a key
    /// (`WEIR_INGEST__KEYS__UNLISTED_SITES_OPEN`).
    pub unlisted_sites_open: bool,
    /// The sites and their keys. Without any, here or in a file, no key is asked for.
    pub sites: Vec<SiteKeys>,
}

/// A site's keys; `weir key` makes one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteKeys {
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub site_id: SiteId,
    /// Where pages with a public key may stand, such as `https://shop.example`; none: anywhere.
    #[serde(default)]
    pub origins: Vec<Origin>,
    /// For pages: everybody can read them, so the origin counts as well. Each as it is or as its
    /// hash; the first that stands as it is is in the tag that the dashboard shows.
    #[serde(default)]
    pub public_keys: Vec<PublicKey>,
    /// For servers: good from anywhere. Each as its hash.
    #[serde(default)]
    pub secret_keys: Vec<KeyHash>,
}

fn as_text<S: Serializer>(site_id: &SiteId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(site_id.as_str())
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SiteId, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
}

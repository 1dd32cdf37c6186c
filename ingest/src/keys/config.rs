//! The `ingest.keys` section, and what stands in a file of keys: parsed at the edge, so that a
//! wrong hash is told with its place.

use std::path::PathBuf;

use event::SiteId;
use infra::keys::KeyHash;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// A site's keys, each as its hash; `weir key` makes one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteKeys {
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub site_id: SiteId,
    /// Where pages with a public key may stand, such as `https://shop.example`; none: anywhere.
    #[serde(default)]
    pub origins: Vec<Origin>,
    /// For pages: everybody can read them, so the origin counts as well.
    #[serde(default)]
    pub public_keys: Vec<KeyHash>,
    /// For servers: good from anywhere.
    #[serde(default)]
    pub secret_keys: Vec<KeyHash>,
}

/// Scheme, host and port of a page, as browsers write it: `https://shop.example`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Origin(String);

impl Origin {
    /// The origin of a URL.
    pub(super) fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let host = &rest[..end];
        let written_well = !scheme.is_empty()
            && !host.is_empty()
            && url.bytes().all(|byte| byte.is_ascii_graphic())
            && !host.contains('@');
        written_well.then(|| {
            let origin = format!("{scheme}://{host}").to_ascii_lowercase();
            // Browsers leave a scheme's own port out.
            let port = match scheme.to_ascii_lowercase().as_str() {
                "https" => ":443",
                "http" => ":80",
                _ => return Self(origin),
            };
            Self(origin.strip_suffix(port).unwrap_or(&origin).to_owned())
        })
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let authority = text.split_once("://").map(|(_, authority)| authority);
        Self::of(&text)
            .filter(|_| authority.is_some_and(|authority| !authority.contains(['/', '?', '#'])))
            .ok_or_else(|| format!("{text:?} is no origin such as https://shop.example"))
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

fn as_text<S: Serializer>(site_id: &SiteId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(site_id.as_str())
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SiteId, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_as_browsers_write_it() {
        let of = |url: &str| Origin::of(url).map(String::from);
        for (url, origin) in [
            ("https://Shop.Example", "https://shop.example"),
            ("https://shop.example:443", "https://shop.example"),
            ("http://shop.example:80/", "http://shop.example"),
            ("http://shop.example:8080/a?b#c", "http://shop.example:8080"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(of(url).as_deref(), Some(origin));
        }
        for none in [
            "null",
            "",
            "https://",
            "://x",
            "shop.example",
            "https://a b",
            "https://u@h",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
        assert!(Origin::try_from("https://shop.example".to_owned()).is_ok());
        assert!(Origin::try_from("https://shop.example/".to_owned()).is_err());
    }
}

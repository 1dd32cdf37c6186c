//! A public key, as it is listed: the key itself or its hash. The key's prefix is no hex digit, so
//! one is never taken for the other.

use std::fmt;
use std::str::FromStr;

use infra::keys::{KeyHash, hash};
use serde::{Deserialize, Serialize};

/// What a public key begins with, and nothing else does.
const PREFIX: &str = "wp_";
const BYTES_MAX: usize = 128;

/// A key for pages.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PublicKey {
    hash: KeyHash,
    /// The key itself, unless it is listed as its hash.
    key: Option<String>,
}

impl PublicKey {
    pub(super) fn hash(&self) -> &KeyHash {
        &self.hash
    }

    /// The key, for a page to send; none where only its hash is known.
    #[must_use]
    pub fn readable(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_key(text) {
            return Ok(Self {
                hash: hash(text),
                key: Some(text.to_owned()),
            });
        }
        // Never quoted back: it may be a secret key in the wrong list.
        let hash = text.parse::<KeyHash>().map_err(|_| {
            format!(
                "a public key is listed as it is, {PREFIX} and up to {} of A-Z a-z 0-9 . _ -, or as its SHA-256, 64 hex digits; secret keys are not among public_keys: see `weir key`",
                BYTES_MAX - PREFIX.len()
            )
        })?;
        Ok(hash.into())
    }
}

/// What is one may be put into a page's HTML and into a URL as it is.
fn is_key(text: &str) -> bool {
    text.len() <= BYTES_MAX
        && text.strip_prefix(PREFIX).is_some_and(|rest| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !rest.is_empty() && rest.bytes().all(is_plain)
        })
}

impl From<KeyHash> for PublicKey {
    fn from(hash: KeyHash) -> Self {
        Self { hash, key: None }
    }
}

impl TryFrom<String> for PublicKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => formatter.write_str(key),
            None => fmt::Display::fmt(&self.hash, formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_its_hash_let_in_the_same_key_and_only_one_can_be_shown() {
        let key = "wp_0123456789abcdef";
        let itself: PublicKey = key.parse().unwrap();
        let hashed: PublicKey = hash(key).to_string().parse().unwrap();
        assert!(hash(key).is_among([itself.hash()]));
        assert!(hash(key).is_among([hashed.hash()]));
        assert_eq!(itself.readable(), Some(key));
        assert_eq!(hashed.readable(), None);
        assert_eq!(itself.to_string(), key);
        assert_eq!(hashed.to_string(), hash(key).to_string());
    }

    #[test]
    fn what_is_neither_is_refused_without_being_repeated() {
        let longest = format!("wp_{}", "k".repeat(125));
        assert!(longest.parse::<PublicKey>().is_ok());
        let longer = format!("{longest}k");
        for text in [
            "wp_",
            "ws_0123456789abcdef",
            "wp_\"><script>",
            "WP_abcd",
            &longer,
        ] {
            let refused = text.parse::<PublicKey>().unwrap_err();
            assert!(text == "wp_" || !refused.contains(text), "{refused}");
            assert!(refused.contains("`weir key`"), "{refused}");
        }
    }
}

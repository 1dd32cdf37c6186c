//! Keys that open something, kept as hashes alone: a key is random and long, so its SHA-256 says
//! nothing about it and needs no salt.

use std::fmt;
use std::str::FromStr;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The SHA-256 of a key; as text, 64 hex digits.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyHash([u8; 32]);

/// The hash under which a key is kept.
#[must_use]
pub fn hash(key: &str) -> KeyHash {
    KeyHash(Sha256::digest(key).into())
}

impl KeyHash {
    /// Every hash is compared, whatever the others said, and each in constant time.
    #[must_use]
    pub fn is_among<'h>(&self, hashes: impl IntoIterator<Item = &'h Self>) -> bool {
        let mut found = Choice::from(0);
        for hash in hashes {
            found |= hash.0.as_slice().ct_eq(&self.0);
        }
        bool::from(found)
    }
}

impl FromStr for KeyHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Never quoted back: it may be the key itself, put in the wrong place.
        let refusal = || {
            "this key is listed as its SHA-256, 64 hex digits, never as the key itself: `weir key` prints both".to_owned()
        };
        if text.len() != 64 || !text.is_ascii() {
            return Err(refusal());
        }
        let mut hash = [0; 32];
        for (nth, byte) in hash.iter_mut().enumerate() {
            let digits = &text[2 * nth..2 * nth + 2];
            // from_str_radix would take a sign.
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(refusal());
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| refusal())?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for KeyHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The key of `Authorization: Bearer <key>`.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256_in_hex() {
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash("").to_string(), of_nothing);
    }

    #[test]
    fn a_key_is_told_by_its_hash() {
        let hashes = [hash("a"), hash("b")];
        assert!(hash("b").is_among(&hashes));
        assert!(!hash("B").is_among(&hashes));
        assert!(!hash("").is_among([]));
    }

    #[test]
    fn a_hash_is_64_hex_digits_and_nothing_else_is_quoted_back() {
        let hash = "0123456789abcdefABCDEF".repeat(3)[..64].to_owned();
        let parsed: KeyHash = hash.parse().unwrap();
        assert_eq!(parsed.to_string(), hash.to_ascii_lowercase());
        for bad in [
            "",
            "secret",
            &hash[1..],
            &"+1".repeat(32),
            &"\u{e9}".repeat(32),
        ] {
            let refused = bad.parse::<KeyHash>().unwrap_err();
            assert!(bad.is_empty() || !refused.contains(bad), "{refused}");
        }
    }
}

//! Visitors without cookies: a keyed hash of site, address and user agent.
//!
//! Who has the ids and not the secret cannot find the addresses behind them. Who has the secret can
//! try addresses, so the ids are pseudonyms for as long as the secret exists.

mod secret;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use chrono::{DateTime, Datelike, Utc};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

pub use secret::{KEY_FILE, Secret, SecretError};

use crate::agent::AGENT_BYTES_MAX;
use crate::text;

/// The `ingest.visitors` section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a browser without a `user_id` stays one visitor: `day`, `month`, `forever`, or `off`
    /// for no such visitors (`WEIR_INGEST__VISITORS__PERIOD=month`).
    pub period: Period,
    /// A file with the secret of several edges, at least 16 bytes. Without it, an edge makes a secret
    /// of its own at its first start (`WEIR_INGEST__VISITORS__SECRET_FILE`).
    pub secret_file: Option<PathBuf>,
    /// Where an edge keeps the secret that it made, as `visitor.key`. By default `data`, and the data
    /// directory of `weir up` (`WEIR_INGEST__VISITORS__DIR`).
    pub dir: Option<PathBuf>,
}

impl Config {
    /// The secret in force, which is made where there is none yet.
    ///
    /// # Errors
    /// If a file that was named is missing, or one cannot be read or made, or holds too little.
    pub fn secret(&self) -> Result<Secret, SecretError> {
        match &self.secret_file {
            Some(file) => Secret::of_file(file),
            None => Secret::kept_in(self.dir.as_deref().unwrap_or(Path::new("data"))),
        }
    }
}

/// How long the same site, address and user agent give the same visitor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// A calendar day in UTC.
    #[default]
    Day,
    /// A calendar month in UTC.
    Month,
    Forever,
    /// No visitor is made.
    Off,
}

impl Period {
    /// What the key of the period of `time` is derived from, by a number that names the period.
    fn number(self, time: DateTime<Utc>) -> Option<i32> {
        match self {
            Self::Day => Some(time.date_naive().num_days_from_ce()),
            Self::Month => Some(time.year() * 12 + time.month0() as i32),
            Self::Forever => Some(0),
            Self::Off => None,
        }
    }

    fn label(self) -> &'static [u8] {
        match self {
            Self::Day => b"weir visitor day ",
            Self::Month => b"weir visitor month ",
            Self::Forever | Self::Off => b"weir visitor forever ",
        }
    }
}

/// Whose request it was, as far as the network says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client<'a> {
    /// An address of IPv6 counts whole: those of privacy extensions last about a day, as the default
    /// period does, and two people in one network stay two. An address of IPv4 in the clothes of IPv6
    /// is the one of IPv4.
    Address(IpAddr),
    /// A log's host name, where the web server looked it up.
    Name(&'a str),
}

impl From<IpAddr> for Client<'_> {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl<'a> From<&'a str> for Client<'a> {
    /// An address if it reads as one, else a name.
    fn from(text: &'a str) -> Self {
        text.parse().map_or(Self::Name(text), Self::Address)
    }
}

/// Makes visitors' ids. One of these serves a whole process.
#[derive(Debug)]
pub struct Visitors {
    secret: Secret,
    period: Period,
    keys: RwLock<Vec<(i32, Hmac<Sha256>)>>,
}

/// Periods whose keys are kept. The clocks of an edge's clients are in two or three; an imported log
/// goes through them in order.
const KEYS_MAX: usize = 16;

impl Visitors {
    pub fn new(secret: Secret, period: Period) -> Self {
        Self {
            secret,
            period,
            keys: RwLock::default(),
        }
    }

    /// 16 hex digits that are the same for the same site, client and user agent within the period of
    /// `time`, the event's own; `None` where the period is `off`.
    ///
    /// The hash is HMAC-SHA256, cut to 64 bits: of a million visitors of a site and period, two share
    /// an id with a chance of 1 in 37 million. It takes 0.3 µs. SipHash would take less; but
    /// the addresses of IPv4 are few, and the key is all that hides them, so it is the one made for
    /// secrets of years.
    pub fn id<'a>(
        &self,
        site: &str,
        client: impl Into<Client<'a>>,
        user_agent: &str,
        time: DateTime<Utc>,
    ) -> Option<String> {
        let mut mac = self.key(self.period.number(time)?);
        part(&mut mac, site.as_bytes());
        match client.into() {
            Client::Address(address) => match address.to_canonical() {
                IpAddr::V4(address) => part(&mut mac, &address.octets()),
                IpAddr::V6(address) => part(&mut mac, &address.octets()),
            },
            Client::Name(name) => {
                // Names have no length of their own; no address begins with "name:".
                part(&mut mac, b"name:");
                part(&mut mac, name.as_bytes());
            }
        }
        part(&mut mac, text::cut(user_agent, AGENT_BYTES_MAX).as_bytes());
        let hash = mac.finalize().into_bytes();
        let digits = hash[..8].iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let mut id = String::with_capacity(16);
        id.extend(digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
        Some(id)
    }

    fn key(&self, number: i32) -> Hmac<Sha256> {
        // A thread that panicked has left whole entries.
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = keys.iter().rev().find(|(kept, _)| *kept == number) {
            return key.clone();
        }
        drop(keys);
        let key = self.secret.derive(self.period.label(), number);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if !keys.iter().any(|(kept, _)| *kept == number) {
            if keys.len() == KEYS_MAX {
                keys.remove(0);
            }
            keys.push((number, key.clone()));
        }
        key
    }
}

/// With its length first, so that no two lists of parts read the same.
fn part(mac: &mut Hmac<Sha256>, bytes: &[u8]) {
    mac.update(&(bytes.len() as u64).to_le_bytes());
    mac.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn visitors(period: Period) -> Visitors {
        Visitors::new(Secret::new(SECRET.as_bytes()).unwrap(), period)
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    const NOON: &str = "2026-11-30T12:00:00Z";

    fn id(site: &str, client: &str, agent: &str) -> String {
        visitors(Period::Day)
            .id(site, client, agent, at(NOON))
            .unwrap()
    }

    #[test]
    fn a_visitor_is_the_same_site_address_and_agent() {
        let visitor = id("site", "1.2.3.4", "agent");
        assert_eq!(visitor, id("site", "1.2.3.4", "agent"));
        assert_ne!(visitor, id("other", "1.2.3.4", "agent"));
        assert_ne!(visitor, id("site", "1.2.3.5", "agent"));
        assert_ne!(visitor, id("site", "1.2.3.4", "other"));
    }

    #[test]
    fn an_id_is_16_hex_digits_and_changes_only_with_the_version() {
        // Computed outside of this program too. Other ids would be other visitors after an upgrade.
        assert_eq!(id("site", "1.2.3.4", "agent"), "1eeb66c66f02d11c");
    }

    #[test]
    fn parts_that_read_the_same_when_joined_are_different_visitors() {
        assert_ne!(id("ab", "host", "c"), id("a", "host", "bc"));
        assert_ne!(id("a", "hostb", "c"), id("a", "host", "bc"));
        // The octets of 1.2.3.4 as a name.
        assert_ne!(
            id("a", "\u{1}\u{2}\u{3}\u{4}", "c"),
            id("a", "1.2.3.4", "c")
        );
    }

    #[test]
    fn an_address_of_ipv4_is_one_however_it_is_written() {
        assert_eq!(id("s", "::ffff:1.2.3.4", "a"), id("s", "1.2.3.4", "a"));
        assert_eq!(id("s", "2001:db8::1", "a"), id("s", "2001:DB8:0::1", "a"));
        assert_ne!(id("s", "2001:db8::1", "a"), id("s", "2001:db8::2", "a"));
    }

    #[test]
    fn a_visitor_lasts_as_long_as_the_period() {
        let is_same = |period, one, other| {
            let visitors = visitors(period);
            let id = |time| visitors.id("s", "1.2.3.4", "a", at(time)).unwrap();
            id(one) == id(other)
        };
        let (first, last) = ("2026-11-30T00:00:00Z", "2026-11-30T23:59:59.999Z");
        let (next, year) = ("2026-12-01T00:00:00Z", "2027-11-30T00:00:00Z");
        assert!(is_same(Period::Day, first, last));
        assert!(!is_same(Period::Day, last, next));
        assert!(is_same(Period::Month, "2026-11-01T00:00:00Z", last));
        assert!(!is_same(Period::Month, last, next));
        assert!(!is_same(Period::Month, first, year));
        assert!(is_same(Period::Forever, first, year));
    }

    #[test]
    fn the_day_is_that_of_utc() {
        let visitors = visitors(Period::Day);
        let id = |time| visitors.id("s", "1.2.3.4", "a", at(time));
        assert_eq!(id("2026-12-01T01:00:00+02:00"), id(NOON));
    }

    #[test]
    fn no_visitor_is_made_when_off() {
        let id = visitors(Period::Off).id("s", "1.2.3.4", "a", at(NOON));
        assert_eq!(id, None);
    }

    #[test]
    fn another_secret_gives_other_visitors() {
        let other = Secret::new(b"0123456789abcdeF").unwrap();
        let other = Visitors::new(other, Period::Day);
        assert_ne!(
            other.id("site", "1.2.3.4", "agent", at(NOON)).unwrap(),
            id("site", "1.2.3.4", "agent")
        );
    }

    #[test]
    fn keys_of_many_periods_are_derived_again_and_not_kept_without_end() {
        let visitors = visitors(Period::Day);
        let day = |number| at(NOON) + chrono::TimeDelta::days(number);
        let id = |number| visitors.id("s", "1.2.3.4", "a", day(number)).unwrap();
        let first = id(0);
        let ids: std::collections::HashSet<_> = (0..100).map(id).collect();
        assert_eq!(ids.len(), 100);
        assert_eq!(id(0), first);
        assert_eq!(visitors.keys.read().unwrap().len(), KEYS_MAX);
    }
}

//! Events with a known truth: each is a function of the seed and its number.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::Random;

/// Whose events carry no id of their own. Not one of [`Generator::SITES`]: how often such an event
/// counts depends on how often it was sent.
const EDGE_SITE: &str = "site-edge";
const PATHS: u64 = 40;
/// Below the number up to which the rollups' users are exact.
const USERS: u64 = 900;
/// 2024-03-01T00:00:00Z
const FIRST_DAY_MS: i64 = 1_709_251_200_000;
const DAY_MS: u64 = 86_400_000;
const STREAM: u64 = 1 << 40;

/// Makes events.
#[derive(Debug, Clone, Copy)]
pub struct Generator {
    pub seed: u64,
    /// One event in so many carries no id; 0: each carries one.
    pub without_id_every: u64,
}

/// An event as a client sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Stands in the props too, by which a stored row is known.
    pub number: u64,
    pub site: &'static str,
    pub event_type: &'static str,
    pub path: String,
    /// Empty: none.
    pub user: String,
    pub timestamp_ms: i64,
    /// None: made at the edge.
    pub event_id: Option<String>,
}

impl Generator {
    /// The sites of the events that carry an id.
    pub const SITES: [&'static str; 4] = ["site-a", "site-b", "site-c", "site-d"];
    pub const EDGE_SITE: &'static str = EDGE_SITE;

    #[must_use]
    pub fn event(&self, number: u64) -> Event {
        let mut random = Random::new(self.seed, STREAM + number);
        let has_id = self.without_id_every == 0 || !number.is_multiple_of(self.without_id_every);
        let event_id = has_id.then(|| {
            let (high, low) = (random.draw(), random.draw());
            if number.is_multiple_of(3) {
                format!("order-{number}-{high:x}")
            } else {
                // A UUIDv4, which is stored as it is.
                let bits = u128::from(high) << 64 | u128::from(low);
                let bits = bits & !(0xF << 76) | 0x4 << 76;
                let bits = bits & !(0x3 << 62) | 0x2 << 62;
                let hex = format!("{bits:032x}");
                let parts = [
                    &hex[..8],
                    &hex[8..12],
                    &hex[12..16],
                    &hex[16..20],
                    &hex[20..],
                ];
                parts.join("-")
            }
        });
        let site = if has_id {
            *random.pick(&Self::SITES)
        } else {
            EDGE_SITE
        };
        let event_type = match random.within(0..10) {
            0 => "click",
            1 => "signup",
            2 => "view",
            _ => "page_view",
        };
        // Some paths are better known than others.
        let path = random.within(0..PATHS).min(random.within(0..PATHS));
        let user = if random.chance(10) {
            String::new()
        } else {
            format!("user-{}", random.within(0..USERS))
        };
        // Mostly one of a few weeks, now and then one of a year: each month is a part of its own
        // in each table.
        let days = if random.chance(99) { 40 } else { 365 };
        let since = random.within(0..days * DAY_MS);
        Event {
            number,
            site,
            event_type,
            path: format!("/page/{path}"),
            user,
            timestamp_ms: FIRST_DAY_MS + since.cast_signed(),
            event_id,
        }
    }
}

impl Event {
    #[must_use]
    pub fn is_view(&self) -> bool {
        matches!(self.event_type, "page_view" | "pageview" | "view")
    }

    /// Its day in UTC.
    ///
    /// # Panics
    /// If its time is beyond what a calendar holds.
    #[must_use]
    pub fn day(&self) -> String {
        self.time().format("%F").to_string()
    }

    /// What the client sends, the same each time.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut json = json!({
            "site_id": self.site,
            "event_type": self.event_type,
            "path": format!("{}?n={}", self.path, self.number),
            "timestamp": self.time().to_rfc3339_opts(SecondsFormat::Millis, true),
            "props": { "n": self.number.to_string() },
        });
        if !self.user.is_empty() {
            json["user_id"] = self.user.as_str().into();
        }
        if let Some(event_id) = &self.event_id {
            json["event_id"] = event_id.as_str().into();
        }
        json
    }

    fn time(&self) -> DateTime<chrono::Utc> {
        DateTime::from_timestamp_millis(self.timestamp_ms).expect("a time of this century")
    }
}

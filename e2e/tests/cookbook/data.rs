//! Traffic with known answers: eleven weeks of a shop, another site beside it, and what happens now.

use std::collections::HashSet;

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Timelike, Utc};
use serde_json::{Map, Value, json};

pub(crate) const SITE: &str = "shop";
const OTHER_SITE: &str = "other";

/// A Monday. Daylight saving begins in Berlin within these weeks.
const FIRST_DAY: NaiveDate = NaiveDate::from_ymd_opt(2025, 2, 10).unwrap();
const DAYS: u64 = 77;
const USERS: u64 = 300;

/// The range that the queries are asked for: there is something before it and behind it.
pub(crate) const FROM: NaiveDate = NaiveDate::from_ymd_opt(2025, 3, 17).unwrap();
pub(crate) const TO: NaiveDate = NaiveDate::from_ymd_opt(2025, 4, 13).unwrap();

/// Where views come from, and the host that a query makes of it.
pub(crate) const REFERRERS: [(&str, &str); 4] = [
    ("", "(direct)"),
    ("https://www.google.com/search?q=weir", "google.com"),
    ("https://news.example/item/1", "news.example"),
    ("https://shop.example/", "shop.example"),
];

/// Channel and source that the edge makes of each of these; the last is the shop's own host.
pub(crate) const SOURCES: [(&str, &str); 4] = [
    ("", ""),
    ("Organic Search", "Google"),
    ("Referral", "news.example"),
    ("", ""),
];

/// What visitors use: device, system and browser.
const DEVICES: [[&str; 3]; 3] = [
    ["desktop", "Windows", "Firefox"],
    ["mobile", "iOS", "Mobile Safari"],
    ["", "", ""],
];
const COUNTRIES: [&str; 4] = ["DE", "FR", "", "DE"];

/// User agents of bots, each with its name.
const BOTS: [(&str, &str); 2] = [
    (
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Googlebot",
    ),
    (
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "bingbot",
    ),
];

const PATHS: [&str; 7] = [
    "/", "/pricing", "/docs", "/blog/a", "/blog/b", "/about", "/jobs",
];

#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) site: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) path: &'static str,
    pub(crate) user: String,
    pub(crate) at: DateTime<Utc>,
    pub(crate) referrer: &'static str,
    pub(crate) plan: Option<&'static str>,
    pub(crate) status: Option<u16>,
    pub(crate) id: Option<String>,
    /// User agent and name, if it is a bot's.
    agent: Option<(&'static str, &'static str)>,
}

impl Event {
    pub(crate) fn is_view(&self) -> bool {
        matches!(self.kind, "page_view" | "pageview" | "view")
    }

    pub(crate) fn date(&self) -> NaiveDate {
        self.at.date_naive()
    }

    pub(crate) fn is_in_range(&self) -> bool {
        (FROM..=TO).contains(&self.date())
    }

    /// Day, weekday (1 is Monday) and hour on Berlin's clocks.
    pub(crate) fn in_berlin(&self) -> (NaiveDate, u32, u32) {
        let summer = NaiveDate::from_ymd_opt(2025, 3, 30)
            .and_then(|day| day.and_hms_opt(1, 0, 0))
            .unwrap()
            .and_utc();
        let local = self.at + TimeDelta::hours(if self.at < summer { 1 } else { 2 });
        (
            local.date_naive(),
            local.weekday().number_from_monday(),
            local.hour(),
        )
    }

    /// The bot's name, or nothing.
    pub(crate) fn bot(&self) -> &'static str {
        self.agent.map_or("", |(_, name)| name)
    }

    /// Device, system and browser.
    pub(crate) fn device(&self) -> [&'static str; 3] {
        self.number().map_or([""; 3], |user| DEVICES[user % 3])
    }

    pub(crate) fn country(&self) -> &'static str {
        self.number().map_or("", |user| COUNTRIES[user % 4])
    }

    fn number(&self) -> Option<usize> {
        self.user.strip_prefix("user-")?.parse().ok()
    }

    pub(crate) fn json(&self) -> Value {
        let mut props = Map::new();
        if let Some(plan) = self.plan {
            props.insert("plan".into(), json!(plan));
        }
        if let Some(status) = self.status {
            props.insert("status".into(), json!(status));
        }
        let mut event = json!({
            "site_id": self.site,
            "event_type": self.kind,
            "timestamp": self.at.to_rfc3339(),
            "props": props,
        });
        let [device, system, browser] = self.device();
        for (name, value) in [
            ("hostname", "shop.example"),
            ("device", device),
            ("system", system),
            ("browser", browser),
            ("country", self.country()),
            ("user_agent", self.agent.map_or("", |(agent, _)| agent)),
            ("path", self.path),
            ("user_id", &self.user),
            ("referrer", self.referrer),
            ("event_id", self.id.as_deref().unwrap_or_default()),
        ] {
            if !value.is_empty() {
                event[name] = json!(value);
            }
        }
        event
    }
}

/// The same at each run, but for what happens `now`.
pub(crate) fn events(now: DateTime<Utc>) -> Vec<Event> {
    let mut made = Made {
        events: Vec::new(),
        taken: HashSet::new(),
        chance: Chance(7),
    };
    for user in 0..USERS {
        let first = made.chance.below(66);
        let faith = 2 + made.chance.below(8);
        for day in first..DAYS {
            // Everybody comes on the first day, and then the less the longer ago it was.
            if day == first || made.chance.below(10 + 2 * (day - first)) < faith {
                for _ in 0..=made.chance.below(2) {
                    made.visit(user, day);
                }
            }
        }
    }
    for nobody in 0..200 {
        let at = moment(nobody * DAYS / 200, nobody * 3_970_001);
        made.push(SITE, "view", "/", String::new(), at);
    }
    for user in 0..USERS {
        let at = moment(user % DAYS, user * 2_110_003);
        made.push(OTHER_SITE, "page_view", "/pricing", name(user), at);
        made.push(OTHER_SITE, "signup", "", name(user), at);
    }
    for read in 0..90 {
        let (path, at) = (
            PATHS[1 + read % 3 / 2],
            moment(read as u64 * 7 % DAYS, read as u64 * 5_050_001),
        );
        made.push(SITE, "page_view", path, String::new(), at);
        made.last().agent = Some(BOTS[read % 5 / 3]);
    }
    for live in 0..12 {
        let at = now - TimeDelta::seconds(120 + 77 * live);
        made.push(SITE, "page_view", "/live", format!("live-{}", live % 4), at);
    }
    for hours in 2..5 {
        let at = now - TimeDelta::hours(hours);
        made.push(SITE, "heartbeat", "", String::new(), at);
    }
    made.events
}

struct Made {
    events: Vec<Event>,
    /// A user does one thing at a time, so that every order is told by time alone.
    taken: HashSet<(&'static str, String, i64)>,
    chance: Chance,
}

impl Made {
    /// Some pages in a row, and what may come of them.
    fn visit(&mut self, user: u64, day: u64) {
        let mut at = moment(day, self.chance.below(86_400_000));
        let referrer = REFERRERS[self.chance.below(4) as usize].0;
        for page in 0..=self.chance.below(6) {
            let kind =
                ["page_view", "page_view", "pageview", "view"][self.chance.below(4) as usize];
            let path = PATHS[(self.chance.below(7) * self.chance.below(7) / 6) as usize];
            self.push(SITE, kind, path, name(user), at);
            if page == 0 {
                self.last().referrer = referrer;
            }
            // At the boundary of a session, beyond it, or well within.
            at += TimeDelta::milliseconds(match self.chance.below(20) {
                0 => 1_800_000,
                1 => 1_800_001,
                _ => 5_000 + self.chance.below(600_000) as i64,
            });
        }
        if self.chance.below(4) == 0 {
            self.push(SITE, "signup", "", name(user), at);
            self.last().plan = [Some("free"), Some("pro"), None][self.chance.below(3) as usize];
            at += TimeDelta::milliseconds(60_000 + self.chance.below(100_000_000) as i64);
            if self.chance.below(2) == 0 {
                self.push(SITE, "purchase", "/pricing", name(user), at);
                self.last().id = Some(format!("order-{user}-{day}-{}", at.timestamp_millis()));
            }
        }
        match self.chance.below(30) {
            0 => {
                self.push(SITE, "not_found", "/old", name(user), at);
                self.last().referrer = "https://shop.example/docs";
            }
            1 => {
                self.push(SITE, "error", "/gone", name(user), at);
                self.last().status = Some(404);
            }
            2 => {
                self.push(SITE, "error", "/down", name(user), at);
                self.last().status = Some(500);
            }
            _ => {}
        }
    }

    fn push(
        &mut self,
        site: &'static str,
        kind: &'static str,
        path: &'static str,
        user: String,
        mut at: DateTime<Utc>,
    ) {
        at = DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap();
        while !user.is_empty()
            && !self
                .taken
                .insert((site, user.clone(), at.timestamp_millis()))
        {
            at += TimeDelta::milliseconds(1);
        }
        self.events.push(Event {
            site,
            kind,
            path,
            user,
            at,
            referrer: "",
            plan: None,
            status: None,
            id: None,
            agent: None,
        });
    }

    fn last(&mut self) -> &mut Event {
        self.events.last_mut().unwrap()
    }
}

fn name(user: u64) -> String {
    format!("user-{user}")
}

fn moment(day: u64, ms: u64) -> DateTime<Utc> {
    let midnight = (FIRST_DAY + Days::new(day)).and_hms_opt(0, 0, 0).unwrap();
    midnight.and_utc() + TimeDelta::milliseconds((ms % 86_400_000) as i64)
}

/// A small generator of pseudo-random numbers (xorshift64*), the same at each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }
}

//! The rows that are asked about: few enough to be counted one by one, and with all that is odd.

use chrono::NaiveDate;

use crate::dice::Dice;
use crate::world::{BOT, EventRow, PERSON};

pub(super) const SITES: [&str; 5] = ["a", "b", "b.", "crowd", "nobody"];
pub(super) const TYPES: [&str; 6] = ["page_view", "pageview", "view", "signup", "click", "views"];
pub(super) const PATHS: [&str; 9] = ["/", "/a", "/A", "/a/", "/b", "", "/ü", "/a'b", "/a%_\\"];
pub(super) const REFERRERS: [&str; 8] = [
    "",
    "https://a.example/",
    "https://a.example/?q=1:2",
    "https://b.example/",
    "' OR 1=1 --",
    "https://WWW.B.example:8080/x",
    "android-app://com.example.app/",
    "http://intranet",
];
/// Of the referrers, in their order.
pub(super) const HOSTS: [&str; 8] = [
    "",
    "a.example",
    "a.example",
    "b.example",
    "",
    "b.example",
    "com.example.app",
    "intranet",
];
pub(super) const KEYS: [&str; 3] = ["plan", "a.b", "x' OR '1'='1"];
pub(super) const VALUES: [&str; 4] = ["", "free", "pro", "pro plus"];

/// A third of the events are of bots; some users have events of both kinds.
pub(super) const AGENTS: [&str; 6] = [
    "",
    PERSON,
    "Firefox\t131\tWindows\tdesktop\t",
    "\t\tAndroid\tmobile\t",
    BOT,
    "Chrome\t\tLinux\t\tIt's a bot",
];
pub(super) const SOURCES: [&str; 6] = [
    "",
    "Direct\t\t\t\t\t\t",
    "Organic Search\tGoogle\t\t\t\t\t",
    "Paid Search\tGoogle\tgoogle\tcpc\tspring\tshoes\tad-1",
    "Email\tletter\tletter\temail\tspring\t\t",
    "Unassigned\tx' OR '1'='1\tx' OR '1'='1\t\t%_\\\t?\t{a}",
];
pub(super) const PLACES: [&str; 5] = [
    "",
    "DE\tDE-BY\tMünchen",
    "DE\tDE-BE\tBerlin",
    "US\tUS-NH\tBerlin",
    "FR\t\t",
];
pub(super) const HOSTNAMES: [&str; 3] = ["", "www.a.example", "bücher.example"];
pub(super) const LANGUAGES: [&str; 4] = ["", "en", "en-US", "de"];
pub(super) const SCREENS: [&str; 3] = ["", "small", "wide"];

/// Texts that are kept together in one column, with tabs between.
pub(super) const PACKED: [(&str, &[&str], &[&str]); 3] = [
    (
        "_agent",
        &["browser", "browser_version", "system", "device", "bot"],
        &AGENTS,
    ),
    (
        "_source",
        &[
            "channel",
            "source",
            "utm_source",
            "utm_medium",
            "utm_campaign",
            "utm_term",
            "utm_content",
        ],
        &SOURCES,
    ),
    ("_place", &["country", "region", "city"], &PLACES),
];

/// First days, and how many: around changes of clocks in many zones, around the day that Samoa
/// left out, around the ends of months and a leap day.
const SEASONS: [(&str, usize); 4] = [
    ("2011-12-20", 20),
    ("2018-10-25", 20),
    ("2024-02-20", 50),
    ("2024-10-15", 40),
];

pub(super) fn rows() -> Vec<EventRow> {
    const ROWS: usize = 40_000;
    let dice = &mut Dice(3);
    (0..ROWS).map(|nth| row(dice, nth)).collect()
}

fn row(dice: &mut Dice, nth: usize) -> EventRow {
    const QUARTER_HOUR_MS: i64 = 900_000;
    let (first, days) = SEASONS[dice.roll(SEASONS.len())];
    let first: NaiveDate = first.parse().unwrap();
    let first = first.and_hms_opt(0, 0, 0).unwrap().and_utc();
    let quarters = dice.roll(days * 96) as i64 * QUARTER_HOUR_MS;
    // Many lie on a quarter of an hour, or just before it.
    let within = [0, -1, 1, dice.roll(900_000) as i64][dice.roll(4)];
    let site = ["a", "b", "b.", "crowd", "crowd", "crowd"][dice.roll(6)];
    let user = match (site, dice.roll(40)) {
        (_, 0) => String::new(),
        // More users than are counted one by one.
        ("crowd", 1..=35) => format!("passer-by-{nth}"),
        (_, user) => format!("user-{user}"),
    };
    let props = KEYS
        .iter()
        .filter_map(|key| {
            let value = VALUES[dice.roll(4)];
            (dice.roll(3) == 0).then(|| ((*key).to_owned(), value.to_owned()))
        })
        .collect();
    EventRow {
        site_id: site.to_owned(),
        event_type: dice.pick(&TYPES).to_owned(),
        path: dice.pick(&PATHS).to_owned(),
        user_id: user,
        referrer: dice.pick(&REFERRERS).to_owned(),
        props,
        timestamp: first.timestamp_millis() + quarters + within,
        _agent: dice.pick(&AGENTS).to_owned(),
        _source: dice.pick(&SOURCES).to_owned(),
        _place: dice.pick(&PLACES).to_owned(),
        hostname: dice.pick(&HOSTNAMES).to_owned(),
        language: dice.pick(&LANGUAGES).to_owned(),
        screen: dice.pick(&SCREENS).to_owned(),
    }
}

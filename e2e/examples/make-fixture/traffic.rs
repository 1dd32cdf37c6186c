//! What is sent, and the figures that follow from it: weir itself is asked for none of them.

use std::collections::{BTreeMap, BTreeSet};

use e2e::chaos::Random;
use e2e::fixture::{Month, Site};
use serde_json::{Map, Value, json};

const SEED: u64 = 1;
const SITES: [&str; 3] = ["shop.example", "blog.example", "docs.example"];
pub(crate) const ODD_SITE: &str = "odd.example";
const MONTHS: u64 = 5;
const PATHS: u64 = 30;
const USERS: u64 = 400;
const TYPES: [&str; 6] = [
    "page_view",
    "page_view",
    "pageview",
    "view",
    "click",
    "sign up",
];
const REFERRERS: [&str; 4] = [
    "",
    "https://search.example/",
    "https://news.example/today",
    "https://mail.example/inbox?folder=7&q=a%20b#top",
];
const PLANS: [&str; 3] = ["", "free", "pro"];
/// Long, of many alphabets, and what quoting, escaping and splitting stumble over.
const ODD_TEXTS: [&str; 10] = [
    "/a 'quoted' \"path\" \\ `with` $signs",
    "/tab\there\nand a line\r\nor two",
    "/nul\0in the middle",
    "/Größe/価格/цена/מחיר/👩‍👩‍👧‍👦",
    "/'); DROP TABLE events; --",
    "/%2e%2e/%00/&amp;<b>bold</b>",
    "/=1+1,@sum|cmd",
    "/\u{202e}backwards\u{202c}\u{feff}",
    "/e\u{301} and \u{e9} differ",
    "/ ends with a blank ",
];

/// An event as it is sent, all of it with a time of its own.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) site: String,
    pub(crate) event_type: String,
    pub(crate) path: String,
    /// Empty: none, in what follows too.
    pub(crate) user: String,
    pub(crate) referrer: String,
    pub(crate) props: Map<String, Value>,
    /// RFC 3339, in UTC.
    pub(crate) time: String,
    pub(crate) id: String,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        let mut json = json!({
            "site_id": self.site,
            "event_type": self.event_type,
            "path": self.path,
            "timestamp": self.time,
        });
        let optional = [
            ("user_id", &self.user),
            ("referrer", &self.referrer),
            ("event_id", &self.id),
        ];
        for (name, text) in optional {
            if !text.is_empty() {
                json[name] = text.as_str().into();
            }
        }
        if !self.props.is_empty() {
            json["props"] = Value::Object(self.props.clone());
        }
        json
    }

    /// Its row, as `SELECT`ed for [`Figures::odd_rows`](e2e::fixture::Figures::odd_rows).
    pub(crate) fn row(&self) -> Value {
        json!({
            "event_type": self.event_type,
            "path": self.path,
            "user_id": self.user,
            "referrer": self.referrer,
            "props": self.props,
        })
    }

    fn is_view(&self) -> bool {
        matches!(self.event_type.as_str(), "page_view" | "pageview" | "view")
    }
}

/// So many events of several sites over [`MONTHS`] months, with and without an id of their own.
pub(crate) fn mixed(stream: u64, count: u64) -> Vec<Event> {
    let mut random = Random::new(SEED, stream);
    let event = |number: u64| {
        let path = random.within(0..PATHS).min(random.within(0..PATHS));
        let user = random.within(0..USERS);
        let plan = *random.pick(&PLANS);
        let mut props = Map::new();
        if !plan.is_empty() {
            props.insert("plan".to_owned(), plan.into());
            props.insert("number".to_owned(), number.to_string().into());
        }
        let is_anonymous = random.chance(10);
        let id = match random.within(0..4) {
            0 => format!("order-{stream}-{number}"),
            1 => uuid(random.draw(), random.draw()),
            _ => String::new(),
        };
        Event {
            site: (*random.pick(&SITES)).to_owned(),
            event_type: (*random.pick(&TYPES)).to_owned(),
            path: format!("/page/{path}"),
            user: if is_anonymous {
                String::new()
            } else {
                format!("user-{user}")
            },
            referrer: (*random.pick(&REFERRERS)).to_owned(),
            props,
            time: time(&mut random, 2025, MONTHS),
            id,
        }
    };
    (0..count).map(event).collect()
}

/// One site of texts that are hard to carry, a minute after the other.
pub(crate) fn odd() -> Vec<Event> {
    let event = |(minute, text): (usize, &&str)| Event {
        site: ODD_SITE.to_owned(),
        event_type: ["page_view", "Füllstand 🌊"][minute % 2].to_owned(),
        path: (*text).to_owned(),
        user: text.repeat(3),
        referrer: format!("https://user:password@odd.example{text}"),
        props: Map::from_iter([
            ((*text).to_owned(), Value::from("the key")),
            ("the value".to_owned(), Value::from(*text)),
            ("long".to_owned(), Value::from("x".repeat(100 * minute))),
        ]),
        time: format!("2025-02-14T12:{minute:02}:00.123Z"),
        id: String::new(),
    };
    ODD_TEXTS.iter().enumerate().map(event).collect()
}

/// One block's worth over many months, each of which is a part of its own in every table.
pub(crate) fn over_months(site: &str, count: u64, months: u64) -> Vec<Event> {
    let mut random = Random::new(SEED, 1000);
    let event = |number| Event {
        site: site.to_owned(),
        event_type: TYPES[number as usize % TYPES.len()].to_owned(),
        path: format!("/page/{}", number % 17),
        user: format!("user-{}", number % 300),
        referrer: String::new(),
        props: Map::new(),
        time: time(&mut random, 2018, months),
        id: format!("{site}-{number}"),
    };
    (0..count).map(event).collect()
}

fn time(random: &mut Random, year: u64, months: u64) -> String {
    let month = random.within(0..months);
    let (year, month) = (year + month / 12, month % 12 + 1);
    let [day, hour, minute, second] =
        [1..29, 0..24, 0..60, 0..60].map(|range| random.within(range));
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.250Z")
}

fn uuid(high: u64, low: u64) -> String {
    let version_4 = high & !0xF000 | 0x4000;
    let variant = low & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{version_4:016x}{variant:016x}");
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// What these events count as, each of them once.
pub(crate) fn figures<'e>(events: impl IntoIterator<Item = &'e Event>) -> BTreeMap<String, Site> {
    let mut sites: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in events {
        sites.entry(event.site.clone()).or_default().push(event);
    }
    sites
        .into_iter()
        .map(|(name, events)| (name, site(&events)))
        .collect()
}

fn site(events: &[&Event]) -> Site {
    let views: Vec<&Event> = events
        .iter()
        .copied()
        .filter(|event| event.is_view())
        .collect();
    let mut top_paths: Vec<_> = count(&views, |event| &event.path).into_iter().collect();
    top_paths.sort_by_key(|(_, views)| std::cmp::Reverse(*views));
    top_paths.truncate(10);
    let plan = |event: &Event| match event.props.get("plan") {
        Some(Value::String(plan)) => plan.clone(),
        _ => String::new(),
    };
    let mut views_by_plan: BTreeMap<String, u64> = BTreeMap::new();
    for view in &views {
        *views_by_plan.entry(plan(view)).or_default() += 1;
    }
    Site {
        events: events.len() as u64,
        events_by_type: count(events, |event| &event.event_type),
        views: views.len() as u64,
        unique_users: users(&views),
        top_paths,
        views_by_referrer: count(&views, |event| &event.referrer),
        views_by_plan,
        months: months(events, &views),
    }
}

fn months(events: &[&Event], views: &[&Event]) -> Vec<Month> {
    let month = |event: &&Event| event.time[..7].to_owned();
    let first = events.iter().map(month).min().expect("a site has events");
    let last = events.iter().map(month).max().expect("a site has events");
    let mut dates = Vec::new();
    let (mut year, mut number) = parse(&first);
    while (year, number) <= parse(&last) {
        dates.push(format!("{year}-{number:02}"));
        (year, number) = if number == 12 {
            (year + 1, 1)
        } else {
            (year, number + 1)
        };
    }
    let figures = dates.into_iter().map(|date| {
        let views: Vec<&Event> = views
            .iter()
            .copied()
            .filter(|view| month(view) == date)
            .collect();
        Month {
            date: format!("{date}-01"),
            views: views.len() as u64,
            unique_users: users(&views),
        }
    });
    figures.collect()
}

fn parse(month: &str) -> (u32, u32) {
    let (year, month) = month.split_once('-').expect("a month is YYYY-MM");
    let number = |text: &str| text.parse().expect("a month is of digits");
    (number(year), number(month))
}

fn count(events: &[&Event], key: impl Fn(&Event) -> &String) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(key(event).clone()).or_default() += 1;
    }
    counts
}

fn users(events: &[&Event]) -> u64 {
    let users: BTreeSet<&str> = events.iter().map(|event| event.user.as_str()).collect();
    users.iter().filter(|user| !user.is_empty()).count() as u64
}

//! The sites of the demo: what stands on them, who sends visitors, and with what.

use chrono::{Datelike, NaiveDate};
use chrono_tz::Tz;

pub(super) struct Site {
    pub(super) id: String,
    /// Its visits, against the number asked for.
    pub(super) share: f64,
    pub(super) zone: Tz,
    /// The most visited first.
    pub(super) pages: Vec<Page>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub(super) path: &'static str,
    pub(super) goals: &'static [Goal],
}

/// What some visitors do on a page.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) event_type: &'static str,
    pub(super) rate: f64,
    /// Between these, in whole euros.
    pub(super) amount: Option<(u32, u32)>,
}

pub(super) struct Device {
    pub(super) kind: &'static str,
    pub(super) browser: &'static str,
    pub(super) weight: f64,
}

pub(super) struct Campaign {
    pub(super) name: &'static str,
    pub(super) source: &'static str,
    pub(super) medium: &'static str,
    pub(super) referrer: &'static str,
    /// Visits on its days, against other days.
    pub(super) push: f64,
    /// Its days within each month.
    days: std::ops::RangeInclusive<u32>,
}

impl Campaign {
    pub(super) fn runs_on(&self, day: NaiveDate) -> bool {
        self.days.contains(&day.day())
    }
}

const NONE: &[Goal] = &[];
const SIGNUP: &[Goal] = &[Goal {
    event_type: "signup",
    rate: 0.12,
    amount: None,
}];
const PURCHASE: &[Goal] = &[Goal {
    event_type: "purchase",
    rate: 0.3,
    amount: Some((9, 249)),
}];
const CART: &[Goal] = &[Goal {
    event_type: "add_to_cart",
    rate: 0.16,
    amount: None,
}];
const DOWNLOAD: &[Goal] = &[Goal {
    event_type: "download",
    rate: 0.1,
    amount: None,
}];

const SHOP: &[(&str, &[Goal])] = &[
    ("/", NONE),
    ("/products", NONE),
    ("/products/trail-jacket", CART),
    ("/products/city-backpack", CART),
    ("/pricing", NONE),
    ("/checkout", PURCHASE),
    ("/signup", SIGNUP),
    ("/products/rain-cover", CART),
    ("/products/merino-shirt", CART),
    ("/sale", NONE),
    ("/products/camp-stove", CART),
    ("/about", NONE),
    ("/products/headlamp", CART),
    ("/stores", NONE),
    ("/account", NONE),
    ("/account/orders", NONE),
    ("/help/returns", NONE),
    ("/help/shipping", NONE),
    ("/products/water-bottle", CART),
    ("/products/tent-2p", CART),
    ("/journal/packing-light", NONE),
    ("/journal/repair-guide", NONE),
    ("/search", NONE),
    ("/gift-cards", CART),
    ("/contact", NONE),
    ("/imprint", NONE),
];
const BLOG: &[(&str, &[Goal])] = &[
    ("/", NONE),
    ("/2026/how-rivers-are-measured", NONE),
    ("/2026/exactly-once-is-a-ledger", NONE),
    ("/newsletter", SIGNUP),
    ("/2025/the-quiet-dashboard", NONE),
    ("/2025/counting-people-not-clicks", NONE),
    ("/archive", NONE),
    ("/about", NONE),
    ("/2025/a-year-of-uptime", NONE),
    ("/2025/why-we-left-cron", NONE),
    ("/tags/data", NONE),
    ("/2024/first-light", NONE),
    ("/feed", NONE),
];
const DOCS: &[(&str, &[Goal])] = &[
    ("/start", NONE),
    ("/install", DOWNLOAD),
    ("/api/events", NONE),
    ("/api/stats", NONE),
    ("/guides/first-dashboard", NONE),
    ("/guides/sql", NONE),
    ("/reference/configuration", NONE),
    ("/guides/kubernetes", NONE),
    ("/reference/metrics", NONE),
    ("/changelog", NONE),
    ("/guides/migrate", NONE),
    ("/faq", NONE),
    ("/guides/backup", NONE),
    ("/search", NONE),
];

/// Where visits come from that follow no campaign; most from nowhere that is told.
pub(super) const REFERRERS: [(&str, f64); 10] = [
    ("", 42.0),
    ("https://www.google.com/", 29.0),
    ("https://duckduckgo.com/", 6.0),
    ("https://www.bing.com/", 5.0),
    ("https://news.ycombinator.com/", 4.5),
    ("https://github.com/", 4.0),
    ("https://www.reddit.com/", 3.5),
    ("https://lobste.rs/", 1.5),
    ("https://mastodon.social/", 2.0),
    ("https://en.wikipedia.org/", 1.0),
];

pub(super) const DEVICES: [Device; 7] = [
    Device {
        kind: "mobile",
        browser: "Chrome",
        weight: 27.0,
    },
    Device {
        kind: "mobile",
        browser: "Safari",
        weight: 24.0,
    },
    Device {
        kind: "desktop",
        browser: "Chrome",
        weight: 25.0,
    },
    Device {
        kind: "desktop",
        browser: "Firefox",
        weight: 9.0,
    },
    Device {
        kind: "desktop",
        browser: "Safari",
        weight: 7.0,
    },
    Device {
        kind: "desktop",
        browser: "Edge",
        weight: 6.0,
    },
    Device {
        kind: "tablet",
        browser: "Safari",
        weight: 2.0,
    },
];

pub(super) const CAMPAIGNS: [Campaign; 3] = [
    Campaign {
        name: "monthly-letter",
        source: "newsletter",
        medium: "email",
        referrer: "",
        push: 1.35,
        days: 2..=3,
    },
    Campaign {
        name: "launch-week",
        source: "hackernews",
        medium: "social",
        referrer: "https://news.ycombinator.com/",
        push: 1.8,
        days: 12..=13,
    },
    Campaign {
        name: "season-sale",
        source: "google",
        medium: "cpc",
        referrer: "https://www.google.com/",
        push: 1.5,
        days: 20..=24,
    },
];

fn site(id: &str, share: f64, zone: Tz, pages: &[(&'static str, &'static [Goal])]) -> Site {
    Site {
        id: id.to_owned(),
        share,
        zone,
        pages: pages
            .iter()
            .map(|&(path, goals)| Page { path, goals })
            .collect(),
    }
}

/// A shop, a blog and a site of documentation.
pub(super) fn all() -> Vec<Site> {
    vec![
        site("shop.example", 1.0, Tz::Europe__Berlin, SHOP),
        site("blog.example", 0.45, Tz::America__New_York, BLOG),
        site("docs.example", 0.25, Tz::Asia__Kolkata, DOCS),
    ]
}

/// The shop alone, under another name.
pub(super) fn one(id: &str) -> Site {
    site(id, 1.0, Tz::Europe__Berlin, SHOP)
}

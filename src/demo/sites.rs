//! The sites of the demo: what is on them, where their visitors live, and who sends visitors.

use chrono::{Datelike, NaiveDate};
use chrono_tz::Tz;

pub(super) struct Site {
    pub(super) id: String,
    /// Its visits, against the number asked for.
    pub(super) share: f64,
    pub(super) zone: Tz,
    pub(super) hostname: &'static str,
    /// Where its visitors live, against each other.
    pub(super) countries: &'static [(&'static str, f64)],
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

/// How a visit comes to the site.
pub(super) struct Entry {
    pub(super) referrer: &'static str,
    /// What stands behind the `?` of the first page's address.
    pub(super) query: &'static str,
}

pub(super) struct Campaign {
    pub(super) entry: Entry,
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

const fn entry(weight: f64, referrer: &'static str, query: &'static str) -> (Entry, f64) {
    (Entry { referrer, query }, weight)
}

/// How visits come that follow no campaign of these days, against each other.
pub(super) const ENTRIES: [(Entry, f64); 40] = [
    // Nobody says where from.
    entry(34.0, "", ""),
    // Search.
    entry(15.0, "https://www.google.com/", ""),
    entry(5.0, "https://www.google.de/", ""),
    entry(2.0, "https://www.google.co.uk/", ""),
    entry(2.0, "https://www.google.co.in/", ""),
    entry(1.2, "https://www.google.fr/", ""),
    entry(
        1.6,
        "android-app://com.google.android.googlequicksearchbox/",
        "",
    ),
    entry(3.6, "https://www.bing.com/", ""),
    entry(4.2, "https://duckduckgo.com/", ""),
    entry(1.0, "https://www.ecosia.org/", ""),
    entry(0.6, "https://search.brave.com/", ""),
    entry(0.5, "https://search.yahoo.com/", ""),
    // Advertisements that always run.
    entry(
        2.6,
        "https://www.google.com/",
        "utm_source=google&utm_medium=cpc&utm_campaign=brand&utm_term=weir+outdoor&utm_content=headline-a",
    ),
    entry(
        1.1,
        "https://www.google.com/",
        "utm_source=google&utm_medium=cpc&utm_campaign=generic&utm_term=rain+jacket&utm_content=headline-b",
    ),
    entry(
        0.6,
        "https://www.bing.com/",
        "utm_source=bing&utm_medium=cpc&utm_campaign=brand",
    ),
    entry(
        1.0,
        "https://l.instagram.com/",
        "utm_source=instagram&utm_medium=paid_social&utm_campaign=autumn-walks&utm_content=reel-2",
    ),
    // Social.
    entry(1.6, "https://www.facebook.com/", ""),
    entry(0.7, "https://l.facebook.com/", ""),
    entry(1.3, "https://l.instagram.com/", ""),
    entry(1.4, "https://t.co/", ""),
    entry(1.3, "https://www.linkedin.com/", ""),
    entry(2.3, "https://www.reddit.com/", ""),
    entry(0.4, "android-app://com.reddit.frontpage/", ""),
    entry(1.0, "https://mastodon.social/", ""),
    entry(0.8, "https://bsky.app/", ""),
    entry(1.1, "https://www.youtube.com/", ""),
    // News.
    entry(2.6, "https://news.ycombinator.com/", ""),
    entry(1.0, "https://lobste.rs/", ""),
    entry(0.7, "https://www.theguardian.com/", ""),
    entry(0.8, "https://www.heise.de/", ""),
    // Assistants.
    entry(1.5, "https://chatgpt.com/", "utm_source=chatgpt.com"),
    entry(0.8, "https://www.perplexity.ai/", ""),
    entry(0.5, "https://claude.ai/", ""),
    entry(0.5, "https://gemini.google.com/", ""),
    entry(0.4, "https://copilot.microsoft.com/", ""),
    // Others.
    entry(2.6, "https://github.com/", ""),
    entry(0.9, "https://en.wikipedia.org/", ""),
    entry(0.7, "https://www.producthunt.com/", "ref=producthunt"),
    entry(
        0.6,
        "",
        "utm_source=partner-outdoor&utm_medium=affiliate&utm_campaign=autumn",
    ),
    entry(
        0.8,
        "android-app://com.google.android.gm/",
        "utm_source=newsletter&utm_medium=email&utm_campaign=welcome",
    ),
];

const fn campaign(
    days: std::ops::RangeInclusive<u32>,
    push: f64,
    referrer: &'static str,
    query: &'static str,
) -> Campaign {
    Campaign {
        entry: Entry { referrer, query },
        push,
        days,
    }
}

pub(super) const CAMPAIGNS: [Campaign; 3] = [
    campaign(
        2..=3,
        1.35,
        "",
        "utm_source=newsletter&utm_medium=email&utm_campaign=monthly-letter",
    ),
    campaign(
        12..=13,
        1.8,
        "https://news.ycombinator.com/",
        "utm_source=hackernews&utm_medium=social&utm_campaign=launch-week",
    ),
    campaign(
        20..=24,
        1.5,
        "https://www.google.com/",
        "utm_source=google&utm_medium=cpc&utm_campaign=season-sale&utm_term=outdoor+sale",
    ),
];

const GERMAN: &[(&str, f64)] = &[
    ("DE", 58.0),
    ("AT", 11.0),
    ("CH", 9.0),
    ("NL", 4.0),
    ("FR", 3.5),
    ("GB", 3.0),
    ("US", 3.0),
    ("PL", 2.5),
    ("IT", 1.5),
];
const AMERICAN: &[(&str, f64)] = &[
    ("US", 49.0),
    ("GB", 11.0),
    ("CA", 8.0),
    ("DE", 6.0),
    ("IN", 5.0),
    ("AU", 4.0),
    ("FR", 2.5),
    ("NL", 2.0),
    ("BR", 2.0),
];
const INDIAN: &[(&str, f64)] = &[
    ("IN", 38.0),
    ("US", 17.0),
    ("DE", 7.0),
    ("GB", 5.0),
    ("BR", 4.0),
    ("JP", 3.5),
    ("SG", 3.0),
    ("FR", 2.5),
    ("PL", 2.0),
];

fn site(
    id: &str,
    share: f64,
    zone: Tz,
    hostname: &'static str,
    countries: &'static [(&'static str, f64)],
    pages: &[(&'static str, &'static [Goal])],
) -> Site {
    Site {
        id: id.to_owned(),
        share,
        zone,
        hostname,
        countries,
        pages: pages
            .iter()
            .map(|&(path, goals)| Page { path, goals })
            .collect(),
    }
}

fn shop(id: &str) -> Site {
    let zone = Tz::Europe__Berlin;
    site(id, 1.0, zone, "shop.example", GERMAN, SHOP)
}

/// A shop, a blog and a site of documentation.
pub(super) fn all() -> Vec<Site> {
    let (new_york, kolkata) = (Tz::America__New_York, Tz::Asia__Kolkata);
    vec![
        shop("shop.example"),
        site(
            "blog.example",
            0.45,
            new_york,
            "blog.example",
            AMERICAN,
            BLOG,
        ),
        site("docs.example", 0.25, kolkata, "docs.example", INDIAN, DOCS),
    ]
}

/// The shop alone, under another name.
pub(super) fn one(id: &str) -> Site {
    shop(id)
}

//! Believable visits: a day that wakes and sleeps, weeks, a few pages that take most views, visitors
//! that come back, campaigns. Pure: a function of seed, site and day.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, TimeZone, Utc, Weekday};
use chrono_tz::Tz;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::people::People;
use super::sites::{CAMPAIGNS, Campaign, ENTRIES, Entry, Page, Site};

/// Visits in each hour of a local day, against each other.
const HOURS: [f64; 24] = [
    1.6, 1.0, 0.7, 0.6, 0.6, 0.9, 1.8, 3.4, 5.2, 6.4, 6.9, 6.6, 6.0, 6.4, 6.8, 6.7, 6.3, 5.9, 5.7,
    6.2, 6.6, 6.0, 4.4, 2.8,
];
/// ... and on each day of a week, Monday first.
const WEEKDAYS: [f64; 7] = [1.08, 1.15, 1.14, 1.10, 1.0, 0.72, 0.81];
/// A visit goes on to another page this often.
const ANOTHER_PAGE: f64 = 0.62;
const PAGES_MAX: usize = 20;
/// Out of a site's visitors the n-th comes with a weight of n to the minus this: few come often.
const LOYALTY: f64 = 0.55;
/// So many different visitors as there are visits in this many days.
const VISITORS_DAYS: f64 = 12.0;
/// Page views a visit has on average, with what comes of them.
pub(super) const EVENTS_A_VISIT: f64 = 2.9;
/// So many of the visits are a crawler's.
const BOTS: f64 = 0.045;
/// So many of a campaign's days' visits follow it.
const FOLLOWED: f64 = 0.35;
/// What a signup chooses, against each other.
const PLANS: [(&str, f64); 3] = [("free", 0.72), ("pro", 0.22), ("team", 0.06)];

/// An event as `/events` takes it. Words of a site are borrowed from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Event<'s> {
    pub(super) site_id: &'s str,
    pub(super) event_type: &'static str,
    pub(super) path: &'static str,
    /// The page's whole address, with the campaign that led there.
    pub(super) url: String,
    hostname: &'static str,
    pub(super) user_id: String,
    /// None: when it is received.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "rfc3339")]
    pub(super) timestamp: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event_id: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) referrer: &'static str,
    #[serde(flatten)]
    visitor: Visitor,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) props: BTreeMap<&'static str, serde_json::Value>,
}

/// What is the same in all events of a visitor. A crawler has neither language nor screen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Visitor {
    user_agent: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    country: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    region: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    city: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    language: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    screen: &'static str,
}

fn rfc3339<S: serde::Serializer>(
    time: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(&time.format("%Y-%m-%dT%H:%M:%S%.3fZ")),
        None => serializer.serialize_none(),
    }
}

/// Who visits one site, and what they do there.
pub(super) struct Traffic<'s> {
    site: &'s Site,
    seed: u64,
    visits_a_day: f64,
    visitors: u64,
    pages: WeightedIndex<f64>,
    entries: WeightedIndex<f64>,
    people: People,
    plans: WeightedIndex<f64>,
    hours: WeightedIndex<f64>,
}

/// Never empty, and no weight is negative.
pub(super) fn weighted(weights: impl IntoIterator<Item = f64>) -> WeightedIndex<f64> {
    WeightedIndex::new(weights).expect("weights are constants above 0")
}

impl<'s> Traffic<'s> {
    pub(super) fn new(site: &'s Site, seed: u64, visits_a_day: f64) -> Self {
        let visits_a_day = visits_a_day * site.share;
        Self {
            site,
            seed,
            visits_a_day,
            visitors: (visits_a_day * VISITORS_DAYS).max(1.0) as u64,
            // Zipf's law.
            pages: weighted((1..=site.pages.len()).map(|rank| 1.0 / (rank as f64).powf(1.05))),
            entries: weighted(ENTRIES.iter().map(|(_, weight)| *weight)),
            people: People::of(site),
            plans: weighted(PLANS.map(|(_, weight)| weight)),
            hours: weighted(HOURS),
        }
    }

    /// The events of a local day, by their time.
    pub(super) fn day(&self, day: NaiveDate) -> Vec<Event<'s>> {
        let mut rng = self.rng(&format!("day {day}"));
        let campaign = CAMPAIGNS.iter().find(|campaign| campaign.runs_on(day));
        let visits = self.visits_on(day, campaign, &mut rng);
        let mut events = Vec::with_capacity((visits as f64 * EVENTS_A_VISIT) as usize);
        for visit in 0..visits {
            let hour = self.hours.sample(&mut rng) as u32;
            let second = rng.random_range(0..3600);
            let Some(begin) = local_time(self.site.zone, day, hour, second) else {
                // The hour that summer time leaves out.
                continue;
            };
            let id = format!("demo-{}-{day}-{visit}", self.seed);
            self.visit(&mut rng, begin, campaign, &id, &mut events);
        }
        events.sort_by_key(|event| event.timestamp);
        events
    }

    /// One visit that begins at `begin`. Its times lie up to some minutes later.
    pub(super) fn visit_at(&self, begin: DateTime<Utc>, visit: u64) -> Vec<Event<'s>> {
        let mut rng = self.rng(&format!("visit {visit} at {begin}"));
        let campaign = CAMPAIGNS
            .iter()
            .find(|campaign| campaign.runs_on(begin.date_naive()));
        let mut events = Vec::new();
        self.visit(&mut rng, begin, campaign, "", &mut events);
        events
    }

    fn rng(&self, of: &str) -> StdRng {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(self.site.id.as_bytes());
        hash.update(of.as_bytes());
        StdRng::from_seed(hash.finalize().into())
    }

    fn visits_on(&self, day: NaiveDate, campaign: Option<&Campaign>, rng: &mut StdRng) -> u64 {
        let weekday = match day.weekday() {
            Weekday::Mon => 0,
            other => other.num_days_from_monday() as usize,
        };
        // A year makes a site grow by a third, with a slow wave on it.
        let days = f64::from(day.num_days_from_ce() % 3650);
        let growth = (1.0 + 0.33 / 365.0 * (days % 365.0)) * (1.0 + 0.08 * (days / 17.0).sin());
        let luck = rng.random_range(0.88..1.12);
        let push = campaign.map_or(1.0, |campaign| campaign.push);
        (self.visits_a_day * WEEKDAYS[weekday] * growth * luck * push).round() as u64
    }

    /// An id, and what its bearer has in every visit.
    fn visitor(&self, rng: &mut StdRng) -> (String, Visitor) {
        // The inverse of the weights' sum, near enough.
        let share: f64 = rng.random_range(0.0..1.0);
        let rank = (self.visitors as f64 * share.powf(1.0 / (1.0 - LOYALTY))) as u64;
        let hash = Sha256::digest(format!("{} {} {rank}", self.seed, self.site.id));
        let hex: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let person = self.people.person(&mut StdRng::from_seed(hash.into()));
        let visitor = Visitor {
            user_agent: person.agent.user_agent,
            country: person.place.country,
            region: person.place.region,
            city: person.place.city,
            language: person.language,
            screen: person.screen,
        };
        (format!("v-{hex}"), visitor)
    }

    fn visit(
        &self,
        rng: &mut StdRng,
        begin: DateTime<Utc>,
        campaign: Option<&Campaign>,
        id: &str,
        events: &mut Vec<Event<'s>>,
    ) {
        if rng.random_bool(BOTS) {
            self.crawl(rng, begin, id, events);
            return;
        }
        let (user_id, visitor) = self.visitor(rng);
        let entry = match campaign.filter(|_| rng.random_bool(FOLLOWED)) {
            Some(campaign) => &campaign.entry,
            None => &ENTRIES[self.entries.sample(rng)].0,
        };
        let is_app = entry.referrer.starts_with("android-app:");
        let entry = match is_app && !visitor.user_agent.contains("Android") {
            true => &DIRECT,
            false => entry,
        };
        let mut add = self.adding(user_id, visitor, id, events);
        let mut time = begin;
        for nth in 0..PAGES_MAX {
            let page = &self.site.pages[self.pages.sample(rng)];
            let from = if nth == 0 { entry } else { &DIRECT };
            add("page_view", page, time, from, BTreeMap::new());
            for goal in page.goals {
                if rng.random_bool(goal.rate) {
                    time += TimeDelta::milliseconds(rng.random_range(4_000..50_000));
                    let mut props = BTreeMap::new();
                    if let Some((low, high)) = goal.amount {
                        props.insert("amount", rng.random_range(low..=high).into());
                        props.insert("currency", "EUR".into());
                    }
                    if goal.event_type == "signup" {
                        props.insert("plan", PLANS[self.plans.sample(rng)].0.into());
                    }
                    add(goal.event_type, page, time, &DIRECT, props);
                }
            }
            if !rng.random_bool(ANOTHER_PAGE) {
                break;
            }
            // Most pages are left soon, some are read.
            let read: f64 = rng.random_range(0.0..1.0);
            time += TimeDelta::milliseconds((4_000.0 - 45_000.0 * (1.0 - read).ln()) as i64);
        }
    }

    /// A crawler reads some pages, seconds apart, and does nothing on them.
    fn crawl(&self, rng: &mut StdRng, begin: DateTime<Utc>, id: &str, events: &mut Vec<Event<'s>>) {
        let bot = self.people.bot(rng);
        let visitor = Visitor {
            user_agent: bot.user_agent,
            country: bot.country,
            region: "",
            city: "",
            language: "",
            screen: "",
        };
        // Each comes from a few addresses.
        let user_id = format!("b-{}-{}", bot.number, rng.random_range(0..4));
        let mut add = self.adding(user_id, visitor, id, events);
        let mut time = begin;
        for _ in 0..rng.random_range(1..=4) {
            let page = &self.site.pages[rng.random_range(0..self.site.pages.len())];
            add("page_view", page, time, &DIRECT, BTreeMap::new());
            time += TimeDelta::milliseconds(rng.random_range(900..20_000));
        }
    }

    /// Adds the events of one visit, each with an id of its own where `id` is one.
    fn adding(
        &self,
        user_id: String,
        visitor: Visitor,
        id: &str,
        events: &mut Vec<Event<'s>>,
    ) -> impl FnMut(&'static str, &Page, DateTime<Utc>, &Entry, BTreeMap<&'static str, serde_json::Value>)
    {
        let site = self.site;
        let mut number = 0;
        move |event_type, page, time, entry, props| {
            number += 1;
            let mark = if entry.query.is_empty() { "" } else { "?" };
            events.push(Event {
                site_id: &site.id,
                event_type,
                path: page.path,
                url: format!(
                    "https://{}{}{mark}{}",
                    site.hostname, page.path, entry.query
                ),
                hostname: site.hostname,
                user_id: user_id.clone(),
                timestamp: Some(time),
                event_id: (!id.is_empty()).then(|| format!("{id}-{number}")),
                referrer: entry.referrer,
                visitor,
                props,
            });
        }
    }
}

/// No referrer and no campaign: from a bookmark, or from a page of the site itself.
const DIRECT: Entry = Entry {
    referrer: "",
    query: "",
};

fn local_time(zone: Tz, day: NaiveDate, hour: u32, second: u32) -> Option<DateTime<Utc>> {
    let local = day.and_hms_opt(hour, second / 60, second % 60)?;
    let time = zone.from_local_datetime(&local).earliest()?;
    Some(time.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use chrono::Timelike;

    use super::super::sites;
    use super::*;

    fn days<'s>(first: &str, count: u64, traffic: &Traffic<'s>) -> Vec<Event<'s>> {
        let first: NaiveDate = first.parse().unwrap();
        first
            .iter_days()
            .take(count as usize)
            .flat_map(|day| traffic.day(day))
            .collect()
    }

    #[test]
    fn a_day_is_a_function_of_seed_site_and_date() {
        let sites = sites::all();
        let day = "2026-03-03".parse().unwrap();
        let of = |site: usize, seed| Traffic::new(&sites[site], seed, 300.0).day(day);
        assert_eq!(of(0, 1), of(0, 1));
        assert_ne!(of(0, 1), of(0, 2));
        assert_ne!(of(0, 1), of(1, 1));
    }

    #[test]
    fn each_event_is_one_that_ingest_takes_and_has_an_id_of_its_own() {
        for site in &sites::all() {
            let events = days("2026-03-25", 7, &Traffic::new(site, 7, 200.0));
            let mut ids = BTreeSet::new();
            for event in &events {
                let json = serde_json::to_string(event).unwrap();
                let request: event::EventRequest<'_> = serde_json::from_str(&json).unwrap();
                let parsed = event::parse(&request, Utc::now(), uuid::Uuid::now_v7).unwrap();
                assert_eq!(Some(parsed.timestamp), event.timestamp);
                assert!(ids.insert(event.event_id.clone().unwrap()), "{json}");
            }
            assert!(events.len() > 500, "{}", events.len());
        }
    }

    #[test]
    fn days_and_weeks_have_a_curve_and_lie_in_the_sites_own_zone() {
        let site = &sites::all()[0];
        let traffic = Traffic::new(site, 1, 500.0);
        let events = days("2026-06-01", 28, &traffic);
        let mut hours = [0_u32; 24];
        let mut weekdays = [0_u32; 7];
        for event in &events {
            let local = event.timestamp.unwrap().with_timezone(&site.zone);
            hours[local.hour() as usize] += 1;
            weekdays[local.weekday().num_days_from_monday() as usize] += 1;
        }
        assert!(hours[14] > 4 * hours[3], "{hours:?}");
        assert!(weekdays[1] > weekdays[5] * 5 / 4, "{weekdays:?}");
        assert!(weekdays.iter().all(|count| *count > 0));
    }

    #[test]
    fn few_pages_take_most_views_and_visitors_come_back() {
        let site = &sites::all()[0];
        let events = days("2026-06-01", 28, &Traffic::new(site, 1, 500.0));
        let mut pages: HashMap<&str, u32> = HashMap::new();
        let mut visitors: HashMap<&str, BTreeSet<NaiveDate>> = HashMap::new();
        for event in &events {
            *pages.entry(event.path).or_default() += 1;
            let day = event.timestamp.unwrap().date_naive();
            visitors.entry(&event.user_id).or_default().insert(day);
        }
        let mut views: Vec<u32> = pages.into_values().collect();
        views.sort_unstable_by(|a, b| b.cmp(a));
        assert!(views.len() >= 20 && views[0] > 4 * views[9], "{views:?}");
        let returning = visitors.values().filter(|days| days.len() > 1).count();
        let share = returning as f64 / visitors.len() as f64;
        assert!((0.2..0.8).contains(&share), "{share}");
        let visits = events.iter().filter(|event| !event.referrer.is_empty());
        assert!(visits.count() > 1000);
        for wanted in ["page_view", "signup", "purchase"] {
            assert!(events.iter().any(|event| event.event_type == wanted));
        }
    }

    #[test]
    fn a_visitor_has_one_browser_and_one_place() {
        for site in &sites::all() {
            let events = days("2026-06-01", 28, &Traffic::new(site, 1, 500.0));
            let mut visitors: HashMap<&str, Visitor> = HashMap::new();
            let mut agents = BTreeSet::new();
            for event in &events {
                let known = visitors.entry(&event.user_id).or_insert(event.visitor);
                assert_eq!(*known, event.visitor);
                agents.insert(event.visitor.user_agent);
            }
            assert!(agents.len() > 30, "{}", agents.len());
        }
    }

    #[test]
    fn a_few_percent_of_the_views_are_crawlers_and_crawlers_do_nothing_else() {
        for site in &sites::all() {
            let events = days("2026-06-01", 28, &Traffic::new(site, 1, 500.0));
            let (bots, people): (Vec<_>, Vec<_>) = events
                .iter()
                .filter(|event| event.event_type == "page_view")
                .partition(|event| event.user_id.starts_with("b-"));
            let share = bots.len() as f64 / (bots.len() + people.len()) as f64;
            assert!((0.02..0.07).contains(&share), "{share}");
            let is_bot = |event: &Event<'_>| event.visitor.screen.is_empty();
            assert!(bots.iter().all(|event| is_bot(event)));
            assert!(!people.iter().any(|event| is_bot(event)));
            let mut goals = events.iter().filter(|e| e.event_type != "page_view");
            assert!(goals.all(|event| !is_bot(event)));
        }
    }

    #[test]
    fn a_site_is_mostly_read_where_it_is_at_home() {
        for (site, country, language) in
            [(0, "DE", "de-DE"), (1, "US", "en-US"), (2, "IN", "en-IN")]
        {
            let sites = sites::all();
            let events = days("2026-06-01", 28, &Traffic::new(&sites[site], 1, 500.0));
            let people = events.iter().filter(|e| !e.user_id.starts_with("b-"));
            let (mut countries, mut languages) = (HashMap::new(), HashMap::new());
            for event in people {
                *countries.entry(event.visitor.country).or_insert(0) += 1;
                *languages.entry(event.visitor.language).or_insert(0) += 1;
                assert!(
                    event.visitor.region.starts_with(event.visitor.country)
                        || event.visitor.country == "SG"
                );
            }
            let first = |counts: &HashMap<&'static str, u32>| {
                counts
                    .iter()
                    .max_by_key(|(_, count)| **count)
                    .map(|(of, _)| *of)
            };
            assert_eq!(first(&countries), Some(country), "{countries:?}");
            assert_eq!(first(&languages), Some(language), "{languages:?}");
            assert!(countries.len() > 15, "{countries:?}");
        }
    }

    #[test]
    fn visits_come_from_everywhere_and_an_app_sends_its_own_devices() {
        let site = &sites::all()[0];
        let events = days("2026-06-01", 28, &Traffic::new(site, 1, 500.0));
        for (from, query) in [
            ("https://www.google.com/", ""),
            ("https://www.google.com/", "utm_medium=cpc"),
            ("https://www.bing.com/", ""),
            ("https://l.instagram.com/", ""),
            ("https://news.ycombinator.com/", "utm_campaign=launch-week"),
            ("https://chatgpt.com/", "utm_source=chatgpt.com"),
            ("android-app://com.google.android.gm/", "utm_medium=email"),
            ("", "utm_campaign=monthly-letter"),
            ("https://www.producthunt.com/", "ref=producthunt"),
        ] {
            let came = |e: &&Event<'_>| e.referrer == from && e.url.contains(query);
            let count = events.iter().filter(came).count();
            assert!(count > 3, "{from} {query}: {count}");
        }
        for event in &events {
            let (page, query) = event.url.split_once('?').unwrap_or((&event.url, ""));
            assert_eq!(page, format!("https://shop.example{}", event.path));
            assert!(query.is_empty() || event.event_type == "page_view");
            let is_android = event.visitor.user_agent.contains("Android");
            assert!(is_android || !event.referrer.starts_with("android-app:"));
        }
    }

    #[test]
    fn a_live_visit_has_no_ids_of_its_own() {
        let site = &sites::all()[0];
        let now = Utc::now();
        let events = Traffic::new(site, 1, 500.0).visit_at(now, 3);
        assert!(!events.is_empty());
        assert!(events.iter().all(|event| event.event_id.is_none()));
        assert_eq!(events[0].timestamp, Some(now));
    }
}

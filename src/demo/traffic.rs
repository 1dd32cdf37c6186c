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

use super::sites::{CAMPAIGNS, Campaign, DEVICES, REFERRERS, Site};

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

/// An event as `/events` takes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Event {
    pub(super) site_id: String,
    pub(super) event_type: &'static str,
    pub(super) path: String,
    pub(super) user_id: String,
    /// None: when it is received.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "rfc3339")]
    pub(super) timestamp: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event_id: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) referrer: &'static str,
    pub(super) props: BTreeMap<&'static str, serde_json::Value>,
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
    referrers: WeightedIndex<f64>,
    devices: WeightedIndex<f64>,
    hours: WeightedIndex<f64>,
}

/// Never empty, and no weight is negative.
fn weighted(weights: impl IntoIterator<Item = f64>) -> WeightedIndex<f64> {
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
            referrers: weighted(REFERRERS.iter().map(|(_, weight)| *weight)),
            devices: weighted(DEVICES.iter().map(|device| device.weight)),
            hours: weighted(HOURS),
        }
    }

    /// The events of a local day, by their time.
    pub(super) fn day(&self, day: NaiveDate) -> Vec<Event> {
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
    pub(super) fn visit_at(&self, begin: DateTime<Utc>, visit: u64) -> Vec<Event> {
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

    fn visitor(&self, rng: &mut StdRng) -> String {
        // The inverse of the weights' sum, near enough.
        let share: f64 = rng.random_range(0.0..1.0);
        let rank = (self.visitors as f64 * share.powf(1.0 / (1.0 - LOYALTY))) as u64;
        let hash = Sha256::digest(format!("{} {} {rank}", self.seed, self.site.id));
        let hex: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("v-{hex}")
    }

    fn visit(
        &self,
        rng: &mut StdRng,
        begin: DateTime<Utc>,
        campaign: Option<&Campaign>,
        id: &str,
        events: &mut Vec<Event>,
    ) {
        let user_id = self.visitor(rng);
        let device = &DEVICES[self.devices.sample(rng)];
        let mut props = BTreeMap::from([
            ("device", device.kind.into()),
            ("browser", device.browser.into()),
        ]);
        let followed = campaign.filter(|_| rng.random_bool(0.35));
        let referrer = match followed {
            Some(campaign) => {
                props.insert("utm_source", campaign.source.into());
                props.insert("utm_medium", campaign.medium.into());
                props.insert("utm_campaign", campaign.name.into());
                campaign.referrer
            }
            None => REFERRERS[self.referrers.sample(rng)].0,
        };
        let mut time = begin;
        let mut number = 0;
        let mut add = |event_type, path: &str, time, referrer, props| {
            number += 1;
            events.push(Event {
                site_id: self.site.id.clone(),
                event_type,
                path: path.to_owned(),
                user_id: user_id.clone(),
                timestamp: Some(time),
                event_id: (!id.is_empty()).then(|| format!("{id}-{number}")),
                referrer,
                props,
            });
        };
        for nth in 0..PAGES_MAX {
            let page = &self.site.pages[self.pages.sample(rng)];
            let from = if nth == 0 { referrer } else { "" };
            add("page_view", page.path, time, from, props.clone());
            for goal in page.goals {
                if rng.random_bool(goal.rate) {
                    time += TimeDelta::milliseconds(rng.random_range(4_000..50_000));
                    let mut props = props.clone();
                    if let Some((low, high)) = goal.amount {
                        props.insert("amount", rng.random_range(low..=high).into());
                        props.insert("currency", "EUR".into());
                    }
                    add(goal.event_type, page.path, time, "", props);
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
}

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

    fn days(first: &str, count: u64, traffic: &Traffic<'_>) -> Vec<Event> {
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
            *pages.entry(&event.path).or_default() += 1;
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
        let campaign = events.iter().find(|e| e.props.contains_key("utm_campaign"));
        assert!(campaign.is_some());
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

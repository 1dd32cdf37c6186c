//! What the stored rows, the rollups and `/stats` must hold, from what clients were told.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Event, Generator, Journal, Random};
use crate::{ClickHouse, Fleet, ledger};

/// How many days of a site `/stats` is asked for.
const DAYS_ASKED: usize = 12;
const STREAM: u64 = 3 << 40;
/// What is wrong is told of so many events.
const FAULTS_TOLD: usize = 10;

/// Every event that was sent, and how often it counts.
pub struct Truth {
    generator: Generator,
    /// By number of the event.
    copies: Vec<u32>,
}

impl Truth {
    /// Compares the raw rows with what clients were told. An event with an id of its own counts
    /// once if it was ever accepted, and never twice. One without counts once for each 202, and no
    /// more than once for each time that it was sent; which of these it was the rows tell, and
    /// everything else has to agree with them.
    ///
    /// # Panics
    /// If a row is missing, doubled, of nobody, or not what was sent.
    pub async fn of_rows(clickhouse: &ClickHouse, generator: Generator, journal: &Journal) -> Self {
        let rows = clickhouse
            .text("SELECT props['n'], site_id, event_type, path, user_id, toUnixTimestamp64Milli(timestamp), if(_id_origin = 'client', toString(event_id), ''), count() FROM weir.events GROUP BY ALL")
            .await;
        let mut copies = vec![0; journal.len()];
        let mut faults = Vec::new();
        for row in rows.lines() {
            match stored(row, &generator, journal.len()) {
                Some((number, count)) => copies[number] += count,
                None => faults.push(format!("nobody sent this row: {row}")),
            }
        }
        for (number, (sent, copies)) in journal.iter().zip(&copies).enumerate() {
            let event = generator.event(number as u64);
            let may_count = if event.event_id.is_some() {
                sent.accepted.min(1)..=sent.tries.min(1)
            } else {
                sent.accepted..=sent.tries
            };
            if !may_count.contains(copies) {
                faults.push(format!(
                    "{copies} rows for {may_count:?} of {sent:?}: {event:?}"
                ));
            }
        }
        let first = &faults[..faults.len().min(FAULTS_TOLD)];
        assert!(
            faults.is_empty(),
            "{} events are not stored as clients were told: {first:#?}",
            faults.len()
        );
        Self { generator, copies }
    }

    /// Rows beyond the first of an event: of requests that nobody heard the answer of.
    #[must_use]
    pub fn copies(&self) -> u64 {
        let beyond = self.copies.iter().map(|copies| copies.saturating_sub(1));
        beyond.map(u64::from).sum()
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.copies.iter().map(|copies| u64::from(*copies)).sum()
    }

    /// Every event with its copies.
    fn events(&self) -> impl Iterator<Item = (Event, u64)> {
        let numbered = (0..).zip(&self.copies);
        numbered.map(|(number, copies)| (self.generator.event(number), u64::from(*copies)))
    }

    /// Compares each rollup, key by key, and what `/stats` answers.
    ///
    /// # Panics
    /// If they differ.
    pub async fn assert_told(&self, fleet: &Fleet) {
        ledger::assert_exact(fleet.clickhouse()).await;
        self.assert_paths(fleet.clickhouse()).await;
        let mut sites: BTreeMap<&str, Site> = BTreeMap::new();
        for (event, copies) in self.events().filter(|(event, _)| event.is_view()) {
            let site = sites.entry(event.site).or_default();
            site.all.add(&event, copies);
            site.days
                .entry(event.day())
                .or_default()
                .add(&event, copies);
        }
        let mut random = Random::new(self.generator.seed, STREAM);
        for (name, site) in &sites {
            let told = fleet.stats(&format!("site_id={name}")).await;
            assert_eq!(told, site.all.answer(name, None));
            let mut days: Vec<_> = site.days.iter().collect();
            random.shuffle(&mut days);
            for (day, views) in days.into_iter().take(DAYS_ASKED) {
                let told = fleet.stats(&format!("site_id={name}&date={day}")).await;
                assert_eq!(told, views.answer(name, Some(day)));
            }
        }
    }

    /// Per site, type, path and day: the rollup against the truth itself, without the raw rows.
    async fn assert_paths(&self, clickhouse: &ClickHouse) {
        let mut truth: BTreeMap<String, u64> = BTreeMap::new();
        for (event, copies) in self.events() {
            let Event {
                site,
                event_type,
                path,
                ..
            } = &event;
            let key = format!("{site}\t{event_type}\t{path}\t{}", event.day());
            *truth.entry(key).or_default() += copies;
        }
        truth.retain(|_, copies| *copies > 0);
        let stored = clickhouse
            .text("SELECT site_id, event_type, path, date, sum(events) FROM weir.paths_day GROUP BY ALL")
            .await;
        let stored: BTreeMap<String, u64> = stored
            .lines()
            .filter_map(|line| {
                let (key, count) = line.rsplit_once('\t')?;
                Some((key.to_owned(), count.parse().ok()?))
            })
            .collect();
        let keys: BTreeSet<&String> = truth.keys().chain(stored.keys()).collect();
        let differ = keys
            .into_iter()
            .filter(|key| truth.get(*key) != stored.get(*key));
        let differ: Vec<_> = differ
            .map(|key| (key, truth.get(key), stored.get(key)))
            .take(FAULTS_TOLD)
            .collect();
        assert!(differ.is_empty(), "key, truth, paths_day: {differ:#?}");
    }
}

/// The number of the event that a row is of, if all of it is as it was sent.
fn stored(row: &str, generator: &Generator, events: usize) -> Option<(usize, u32)> {
    let fields: Vec<&str> = row.split('\t').collect();
    let [number, site, event_type, path, user, timestamp, id, count] = fields.try_into().ok()?;
    let number: usize = number.parse().ok().filter(|number| *number < events)?;
    let event = generator.event(number as u64);
    // An id that is no UUID is stored as one that the client does not know.
    let is_its_id = match &event.event_id {
        None => id.is_empty(),
        Some(sent) => id == sent || (id.len() == 36 && sent.starts_with("order-")),
    };
    let is_it = event.site == site
        && event.event_type == event_type
        && event.path == path
        && event.user == user
        && event.timestamp_ms.to_string() == timestamp
        && is_its_id;
    is_it.then_some((number, count.parse().ok()?))
}

#[derive(Default)]
struct Site {
    all: Views,
    days: BTreeMap<String, Views>,
}

#[derive(Default)]
struct Views {
    total: u64,
    users: BTreeSet<String>,
    paths: BTreeMap<String, u64>,
}

impl Views {
    fn add(&mut self, event: &Event, copies: u64) {
        if copies == 0 {
            return;
        }
        self.total += copies;
        if !event.user.is_empty() {
            self.users.insert(event.user.clone());
        }
        *self.paths.entry(event.path.clone()).or_default() += copies;
    }

    fn answer(&self, site: &str, date: Option<&str>) -> Value {
        let mut paths: Vec<_> = self.paths.iter().collect();
        paths.sort_by_key(|(path, views)| (Reverse(**views), path.as_str()));
        let top = paths.iter().take(10);
        let top: Vec<_> = top
            .map(|(path, views)| json!({"path": path, "views": views}))
            .collect();
        let mut answer = json!({
            "site_id": site,
            "date": date,
            "total_views": self.total,
            "unique_users": self.users.len(),
            "unique_users_error_pct": 0.0,
            "top_paths": top,
        });
        if date.is_none() {
            answer["visitors_period"] = "day".into();
        }
        answer
    }
}

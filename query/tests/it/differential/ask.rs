//! A random question, as parameters.

use chrono::{Days, NaiveDate};

use super::rows::{
    HOSTNAMES, HOSTS, KEYS, LANGUAGES, PACKED, PATHS, REFERRERS, SCREENS, SITES, TYPES, VALUES,
};
use crate::dice::Dice;

const ZONES: [&str; 14] = [
    "UTC",
    "UTC",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "America/Los_Angeles",
    "Europe/Berlin",
    "Europe/Berlin",
    "America/Havana",
    "Pacific/Chatham",
];

const BOTS: [Option<&str>; 5] = [None, None, Some("exclude"), Some("include"), Some("only")];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Stats,
    Series(&'static str),
    Breakdown,
    Sites,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) property: String,
    pub(super) op: &'static str,
    pub(super) value: String,
}

#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) endpoint: Endpoint,
    pub(super) site: &'static str,
    pub(super) zone: &'static str,
    pub(super) first: Option<NaiveDate>,
    pub(super) last: Option<NaiveDate>,
    pub(super) event_type: Option<&'static str>,
    pub(super) path: Option<&'static str>,
    pub(super) conditions: Vec<Condition>,
    pub(super) property: String,
    pub(super) compare: Option<&'static str>,
    pub(super) exact: bool,
    pub(super) bots: Option<&'static str>,
    pub(super) limit: usize,
    pub(super) page: usize,
}

fn property(dice: &mut Dice) -> String {
    match dice.roll(12) {
        0 | 1 => "path".to_owned(),
        2 => "event_type".to_owned(),
        3 => "referrer".to_owned(),
        4 => "user".to_owned(),
        5 => dice
            .pick(&["referrer_host", "hostname", "language", "screen"])
            .to_owned(),
        6..=9 => {
            let (_, names, _) = PACKED[dice.roll(PACKED.len())];
            dice.pick(names).to_owned()
        }
        _ => format!("props.{}", dice.pick(&KEYS)),
    }
}

fn condition(dice: &mut Dice) -> Condition {
    let property = property(dice);
    let op = dice.pick(&["is", "is_not", "contains", "starts_with"]);
    let value = match property.as_str() {
        "path" => dice.pick(&PATHS),
        "event_type" => dice.pick(&TYPES),
        "referrer" => dice.pick(&REFERRERS),
        "user" => dice.pick(&["user-3", "user-1", "passer", "", "'"]),
        "referrer_host" => dice.pick(&HOSTS),
        "hostname" => dice.pick(&HOSTNAMES),
        "language" => dice.pick(&LANGUAGES),
        "screen" => dice.pick(&SCREENS),
        name => {
            let packed = PACKED.iter().find(|(_, names, _)| names.contains(&name));
            match packed {
                Some((_, names, packed)) => {
                    let nth = names.iter().position(|one| *one == name).unwrap();
                    dice.pick(packed).split('\t').nth(nth).unwrap_or_default()
                }
                None => dice.pick(&VALUES),
            }
        }
    };
    // A part of it, as often as all of it.
    let value = match op {
        "contains" | "starts_with" if dice.roll(2) == 0 => {
            value.chars().take(1 + dice.roll(3)).collect()
        }
        _ => value.to_owned(),
    };
    Condition {
        property,
        op,
        value,
    }
}

impl Asked {
    pub(super) fn random(dice: &mut Dice) -> Self {
        let endpoint = match dice.roll(20) {
            0..=7 => Endpoint::Stats,
            8..=13 => Endpoint::Series(dice.pick(&["minute", "hour", "day", "week", "month"])),
            14..=18 => Endpoint::Breakdown,
            _ => Endpoint::Sites,
        };
        let (first, last) = days(dice, endpoint);
        let closed = first.is_some() && last.is_some();
        let some = |dice: &mut Dice, of: usize| dice.roll(of) == 0;
        Self {
            endpoint,
            site: SITES[[0, 1, 2, 3, 3, 3, 4][dice.roll(7)]],
            zone: dice.pick(&ZONES),
            first,
            last,
            event_type: some(dice, 4).then(|| dice.pick(&TYPES)),
            path: some(dice, 6)
                .then(|| dice.pick(&PATHS))
                .filter(|path| !path.is_empty()),
            conditions: (0..[0, 0, 0, 1, 1, 2, 3][dice.roll(7)])
                .map(|_| condition(dice))
                .collect(),
            property: property(dice),
            compare: (closed && some(dice, 3))
                .then(|| dice.pick(&["previous_period", "previous_year"])),
            exact: some(dice, 5),
            bots: BOTS[dice.roll(BOTS.len())],
            limit: [1, 3, 10, 1000][dice.roll(4)],
            page: [1, 1, 1, 2, 4][dice.roll(5)],
        }
    }

    /// Everybody who was ever on the site with the most users.
    pub(super) fn everybody() -> Self {
        Self {
            endpoint: Endpoint::Stats,
            site: SITES[3],
            zone: "UTC",
            first: None,
            last: None,
            event_type: None,
            path: None,
            conditions: Vec::new(),
            property: String::new(),
            compare: None,
            exact: false,
            bots: Some("include"),
            limit: 10,
            page: 1,
        }
    }

    pub(super) fn route(&self) -> &'static str {
        match self.endpoint {
            Endpoint::Stats => "/stats",
            Endpoint::Series(_) => "/stats/timeseries",
            Endpoint::Breakdown => "/stats/breakdown",
            Endpoint::Sites => "/sites",
        }
    }

    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("limit", self.limit.to_string())];
        parameters.extend(self.bots.map(|bots| ("bots", bots.to_owned())));
        if matches!(self.endpoint, Endpoint::Sites) {
            parameters.push(("page", self.page.to_string()));
            return parameters;
        }
        parameters.push(("site_id", self.site.to_owned()));
        parameters.push(("timezone", self.zone.to_owned()));
        if self.first.is_some() && self.first == self.last {
            parameters.extend(self.first.map(|day| ("date", day.to_string())));
        } else {
            parameters.extend(self.first.map(|day| ("start_date", day.to_string())));
            parameters.extend(self.last.map(|day| ("end_date", day.to_string())));
        }
        parameters.extend(self.event_type.map(|kind| ("event_type", kind.to_owned())));
        parameters.extend(self.path.map(|path| ("path", path.to_owned())));
        parameters.extend(self.compare.map(|compare| ("compare", compare.to_owned())));
        parameters.extend(self.exact.then(|| ("exact", "true".to_owned())));
        for Condition {
            property,
            op,
            value,
        } in &self.conditions
        {
            parameters.push(("filter", format!("{property}:{op}:{value}")));
        }
        match self.endpoint {
            Endpoint::Series(interval) => parameters.push(("interval", interval.to_owned())),
            Endpoint::Breakdown => {
                parameters.push(("property", self.property.clone()));
                parameters.push(("page", self.page.to_string()));
            }
            Endpoint::Stats | Endpoint::Sites => {}
        }
        parameters
    }
}

/// First and last day, near the rows.
fn days(dice: &mut Dice, endpoint: Endpoint) -> (Option<NaiveDate>, Option<NaiveDate>) {
    let day = |text: &str| text.parse::<NaiveDate>().unwrap();
    let begins = [
        "2011-12-28",
        "2011-12-30",
        "2018-11-02",
        "2018-11-04",
        "2024-02-27",
        "2024-03-29",
        "2024-03-31",
        "2024-04-06",
        "2024-10-25",
        "2024-10-27",
        "2024-11-01",
    ];
    let first = day(dice.pick(&begins)) + Days::new(dice.roll(4) as u64);
    let length = match endpoint {
        Endpoint::Series("minute") => dice.roll(4),
        Endpoint::Series("hour") => dice.roll(60),
        _ => [0, 0, 1, 6, 30, 60, 366, 2000, 5000, 5000][dice.roll(10)],
    };
    let last = first + Days::new(length as u64);
    match (endpoint, dice.roll(8)) {
        (Endpoint::Stats | Endpoint::Breakdown | Endpoint::Series("month"), 0) => (None, None),
        (Endpoint::Stats | Endpoint::Breakdown | Endpoint::Series("month"), 1) => {
            (Some(first), None)
        }
        (Endpoint::Stats | Endpoint::Breakdown | Endpoint::Series("month" | "day"), 2) => {
            (None, Some(last))
        }
        _ => (Some(first), Some(last)),
    }
}

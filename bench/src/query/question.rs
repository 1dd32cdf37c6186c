//! What is asked: ranges of days of a large, a middle and a small site in two time zones, each in
//! several variants, so that no answer is merely one that was given before.

use std::fmt;

use chrono::{Days, NaiveDate};

use super::rows::{DAYS, FIRST_DAY};

/// Each variant begins so many days earlier, round and round. It shares no divisor with the days
/// there are to begin with, so all of them get their turn.
const STEP: u64 = 23;

/// By rank of 50: the largest has a sixth of all events, the last one in two hundred.
const SITES: [(&str, &str); 3] = [
    ("largest", "site-01"),
    ("middle", "site-10"),
    ("small", "site-50"),
];
const ZONES: [&str; 2] = ["UTC", "Asia/Kathmandu"];

/// How long a range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    Day,
    Month,
    Year,
    AllTime,
}

/// A question, up to its variant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) size: &'static str,
    pub(super) site: &'static str,
    pub(super) range: Range,
    pub(super) zone: &'static str,
}

impl Range {
    pub(super) const ALL: [Self; 4] = [Self::Day, Self::Month, Self::Year, Self::AllTime];

    fn days(self) -> u64 {
        match self {
            Self::Day => 1,
            Self::Month => 30,
            Self::Year => 365,
            Self::AllTime => DAYS,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Day => "a day",
            Self::Month => "30 days",
            Self::Year => "a year",
            Self::AllTime => "all time",
        })
    }
}

impl Question {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        SITES.into_iter().flat_map(|(size, site)| {
            ZONES.into_iter().flat_map(move |zone| {
                Range::ALL.into_iter().map(move |range| Self {
                    size,
                    site,
                    range,
                    zone,
                })
            })
        })
    }

    /// First and last day, both included. Variant 0 has the last days there are.
    pub(super) fn days(self, variant: u64) -> [NaiveDate; 2] {
        let length = self.range.days();
        let spare = DAYS - length;
        let first = FIRST_DAY + Days::new(spare - variant * STEP % (spare + 1));
        [first, first + Days::new(length - 1)]
    }

    pub(super) fn path(self, variant: u64) -> String {
        let zone = self.zone.replace('/', "%2F");
        let [first, last] = self.days(variant);
        let days = match self.range {
            Range::Day => format!("&date={first}"),
            Range::Month | Range::Year => format!("&start_date={first}&end_date={last}"),
            Range::AllTime => String::new(),
        };
        format!("/stats?site_id={}&timezone={zone}{days}", self.site)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn variants_are_distinct_and_lie_within_the_two_years() {
        let end = FIRST_DAY + Days::new(DAYS);
        for question in Question::all() {
            let count = DAYS - question.range.days() + 1;
            let seen: HashSet<_> = (0..count)
                .map(|variant| {
                    let [first, last] = question.days(variant);
                    assert!(first >= FIRST_DAY && first <= last && last < end);
                    first
                })
                .collect();
            assert_eq!(seen.len() as u64, count, "{question:?}");
        }
    }

    #[test]
    fn every_range_of_every_site_is_asked_in_both_zones() {
        assert_eq!(Question::all().count(), 24);
        let path = |nth: usize| Question::all().nth(nth).unwrap().path(0);
        assert_eq!(
            path(0),
            "/stats?site_id=site-01&timezone=UTC&date=2025-12-28"
        );
        assert_eq!(
            path(5),
            "/stats?site_id=site-01&timezone=Asia%2FKathmandu&start_date=2025-11-29&end_date=2025-12-28"
        );
        assert_eq!(path(3), "/stats?site_id=site-01&timezone=UTC");
    }
}

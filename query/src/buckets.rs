//! A range of days as the points of a time series: where each begins, in instants and on the
//! clocks of its zone.
//!
//! Pure: dates in, instants out.

use chrono::{DateTime, Datelike, Days, NaiveDate, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use crate::days::{DayRange, start_of_day};

/// More points than any chart shows.
pub(crate) const POINTS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Interval {
    Minute,
    Hour,
    Day,
    /// From Monday on.
    Week,
    Month,
}

/// One point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Where it begins, or where the range begins if that is later.
    pub(crate) start: DateTime<Utc>,
    /// Where it begins by the zone's clocks: a first week is named by its Monday, also where the
    /// range begins later.
    pub(crate) time: DateTime<Tz>,
}

/// A range as points: not empty, without gaps, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Buckets {
    pub(crate) list: Vec<Bucket>,
    pub(crate) end: DateTime<Utc>,
}

/// There would be more than [`POINTS_MAX`] points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Interval {
    pub(crate) const NAMES: &str = "minute, hour, day, week or month";

    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "minute" => Some(Self::Minute),
            "hour" => Some(Self::Hour),
            "day" => Some(Self::Day),
            "week" => Some(Self::Week),
            "month" => Some(Self::Month),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    pub(crate) fn buckets(self, range: DayRange, zone: Tz) -> Result<Buckets, TooMany> {
        let span = range.span(zone);
        let mut list: Vec<Bucket> = Vec::new();
        let mut push = |start: DateTime<Utc>, time: DateTime<Utc>| {
            // A day that never was, Samoa's 2011-12-30, has no point.
            if list.last().is_some_and(|last| last.start == start) {
                list.pop();
            }
            if list.len() == POINTS_MAX {
                return Err(TooMany);
            }
            list.push(Bucket {
                start,
                time: time.with_timezone(&zone),
            });
            Ok(())
        };
        match self {
            Self::Minute | Self::Hour => {
                let step = if self == Self::Minute { 60 } else { 3600 };
                let mut at = span.start;
                while at < span.end {
                    push(at, at)?;
                    at = next_step(at, step, zone);
                }
            }
            Self::Day | Self::Week | Self::Month => {
                let mut day = self.first(range.first);
                while day <= range.last {
                    let time = start_of_day(day, zone);
                    let start = time.max(span.start);
                    if start < span.end {
                        push(start, time)?;
                    }
                    day = self.next(day);
                }
            }
        }
        Ok(Buckets {
            list,
            end: span.end,
        })
    }

    /// The first day of the bucket that `day` is in.
    fn first(self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::Week => day - Days::new(day.weekday().num_days_from_monday().into()),
            Self::Month => day - Days::new(day.day0().into()),
            _ => day,
        }
    }

    /// The first day of the bucket after the one that begins with `first`.
    fn next(self, first: NaiveDate) -> NaiveDate {
        match self {
            Self::Week => first + Days::new(7),
            // The 28 days of the shortest month and three more always end in the next one.
            Self::Month => self.first(first + Days::new(31)),
            _ => first + Days::new(1),
        }
    }
}

/// When the zone's clocks show the next whole step, or are changed, whichever is first.
fn next_step(at: DateTime<Utc>, step: i64, zone: Tz) -> DateTime<Utc> {
    let offset = |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    let into = i64::from(at.with_timezone(&zone).num_seconds_from_midnight()) % step;
    let next = at + TimeDelta::seconds(step - into);
    let before = offset(at);
    if offset(next) == before {
        return next;
    }
    // The clocks change once between the two; to the second, by halving.
    let (mut old, mut new) = (0, step - into);
    while new - old > 1 {
        let middle = old + (new - old) / 2;
        if offset(at + TimeDelta::seconds(middle)) == before {
            old = middle;
        } else {
            new = middle;
        }
    }
    at + TimeDelta::seconds(new)
}

impl Buckets {
    /// Where the points begin, in seconds.
    pub(crate) fn bounds(&self) -> Vec<i64> {
        self.list
            .iter()
            .map(|bucket| bucket.start.timestamp())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(interval: Interval, first: &str, last: &str, zone: &str) -> Vec<String> {
        let range = DayRange {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
        };
        let buckets = interval.buckets(range, zone.parse().unwrap()).unwrap();
        let times = buckets.list.iter().map(|bucket| bucket.time.to_rfc3339());
        times.collect()
    }

    #[test]
    fn a_day_has_23_or_25_hours_where_the_clocks_change() {
        let spring = times(Interval::Hour, "2025-03-30", "2025-03-30", "Europe/Berlin");
        assert_eq!(spring.len(), 23);
        assert_eq!(spring[1], "2025-03-30T01:00:00+01:00");
        assert_eq!(spring[2], "2025-03-30T03:00:00+02:00");
        let autumn = times(Interval::Hour, "2025-10-26", "2025-10-26", "Europe/Berlin");
        assert_eq!(autumn.len(), 25);
        assert_eq!(
            autumn[2..4],
            ["2025-10-26T02:00:00+02:00", "2025-10-26T02:00:00+01:00"]
        );
    }

    #[test]
    fn hours_are_those_of_the_zones_clocks_and_begin_anew_where_these_change() {
        let nepal = times(Interval::Hour, "2025-01-01", "2025-01-01", "Asia/Kathmandu");
        assert_eq!(nepal.len(), 24);
        assert_eq!(nepal[5], "2025-01-01T05:00:00+05:45");
        // Half an hour back at two: from one to two, and from half past one to two again.
        let lord_howe = times(
            Interval::Hour,
            "2025-04-06",
            "2025-04-06",
            "Australia/Lord_Howe",
        );
        assert_eq!(
            lord_howe[1..4],
            [
                "2025-04-06T01:00:00+11:00",
                "2025-04-06T01:30:00+10:30",
                "2025-04-06T02:00:00+10:30"
            ]
        );
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        assert_eq!(
            times(Interval::Week, "2025-11-12", "2025-11-24", "UTC"),
            [
                "2025-11-10T00:00:00+00:00",
                "2025-11-17T00:00:00+00:00",
                "2025-11-24T00:00:00+00:00"
            ]
        );
        assert_eq!(
            times(Interval::Month, "2024-12-31", "2025-02-01", "UTC"),
            [
                "2024-12-01T00:00:00+00:00",
                "2025-01-01T00:00:00+00:00",
                "2025-02-01T00:00:00+00:00"
            ]
        );
    }

    #[test]
    fn the_first_bucket_counts_from_the_range_on() {
        let day = |text: &str| text.parse().unwrap();
        let range = DayRange {
            first: day("2025-11-12"),
            last: day("2025-11-24"),
        };
        let buckets = Interval::Week.buckets(range, Tz::UTC).unwrap();
        assert_eq!(
            buckets.list[0].start.to_rfc3339(),
            "2025-11-12T00:00:00+00:00"
        );
    }

    #[test]
    fn a_day_that_never_was_has_no_point() {
        let days = times(Interval::Day, "2011-12-29", "2011-12-31", "Pacific/Apia");
        assert_eq!(
            days,
            ["2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00"]
        );
        let range = DayRange {
            first: "2011-12-30".parse().unwrap(),
            last: "2011-12-30".parse().unwrap(),
        };
        for interval in [Interval::Hour, Interval::Day, Interval::Week] {
            let buckets = interval.buckets(range, Tz::Pacific__Apia).unwrap();
            assert_eq!(buckets.list, []);
        }
    }

    #[test]
    fn points_follow_each_other_in_every_zone() {
        for zone in chrono_tz::TZ_VARIANTS {
            for interval in [Interval::Hour, Interval::Day, Interval::Month] {
                let range = DayRange {
                    first: "2010-06-01".parse().unwrap(),
                    last: "2011-06-01".parse().unwrap(),
                };
                let buckets = interval.buckets(range, zone).unwrap();
                let bounds = buckets.bounds();
                assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{zone}");
                assert!(buckets.list.last().unwrap().start < buckets.end, "{zone}");
            }
        }
    }

    #[test]
    fn too_many_points_are_refused() {
        let range = DayRange::ALL;
        for interval in [Interval::Minute, Interval::Hour, Interval::Day] {
            assert_eq!(interval.buckets(range, Tz::UTC), Err(TooMany));
        }
        assert_eq!(
            Interval::Month.buckets(range, Tz::UTC).unwrap().list.len(),
            2400
        );
    }
}

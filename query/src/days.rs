//! Days of a time zone as instants, and a range of days as the pieces that the rollups hold.
//!
//! Pure: dates in, dates out.

use chrono::{
    DateTime, Datelike, Days, MappedLocalTime, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;

/// The first day any event can have: 2000-01-01.
pub(crate) const DAY_MIN: NaiveDate = NaiveDate::from_ymd_opt(2000, 1, 1).expect("a date");
/// The last day a question can name: 2199-12-31.
pub(crate) const DAY_MAX: NaiveDate = NaiveDate::from_ymd_opt(2199, 12, 31).expect("a date");

/// Days `first` to `last`, both included. Empty if `first` is after `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DayRange {
    pub(crate) first: NaiveDate,
    pub(crate) last: NaiveDate,
}

/// Instants from `start` on and before `end`. Empty if they are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) start: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
}

/// A span as the pieces that cost least to read. Together they are the span, and none overlaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pieces {
    /// First days of whole months in UTC.
    pub(crate) months: DayRange,
    /// Whole days in UTC before and after the months.
    pub(crate) days: [DayRange; 2],
    /// What is left before and after the days, less than a day each.
    pub(crate) edges: [Span; 2],
}

impl DayRange {
    const NONE: Self = Self {
        first: DAY_MAX,
        last: DAY_MIN,
    };

    /// All days there can be.
    pub(crate) const ALL: Self = Self {
        first: DAY_MIN,
        last: DAY_MAX,
    };

    /// It, unless it is empty.
    pub(crate) fn some(self) -> Option<Self> {
        (self.first <= self.last).then_some(self)
    }

    pub(crate) fn contains(self, day: NaiveDate) -> bool {
        self.first <= day && day <= self.last
    }

    pub(crate) fn days(self) -> impl Iterator<Item = NaiveDate> {
        self.first
            .iter_days()
            .take_while(move |day| *day <= self.last)
    }

    pub(crate) fn span(self, zone: Tz) -> Span {
        let start = start_of_day(self.first, zone);
        let end = start_of_day(self.last + Days::new(1), zone);
        Span {
            start,
            end: end.max(start),
        }
    }
}

/// When a day begins: the first instant at which the zone's clocks show it or a later one. A day
/// whose midnight is skipped begins later, one that is skipped altogether is empty.
pub(crate) fn start_of_day(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    // The longest gap there was is a day: the one that Samoa left out in 2011.
    const STEP: TimeDelta = TimeDelta::minutes(15);
    let mut local = day.and_time(NaiveTime::MIN);
    loop {
        match zone.from_local_datetime(&local) {
            MappedLocalTime::Single(start) | MappedLocalTime::Ambiguous(start, _) => {
                return start.with_timezone(&Utc);
            }
            MappedLocalTime::None => local += STEP,
        }
    }
}

impl Span {
    /// The days in UTC that it touches.
    pub(crate) fn days(self) -> DayRange {
        DayRange {
            first: self.start.date_naive(),
            last: (self.end - TimeDelta::milliseconds(1)).date_naive(),
        }
    }

    pub(crate) fn pieces(self) -> Pieces {
        let first_day = round_up(self.start);
        let end_day = self.end.date_naive();
        if first_day >= end_day {
            // Not one whole day. Both edges meet where they like; here at the end.
            let none = Self {
                start: self.end,
                end: self.end,
            };
            return Pieces {
                months: DayRange::NONE,
                days: [DayRange::NONE; 2],
                edges: [self, none],
            };
        }
        let edges = [
            Self {
                start: self.start,
                end: midnight(first_day),
            },
            Self {
                start: midnight(end_day),
                end: self.end,
            },
        ];
        let first_month = if first_day.day() == 1 {
            first_day
        } else {
            next_month(first_day)
        };
        let end_month = first_of_month(end_day);
        if first_month >= end_month {
            let days = DayRange {
                first: first_day,
                last: end_day - Days::new(1),
            };
            return Pieces {
                months: DayRange::NONE,
                days: [days, DayRange::NONE],
                edges,
            };
        }
        Pieces {
            months: DayRange {
                first: first_month,
                last: end_month - Days::new(1),
            },
            days: [
                DayRange {
                    first: first_day,
                    last: first_month - Days::new(1),
                },
                DayRange {
                    first: end_month,
                    last: end_day - Days::new(1),
                },
            ],
            edges,
        }
    }
}

impl Pieces {
    /// Months and the days around them, as one range of days in UTC. Empty if there is none.
    pub(crate) fn whole_days(&self) -> DayRange {
        let parts = [self.days[0], self.months, self.days[1]];
        let mut parts = parts.into_iter().filter_map(DayRange::some);
        let Some(first) = parts.next() else {
            return DayRange::NONE;
        };
        DayRange {
            first: first.first,
            last: parts.next_back().unwrap_or(first).last,
        }
    }
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

/// The first day that begins at `time` or later.
fn round_up(time: DateTime<Utc>) -> NaiveDate {
    let day = time.date_naive();
    if time == midnight(day) {
        day
    } else {
        day + Days::new(1)
    }
}

fn first_of_month(day: NaiveDate) -> NaiveDate {
    day - Days::new(day.day0().into())
}

fn next_month(day: NaiveDate) -> NaiveDate {
    // The 28 days of the shortest month and three more always end in the next one.
    first_of_month(first_of_month(day) + Days::new(31))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn span(first: &str, last: &str, zone: &str) -> (String, String) {
        let span = DayRange {
            first: day(first),
            last: day(last),
        }
        .span(zone.parse().unwrap());
        (span.start.to_rfc3339(), span.end.to_rfc3339())
    }

    #[test]
    fn a_day_is_that_of_the_zone_across_clock_changes() {
        for (date, zone, start, end) in [
            (
                "2025-11-15",
                "UTC",
                "2025-11-15T00:00:00",
                "2025-11-16T00:00:00",
            ),
            (
                "2025-11-15",
                "Asia/Kathmandu",
                "2025-11-14T18:15:00",
                "2025-11-15T18:15:00",
            ),
            // 23 hours, 25 hours.
            (
                "2025-03-30",
                "Europe/Berlin",
                "2025-03-29T23:00:00",
                "2025-03-30T22:00:00",
            ),
            (
                "2025-10-26",
                "Europe/Berlin",
                "2025-10-25T22:00:00",
                "2025-10-26T23:00:00",
            ),
            // Half an hour.
            (
                "2025-04-06",
                "Australia/Lord_Howe",
                "2025-04-05T13:00:00",
                "2025-04-06T13:30:00",
            ),
            // Midnight skipped: the day begins at one.
            (
                "2018-11-04",
                "America/Sao_Paulo",
                "2018-11-04T03:00:00",
                "2018-11-05T02:00:00",
            ),
            (
                "2025-04-25",
                "Africa/Cairo",
                "2025-04-24T22:00:00",
                "2025-04-25T21:00:00",
            ),
            // Midnight twice: the first one.
            (
                "2025-11-02",
                "America/Havana",
                "2025-11-02T04:00:00",
                "2025-11-03T05:00:00",
            ),
            // A day that never was.
            (
                "2011-12-30",
                "Pacific/Apia",
                "2011-12-30T10:00:00",
                "2011-12-30T10:00:00",
            ),
        ] {
            let expected = (format!("{start}+00:00"), format!("{end}+00:00"));
            assert_eq!(span(date, date, zone), expected, "{date} in {zone}");
        }
    }

    #[test]
    fn every_day_of_every_zone_begins_on_a_quarter_of_an_hour() {
        // The finest rollup has quarters of an hour.
        for zone in chrono_tz::TZ_VARIANTS {
            let mut date = day("2000-01-01");
            while date < day("2040-01-01") {
                let start = start_of_day(date, zone);
                assert_eq!(start.timestamp() % 900, 0, "{date} in {zone}: {start}");
                date = date + Days::new(1);
            }
        }
    }

    /// Every instant the pieces cover, in whole days and edges, in order.
    fn covered(pieces: &Pieces) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
        let days = |range: DayRange| {
            (range.first <= range.last)
                .then(|| (midnight(range.first), midnight(range.last + Days::new(1))))
        };
        let edge = |span: Span| (span.start < span.end).then_some((span.start, span.end));
        [
            edge(pieces.edges[0]),
            days(pieces.days[0]),
            days(pieces.months),
            days(pieces.days[1]),
            edge(pieces.edges[1]),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    #[test]
    fn the_pieces_of_a_span_are_the_span() {
        let zones = ["UTC", "Asia/Kathmandu", "America/New_York", "Pacific/Apia"];
        let first = day("2011-11-28");
        for zone in zones {
            for offset in 0..70 {
                for length in 0..100 {
                    let first = first + Days::new(offset);
                    let range = DayRange {
                        first,
                        last: first + Days::new(length),
                    };
                    let span = range.span(zone.parse().unwrap());
                    let covered = covered(&span.pieces());
                    let (start, end) = match (covered.first(), covered.last()) {
                        (Some(first), Some(last)) => (first.0, last.1),
                        _ => (span.start, span.start),
                    };
                    assert_eq!((start, end), (span.start, span.end), "{range:?} in {zone}");
                    assert!(
                        covered.windows(2).all(|pair| pair[0].1 == pair[1].0),
                        "{range:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn whole_months_are_read_as_months() {
        let range = DayRange {
            first: day("2025-01-31"),
            last: day("2025-04-01"),
        };
        let pieces = range.span(Tz::UTC).pieces();
        assert_eq!(
            pieces.months,
            DayRange {
                first: day("2025-02-01"),
                last: day("2025-03-31")
            }
        );
        assert_eq!(
            pieces.days[0],
            DayRange {
                first: day("2025-01-31"),
                last: day("2025-01-31")
            }
        );
        assert_eq!(
            pieces.days[1],
            DayRange {
                first: day("2025-04-01"),
                last: day("2025-04-01")
            }
        );
    }
}

//! Which events of a site: days of a zone, and conditions on their properties.

use chrono::{Datelike, Days, NaiveDate};
use chrono_tz::Tz;
use event::SiteId;

use crate::bots::Bots;
use crate::days::{DAY_MAX, DAY_MIN, DayRange, Span};
use crate::filter::Filter;

/// What all figures have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Slice {
    pub(crate) site_id: SiteId,
    pub(crate) days: Asked,
    pub(crate) zone: Tz,
    /// All of them hold; in one order, none twice.
    pub(crate) filters: Vec<Filter>,
    /// Whether users are counted one by one, from the raw rows.
    pub(crate) exact: bool,
    pub(crate) bots: Bots,
}

/// The days asked for, as the client put it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    AllTime,
    Day(NaiveDate),
    /// Either end may be open.
    Range(Option<NaiveDate>, Option<NaiveDate>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Compare {
    /// As many days right before.
    PreviousPeriod,
    /// The same dates a year before; 28 February for the 29th.
    PreviousYear,
}

impl Slice {
    pub(crate) fn span(&self) -> Span {
        self.span_of(self.days.range())
    }

    /// The span of days of this question's zone. All time is the same in every zone.
    pub(crate) fn span_of(&self, range: DayRange) -> Span {
        let zone = if self.days == Asked::AllTime {
            Tz::UTC
        } else {
            self.zone
        };
        range.span(zone)
    }
}

impl Asked {
    pub(crate) fn range(self) -> DayRange {
        match self {
            Self::AllTime => DayRange::ALL,
            Self::Day(day) => DayRange {
                first: day,
                last: day,
            },
            Self::Range(first, last) => DayRange {
                first: first.unwrap_or(DAY_MIN),
                last: last.unwrap_or(DAY_MAX),
            },
        }
    }

    /// The days, if neither end is open.
    pub(crate) fn closed(self) -> Option<DayRange> {
        match self {
            Self::Day(_) | Self::Range(Some(_), Some(_)) => Some(self.range()),
            Self::AllTime | Self::Range(..) => None,
        }
    }
}

impl Compare {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "previous_period" => Some(Self::PreviousPeriod),
            "previous_year" => Some(Self::PreviousYear),
            _ => None,
        }
    }

    /// The days to compare `range` with. They may lie before the first that can be asked for, and
    /// have no events then.
    pub(crate) fn with(self, range: DayRange) -> DayRange {
        match self {
            Self::PreviousPeriod => {
                let days = (range.last - range.first).num_days().unsigned_abs() + 1;
                DayRange {
                    first: range.first - Days::new(days),
                    last: range.first - Days::new(1),
                }
            }
            Self::PreviousYear => DayRange {
                first: year_before(range.first),
                last: year_before(range.last),
            },
        }
    }
}

fn year_before(day: NaiveDate) -> NaiveDate {
    let year = day.year() - 1;
    // Only 29 February is not a day of every year.
    day.with_year(year)
        .unwrap_or_else(|| (day - Days::new(1)).with_year(year).unwrap_or(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: &str, last: &str) -> DayRange {
        DayRange {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
        }
    }

    #[test]
    fn the_previous_period_is_as_long_and_ends_before() {
        let november = range("2025-11-01", "2025-11-30");
        assert_eq!(
            Compare::PreviousPeriod.with(november),
            range("2025-10-02", "2025-10-31")
        );
        let day = range("2025-03-01", "2025-03-01");
        assert_eq!(
            Compare::PreviousPeriod.with(day),
            range("2025-02-28", "2025-02-28")
        );
    }

    #[test]
    fn the_previous_year_has_the_same_dates() {
        assert_eq!(
            Compare::PreviousYear.with(range("2024-02-29", "2024-12-31")),
            range("2023-02-28", "2023-12-31")
        );
    }
}

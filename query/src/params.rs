//! What a client asks of `/stats`, judged as a whole: every fault in one answer.

use chrono::NaiveDate;
use chrono_tz::Tz;
use event::SiteId;

use crate::days::{DAY_MAX, DAY_MIN, DayRange};

pub(crate) const LIMIT_DEFAULT: u16 = 10;
pub(crate) const LIMIT_MAX: u16 = 1000;
/// How much of a value that is refused is shown back.
const SHOWN_CHARS_MAX: usize = 64;

const KNOWN: [&str; 8] = [
    "site_id",
    "date",
    "start_date",
    "end_date",
    "timezone",
    "event_type",
    "path",
    "limit",
];

/// A question that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) site_id: SiteId,
    pub(crate) days: Asked,
    pub(crate) zone: Tz,
    pub(crate) event_type: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) limit: u16,
}

/// The days asked for, as the client put it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    AllTime,
    Day(NaiveDate),
    /// Either end may be open.
    Range(Option<NaiveDate>, Option<NaiveDate>),
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
}

/// Reads a query string's pairs. Parameters that are not known are ignored; an empty value counts
/// as none.
///
/// # Errors
/// A sentence for each fault, naming the parameter.
pub(crate) fn parse(pairs: &[(String, String)]) -> Result<Question, Vec<String>> {
    let mut faults = Vec::new();
    for name in KNOWN {
        if pairs.iter().filter(|(key, _)| key == name).count() > 1 {
            faults.push(format!("{name} is given twice"));
        }
    }
    let value = |name: &str| {
        let found = pairs.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    };

    let site_id = match value("site_id") {
        None => {
            faults.push("site_id is required".to_owned());
            None
        }
        Some(text) => text
            .parse::<SiteId>()
            .map_err(|fault| faults.push(fault.to_string()))
            .ok(),
    };
    let days = asked(&value, &mut faults);
    let zone = match value("timezone") {
        None => Tz::UTC,
        Some(text) => text.parse().unwrap_or_else(|_| {
            let shown = shown(text);
            faults.push(format!(
                "timezone must be a name such as Europe/Berlin, not {shown}"
            ));
            Tz::UTC
        }),
    };
    let event_type = value("event_type").map(str::to_owned);
    if let Some(text) = &event_type
        && let Err(fault) = text.parse::<event::EventType>()
    {
        faults.push(fault.to_string());
    }
    let path = value("path").and_then(|text| {
        let path = text.parse::<event::Path>();
        path.map_err(|fault| faults.push(fault.to_string())).ok()
    });
    let limit = match value("limit") {
        None => LIMIT_DEFAULT,
        Some(text) => match text.parse() {
            Ok(limit @ 1..=LIMIT_MAX) => limit,
            _ => {
                let shown = shown(text);
                faults.push(format!(
                    "limit must be a number from 1 to {LIMIT_MAX}, not {shown}"
                ));
                LIMIT_DEFAULT
            }
        },
    };
    match site_id {
        Some(site_id) if faults.is_empty() => Ok(Question {
            site_id,
            days,
            zone,
            event_type,
            path: path.map(|path| path.as_str().to_owned()),
            limit,
        }),
        _ => Err(faults),
    }
}

fn asked<'v>(value: &impl Fn(&str) -> Option<&'v str>, faults: &mut Vec<String>) -> Asked {
    let mut date = |name: &str| {
        value(name).and_then(|text| {
            let day = parse_day(text);
            if day.is_none() {
                let shown = shown(text);
                faults.push(format!(
                    "{name} must be a day as YYYY-MM-DD from {DAY_MIN} to {DAY_MAX}, not {shown}"
                ));
            }
            day
        })
    };
    let (day, first, last) = (date("date"), date("start_date"), date("end_date"));
    let ranged = value("start_date").is_some() || value("end_date").is_some();
    if value("date").is_some() && ranged {
        faults.push("date cannot stand beside start_date or end_date".to_owned());
    }
    if let (Some(first), Some(last)) = (first, last)
        && last < first
    {
        faults.push(format!("end_date {last} is before start_date {first}"));
    }
    match day {
        Some(day) => Asked::Day(day),
        None if ranged => Asked::Range(first, last),
        None => Asked::AllTime,
    }
}

/// Exactly `YYYY-MM-DD`; chrono alone would take `2025-1-5` and `+2025-01-05` too.
fn parse_day(text: &str) -> Option<NaiveDate> {
    let shape = text.len() == 10
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day = shape
        .then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok())
        .flatten()?;
    (DAY_MIN..=DAY_MAX).contains(&day).then_some(day)
}

fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let shown: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
    let ellipsis = if chars.next().is_some() { "..." } else { "" };
    format!("{:?}", format!("{shown}{ellipsis}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_pairs(pairs: &[(&str, &str)]) -> Result<Question, Vec<String>> {
        let owned: Vec<_> = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        parse(&owned)
    }

    fn faults(pairs: &[(&str, &str)]) -> Vec<String> {
        parse_pairs(pairs).unwrap_err()
    }

    #[test]
    fn only_a_site_is_required() {
        let question = parse_pairs(&[("site_id", "s"), ("utm", "x")]).unwrap();
        assert_eq!((question.days, question.zone), (Asked::AllTime, Tz::UTC));
        assert_eq!(question.limit, LIMIT_DEFAULT);
        assert_eq!(faults(&[]), ["site_id is required"]);
        assert_eq!(faults(&[("site_id", "")]), ["site_id is required"]);
    }

    #[test]
    fn each_bad_parameter_is_named() {
        for (name, value) in [
            ("site_id", "a b"),
            ("date", "2025-02-30"),
            ("date", "2025-1-5"),
            ("date", "1999-12-31"),
            ("date", "2200-01-01"),
            ("start_date", "yesterday"),
            ("end_date", "2025-13-01"),
            ("timezone", "Mars/Olympus"),
            ("event_type", "a\nb"),
            ("limit", "0"),
            ("limit", "1001"),
            ("limit", "-1"),
            ("limit", "ten"),
        ] {
            let mut pairs = vec![(name, value)];
            if name != "site_id" {
                pairs.push(("site_id", "s"));
            }
            let faults = faults(&pairs);
            assert_eq!(faults.len(), 1, "{name}={value}: {faults:?}");
            assert!(faults[0].starts_with(name), "{name}={value}: {faults:?}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = faults(&[
            ("date", "x"),
            ("timezone", "x"),
            ("limit", "x"),
            ("limit", "y"),
        ]);
        assert_eq!(faults.len(), 5, "{faults:?}");
    }

    #[test]
    fn a_range_ends_after_it_starts_and_may_be_open() {
        let range = |first, last| {
            parse_pairs(&[("site_id", "s"), ("start_date", first), ("end_date", last)])
        };
        assert!(range("2025-01-02", "2025-01-02").is_ok());
        assert!(range("2025-01-02", "2025-01-01").is_err());
        assert_eq!(range("2025-01-02", "").unwrap().days.range().last, DAY_MAX);
        assert_eq!(range("", "2025-01-02").unwrap().days.range().first, DAY_MIN);
        let both = [
            ("site_id", "s"),
            ("date", "2025-01-01"),
            ("end_date", "2025-01-01"),
        ];
        assert!(parse_pairs(&both).is_err());
    }
}

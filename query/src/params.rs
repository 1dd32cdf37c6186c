//! The parameters of a request, read one by one; every fault goes into one answer.

use chrono::NaiveDate;
use chrono_tz::Tz;
use event::SiteId;

use crate::bots::Bots;
use crate::days::{DAY_MAX, DAY_MIN};
use crate::filter::{FILTERS_MAX, Filter, Property};
use crate::question::{Asked, Compare, Slice};

pub(crate) const LIMIT_DEFAULT: u16 = 10;
pub(crate) const LIMIT_MAX: u16 = 1000;
pub(crate) const PAGE_MAX: u32 = 1_000_000;
/// How much of a value that is refused is shown back.
const SHOWN_CHARS_MAX: usize = 64;

/// All names that some endpoint reads.
const NAMES: [&str; 16] = [
    "site_id",
    "date",
    "start_date",
    "end_date",
    "timezone",
    "event_type",
    "path",
    "filter",
    "exact",
    "bots",
    "compare",
    "limit",
    "page",
    "interval",
    "property",
    RAW_CELLS,
];
/// The one that says how an answer is written, and not what is asked.
const RAW_CELLS: &str = "raw_cells";
/// How many names that are none of these an answer names.
const UNKNOWN_TOLD_MAX: usize = 3;

/// Names and values as they were sent. A name that another endpoint reads does no harm; one that
/// none reads is a fault, for `from=2025-11-01` would be answered with all time.
pub(crate) type Pairs = [(String, String)];

/// Reads pairs; each parameter is to be read once. An empty value counts as none.
pub(crate) struct Reader<'p> {
    pairs: &'p Pairs,
    faults: Vec<String>,
}

impl<'p> Reader<'p> {
    pub(crate) fn new(pairs: &'p Pairs) -> Self {
        let mut reader = Self {
            pairs,
            faults: unknown(pairs),
        };
        // A wrong value is reported with all other faults; a right one is read by `asks_for_raw_cells`.
        reader.flag(RAW_CELLS);
        reader
    }

    pub(crate) fn fault(&mut self, sentence: String) {
        self.faults.push(sentence);
    }

    /// What was read, if nothing was wrong with any of it.
    ///
    /// # Errors
    /// A sentence for each fault, naming the parameter.
    pub(crate) fn finish<T>(self, read: Option<T>) -> Result<T, Vec<String>> {
        match read {
            Some(read) if self.faults.is_empty() => Ok(read),
            _ => Err(self.faults),
        }
    }

    pub(crate) fn value(&mut self, name: &str) -> Option<&'p str> {
        let mut found = self.all(name);
        let first = found.next();
        if found.next().is_some() {
            self.fault(format!("{name} is given twice"));
        }
        first.filter(|value| !value.is_empty())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'p str> + use<'p> {
        let name = name.to_owned();
        let pairs = self.pairs.iter();
        pairs.filter_map(move |(key, value)| (*key == name).then_some(value.as_str()))
    }

    pub(crate) fn site(&mut self) -> Option<SiteId> {
        let Some(text) = self.value("site_id") else {
            self.fault("site_id is required".to_owned());
            return None;
        };
        let site = text.parse::<SiteId>();
        site.map_err(|fault| self.fault(fault.to_string())).ok()
    }

    /// A whole number from 1 on.
    pub(crate) fn number(&mut self, name: &str, default: u32, max: u32) -> u32 {
        let Some(text) = self.value(name) else {
            return default;
        };
        match text.parse() {
            Ok(number) if (1..=max).contains(&number) => number,
            _ => {
                let shown = shown(text);
                self.fault(format!(
                    "{name} must be a number from 1 to {max}, not {shown}"
                ));
                default
            }
        }
    }

    pub(crate) fn limit(&mut self, default: u16) -> u16 {
        let limit = self.number("limit", default.into(), LIMIT_MAX.into());
        u16::try_from(limit).unwrap_or(default)
    }

    pub(crate) fn page(&mut self) -> u32 {
        self.number("page", 1, PAGE_MAX)
    }

    /// One of a few words; `parse` knows them, `words` names them.
    pub(crate) fn word<T>(
        &mut self,
        name: &str,
        words: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.value(name)?;
        let word = parse(text);
        if word.is_none() {
            let shown = shown(text);
            self.fault(format!("{name} must be {words}, not {shown}"));
        }
        word
    }

    /// False unless it is said.
    fn flag(&mut self, name: &str) -> bool {
        let flag = self.word(name, "true or false", |text| match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        });
        flag.unwrap_or(false)
    }

    /// Which events of a site: what all figures have in common.
    pub(crate) fn slice(&mut self) -> Option<Slice> {
        let site_id = self.site();
        let days = self.days();
        let zone = self.word("timezone", "a name such as Europe/Berlin", |text| {
            text.parse().ok()
        });
        let mut filters = self.filters();
        if let Some(text) = self.value("event_type") {
            match text.parse::<event::EventType>() {
                Ok(_) => filters.push(Filter::is(Property::EventType, text)),
                Err(fault) => self.fault(fault.to_string()),
            }
        }
        if let Some(text) = self.value("path") {
            match text.parse::<event::Path>() {
                Ok(path) => filters.push(Filter::is(Property::Path, path.as_str())),
                Err(fault) => self.fault(fault.to_string()),
            }
        }
        // One order, so that the same question is known to be the same.
        filters.sort();
        filters.dedup();
        let exact = self.flag("exact");
        let bots = self.bots();
        Some(Slice {
            site_id: site_id?,
            days,
            zone: zone.unwrap_or(Tz::UTC),
            filters,
            exact,
            bots,
        })
    }

    pub(crate) fn bots(&mut self) -> Bots {
        self.word("bots", Bots::NAMES, Bots::parse)
            .unwrap_or_default()
    }

    fn filters(&mut self) -> Vec<Filter> {
        let texts: Vec<_> = self.all("filter").collect();
        if texts.len() > FILTERS_MAX {
            self.fault(format!("filter may be given {FILTERS_MAX} times at most"));
            return Vec::new();
        }
        let mut filters = Vec::new();
        for text in texts.into_iter().filter(|text| !text.is_empty()) {
            match Filter::parse(text) {
                Ok(filter) => filters.push(filter),
                Err(wanted) => {
                    let shown = shown(text);
                    self.fault(format!("filter must be {wanted}, not {shown}"));
                }
            }
        }
        filters
    }

    fn day(&mut self, name: &str) -> (bool, Option<NaiveDate>) {
        let text = self.value(name);
        let day = text.and_then(|text| {
            let day = parse_day(text);
            if day.is_none() {
                let shown = shown(text);
                self.fault(format!(
                    "{name} must be a day as YYYY-MM-DD from {DAY_MIN} to {DAY_MAX}, not {shown}"
                ));
            }
            day
        });
        (text.is_some(), day)
    }

    fn days(&mut self) -> Asked {
        let (dated, day) = self.day("date");
        let (starts, first) = self.day("start_date");
        let (ends, last) = self.day("end_date");
        let ranged = starts || ends;
        if dated && ranged {
            self.fault("date cannot stand beside start_date or end_date".to_owned());
        }
        if let (Some(first), Some(last)) = (first, last)
            && last < first
        {
            self.fault(format!("end_date {last} is before start_date {first}"));
        }
        match day {
            Some(day) => Asked::Day(day),
            None if ranged => Asked::Range(first, last),
            None => Asked::AllTime,
        }
    }

    /// What to compare with; only days that begin and end have something before them.
    pub(crate) fn compare(&mut self, slice: Option<&Slice>) -> Option<Compare> {
        let compare = self.word(
            "compare",
            "previous_period or previous_year",
            Compare::parse,
        );
        if compare.is_some() && slice.is_some_and(|slice| slice.days.closed().is_none()) {
            self.fault("compare needs date, or start_date and end_date".to_owned());
        }
        compare
    }
}

/// Whether CSV is to have what clients sent as it is. Of pairs that were read without a fault.
pub(crate) fn asks_for_raw_cells(pairs: &Pairs) -> bool {
    pairs
        .iter()
        .any(|(name, value)| name == RAW_CELLS && value == "true")
}

fn unknown(pairs: &Pairs) -> Vec<String> {
    let names = pairs.iter().map(|(name, _)| name.as_str());
    let mut unknown: Vec<_> = names
        .filter(|name| !name.is_empty() && !NAMES.contains(name))
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    unknown
        .into_iter()
        .take(UNKNOWN_TOLD_MAX)
        .map(|name| {
            format!(
                "{} is not a parameter; there are {}",
                shown(name),
                NAMES.join(", ")
            )
        })
        .collect()
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

pub(crate) fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let shown: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
    let ellipsis = if chars.next().is_some() { "..." } else { "" };
    format!("{:?}", format!("{shown}{ellipsis}"))
}

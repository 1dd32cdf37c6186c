//! What can be asked: parsed once, the same for the same question, however it was written.

mod slice;

use event::SiteId;

use crate::bots::Bots;
use crate::buckets::Interval;
use crate::filter::{PROPERTIES, Property};
use crate::params::{LIMIT_DEFAULT, Pairs, Reader, shown};

pub(crate) use slice::{Asked, Compare, Slice};

/// `GET /stats`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct StatsQuestion {
    pub(crate) slice: Slice,
    pub(crate) compare: Option<Compare>,
    pub(crate) limit: u16,
}

/// `GET /stats/timeseries`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SeriesQuestion {
    pub(crate) slice: Slice,
    pub(crate) compare: Option<Compare>,
    pub(crate) interval: Interval,
}

/// `GET /stats/breakdown`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct BreakdownQuestion {
    pub(crate) slice: Slice,
    pub(crate) compare: Option<Compare>,
    pub(crate) property: Property,
    pub(crate) limit: u16,
    pub(crate) page: u32,
}

/// `GET /sites`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SitesQuestion {
    /// None: all of them.
    pub(crate) among: Option<Vec<SiteId>>,
    pub(crate) bots: Bots,
    pub(crate) limit: u16,
    pub(crate) page: u32,
}

/// `GET /stats/realtime`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct NowQuestion {
    pub(crate) site_id: SiteId,
    pub(crate) bots: Bots,
}

/// Every fault, a sentence each, naming the parameter.
pub(crate) type Faults = Vec<String>;

impl StatsQuestion {
    pub(crate) fn parse(pairs: &Pairs) -> Result<Self, Faults> {
        let mut reader = Reader::new(pairs);
        let slice = reader.slice();
        let compare = reader.compare(slice.as_ref());
        let limit = reader.limit(LIMIT_DEFAULT);
        reader.finish(slice.map(|slice| Self {
            slice,
            compare,
            limit,
        }))
    }
}

impl SeriesQuestion {
    pub(crate) fn parse(pairs: &Pairs) -> Result<Self, Faults> {
        let mut reader = Reader::new(pairs);
        let slice = reader.slice();
        let compare = reader.compare(slice.as_ref());
        let interval = reader.word("interval", Interval::NAMES, Interval::parse);
        let interval = interval.unwrap_or(Interval::Day);
        // Days that are open are judged when it is known where the site's events begin.
        if let Some(slice) = &slice
            && let Some(range) = slice.days.closed()
            && interval.buckets(range, slice.zone).is_err()
        {
            reader.fault(too_many_points(interval));
        }
        reader.finish(slice.map(|slice| Self {
            slice,
            compare,
            interval,
        }))
    }
}

pub(crate) fn too_many_points(interval: Interval) -> String {
    format!(
        "interval {} would give more than {} points: take a longer one, or fewer days",
        interval.name(),
        crate::buckets::POINTS_MAX
    )
}

impl BreakdownQuestion {
    pub(crate) fn parse(pairs: &Pairs) -> Result<Self, Faults> {
        let mut reader = Reader::new(pairs);
        let slice = reader.slice();
        let compare = reader.compare(slice.as_ref());
        let property = match reader.value("property") {
            None => {
                reader.fault(format!("property is required: {PROPERTIES}"));
                None
            }
            Some(text) => match text.parse() {
                Ok(property) => Some(property),
                Err(()) => {
                    let shown = shown(text);
                    reader.fault(format!("property must be {PROPERTIES}, not {shown}"));
                    None
                }
            },
        };
        let limit = reader.limit(LIMIT_DEFAULT);
        let page = reader.page();
        reader.finish(slice.zip(property).map(|(slice, property)| Self {
            slice,
            compare,
            property,
            limit,
            page,
        }))
    }
}

impl SitesQuestion {
    pub(crate) fn parse(pairs: &Pairs) -> Result<Self, Faults> {
        const LIMIT_DEFAULT: u16 = 100;
        let mut reader = Reader::new(pairs);
        let bots = reader.bots();
        let limit = reader.limit(LIMIT_DEFAULT);
        let page = reader.page();
        reader.finish(Some(Self {
            among: None,
            bots,
            limit,
            page,
        }))
    }
}

impl NowQuestion {
    pub(crate) fn parse(pairs: &Pairs) -> Result<Self, Faults> {
        let mut reader = Reader::new(pairs);
        let site = reader.site();
        let bots = reader.bots();
        reader.finish(site.map(|site_id| Self { site_id, bots }))
    }
}

#[cfg(test)]
mod tests;

//! The plan of a cut, as it stands in the metadata of an offset commit: enough to make the same
//! cut again, byte for byte.

use std::fmt::Write;
use std::num::ParseIntError;

use uuid::Uuid;

/// Kafka's default limit for the metadata of one partition (`offset.metadata.max.bytes`).
pub(crate) const PLAN_BYTES_MAX: usize = 4096;

const MAGIC: &str = "weir";
const END: &str = " .";
const VERSION: &str = "2";
/// How rows become an INSERT's body. To be raised whenever the same records would give other rows;
/// a sink that has to rebuild a cut must then keep the encoder before it.
const ENCODER: &str = "2";

/// Offsets `from..to` of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) partition: u16,
    pub(crate) from: u64,
    /// The first offset that is not part of it.
    pub(crate) to: u64,
}

/// What a cut consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Drawn at random when the plan is made, so it never means another cut: not of another
    /// topic, nor of the same one made anew or read again from the start on purpose.
    pub(crate) id: Uuid,
    /// Which life of the topic its offsets are of.
    pub(crate) log: u32,
    /// When it was made, in milliseconds since 1970: what came after counts against the
    /// deduplication window, and rollups that were made anew after it have forgotten its token.
    pub(crate) made_at: i64,
    /// The window of repeats in force when the cut was made.
    pub(crate) repeat_window: u32,
    /// In the order of their partitions, each once, none empty.
    pub(crate) ranges: Vec<Range>,
}

/// Why metadata is not a plan this sink can follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("it was not written by weir: {0:?}")]
    Foreign(String),
    #[error("it is of plan version {0}, this sink knows {VERSION}")]
    Version(String),
    #[error("its rows were made by encoder {0}, this sink has {ENCODER}")]
    Encoder(String),
    #[error("it is damaged at {0:?}")]
    Damaged(String),
}

impl Plan {
    /// ASCII, as
    /// `weir 2 <encoder> <id> <log> <made at> <window> <partition>:<from>+<length>,.. .`:
    /// the full stop at the end tells a whole plan from one that was cut short.
    pub(crate) fn encode(&self) -> String {
        let mut text = format!(
            "{MAGIC} {VERSION} {ENCODER} {} {} {} {} ",
            self.id.simple(),
            self.log,
            self.made_at,
            self.repeat_window
        );
        for (index, range) in self.ranges.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let Range {
                partition,
                from,
                to,
            } = range;
            write!(text, "{comma}{partition}:{from}+{}", to - from).expect("a String grows");
        }
        text.push_str(END);
        text
    }

    /// Reads what [`encode`](Self::encode) wrote; anything else is refused.
    pub(crate) fn parse(text: &str) -> Result<Self, PlanError> {
        let whole = text.strip_suffix(END);
        let mut words = whole.unwrap_or(text).split(' ');
        if words.next() != Some(MAGIC) {
            return Err(PlanError::Foreign(text.chars().take(40).collect()));
        }
        let mut word = || words.next().ok_or_else(|| damaged("its end"));
        let version = word()?;
        if version != VERSION {
            return Err(PlanError::Version(version.to_owned()));
        }
        let encoder = word()?;
        if encoder != ENCODER {
            return Err(PlanError::Encoder(encoder.to_owned()));
        }
        let id = word()?;
        let id = Uuid::try_parse(id).map_err(|_| damaged(id))?;
        let log = number(word()?)?;
        let made_at = number(word()?)?;
        let repeat_window = number(word()?)?;
        let mut ranges: Vec<Range> = Vec::new();
        for text in word()?.split(',') {
            let range = parse_range(text)?;
            if ranges
                .last()
                .is_some_and(|last| last.partition >= range.partition)
            {
                return Err(damaged(text));
            }
            ranges.push(range);
        }
        match words.next() {
            Some(rest) => Err(damaged(rest)),
            None if whole.is_none() => Err(damaged("its end")),
            None => Ok(Self {
                id,
                log,
                made_at,
                repeat_window,
                ranges,
            }),
        }
    }

    pub(crate) fn range(&self, partition: u16) -> Option<Range> {
        self.ranges
            .iter()
            .copied()
            .find(|range| range.partition == partition)
    }
}

/// How many ranges of any values surely fit one plan.
pub(crate) fn ranges_max() -> usize {
    // The words before the ranges, each as long as it can be.
    const SPACES: usize = 8;
    const HEAD_BYTES_MAX: usize = 4 + 1 + 1 + 32 + 10 + 20 + 10 + 1 + SPACES;
    const RANGE_BYTES_MAX: usize = 5 + 1 + 20 + 1 + 20 + 1;
    (PLAN_BYTES_MAX - HEAD_BYTES_MAX) / RANGE_BYTES_MAX
}

fn parse_range(text: &str) -> Result<Range, PlanError> {
    let parts = text
        .split_once(':')
        .and_then(|(partition, offsets)| Some((partition, offsets.split_once('+')?)));
    let (partition, (from, length)) = parts.ok_or_else(|| damaged(text))?;
    let numbers = || -> Result<(u16, u64, u64), ParseIntError> {
        Ok((partition.parse()?, from.parse()?, length.parse()?))
    };
    let (partition, from, length) = numbers().map_err(|_| damaged(text))?;
    let to = from.checked_add(length).filter(|_| length > 0);
    let to = to.ok_or_else(|| damaged(text))?;
    Ok(Range {
        partition,
        from,
        to,
    })
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, PlanError> {
    word.parse().map_err(|_| damaged(word))
}

fn damaged(at: &str) -> PlanError {
    PlanError::Damaged(at.chars().take(40).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn plans()(
            id in any::<u128>(),
            (log, made_at) in any::<(u32, i64)>(),
            repeat_window in any::<u32>(),
            ranges in proptest::collection::btree_map(any::<u16>(), (any::<u32>(), 1..u32::MAX), 1..80),
        ) -> Plan {
            let id = Uuid::from_u128(id);
            Plan { id, log, made_at, repeat_window, ranges: self::ranges(ranges) }
        }
    }

    fn ranges(ranges: BTreeMap<u16, (u32, u32)>) -> Vec<Range> {
        let range = |(partition, (from, length)): (u16, (u32, u32))| Range {
            partition,
            from: from.into(),
            to: u64::from(from) + u64::from(length),
        };
        ranges.into_iter().map(range).collect()
    }

    proptest! {
        #[test]
        fn a_plan_reads_back_as_it_was_written(plan in plans()) {
            let text = plan.encode();
            prop_assert!(text.is_ascii());
            prop_assert_eq!(Plan::parse(&text), Ok(plan));
        }

        #[test]
        fn a_plan_that_was_cut_short_is_refused(plan in plans(), at in any::<prop::sample::Index>()) {
            let text = plan.encode();
            prop_assert!(Plan::parse(&text[..at.index(text.len())]).is_err());
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text in ".*") {
            let _ = Plan::parse(&text);
        }
    }

    #[test]
    fn the_longest_plan_with_ranges_max_fits_the_metadata_of_a_commit() {
        let ranges = (0..u16::try_from(ranges_max()).unwrap())
            .map(|index| Range {
                partition: u16::MAX - index,
                from: u64::MAX / 2,
                to: u64::MAX,
            })
            .rev()
            .collect();
        let plan = Plan {
            id: Uuid::max(),
            log: u32::MAX,
            made_at: i64::MIN,
            repeat_window: u32::MAX,
            ranges,
        };
        assert!(plan.encode().len() <= PLAN_BYTES_MAX);
        assert!(ranges_max() >= 64, "64 partitions fit one cut");
    }

    #[test]
    fn a_plan_of_a_newer_weir_is_told_from_a_damaged_one() {
        let text = "weir 3 whatever comes then";
        assert_eq!(Plan::parse(text), Err(PlanError::Version("3".to_owned())));
        let text = "weir 2 9 00000000000000000000000000000000 1 3 5 0:1+2 .";
        assert_eq!(Plan::parse(text), Err(PlanError::Encoder("9".to_owned())));
        assert!(matches!(
            Plan::parse("lag checker"),
            Err(PlanError::Foreign(_))
        ));
    }

    #[test]
    fn empty_unordered_and_repeated_ranges_are_damage() {
        for ranges in [
            "",
            "0:1+0",
            "1:1+1,0:1+1",
            "1:1+1,1:2+1",
            "0:1+1,",
            "0:18446744073709551615+1",
            "0:1+1 x",
        ] {
            let text = format!("weir 2 2 00000000000000000000000000000000 1 3 5 {ranges} .");
            assert!(
                matches!(Plan::parse(&text), Err(PlanError::Damaged(_))),
                "{ranges}"
            );
        }
    }
}

//! The plan of a cut, kept in the metadata of an offset commit: up to which offset rows of a
//! partition may be stored although the ledger does not have them yet.

use std::num::ParseIntError;

const MAGIC: &str = "weir";
const END: &str = " .";
const VERSION: &str = "3";
/// Named all partitions of a cut, and what was needed to send its block again.
const VERSION_BEFORE: &str = "2";

/// Offsets `from..to` of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) partition: u16,
    pub(crate) from: u64,
    /// The first offset that is not part of it.
    pub(crate) to: u64,
}

/// What one partition brings to a cut that may be inserted from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Which life of the topic its offsets are of.
    pub(crate) log: u32,
    /// When it was made, in milliseconds since 1970: dead letters of the cut are no older. Nothing
    /// that counts rests on it.
    pub(crate) made_at: i64,
    pub(crate) range: Range,
}

/// Why metadata is not a plan that this sink can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("it was not written by weir: {0:?}")]
    Foreign(String),
    #[error("it is of plan version {0}, this sink knows {VERSION_BEFORE} and {VERSION}")]
    Version(String),
    #[error("it does not name this partition")]
    Elsewhere,
    #[error("it is damaged at {0:?}")]
    Damaged(String),
}

impl Plan {
    /// ASCII, as `weir 3 <log> <made at> <from>+<length> .`: the full stop at the end tells a whole
    /// plan from one that was cut short.
    pub(crate) fn encode(&self) -> String {
        let Self {
            log,
            made_at,
            range,
        } = self;
        let Range { from, to, .. } = range;
        format!(
            "{MAGIC} {VERSION} {log} {made_at} {from}+{}{END}",
            to - from
        )
    }

    /// Reads what [`encode`](Self::encode) wrote beside the offset of this partition, or the version
    /// before it: `weir 2 <encoder> <id> <log> <made at> <window> <partition>:<from>+<length>,.. .`
    pub(crate) fn parse(text: &str, partition: u16) -> Result<Self, PlanError> {
        let whole = text.strip_suffix(END);
        let mut words = whole.unwrap_or(text).split(' ');
        if words.next() != Some(MAGIC) {
            return Err(PlanError::Foreign(text.chars().take(40).collect()));
        }
        let mut word = || words.next().ok_or_else(|| damaged("its end"));
        let version = word()?;
        let is_before = match version {
            VERSION => false,
            VERSION_BEFORE => true,
            _ => return Err(PlanError::Version(version.to_owned())),
        };
        if is_before {
            let (_encoder, _id) = (word()?, word()?);
        }
        let log = number(word()?)?;
        let made_at = number(word()?)?;
        let range = if is_before {
            let _window = word()?;
            find_range(partition, word()?)?
        } else {
            parse_range(partition, word()?)?
        };
        match words.next() {
            Some(rest) => Err(damaged(rest)),
            None if whole.is_none() => Err(damaged("its end")),
            None => Ok(Self {
                log,
                made_at,
                range,
            }),
        }
    }
}

/// The range of a partition among those of all, as `<partition>:<from>+<length>,..`.
fn find_range(partition: u16, ranges: &str) -> Result<Range, PlanError> {
    for text in ranges.split(',') {
        let (of, offsets) = text.split_once(':').ok_or_else(|| damaged(text))?;
        if number::<u16>(of)? == partition {
            return parse_range(partition, offsets);
        }
    }
    Err(PlanError::Elsewhere)
}

fn parse_range(partition: u16, text: &str) -> Result<Range, PlanError> {
    let (from, length) = text.split_once('+').ok_or_else(|| damaged(text))?;
    let numbers = || -> Result<(u64, u64), ParseIntError> { Ok((from.parse()?, length.parse()?)) };
    let (from, length) = numbers().map_err(|_| damaged(text))?;
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
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn plans()(
            (log, made_at) in any::<(u32, i64)>(),
            partition in any::<u16>(),
            (from, length) in any::<u32>().prop_flat_map(|from| (Just(from), 1..=u32::MAX)),
        ) -> Plan {
            let (from, length) = (u64::from(from), u64::from(length));
            Plan { log, made_at, range: Range { partition, from, to: from + length } }
        }
    }

    proptest! {
        #[test]
        fn a_plan_reads_back_as_it_was_written(plan in plans()) {
            let text = plan.encode();
            prop_assert!(text.is_ascii());
            prop_assert_eq!(Plan::parse(&text, plan.range.partition), Ok(plan));
        }

        #[test]
        fn a_plan_that_was_cut_short_is_refused(plan in plans(), at in any::<prop::sample::Index>()) {
            let text = plan.encode();
            let short = &text[..at.index(text.len())];
            prop_assert!(Plan::parse(short, plan.range.partition).is_err());
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text in ".*", partition in any::<u16>()) {
            let _ = Plan::parse(&text, partition);
        }
    }

    #[test]
    fn a_plan_of_the_version_before_is_read_too() {
        let text = "weir 2 2 00000000000000000000000000000000 1 3 5 0:1+2,4:7+1 .";
        let range = |partition, from, to| Range {
            partition,
            from,
            to,
        };
        let plan = |range| {
            Ok(Plan {
                log: 1,
                made_at: 3,
                range,
            })
        };
        assert_eq!(Plan::parse(text, 0), plan(range(0, 1, 3)));
        assert_eq!(Plan::parse(text, 4), plan(range(4, 7, 8)));
        assert_eq!(Plan::parse(text, 3), Err(PlanError::Elsewhere));
    }

    #[test]
    fn a_plan_of_a_newer_weir_is_told_from_a_damaged_one() {
        let text = "weir 4 whatever comes then";
        let newer = PlanError::Version("4".to_owned());
        assert_eq!(Plan::parse(text, 0), Err(newer));
        let foreign = Plan::parse("lag checker", 0);
        assert!(matches!(foreign, Err(PlanError::Foreign(_))));
    }

    #[test]
    fn ranges_that_hold_nothing_or_overflow_are_damage() {
        let before = "weir 2 2 00000000000000000000000000000000 1 3 5 ";
        for text in [
            "weir 3 1 5 1+0 .",
            "weir 3 1 5 18446744073709551615+1 .",
            "weir 3 1 5 1+1 x .",
            "weir 3 1 1+1 .",
            "weir 3 1 5 1 .",
            "weir 3 4294967296 5 1+1 .",
            &format!("{before}0:1+0 ."),
            &format!("{before} ."),
            &format!("{before}0:1+1 x ."),
        ] {
            let parsed = Plan::parse(text, 0);
            assert!(matches!(parsed, Err(PlanError::Damaged(_))), "{text}");
        }
    }
}

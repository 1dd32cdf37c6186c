//! Whether figures are of people, of bots, or of both.

use infra::clickhouse::rollups::IS_BOT;

/// `bots`: people alone unless it is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Bots {
    #[default]
    Exclude,
    Include,
    Only,
}

impl Bots {
    pub(crate) const NAMES: &str = "exclude, include or only";

    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "exclude" => Some(Self::Exclude),
            "include" => Some(Self::Include),
            "only" => Some(Self::Only),
            _ => None,
        }
    }

    /// What holds for the rows of `table` that count; none: all of them do. Rollups have the flag in
    /// their key.
    pub(crate) fn condition(self, table: &str) -> Option<String> {
        let of_bots = if table == "events" { IS_BOT } else { "bot" };
        match self {
            Self::Exclude => Some(format!("NOT {of_bots}")),
            Self::Include => None,
            Self::Only => Some(of_bots.to_owned()),
        }
    }

    /// The values of the flag that count.
    pub(crate) fn flags(self) -> Vec<i64> {
        match self {
            Self::Exclude => vec![0],
            Self::Include => vec![0, 1],
            Self::Only => vec![1],
        }
    }
}

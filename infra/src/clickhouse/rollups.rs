//! The tables that views fill from `events`: what each is keyed by, what it counts and from what.
//!
//! SQL that is the same for all of them is a template, and [`Rollup::sql`] fills in what differs.

use Figures::{Paths, Users};
use Grain::{Day, Month, QuarterHour};

/// A table that a view fills.
#[derive(Debug, PartialEq, Eq)]
pub struct Rollup {
    pub table: &'static str,
    pub grain: Grain,
    pub figures: Figures,
    pub partition: Partition,
    /// What its view reads.
    pub source: Source,
}

/// The time that one row covers, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    QuarterHour,
    Day,
    Month,
}

/// What is counted, by what beside site and time; bots and people apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figures {
    /// Events and users, by type.
    Users,
    /// Events, by type and path.
    Paths,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    Month,
    Year,
}

/// Where figures of a rollup can be counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Events,
    Rollup(&'static Rollup),
}

pub const STATS_QUARTER_HOUR: Rollup = Rollup {
    table: "stats_quarter_hour",
    grain: QuarterHour,
    figures: Users,
    partition: Partition::Month,
    source: Source::Events,
};
pub const STATS_DAY: Rollup = Rollup {
    table: "stats_day",
    grain: Day,
    figures: Users,
    partition: Partition::Year,
    source: Source::Rollup(&STATS_QUARTER_HOUR),
};
pub const STATS_MONTH: Rollup = Rollup {
    table: "stats_month",
    grain: Month,
    figures: Users,
    partition: Partition::Year,
    source: Source::Rollup(&STATS_DAY),
};
pub const PATHS_DAY: Rollup = Rollup {
    table: "paths_day",
    grain: Day,
    figures: Paths,
    partition: Partition::Month,
    source: Source::Events,
};
pub const PATHS_MONTH: Rollup = Rollup {
    table: "paths_month",
    grain: Month,
    figures: Paths,
    partition: Partition::Year,
    source: Source::Rollup(&PATHS_DAY),
};

/// All of them; each after the one that it is filled from.
pub const ALL: [&Rollup; 5] = [
    &STATS_QUARTER_HOUR,
    &STATS_DAY,
    &STATS_MONTH,
    &PATHS_DAY,
    &PATHS_MONTH,
];

/// The rollup of that name.
#[must_use]
pub fn named(table: &str) -> Option<&'static Rollup> {
    ALL.into_iter().find(|rollup| rollup.table == table)
}

/// One statement of every rollup's, from its own source.
#[must_use]
pub fn union_all(template: &str) -> String {
    ALL.map(|rollup| rollup.sql(template, rollup.source))
        .join("\nUNION ALL\n")
}

impl Rollup {
    /// The column that says when.
    #[must_use]
    pub fn time(&self) -> &'static str {
        match self.grain {
            QuarterHour => "time",
            Day => "date",
            Month => "month",
        }
    }

    /// What is rebuilt and compared at a time: "day", or "month" where a row covers one.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match self.grain {
            QuarterHour | Day => "day",
            Month => "month",
        }
    }

    /// `template` with these filled in; parameters, as `{days:Array(UInt16)}`, are left alone.
    ///
    /// Of the rollup: `{table}`, `{time}` and `{unit}`, the number of a row's `{partition}`, its
    /// `{key}` and all `{columns}`, its `{path}`, which is empty where it has none, and `{rows}`,
    /// the columns of its rows as expressions of `events`.
    ///
    /// Its figures, counted from `{source}`: when a row's `{period}` begins, whether it is of a
    /// `{bot}`, `{events}` and `{users}`, which are 0 where it counts none; `{own_users}` are those
    /// that it holds itself.
    #[must_use]
    pub fn sql(&self, template: &str, source: Source) -> String {
        let time = self.time();
        let (path, by_path, users, states) = match self.figures {
            Users => ("''", "", ", users", USERS_OF_EVENTS),
            Paths => ("path", ", path", "", ""),
        };
        let keyed = |time: &str, bot: &str| format!("site_id, {time}, event_type{by_path}, {bot}");
        let key = keyed(time, "bot");
        let rows = keyed(
            &format!("{} AS {time}", self.period(Source::Events)),
            &format!("{IS_BOT} AS bot"),
        );
        let partition = match self.partition {
            Partition::Month => "toYYYYMM",
            Partition::Year => "toYear",
        };
        let filled = [
            ("{table}", self.table),
            ("{time}", time),
            ("{unit}", self.unit()),
            ("{partition}", &format!("{partition}({time})")),
            ("{key}", &key),
            ("{columns}", &format!("{key}, events{users}")),
            ("{path}", path),
            ("{rows}", &format!("{rows}, count() AS events{states}")),
            ("{source}", source.table()),
            ("{period}", &self.period(source)),
            ("{bot}", source.bot()),
            ("{events}", source.events()),
            ("{users}", source.users(self.figures)),
            (
                "{own_users}",
                Source::Rollup(&STATS_DAY).users(self.figures),
            ),
        ];
        let fill = |sql: String, (name, text): (&str, &str)| sql.replace(name, text);
        filled.into_iter().fold(template.to_owned(), fill)
    }

    /// When the period begins that a row of `source` is in.
    fn period(&self, source: Source) -> String {
        let time = match source {
            Source::Events => "timestamp",
            Source::Rollup(rollup) => rollup.time(),
        };
        match self.grain {
            QuarterHour => format!("toStartOfFifteenMinutes({time})"),
            Day => format!("toDate({time})"),
            Month => format!("toStartOfMonth({time})::Date"),
        }
    }
}

/// Whether a row of `events` is of a bot: the last text of its agent is then a name.
pub const IS_BOT: &str = r"(_agent != '' AND NOT endsWith(_agent, '\t'))";
const USERS_OF_EVENTS: &str = ", uniqCombined64StateIf(17)(user_id, user_id != '') AS users";

impl Source {
    fn table(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Rollup(rollup) => rollup.table,
        }
    }

    fn bot(self) -> &'static str {
        match self {
            Self::Events => IS_BOT,
            Self::Rollup(_) => "bot",
        }
    }

    fn events(self) -> &'static str {
        match self {
            Self::Events => "count()",
            Self::Rollup(_) => "sum(events)",
        }
    }

    fn users(self, figures: Figures) -> &'static str {
        match (figures, self) {
            (Paths, _) => "toUInt64(0)",
            (Users, Self::Events) => "uniqCombined64If(17)(user_id, user_id != '')",
            (Users, Self::Rollup(_)) => "uniqCombined64Merge(17)(users)",
        }
    }
}

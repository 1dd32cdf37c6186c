//! What must hold of the stored rows, whatever happened: asked of ClickHouse in SQL.

use crate::ClickHouse;

/// A rollup, how its key is made of a raw row, and whether it knows users.
struct Rollup {
    table: &'static str,
    key: &'static str,
    key_of_row: &'static str,
    has_users: bool,
}

const ROLLUPS: [Rollup; 5] = [
    Rollup {
        table: "stats_quarter_hour",
        key: "time",
        key_of_row: "toStartOfFifteenMinutes(timestamp)",
        has_users: true,
    },
    Rollup {
        table: "stats_day",
        key: "date",
        key_of_row: "toDate(timestamp)",
        has_users: true,
    },
    Rollup {
        table: "stats_month",
        key: "month",
        key_of_row: "toStartOfMonth(timestamp)",
        has_users: true,
    },
    Rollup {
        table: "paths_day",
        key: "date, path",
        key_of_row: "toDate(timestamp), path",
        has_users: false,
    },
    Rollup {
        table: "paths_month",
        key: "month, path",
        key_of_row: "toStartOfMonth(timestamp), path",
        has_users: false,
    },
];

/// Whether a raw row is of a bot: its agent ends with the bot's name.
const OF_A_BOT: &str = r"_agent != '' AND _agent NOT LIKE '%\t'";

/// The tables that a block passes through, raw rows first.
pub const TABLES: [&str; 6] = [
    "events",
    "stats_quarter_hour",
    "stats_day",
    "stats_month",
    "paths_day",
    "paths_month",
];

/// Every row has a place of its own in Kafka, and every rollup holds, key by key, what the raw
/// rows give when it is computed again.
///
/// # Panics
/// If that is not so, with the first keys that differ.
pub async fn assert_exact(clickhouse: &ClickHouse) {
    let places = "SELECT _partition, _offset, _index, count() AS copies FROM weir.events GROUP BY ALL HAVING copies > 1 ORDER BY ALL LIMIT 10";
    assert_eq!(clickhouse.text(places).await, "", "rows of one place");
    for rollup in &ROLLUPS {
        let different = clickhouse.text(&rollup.differences()).await;
        assert_eq!(
            different, "",
            "{}: key, then events and users of the raw rows and of the rollup",
            rollup.table
        );
    }
}

/// How many events each of [`TABLES`] holds of a site.
///
/// # Panics
/// If ClickHouse does not tell.
pub async fn events_by_table(clickhouse: &ClickHouse, site: &str) -> [u64; 5] {
    let counts = TABLES.map(|table| {
        let count = if table == "events" {
            "count()"
        } else {
            "sum(events)"
        };
        format!("(SELECT toUInt64({count}) FROM weir.{table} WHERE site_id = '{site}')")
    });
    let answer = clickhouse
        .text(&format!("SELECT {}", counts.join(", ")))
        .await;
    let mut numbers = answer.split('\t').map(|text| text.parse::<u64>());
    std::array::from_fn(|_| match numbers.next() {
        Some(Ok(number)) => number,
        other => panic!("{other:?} in {answer}"),
    })
}

impl Rollup {
    fn differences(&self) -> String {
        let Self {
            table,
            key,
            key_of_row,
            has_users,
        } = self;
        let (key, key_of_row) = (format!("{key}, bot"), format!("{key_of_row}, {OF_A_BOT}"));
        let (raw_users, rolled_users) = if *has_users {
            (
                "uniqExactIf(user_id, user_id != '')",
                "uniqCombined64Merge(17)(users)",
            )
        } else {
            ("0", "0")
        };
        // The names of the first SELECT are those of the union.
        let names: Vec<String> = key_of_row
            .split(", ")
            .zip(key.split(", "))
            .map(|(of_row, name)| {
                if of_row == name {
                    name.to_owned()
                } else {
                    format!("{of_row} AS {name}")
                }
            })
            .collect();
        let names = names.join(", ");
        format!(
            "SELECT site_id, event_type, {key},
                sum(raw_events) AS raw, sum(raw_users) AS users_in_raw,
                sum(rolled_events) AS rolled, sum(rolled_users) AS users_in_rolled
            FROM (
                SELECT site_id, event_type, {names}, count() AS raw_events, {raw_users} AS raw_users,
                    0 AS rolled_events, 0 AS rolled_users
                FROM weir.events GROUP BY site_id, event_type, {key}
                UNION ALL
                SELECT site_id, event_type, {key}, 0, 0, sum(events), {rolled_users}
                FROM weir.{table} GROUP BY site_id, event_type, {key}
            )
            GROUP BY site_id, event_type, {key}
            HAVING (raw, users_in_raw) != (rolled, users_in_rolled)
            ORDER BY ALL LIMIT 10"
        )
    }
}

//! What stands after FROM: a table as it is, or several tables under the names they share.

/// Names of columns.
pub(super) const AT: &str = "at";
pub(super) const EVENT_TYPE: &str = "event_type";
pub(super) const EVENTS: &str = "events";
pub(super) const PAGE: &str = "page";
pub(super) const USERS: &str = "users";

/// What a raw row counts.
pub(super) const ONE_EVENT: &str = "toUInt64(1)";

/// Rows of one table.
pub(super) struct Relation {
    pub(super) table: &'static str,
    /// Each as an expression, and the name it goes by.
    pub(super) columns: &'static [(&'static str, &'static str)],
    pub(super) condition: String,
}

/// A FROM clause with its condition, and how its rows tell what tables name differently.
pub(super) struct From {
    pub(super) sql: String,
    /// The second since 1970 at which what a row counts began.
    pub(super) at: &'static str,
    /// How many events its rows count together.
    pub(super) views: &'static str,
    /// The path, as a string.
    pub(super) page: &'static str,
}

impl From {
    /// Of one relation or more, which have the same columns; of these, `wanted` are read from it.
    pub(super) fn of(relations: &[Relation], wanted: &[&str]) -> Self {
        if let [relation] = relations
            && relation.is_plain()
        {
            // ClickHouse spends a millisecond and a half more on planning a subquery.
            return Self {
                sql: format!("{} WHERE {}", relation.table, relation.condition),
                at: relation.expression(AT),
                views: relation.views(),
                page: relation.expression(PAGE),
            };
        }
        // Planning takes longer with each column and function, read or not.
        let selects = relations.iter().map(|relation| relation.select(wanted));
        let selects: Vec<_> = selects.collect();
        Self {
            sql: format!("({}) WHERE 1", selects.join(" UNION ALL ")),
            at: AT,
            views: "sum(events)",
            page: PAGE,
        }
    }
}

impl Relation {
    /// Whether the table has all columns under their names, but for those that [`From`] tells.
    fn is_plain(&self) -> bool {
        let told = [AT, EVENTS, PAGE];
        let mut columns = self.columns.iter();
        columns.all(|(expression, name)| expression == name || told.contains(name))
    }

    fn views(&self) -> &'static str {
        match self.expression(EVENTS) {
            ONE_EVENT => "count()",
            _ => "sum(events)",
        }
    }

    fn expression(&self, wanted: &'static str) -> &'static str {
        let mut columns = self.columns.iter();
        let found = columns.find(|(_, name)| *name == wanted);
        found.map_or(wanted, |(expression, _)| expression)
    }

    fn select(&self, wanted: &[&str]) -> String {
        let columns = self.columns.iter();
        let columns: Vec<_> = columns
            .filter(|(_, name)| wanted.contains(name))
            .map(|(expression, name)| format!("{expression} AS {name}"))
            .collect();
        let (columns, table, condition) = (columns.join(", "), self.table, &self.condition);
        format!("SELECT {columns} FROM {table} WHERE {condition}")
    }
}

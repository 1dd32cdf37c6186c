//! What stands after FROM: a table as it is, or several tables under the names they share.

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
    /// The path, as a string.
    pub(super) page: &'static str,
}

const AT: &str = "at";
const PAGE: &str = "page";

impl From {
    /// Of one relation or more, which have the same columns.
    pub(super) fn of(relations: &[Relation]) -> Self {
        if let [relation] = relations
            && relation.is_plain()
        {
            // ClickHouse spends a millisecond and a half more on planning a subquery.
            return Self {
                sql: format!("{} WHERE {}", relation.table, relation.condition),
                at: relation.expression(AT),
                page: relation.expression(PAGE),
            };
        }
        let selects: Vec<_> = relations.iter().map(Relation::select).collect();
        Self {
            sql: format!("({}) WHERE 1", selects.join(" UNION ALL ")),
            at: AT,
            page: PAGE,
        }
    }
}

impl Relation {
    /// Whether the table has all columns under their names, but for those that [`From`] tells.
    fn is_plain(&self) -> bool {
        let told = [AT, PAGE];
        let mut columns = self.columns.iter();
        columns.all(|(expression, name)| expression == name || told.contains(name))
    }

    fn expression(&self, wanted: &'static str) -> &'static str {
        let mut columns = self.columns.iter();
        let found = columns.find(|(_, name)| *name == wanted);
        found.map_or(wanted, |(expression, _)| expression)
    }

    fn select(&self) -> String {
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|(expression, name)| format!("{expression} AS {name}"))
            .collect();
        let (columns, table, condition) = (columns.join(", "), self.table, &self.condition);
        format!("SELECT {columns} FROM {table} WHERE {condition}")
    }
}

//! From a question to SQL: which table can serve it, and what is asked of it.
//!
//! There are three sources; what their tables name differently, a [`From`] tells.

mod relation;
mod source;

use event::SiteId;

use crate::bots::Bots;
use crate::days::Span;
use crate::filter::{Filter, Op, Property};
use crate::question::Slice;
use crate::statement::{Parameters, Statement};
use relation::{AT, EVENT_TYPE, EVENTS, From, PAGE, USERS};
use source::Source;

/// What views and users are counted from.
const MEASURED: [&str; 2] = [EVENTS, USERS];

/// The order in which values are shown.
const BY_VIEWS: &str = "ORDER BY views DESC, value LIMIT {limit:UInt32}";

/// What to count, over which events.
#[derive(Debug, Clone)]
pub(crate) struct Select<'q> {
    pub(crate) site_id: &'q SiteId,
    pub(crate) span: Span,
    pub(crate) filters: &'q [Filter],
    /// The types to keep to where no filter names any; none: all.
    pub(crate) view_types: Option<&'q [String]>,
    pub(crate) exact: bool,
    pub(crate) bots: Bots,
    /// Whether users are asked for; views alone can be had from more rollups.
    pub(crate) users: bool,
}

/// What a breakdown is cut to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Among<'v> {
    /// A page of all values, by views, and how many there are on all pages.
    Page { limit: u16, page: u32 },
    /// These alone, in no order.
    Values(&'v [String]),
}

impl<'q> Select<'q> {
    pub(crate) fn new(slice: &'q Slice, span: Span, view_types: &'q [String]) -> Self {
        Self {
            site_id: &slice.site_id,
            span,
            filters: &slice.filters,
            view_types: Some(view_types),
            exact: slice.exact,
            bots: slice.bots,
            users: true,
        }
    }

    /// Views and users of all of it.
    pub(crate) fn totals(&self) -> Statement {
        let mut parameters = Parameters::default();
        let bounds = [self.span.start.timestamp(), self.span.end.timestamp()];
        let source = self.source(None, &bounds);
        let from = self.from(source, &bounds, &MEASURED, &mut parameters);
        let (views, users) = (from.views, self.users(source));
        Statement {
            sql: format!(
                "SELECT {views} AS views, {users} AS users FROM {}",
                from.sql
            ),
            parameters,
            reads: source.reads(),
        }
    }

    /// Views and users from each of `bounds` to the next; `bounds` are in order, begin with the
    /// span and are not empty.
    pub(crate) fn series(&self, bounds: Vec<i64>) -> Statement {
        let mut parameters = Parameters::default();
        let mut cuts = bounds.clone();
        cuts.push(self.span.end.timestamp());
        let source = self.source(None, &cuts);
        let columns = [&[AT][..], &MEASURED].concat();
        let from = self.from(source, &cuts, &columns, &mut parameters);
        let (views, users) = (from.views, self.users(source));
        let From { sql, at, .. } = from;
        parameters.ints("bounds", bounds);
        // The bounds are computed from one time zone database, here; the server's may be another.
        Statement {
            sql: format!(
                "SELECT roundDown({at}, {{bounds:Array(Int64)}}) AS bucket, {views} AS views, {users} AS users \
                 FROM {sql} GROUP BY bucket"
            ),
            parameters,
            reads: source.reads(),
        }
    }

    /// The first values of a property by views, with these alone.
    pub(crate) fn top(&self, property: &Property, limit: u16) -> Statement {
        let mut parameters = Parameters::default();
        let bounds = [self.span.start.timestamp(), self.span.end.timestamp()];
        let source = self.source(Some(property), &bounds);
        let columns = [column_of(property), EVENTS];
        let from = self.from(source, &bounds, &columns, &mut parameters);
        let views = from.views;
        let value = value_of(property, &from, &mut parameters);
        parameters.int("limit", limit.into());
        Statement {
            sql: format!(
                "SELECT {value} AS value, {views} AS views FROM {} GROUP BY value {BY_VIEWS}",
                from.sql
            ),
            parameters,
            reads: source.reads(),
        }
    }

    /// Values of a property with their views and users.
    pub(crate) fn breakdown(&self, property: &Property, among: Among<'_>) -> Statement {
        let mut parameters = Parameters::default();
        let bounds = [self.span.start.timestamp(), self.span.end.timestamp()];
        let source = self.source(Some(property), &bounds);
        let columns = [&[column_of(property)][..], &MEASURED].concat();
        let from = self.from(source, &bounds, &columns, &mut parameters);
        let (views, users) = (from.views, self.users(source));
        let value = value_of(property, &from, &mut parameters);
        let from = from.sql;
        let users = match property {
            // Who is somebody is one user.
            Property::User => "toUInt64(value != '')",
            _ => users,
        };
        let grouped = |total: &str, only: &str| {
            format!(
                "SELECT {value} AS value, {views} AS views, {users} AS users, {total} AS total \
                 FROM {from} {only} GROUP BY value"
            )
        };
        let sql = match among {
            Among::Page { limit, page } => {
                parameters.int("limit", limit.into());
                parameters.int("offset", (i64::from(page) - 1) * i64::from(limit));
                let total = "count() OVER ()";
                format!("{} {BY_VIEWS} OFFSET {{offset:UInt64}}", grouped(total, ""))
            }
            Among::Values(values) => {
                parameters.texts("values", values);
                grouped("toUInt64(0)", "AND value IN {values:Array(String)}")
            }
        };
        Statement {
            sql,
            parameters,
            reads: source.reads(),
        }
    }

    /// How many values a property has.
    pub(crate) fn values(&self, property: &Property) -> Statement {
        let mut parameters = Parameters::default();
        let bounds = [self.span.start.timestamp(), self.span.end.timestamp()];
        let source = self.source(Some(property), &bounds);
        let from = self.from(source, &bounds, &[column_of(property)], &mut parameters);
        let value = value_of(property, &from, &mut parameters);
        Statement {
            sql: format!("SELECT uniqExact({value}) AS total FROM {}", from.sql),
            parameters,
            reads: source.reads(),
        }
    }

    /// Whether a breakdown with users has to read the raw rows, though the views alone need not.
    pub(crate) fn users_cost_rows(&self, property: &Property) -> bool {
        let bounds = [self.span.start.timestamp(), self.span.end.timestamp()];
        let views_alone = Self {
            users: false,
            ..self.clone()
        };
        self.source(Some(property), &bounds) == Source::Rows
            && views_alone.source(Some(property), &bounds) != Source::Rows
    }

    /// The cheapest source that has what is asked for.
    fn source(&self, property: Option<&Property>, bounds: &[i64]) -> Source {
        const QUARTER_HOUR: i64 = 900;
        let filtered = self.filters.iter().map(|filter| &filter.property);
        let mut used = filtered.chain(property);
        let on_quarters = bounds.iter().all(|bound| bound % QUARTER_HOUR == 0);
        if self.exact && self.users {
            return Source::Rows;
        }
        let typed = |property: &Property| *property == Property::EventType;
        if on_quarters && used.clone().all(typed) {
            return Source::Totals;
        }
        let pathed = |property: &Property| typed(property) || *property == Property::Path;
        if bounds.len() == 2 && !self.users && used.all(pathed) {
            return Source::Paths;
        }
        Source::Rows
    }

    /// Where `columns` of the rows asked for come from.
    fn from(
        &self,
        source: Source,
        bounds: &[i64],
        columns: &[&str],
        parameters: &mut Parameters,
    ) -> From {
        let wanted = self.conditions(parameters);
        let mut relations = source.relations(self.span, bounds, &wanted, parameters);
        for relation in &mut relations {
            if let Some(counts) = self.bots.condition(relation.table) {
                relation.condition.push_str(&format!(" AND {counts}"));
            }
        }
        From::of(&relations, columns)
    }

    /// Conditions that hold for every row of any source.
    fn conditions(&self, parameters: &mut Parameters) -> String {
        parameters.text("site_id", self.site_id.as_str());
        let mut sql = "site_id = {site_id:String}".to_owned();
        let names_types = |filter: &Filter| filter.property == Property::EventType;
        if let Some(types) = self.view_types
            && !self.filters.iter().any(names_types)
        {
            parameters.texts("event_types", types);
            sql.push_str(" AND event_type IN {event_types:Array(String)}");
        }
        for (nth, filter) in self.filters.iter().enumerate() {
            let column = match &filter.property {
                Property::Path => "path".to_owned(),
                Property::EventType => "event_type".to_owned(),
                Property::Referrer => "referrer".to_owned(),
                Property::User => "user_id".to_owned(),
                Property::Context(context) => context.column().to_owned(),
                Property::Prop(key) => {
                    parameters.text(format!("key_{nth}"), key);
                    format!("props[{{key_{nth}:String}}]")
                }
            };
            parameters.text(format!("value_{nth}"), &filter.value);
            let value = format!("{{value_{nth}:String}}");
            let condition = match filter.op {
                Op::Is => format!("{column} = {value}"),
                Op::IsNot => format!("{column} != {value}"),
                Op::Contains => format!("position({column}, {value}) > 0"),
                Op::StartsWith => format!("startsWith({column}, {value})"),
            };
            sql.push_str(" AND ");
            sql.push_str(&condition);
        }
        sql
    }

    fn users(&self, source: Source) -> &'static str {
        match source {
            _ if !self.users => "toUInt64(0)",
            Source::Totals => "uniqCombined64Merge(17)(users)",
            Source::Rows if self.exact => "uniqExactIf(user_id, user_id != '')",
            Source::Rows => "uniqCombined64If(17)(user_id, user_id != '')",
            Source::Paths => "toUInt64(0)",
        }
    }
}

/// What rollups call a property. They have no others.
fn column_of(property: &Property) -> &'static str {
    match property {
        Property::Path => PAGE,
        _ => EVENT_TYPE,
    }
}

fn value_of(property: &Property, from: &From, parameters: &mut Parameters) -> &'static str {
    match property {
        Property::Path => from.page,
        Property::EventType => "toString(event_type)",
        Property::Referrer => "toString(referrer)",
        Property::User => "user_id",
        Property::Context(context) => context.string(),
        Property::Prop(key) => {
            parameters.text("key", key);
            "props[{key:String}]"
        }
    }
}

#[cfg(test)]
mod tests;

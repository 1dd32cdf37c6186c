//! A statement under construction: its text, made of fixed pieces alone, and its parameters. What
//! a client sent only ever becomes a parameter.

use chrono::NaiveDate;
use clickhouse::query::Query;

/// The last day that ClickHouse's `Date` can hold: 2149-06-06. No event is that far ahead.
const DATE_MAX: NaiveDate = NaiveDate::from_ymd_opt(2149, 6, 6).expect("a date");
const DATE_MIN: NaiveDate = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");

/// Which limits hold for a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Rollups, and of the raw rows less than two days.
    Rollups,
    /// Raw rows, perhaps many.
    Rows,
}

#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) parameters: Parameters,
    pub(crate) reads: Reads,
}

/// Named values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters(Vec<(String, Value)>);

#[derive(Debug, Clone)]
enum Value {
    Text(String),
    Texts(Vec<String>),
    Int(i64),
    Ints(Vec<i64>),
}

impl Parameters {
    pub(crate) fn text(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), Value::Text(value.into())));
    }

    pub(crate) fn texts(&mut self, name: &str, values: &[String]) {
        self.0
            .push((name.to_owned(), Value::Texts(values.to_vec())));
    }

    pub(crate) fn int(&mut self, name: &str, value: i64) {
        self.0.push((name.to_owned(), Value::Int(value)));
    }

    pub(crate) fn ints(&mut self, name: &str, values: Vec<i64>) {
        self.0.push((name.to_owned(), Value::Ints(values)));
    }

    pub(crate) fn date(&mut self, name: &str, day: NaiveDate) {
        self.text(name, day.clamp(DATE_MIN, DATE_MAX).to_string());
    }

    /// Of these, the days that there can be.
    pub(crate) fn dates(&mut self, name: &str, days: &[NaiveDate]) {
        let possible = days
            .iter()
            .filter(|day| (DATE_MIN..=DATE_MAX).contains(day));
        let days: Vec<_> = possible.map(ToString::to_string).collect();
        self.texts(name, &days);
    }

    pub(crate) fn bind(&self, query: Query) -> Query {
        self.0
            .iter()
            .fold(query, |query, (name, value)| match value {
                Value::Text(text) => query.param(name, text),
                // As slices: an array would be written as a tuple.
                Value::Texts(texts) => query.param(name, texts.as_slice()),
                Value::Int(int) => query.param(name, int),
                Value::Ints(ints) => query.param(name, ints.as_slice()),
            })
    }
}

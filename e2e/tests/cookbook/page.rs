//! The cookbook's page, taken apart: what stands in `docs/cookbook.md` is what is run.

const PAGE: &str = include_str!("../../../docs/cookbook.md");

/// One question: its heading, what it says about itself, and its query.
pub(crate) struct Recipe {
    pub(crate) title: &'static str,
    pub(crate) about: &'static str,
    pub(crate) sql: &'static str,
}

/// In the order of the page. A section without a query is none.
pub(crate) fn recipes() -> Vec<Recipe> {
    let sections = PAGE.split("\n## ").skip(1);
    sections
        .map(|section| {
            let (title, rest) = section.split_once('\n').expect("a heading ends");
            let (about, rest) = rest.split_once("```sql\n").expect("a section has a query");
            let (sql, after) = rest.split_once("\n```").expect("a query ends");
            assert!(!after.contains("```"), "{title}: one query a section");
            Recipe { title, about, sql }
        })
        .collect()
}

//! The materialized views that fill the rollups: whether each is as the migrations make it, and put
//! back where it is not.

use std::collections::BTreeMap;

use anyhow::Context;
use clickhouse::{Client, Row};
use serde::Deserialize;
use tracing::warn;

use super::migrations;

/// A view as the last migration that says so makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    target: &'static str,
    query: &'static str,
    /// What is said of it and of its columns.
    comments: Vec<&'static str>,
}

/// A view that is not as the migrations make it: rows that are inserted meanwhile are missing from
/// its table, or wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultyView {
    pub name: &'static str,
    /// Of another query or table, or not a view at all; else it is missing.
    pub is_there: bool,
}

/// All views that fill a table, by name.
fn all() -> BTreeMap<&'static str, View> {
    let mut views: BTreeMap<&'static str, View> = BTreeMap::new();
    for statement in migrations::all_statements() {
        if let Some(made) = statement.strip_prefix("CREATE MATERIALIZED VIEW IF NOT EXISTS ")
            && let Some((head, query)) = made.split_once(" AS\n")
            && let Some((name, target)) = head.split_once(" TO ")
        {
            let view = View {
                target,
                query,
                comments: Vec::new(),
            };
            views.insert(name, view);
        } else if let Some(altered) = statement.strip_prefix("ALTER TABLE ")
            && let Some((head, change)) = altered.split_once('\n')
        {
            let name = head.strip_suffix(" MODIFY QUERY");
            let Some(view) = views.get_mut(name.unwrap_or(head)) else {
                continue;
            };
            match name {
                Some(_) => view.query = change,
                None => view.comments.push(statement),
            }
        }
    }
    views
}

/// The views that are not as the migrations make them.
///
/// # Errors
/// If ClickHouse cannot be asked.
pub async fn faulty_views(client: &Client) -> anyhow::Result<Vec<FaultyView>> {
    #[derive(Row, Deserialize)]
    struct Found {
        name: String,
        is_as_made: bool,
    }
    let views = all();
    let column = |of: fn(&View) -> &'static str| views.values().map(of).collect::<Vec<_>>();
    let found = client
        .query(&migrations::escape(include_str!(
            "../../clickhouse/views.sql"
        )))
        .param("names", views.keys().collect::<Vec<_>>())
        .param("targets", column(|view| view.target))
        .param("queries", column(|view| view.query))
        .fetch_all::<Found>()
        .await
        .context("look at the views")?;
    let judged = views.into_keys().map(|name| {
        let found = found.iter().find(|found| found.name == name);
        (name, found.map(|found| found.is_as_made))
    });
    let faulty = judged.filter(|(_, is_as_made)| *is_as_made != Some(true));
    let faulty = faulty.map(|(name, is_as_made)| FaultyView {
        name,
        is_there: is_as_made.is_some(),
    });
    Ok(faulty.collect())
}

/// Puts views back that are missing, and makes those again that are others.
pub(super) async fn put_back(client: &Client) -> anyhow::Result<()> {
    let views = all();
    for FaultyView { name, is_there } in faulty_views(client).await? {
        let View {
            target,
            query,
            comments,
        } = &views[name];
        let mut statements = vec![
            // Of a table of that name nothing is dropped: the statement fails.
            format!("DROP VIEW IF EXISTS {name} SYNC"),
            // One that is detached would make IF NOT EXISTS do nothing, and say nothing.
            format!("CREATE MATERIALIZED VIEW {name} TO {target} AS\n{query}"),
        ];
        statements.extend(comments.iter().map(ToString::to_string));
        for statement in statements {
            client
                .query(&migrations::escape(&statement))
                .execute()
                .await
                .with_context(|| format!("put view {name} back"))?;
        }
        let fault = if is_there {
            "had another query or table"
        } else {
            "was missing"
        };
        warn!(
            "view {name} {fault} and is put back: {target} lacks what was stored meanwhile. \
             Run weir audit, which says on which days, and weir seal --from .. --to .. over these days, which fills them"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::rollups;

    #[test]
    fn every_rollup_has_a_view_of_the_last_migration_that_names_it() {
        let views = all();
        assert_eq!(views.len(), rollups::ALL.len());
        for rollup in rollups::ALL {
            let view = &views[format!("{}_mv", rollup.table).as_str()];
            assert_eq!(view.target, rollup.table);
            assert!(view.query.starts_with("SELECT\n"), "{view:?}");
            assert!(view.query.contains("bot"), "{view:?}");
            assert_eq!(view.query.matches("\nFROM ").count(), 1, "{view:?}");
            assert!(!view.comments.is_empty());
        }
    }
}

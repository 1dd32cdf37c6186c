//! Asking ClickHouse: every statement bounded in time, memory and rows, answers read whole, and an
//! end to the waiting soon after ClickHouse stops answering anybody.

mod failure;
mod pulse;

use std::sync::Arc;
use std::time::Duration;

use clickhouse::Client;
use clickhouse::query::Query;
use clickhouse::{RowOwned, RowRead};
use infra::http::Readiness;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::Config;
use crate::statement::{Reads, Statement};
pub(crate) use failure::Failure;
use pulse::Pulse;

/// How long a ClickHouse that was found to be away is given: it may be back already.
const TIMEOUT_WHILE_AWAY: Duration = Duration::from_secs(1);

/// Cheap to clone; clones share limits and connections.
#[derive(Clone)]
pub(crate) struct Database {
    rollups: Lane,
    rows: Lane,
    pulse: Arc<Pulse>,
    readiness: Readiness,
}

/// Statements of one kind: those that read raw rows have more time and fewer places, so that
/// they cannot keep the others waiting.
#[derive(Clone)]
struct Lane {
    client: Client,
    places: Arc<Semaphore>,
    patience: Duration,
    reads: Reads,
}

impl Database {
    pub(crate) fn new(client: &Client, config: &Config, readiness: Readiness) -> Self {
        let lane = |reads, places, patience: Duration, rows_max: u64| Lane {
            client: client
                .clone()
                // ClickHouse gives up first, and says why.
                .with_setting("max_execution_time", patience.as_secs_f64().to_string())
                .with_setting("max_memory_usage", config.memory_bytes_max.to_string())
                .with_setting("max_rows_to_read", rows_max.to_string())
                // Answers are small: writing them on threads of their own takes ClickHouse longer, and
                // the tables have no projections to look through.
                .with_setting("output_format_parallel_formatting", "0")
                .with_setting("optimize_use_projections", "0")
                .with_setting("optimize_use_implicit_projections", "0")
                // Nobody waits for the answer of a client that is gone. ClickHouse notices it for
                // statements that may not write.
                .with_setting("readonly", "2")
                .with_setting("cancel_http_readonly_queries_on_client_close", "1")
                // An error after the first rows would come with a status of success.
                .with_setting("wait_end_of_query", "1"),
            places: Arc::new(Semaphore::new(places)),
            patience,
            reads,
        };
        Self {
            rollups: lane(
                Reads::Rollups,
                config.questions_max,
                config.timeout,
                config.rows_max,
            ),
            rows: lane(
                Reads::Rows,
                config.raw_questions_max,
                config.raw_timeout,
                config.rows_max,
            ),
            pulse: Arc::new(Pulse::new(client)),
            readiness,
        }
    }

    /// All rows of an answer. Once they are read the connection is free, however slowly the
    /// client takes what is made of them.
    pub(crate) async fn fetch<T: RowOwned + RowRead>(
        &self,
        statement: &Statement,
    ) -> Result<Vec<T>, Failure> {
        let lane = match statement.reads {
            Reads::Rollups => &self.rollups,
            Reads::Rows => &self.rows,
        };
        // The text holds no question mark, which would stand for a value.
        let query = statement.parameters.bind(lane.client.query(&statement.sql));
        self.bounded(lane, query).await
    }

    /// The only row of an answer.
    pub(crate) async fn fetch_one<T: RowOwned + RowRead>(
        &self,
        statement: &Statement,
    ) -> Result<T, Failure> {
        // `Query::fetch_one` leaves the rest of the answer unread, and so closes the connection.
        let mut rows = self.fetch(statement).await?;
        rows.pop()
            .ok_or_else(|| Failure::Unavailable("ClickHouse answered without a row".to_owned()))
    }

    async fn bounded<T: RowOwned + RowRead>(
        &self,
        lane: &Lane,
        query: Query,
    ) -> Result<Vec<T>, Failure> {
        let patience = if self.readiness.is_ready() {
            lane.patience
        } else {
            lane.patience.min(TIMEOUT_WHILE_AWAY)
        };
        let asked = async {
            let place = lane.places.acquire().await;
            let rows = query.fetch_all::<T>().await;
            drop(place);
            rows.map_err(|error| failure::classify(&error, lane.reads, lane.patience))
        };
        tokio::select! {
            asked = timeout(patience, asked) => {
                asked.unwrap_or_else(|_| Err(if patience == lane.patience {
                    failure::out_of_time(lane.reads, patience)
                } else {
                    // It was given a moment only, which says nothing about the question.
                    Failure::Unavailable(format!("no answer of ClickHouse in {patience:?}"))
                }))
            }
            () = self.pulse.stopped() => {
                Err(Failure::Unavailable("ClickHouse does not answer anybody".to_owned()))
            }
        }
    }
}

//! Whether ClickHouse can be asked: tried all the time, shown on `/ready`.

use std::time::Duration;

use clickhouse::Client;
use infra::clickhouse::rollups;
use infra::http::Readiness;
use infra::retry::Backoff;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

const CLICKHOUSE: &str = "clickhouse";
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) async fn watch(
    client: Client,
    database: String,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    // Any other database than weir's: the server refuses all questions in one that is not there.
    let client = client.with_database("system");
    readiness.unavailable(CLICKHOUSE, "ClickHouse has not been reached yet");
    let backoff = Backoff {
        max: Duration::from_secs(1),
        ..Backoff::default()
    };
    let mut failures = 0;
    let mut months_are_filled = false;
    loop {
        let wait = match ask(&client, &database, months_are_filled).await {
            Ok(()) => {
                // For good: a view fills them from then on, some milliseconds after the days.
                months_are_filled = true;
                failures = 0;
                if readiness.available(CLICKHOUSE) {
                    info!("ClickHouse answers");
                }
                ASK_EVERY
            }
            Err(reason) => {
                failures += 1;
                if failures == 1 {
                    warn!("no figures can be had: {reason}");
                }
                readiness.unavailable(CLICKHOUSE, reason);
                backoff.after(failures)
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(wait) => {}
        }
    }
}

async fn ask(client: &Client, database: &str, months_are_filled: bool) -> Result<(), String> {
    if !holds(client, database, include_str!("sql/tables_are_there.sql")).await? {
        return Err(format!(
            "database {database} lacks tables of weir: run `weir migrate`"
        ));
    }
    if !months_are_filled
        && !holds(client, database, include_str!("sql/months_are_filled.sql")).await?
    {
        return Err(format!(
            "months of database {database} are not filled from its days: run `weir migrate`"
        ));
    }
    Ok(())
}

async fn holds(client: &Client, database: &str, sql: &str) -> Result<bool, String> {
    let rollups = rollups::ALL.iter().map(|rollup| rollup.table);
    let tables: Vec<_> = rollups.chain(["events"]).collect();
    let asked = client
        .query(sql)
        .param("database", database)
        .param("tables", tables.as_slice());
    match timeout(ASK_TIMEOUT, asked.fetch_one::<bool>()).await {
        Err(_) => Err(format!("ClickHouse did not answer in {ASK_TIMEOUT:?}")),
        Ok(Err(error)) => Err(format!("ClickHouse cannot be asked: {error}")),
        Ok(Ok(holds)) => Ok(holds),
    }
}

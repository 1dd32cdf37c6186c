//! `weir seal`: closes days.

use std::path::PathBuf;

use anyhow::Context;
use chrono::{Days, NaiveDate, Utc};

use crate::config::Config;

/// Closes days: removes repeats that came from beyond the sink's window, and rebuilds every rollup
/// that differs from its rows. Meant for every night; days on which nothing is wrong cost no
/// more than a look, and the same days may be sealed again.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where `weir up` keeps its data: the address and the password of its ClickHouse are found
    /// there, unless they are configured.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The first day, in UTC; a week before the last by default.
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,
    /// The last day; yesterday by default.
    #[arg(long, value_name = "DATE")]
    to: Option<NaiveDate>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
pub(crate) async fn run(config: &Config, options: Options) -> anyhow::Result<()> {
    let last = options.to.unwrap_or(Utc::now().date_naive() - Days::new(1));
    let first = options.from.unwrap_or(last - Days::new(6));
    let sealed = sink::seal::seal(&config.sink, &config.clickhouse, first, last)
        .await
        .with_context(|| format!("seal {first} to {last}"))?;
    if options.json {
        let text = serde_json::to_string(&sealed).context("write the result as JSON")?;
        println!("{text}");
    } else {
        println!(
            "sealed {first} to {last}: removed {} repeats, rebuilt the rollups of {} days",
            sealed.repeats,
            sealed.days.len()
        );
    }
    Ok(())
}

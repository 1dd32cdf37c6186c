//! `weir health`: a health check for images that have no curl.

use std::time::Duration;

use anyhow::{Context, ensure};
use infra::url::without_credentials;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to ask, http://127.0.0.1:3000/ready for instance.
    url: String,
    /// Seconds to wait for the answer.
    #[arg(long, default_value_t = 5)]
    timeout: u64,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(options.timeout))
        .build()
        .context("make an HTTP client")?;
    let url = without_credentials(&options.url);
    let response = client
        .get(&options.url)
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("ask {url}"))?;
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    ensure!(
        status.is_success(),
        "{url} answers {status}: {}",
        body.trim()
    );
    Ok(())
}

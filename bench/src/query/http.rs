//! One kept-alive connection to a query service, and what comes back over it.

use std::time::Duration;

use anyhow::{Context, ensure};

const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Opens when it is first used; one request at a time keeps it one.
pub(crate) struct Connection(reqwest::Client);

impl Connection {
    /// # Errors
    /// If the client cannot be made.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .pool_max_idle_per_host(1)
            .tcp_nodelay(true)
            .timeout(ANSWER_WITHIN)
            .no_proxy()
            .build()
            .context("make an HTTP client")?;
        Ok(Self(client))
    }

    /// The body of a 200.
    ///
    /// # Errors
    /// If there is no answer, or another one.
    pub(crate) async fn get(&self, url: &str) -> anyhow::Result<Vec<u8>> {
        let (status, body) = self.exchange(url).await?;
        ensure!(
            status == 200,
            "GET {url} was answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }

    /// Status and whole body.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) async fn exchange(&self, url: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let asking = || format!("GET {url}");
        let answer = self.0.get(url).send().await.with_context(asking)?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.with_context(asking)?;
        Ok((status, body.to_vec()))
    }
}

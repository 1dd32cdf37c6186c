//! Page views on their way to ingest: batches, a few requests at a time, each sent again until it
//! is answered. A batch that arrives twice counts once, because each view brings its own event_id.

use std::time::Duration;

use anyhow::{Context, bail};
use event::SiteId;
use infra::retry::Backoff;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

const BATCH_VIEWS: usize = 1000;
const REQUESTS_IN_FLIGHT_MAX: usize = 4;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const REJECTED_SHOWN_MAX: usize = 5;

#[derive(Debug, Serialize)]
pub(super) struct PageView {
    pub(super) event_type: &'static str,
    pub(super) path: String,
    pub(super) user_id: String,
    pub(super) timestamp: String,
    pub(super) event_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) referrer: Option<String>,
}

/// A page view with its site, as `/events` takes it.
#[derive(Serialize)]
struct SiteView<'v> {
    site_id: &'v str,
    #[serde(flatten)]
    view: &'v PageView,
}

/// What ingest would not take.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    pub(super) count: u64,
    /// The first ones: line number and reason.
    pub(super) shown: Vec<(u64, String)>,
}

pub(super) struct Sender {
    post: Post,
    site_id: SiteId,
    batch: Vec<PageView>,
    lines: Vec<u64>,
    requests: JoinSet<anyhow::Result<Vec<(u64, String)>>>,
    rejected: Rejected,
}

impl Sender {
    pub(super) fn new(url: &str, site_id: SiteId, retry_for: Duration) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .build()
            .context("make an HTTP client")?;
        let url = format!("{}/events", url.trim_end_matches('/'));
        reqwest::Url::parse(&url).with_context(|| format!("{url:?} is not a URL"))?;
        Ok(Self {
            post: Post {
                client,
                url,
                retry_for,
            },
            site_id,
            batch: Vec::new(),
            lines: Vec::new(),
            requests: JoinSet::new(),
            rejected: Rejected::default(),
        })
    }

    /// Takes one view; waits while enough requests are under way.
    pub(super) async fn send(&mut self, view: PageView, line: u64) -> anyhow::Result<()> {
        self.batch.push(view);
        self.lines.push(line);
        if self.batch.len() == BATCH_VIEWS {
            self.dispatch().await?;
        }
        Ok(())
    }

    /// Sends what is left and waits for every answer.
    pub(super) async fn finish(mut self) -> anyhow::Result<Rejected> {
        if !self.batch.is_empty() {
            self.dispatch().await?;
        }
        while !self.requests.is_empty() {
            self.join_one().await?;
        }
        Ok(self.rejected)
    }

    async fn dispatch(&mut self) -> anyhow::Result<()> {
        while self.requests.len() >= REQUESTS_IN_FLIGHT_MAX {
            self.join_one().await?;
        }
        let site_id = self.site_id.as_str();
        let views: Vec<_> = self
            .batch
            .iter()
            .map(|view| SiteView { site_id, view })
            .collect();
        let body = serde_json::to_vec(&views).context("write a batch as JSON")?;
        self.batch.clear();
        let lines = std::mem::take(&mut self.lines);
        self.requests
            .spawn(self.post.clone().until_answered(body, lines));
        Ok(())
    }

    async fn join_one(&mut self) -> anyhow::Result<()> {
        let Some(answered) = self.requests.join_next().await else {
            return Ok(());
        };
        for rejected in answered.context("a request ended early")?? {
            self.rejected.count += 1;
            if self.rejected.shown.len() < REJECTED_SHOWN_MAX {
                self.rejected.shown.push(rejected);
            }
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Post {
    client: reqwest::Client,
    url: String,
    retry_for: Duration,
}

/// The part of `/events`' answers that matters here; it stands in 202 and in 400 alike.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    rejected: Vec<RejectedEvent>,
}

#[derive(Deserialize)]
struct RejectedEvent {
    index: usize,
    errors: Vec<String>,
}

impl Post {
    /// Line and reason of each view that was refused.
    async fn until_answered(
        self,
        body: Vec<u8>,
        lines: Vec<u64>,
    ) -> anyhow::Result<Vec<(u64, String)>> {
        let give_up_at = Instant::now() + self.retry_for;
        let backoff = Backoff::default();
        for failures in 1.. {
            let failure = match self.once(body.clone(), &lines).await {
                Ok(rejected) => return rejected,
                Err(failure) => failure,
            };
            let wait = backoff.after(failures);
            if Instant::now() + wait > give_up_at {
                return Err(failure.context(format!(
                    "send to {}; run the same import again, nothing is counted twice",
                    self.url
                )));
            }
            tokio::time::sleep(wait).await;
        }
        unreachable!("the loop ends by an answer or by time")
    }

    /// The outer error may go away with time, the inner one will not.
    async fn once(
        &self,
        body: Vec<u8>,
        lines: &[u64],
    ) -> anyhow::Result<anyhow::Result<Vec<(u64, String)>>> {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json");
        let response = request.body(body).send().await?;
        let status = response.status();
        let text = response.text().await?;
        let overloaded = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        if overloaded {
            bail!("ingest answers {status}: {}", text.trim());
        }
        let answer: Option<Answer> = serde_json::from_str(&text).ok();
        Ok(match answer {
            Some(answer)
                if status == StatusCode::ACCEPTED
                    || (status == StatusCode::BAD_REQUEST && !answer.rejected.is_empty()) =>
            {
                Ok(answer
                    .rejected
                    .into_iter()
                    .filter_map(|event| Some((*lines.get(event.index)?, event.errors.join("; "))))
                    .collect())
            }
            _ => Err(anyhow::anyhow!(
                "{} answers {status}: {}",
                self.url,
                text.trim()
            )),
        })
    }
}

//! Events on their way to ingest: batches, a few requests at a time, each sent again until it is
//! answered. A batch that arrives twice counts once, because each event brings its own event_id.

use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use infra::config::Secret;
use infra::retry::Backoff;
use infra::url::without_credentials;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

const BATCH_EVENTS: usize = 1000;
/// A batch is full with the event that reaches this. Ingest takes bodies of 16 MiB, and an event made
/// of a line of 64 KiB has at most some 800 KiB as JSON.
const BATCH_BYTES: usize = 4 << 20;
const REQUESTS_IN_FLIGHT_MAX: usize = 4;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const REJECTED_SHOWN_MAX: usize = 5;

/// What ingest would not take.
#[derive(Debug, Default)]
pub(crate) struct Rejected {
    pub(crate) count: u64,
    /// The first ones: place and reason.
    pub(crate) shown: Vec<(u64, String)>,
}

/// What its caller calls the place of an event: a line of a file, say.
type Place = u64;

pub(crate) struct Sender {
    post: Post,
    /// A JSON array that is not closed yet.
    batch: Vec<u8>,
    places: Vec<Place>,
    requests: JoinSet<anyhow::Result<Vec<(Place, String)>>>,
    rejected: Rejected,
}

impl Sender {
    /// Sends to the ingest service at `url`, with `key` where it is given; a batch is given up after
    /// `retry_for`, with `advice`.
    ///
    /// # Errors
    /// If `url` or `key` is none.
    pub(crate) fn new(
        url: &str,
        key: Option<&Secret>,
        retry_for: Duration,
        advice: &'static str,
    ) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .default_headers(key.map(authorization).transpose()?.unwrap_or_default())
            .build()
            .context("make an HTTP client")?;
        let url = format!("{}/events", url.trim_end_matches('/'));
        reqwest::Url::parse(&url)
            .with_context(|| format!("{:?} is not a URL", without_credentials(&url)))?;
        Ok(Self {
            post: Post {
                client,
                url,
                retry_for,
                advice,
            },
            batch: Vec::new(),
            places: Vec::new(),
            requests: JoinSet::new(),
            rejected: Rejected::default(),
        })
    }

    /// Takes one event, as `/events` takes it; waits while enough requests are under way.
    pub(crate) async fn send(
        &mut self,
        event: &impl Serialize,
        place: Place,
    ) -> anyhow::Result<()> {
        self.batch
            .push(if self.batch.is_empty() { b'[' } else { b',' });
        serde_json::to_writer(&mut self.batch, event).context("write an event as JSON")?;
        self.places.push(place);
        if self.places.len() >= BATCH_EVENTS || self.batch.len() >= BATCH_BYTES {
            self.dispatch().await?;
        }
        Ok(())
    }

    /// Sends what is left and waits for every answer.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Rejected> {
        if !self.places.is_empty() {
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
        let mut body = std::mem::take(&mut self.batch);
        body.push(b']');
        let places = std::mem::take(&mut self.places);
        self.requests
            .spawn(self.post.clone().until_answered(body, places));
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

/// # Errors
/// If the key is none, or a public one. The key itself is in no message.
fn authorization(key: &Secret) -> anyhow::Result<HeaderMap> {
    let key = key.expose();
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(
        is_key,
        "the write key is empty, or has a blank or another character that no key has"
    );
    ensure!(
        !key.starts_with("wp_"),
        "the write key is a public one, of which ingest believes no addresses and user agents of others: make a secret one with `weir key --secret`"
    );
    let mut value = HeaderValue::try_from(format!("Bearer {key}"))?;
    // Kept out of what the HTTP client prints of a request.
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

#[derive(Clone)]
struct Post {
    client: reqwest::Client,
    url: String,
    retry_for: Duration,
    advice: &'static str,
}

/// What may go away with time.
struct Passing {
    error: anyhow::Error,
    /// What the server asks for.
    retry_after: Option<Duration>,
}

impl From<reqwest::Error> for Passing {
    fn from(error: reqwest::Error) -> Self {
        Self {
            error: error.without_url().into(),
            retry_after: None,
        }
    }
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
    /// Place and reason of each event that was refused.
    async fn until_answered(
        self,
        body: Vec<u8>,
        places: Vec<Place>,
    ) -> anyhow::Result<Vec<(Place, String)>> {
        let give_up_at = Instant::now() + self.retry_for;
        let backoff = Backoff::default();
        let body = bytes::Bytes::from(body);
        for failures in 1.. {
            let Passing { error, retry_after } = match self.once(body.clone(), &places).await {
                Ok(rejected) => return rejected,
                Err(failure) => failure,
            };
            let wait = backoff.after(failures).max(retry_after.unwrap_or_default());
            if Instant::now() + wait > give_up_at {
                let to = without_credentials(&self.url);
                return Err(error.context(format!("send to {to}; {}", self.advice)));
            }
            tokio::time::sleep(wait).await;
        }
        unreachable!("the loop ends by an answer or by time")
    }

    /// The outer error may go away with time, the inner one will not.
    async fn once(
        &self,
        body: bytes::Bytes,
        places: &[Place],
    ) -> Result<anyhow::Result<Vec<(Place, String)>>, Passing> {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json");
        let response = request.body(body).send().await?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let text = response.text().await?;
        let overloaded = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        if overloaded {
            return Err(Passing {
                error: anyhow!("ingest answers {status}: {}", text.trim()),
                retry_after,
            });
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
                    .filter_map(|event| Some((*places.get(event.index)?, event.errors.join("; "))))
                    .collect())
            }
            // The same reason for all of them, most likely.
            Some(answer)
                if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
                    && !answer.rejected.is_empty() =>
            {
                let from = without_credentials(&self.url);
                let reason = answer.rejected[0].errors.join("; ");
                Err(anyhow!(
                    "{from} answers {status}: {reason}. --key sends a secret key of the site (`weir key --secret` makes one)"
                ))
            }
            _ => {
                let from = without_credentials(&self.url);
                Err(anyhow!("{from} answers {status}: {}", text.trim()))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sent_and_shown_to_nobody_and_what_is_none_is_refused_without_it() {
        let headers = authorization(&"ws_51ba".to_owned().into()).unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer ws_51ba");
        assert!(!format!("{headers:?}").contains("51ba"));
        for (key, reason) in [
            ("", "is empty"),
            ("ws_51 ba", "has a blank"),
            ("ws_51ba\n", "has a blank"),
            ("ws_51b\u{e4}", "another character"),
            ("wp_51ba", "`weir key --secret`"),
        ] {
            let refused = authorization(&key.to_owned().into()).unwrap_err();
            let refused = format!("{refused:#}");
            assert!(refused.contains(reason), "{refused}");
            assert!(!refused.contains("51"), "{refused}");
        }
    }
}

//! Answers as they go over the wire: JSON or CSV, with a tag for those who have them already.

mod accept;
mod csv;

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use infra::http::error;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::database::Failure;
pub(crate) use accept::{Format, wants_events};
pub(crate) use csv::{Cell, Csv};

const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");
/// Late events and imports change days that are over, so these are not kept for long.
const KEPT_SHORTLY: HeaderValue = HeaderValue::from_static("private, max-age=60");
const ASKED_AGAIN: HeaderValue = HeaderValue::from_static("private, no-cache");
const VARIES: HeaderValue = HeaderValue::from_static("accept, authorization");

/// An answer, written out. All who asked the same at once share it.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    format: Format,
    body: Bytes,
    etag: HeaderValue,
}

/// What an endpoint says, in either form.
pub(crate) trait Answer: Serialize {
    /// Writes its main list.
    fn csv(&self, csv: &mut Csv);
}

impl Written {
    pub(crate) fn new(answer: &impl Answer, format: Format) -> Result<Arc<Self>, Failure> {
        let body = match format {
            Format::Json => serde_json::to_vec(answer)
                .map_err(|fault| Failure::Unavailable(format!("write the answer: {fault}")))?,
            Format::Csv { raw_cells } => {
                let mut csv = Csv::new(raw_cells);
                answer.csv(&mut csv);
                csv.into_bytes()
            }
        };
        let mut etag = String::with_capacity(34);
        etag.push('"');
        for byte in &Sha256::digest(&body)[..16] {
            etag.push_str(&format!("{byte:02x}"));
        }
        etag.push('"');
        let etag = HeaderValue::try_from(etag)
            .map_err(|fault| Failure::Unavailable(format!("tag the answer: {fault}")))?;
        Ok(Arc::new(Self {
            format,
            body: body.into(),
            etag,
        }))
    }

    /// Of its body.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// `closed`: all that was asked about is over.
    pub(crate) fn response(&self, asked: &HeaderMap, closed: bool) -> Response {
        let kept = if closed { KEPT_SHORTLY } else { ASKED_AGAIN };
        let headers = [
            (ETAG, self.etag.clone()),
            (CACHE_CONTROL, kept),
            (VARY, VARIES),
        ];
        if self.is_known(asked) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        let kind = [(CONTENT_TYPE, self.format.content_type())];
        (headers, kind, self.body.clone()).into_response()
    }

    fn is_known(&self, asked: &HeaderMap) -> bool {
        let tags = asked.get_all(IF_NONE_MATCH).into_iter();
        let mut tags = tags
            .filter_map(|tags| tags.to_str().ok())
            .flat_map(|tags| tags.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes())
    }
}

impl Failure {
    pub(crate) fn response(self, route: &'static str) -> Response {
        match self {
            Self::Parameter(sentence) => error(StatusCode::BAD_REQUEST, vec![sentence]),
            Self::TooMuch(sentence) => error(StatusCode::UNPROCESSABLE_ENTITY, vec![sentence]),
            Self::Unavailable(reason) | Self::Refused(reason) => {
                warn!("{route} was answered with 503: {reason}");
                unavailable("ClickHouse cannot answer now")
            }
        }
    }
}

pub(crate) fn unavailable(sentence: &str) -> Response {
    let mut response = error(
        StatusCode::SERVICE_UNAVAILABLE,
        vec![format!("{sentence}; try again")],
    );
    response
        .headers_mut()
        .insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    response
}

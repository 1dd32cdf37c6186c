//! What all endpoints share: who may ask, asking the same once, writing the answer, counting it.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::Utc;
use event::SiteId;
use futures_util::FutureExt;
use infra::http::error;
use metrics::{counter, histogram};
use tokio::time::Instant;

use crate::answer::{Answer, Format, Written};
use crate::database::{Database, Failure};
use crate::days::Span;
use crate::edge::Edge;
use crate::filter::Filter;
use crate::flights::Flights;
use crate::kept::{self, Kept};
use crate::keys::KeyRing;
use crate::params::{Pairs, asks_for_raw_cells};
use crate::question::{
    BreakdownQuestion, Faults, NowQuestion, SeriesQuestion, SitesQuestion, Slice, StatsQuestion,
};
use crate::realtime::Live;
use crate::{breakdown, realtime, sites, stats, timeseries};

/// The state of all handlers; cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) keys: KeyRing,
    pub(crate) live: Live,
    pub(crate) edge: Arc<Edge>,
    figures: Figures,
    kept: Arc<Kept>,
    flights: Flights<kept::Asked, kept::Outcome>,
}

/// Where figures come from; cheap to clone.
#[derive(Clone)]
pub(crate) struct Figures {
    pub(crate) database: Database,
    pub(crate) view_types: Arc<[String]>,
    pub(crate) visitors_period: context::visitor::Period,
}

/// Everything that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    Stats(StatsQuestion),
    Series(SeriesQuestion),
    Breakdown(BreakdownQuestion),
    Sites(SitesQuestion),
    Now(NowQuestion),
}

impl Api {
    pub(crate) fn new(
        figures: Figures,
        keys: KeyRing,
        live: Live,
        edge: Edge,
        kept_bytes_max: u64,
    ) -> Self {
        Self {
            edge: Arc::new(edge),
            keys,
            live,
            kept: Arc::new(Kept::new(figures.database.clone(), kept_bytes_max)),
            figures,
            flights: Flights::default(),
        }
    }

    /// Answers a question of `route`, as read from a request's parameters.
    pub(crate) async fn respond(
        &self,
        route: &'static str,
        headers: &HeaderMap,
        pairs: &Pairs,
        read: Result<Question, Faults>,
    ) -> Response {
        let asked_at = Instant::now();
        let response = match read {
            Ok(question) => {
                let format = Format::of(headers, asks_for_raw_cells(pairs));
                self.answer(route, headers, question, format).await
            }
            Err(faults) => error(StatusCode::BAD_REQUEST, faults),
        };
        count(route, asked_at, &response);
        response
    }

    async fn answer(
        &self,
        route: &'static str,
        headers: &HeaderMap,
        question: Question,
        format: Format,
    ) -> Response {
        let question = match self.permit(headers, question) {
            Ok(question) => question,
            Err(refusal) => return *refusal,
        };
        let closed = question.is_closed();
        let asked = (question, format);
        let start = {
            let (figures, kept, asked) = (self.figures.clone(), self.kept.clone(), asked.clone());
            move || {
                async move {
                    let question = asked.0.clone();
                    kept.answer(asked, question.answer(&figures, format)).await
                }
                .boxed()
            }
        };
        match self.flights.answer(asked, start).await {
            Ok(written) => written.response(headers, closed),
            Err(failure) => failure.response(route),
        }
    }

    fn permit(&self, headers: &HeaderMap, question: Question) -> Result<Question, Box<Response>> {
        if let Question::Sites(question) = question {
            let among = self.keys.opened(headers)?;
            return Ok(Question::Sites(SitesQuestion { among, ..question }));
        }
        if let Some(site) = question.site() {
            self.keys.open(headers, site)?;
        }
        Ok(question)
    }
}

/// One more answer, for `/metrics`.
pub(crate) fn count(route: &'static str, asked_at: Instant, response: &Response) {
    let status = response.status().as_str().to_owned();
    histogram!("weir_query_seconds", "route" => route).record(asked_at.elapsed().as_secs_f64());
    counter!("weir_query_requests_total", "route" => route, "status" => status).increment(1);
}

impl Question {
    fn slice(&self) -> Option<&Slice> {
        match self {
            Self::Stats(question) => Some(&question.slice),
            Self::Series(question) => Some(&question.slice),
            Self::Breakdown(question) => Some(&question.slice),
            Self::Sites(_) | Self::Now(_) => None,
        }
    }

    fn site(&self) -> Option<&SiteId> {
        match self {
            Self::Now(question) => Some(&question.site_id),
            _ => self.slice().map(|slice| &slice.site_id),
        }
    }

    /// Whether all days asked about are over. Events may still come late.
    pub(crate) fn is_closed(&self) -> bool {
        self.slice().is_some_and(|slice| {
            let days = slice.days.closed();
            days.is_some_and(|days| slice.span_of(days).end <= Utc::now())
        })
    }

    /// All the time that the answer covers; none if more than its rows decides about the answer,
    /// as what time it is.
    pub(crate) fn spans(&self) -> Option<Vec<Span>> {
        let (slice, compare) = match self {
            Self::Stats(question) => (&question.slice, question.compare),
            Self::Breakdown(question) => (&question.slice, question.compare),
            Self::Series(question) => {
                question.slice.days.closed()?;
                (&question.slice, question.compare)
            }
            Self::Sites(_) | Self::Now(_) => return None,
        };
        let other = compare.zip(slice.days.closed());
        let other = other.map(|(compare, days)| slice.span_of(compare.with(days)));
        let spans = [Some(slice.span()), other];
        Some(spans.into_iter().flatten().collect())
    }

    /// What it takes of memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let filters = self.slice().map_or(&[][..], |slice| &slice.filters);
        let of_filters: usize = filters.iter().map(Filter::bytes).sum();
        size_of::<Self>() + of_filters
    }

    async fn answer(self, figures: &Figures, format: Format) -> Result<Arc<Written>, Failure> {
        fn written(answer: &impl Answer, format: Format) -> Result<Arc<Written>, Failure> {
            Written::new(answer, format)
        }
        match self {
            Self::Stats(question) => written(&stats::answer(figures, &question).await?, format),
            Self::Series(question) => {
                written(&timeseries::answer(figures, &question).await?, format)
            }
            Self::Breakdown(question) => {
                written(&breakdown::answer(figures, &question).await?, format)
            }
            Self::Sites(question) => written(&sites::answer(figures, &question).await?, format),
            Self::Now(question) => written(&realtime::answer(figures, &question).await?, format),
        }
    }
}

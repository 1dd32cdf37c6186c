//! The way of nearly all requests: past the router and its layers, to the same handlers. Each layer
//! of a router costs every request an allocation or two, which together were more than an event's
//! own work. What this answers is what the layers would answer; the tests hold the two together.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ORIGIN, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use futures_util::FutureExt as _;
use infra::http::{NOSNIFF, with_nosniff};
use metrics::{Counter, counter};
use tower::Service;

use super::{Edge, batch, cors, failed, single};
use crate::tracker::Tracker;

const VARIES: HeaderValue = HeaderValue::from_static(
    "origin, access-control-request-method, access-control-request-headers",
);
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after,www-authenticate");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Posts of events are answered here, everything else by the router.
#[derive(Clone)]
pub(crate) struct Front {
    edge: Arc<Edge>,
    tracker: Arc<Tracker>,
    accepted: Arc<[Counter; 3]>,
    rest: Router,
    /// The same for pages, which ask with an Origin.
    rest_for_pages: Router,
}

#[derive(Debug, Clone, Copy)]
enum Route {
    Event,
    Tracked,
    Events,
}

impl Route {
    fn of(request: &Request, tracker: &Tracker) -> Option<Self> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/event") => Some(Self::Event),
            (&Method::POST, "/events") => Some(Self::Events),
            (&Method::POST, path) if tracker.is_at(path) => Some(Self::Tracked),
            _ => None,
        }
    }

    /// As metrics have it, where the tracker's address would say nothing more.
    fn path(self) -> &'static str {
        match self {
            Self::Event | Self::Tracked => "/event",
            Self::Events => "/events",
        }
    }
}

impl Front {
    pub(crate) fn new(edge: Arc<Edge>, tracker: Arc<Tracker>, rest: Router) -> Self {
        let accepted = [Route::Event, Route::Tracked, Route::Events]
            .map(|route| answers(route, StatusCode::ACCEPTED));
        Self {
            edge,
            accepted: Arc::new(accepted),
            rest_for_pages: with_nosniff(rest.clone().layer(cors(tracker.clone()))),
            rest: with_nosniff(rest),
            tracker,
        }
    }

    /// It is the same for all origins.
    fn is_for_the_script(&self, request: &Request) -> bool {
        matches!(*request.method(), Method::GET | Method::HEAD)
            && self.tracker.is_at(request.uri().path())
    }

    async fn answer(self, route: Route, request: Request) -> Response {
        let origin = request.headers().get(ORIGIN).cloned();
        let edge = State(self.edge);
        let answering = async {
            match route {
                Route::Event => single::post_event(edge, request).await,
                Route::Tracked => single::post_tracked(edge, request).await,
                Route::Events => batch::post_events(edge, request).await,
            }
        };
        let answered = AssertUnwindSafe(answering).catch_unwind().await;
        let mut response = answered.unwrap_or_else(failed);
        match response.status() {
            StatusCode::ACCEPTED => self.accepted[route as usize].increment(1),
            status => answers(route, status).increment(1),
        }
        response
            .headers_mut()
            .insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        if let Some(origin) = origin {
            allow(origin, &mut response);
        }
        response
    }
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match Route::of(&request, &self.tracker) {
            Some(route) => Box::pin(self.clone().answer(route, request).map(Ok)),
            None if is_of_a_page(&request) && !self.is_for_the_script(&request) => {
                Box::pin(self.rest_for_pages.call(request))
            }
            None => Box::pin(self.rest.call(request)),
        }
    }
}

fn is_of_a_page(request: &Request) -> bool {
    request.method() == Method::OPTIONS || request.headers().contains_key(ORIGIN)
}

fn answers(route: Route, status: StatusCode) -> Counter {
    let status = status.as_u16().to_string();
    counter!("weir_ingest_answers_total", "route" => route.path(), "status" => status)
}

/// As [`cors`] has it for what is no preflight.
fn allow(origin: HeaderValue, response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(VARY, VARIES);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::*;
    use crate::tracker::TrackerConfig;

    #[tokio::test]
    async fn pages_get_the_headers_that_the_layer_would_give_them() {
        let layered = Router::new()
            .route("/event", post(|| async { "" }))
            .layer(cors(Arc::new(Tracker::new(&TrackerConfig::default()))));
        for origin in ["https://shop.example", "null"] {
            let request = Request::post("/event").header(ORIGIN, origin);
            let request = request.body(Body::empty()).unwrap();
            let by_layer = layered.clone().oneshot(request).await.unwrap();
            let mut own = Response::new(Body::empty());
            allow(HeaderValue::from_static(origin), &mut own);
            for header in [
                VARY,
                ACCESS_CONTROL_ALLOW_ORIGIN,
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                ACCESS_CONTROL_EXPOSE_HEADERS,
            ] {
                assert_eq!(
                    by_layer.headers().get(&header),
                    own.headers().get(&header),
                    "{header}"
                );
            }
        }
    }
}

//! Pages of other origins, in the browser of somebody who reaches a service: what they may read of
//! it. Where no key is asked for, the browser's word on where a request comes from is all there is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AsHeaderName, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{Origin, error};
use crate::keys::bearer;

/// Browsers ask again earlier, each after a limit of its own.
const PREFLIGHT_AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// Lists pages of all origins.
const ANY: &str = "*";

/// The pages that may read. Clones share them.
#[derive(Debug, Clone)]
pub struct Pages(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    /// Where origins are listed; none: they cannot be.
    setting: Option<&'static str>,
    listed: Vec<Origin>,
    any: bool,
    /// Whether keys guard what is read, so that a page that has one may read.
    keyed: bool,
}

impl Pages {
    /// No page of another origin may read.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new(Rules {
            setting: None,
            listed: Vec::new(),
            any: false,
            keyed: false,
        }))
    }

    /// Pages of the origins listed in `setting`, `*` for all, and where answers are `keyed` those
    /// that present a key.
    ///
    /// # Errors
    /// If what is listed is no origin.
    pub fn new(setting: &'static str, listed: &[String], keyed: bool) -> anyhow::Result<Self> {
        let any = listed.iter().any(|text| text == ANY);
        ensure!(
            !any || listed.len() == 1,
            "{setting}: {ANY:?} lists all origins, and others beside it say nothing"
        );
        let mut origins = Vec::new();
        for text in listed.iter().filter(|_| !any) {
            let origin = Origin::try_from(text.clone()).map_err(anyhow::Error::msg);
            origins.push(origin.context(setting)?);
        }
        Ok(Self(Arc::new(Rules {
            setting: Some(setting),
            listed: origins,
            any,
            keyed,
        })))
    }

    /// Tells browsers which pages may read. To be laid around the routes that are to be read, and
    /// around their answers to wrong methods, or these would answer a preflight.
    pub fn cors(&self) -> CorsLayer {
        let rules = self.0.clone();
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(move |_, request| {
                rules.let_read(&request.method, &request.headers)
            }))
            .allow_methods([Method::GET, Method::HEAD])
            .allow_headers(AllowHeaders::mirror_request())
            .max_age(PREFLIGHT_AGE_MAX)
    }

    /// Has a router refuse, with 403, what other pages ask for and may not read: browsers would
    /// keep the answer from them, but it would have been counted, as often as a page likes. They
    /// may lead to it, as a link does.
    pub fn guard(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), refuse_others))
    }
}

impl Rules {
    fn let_read(&self, method: &Method, headers: &HeaderMap) -> bool {
        let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        let Some(origin) = origin else {
            return false;
        };
        // A preflight carries no key; the request that follows it has to.
        let has_key = || *method == Method::OPTIONS || bearer(headers).is_some();
        self.any
            || Origin::of(origin).is_some_and(|origin| self.listed.contains(&origin))
            || self.keyed && has_key()
    }
}

async fn refuse_others(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    let (rules, headers) = (&pages.0, request.headers());
    if !is_of_another_page(headers)
        || is_led_to(headers)
        // A preflight costs nothing, and says for itself what may follow.
        || request.method() == Method::OPTIONS
        || rules.let_read(request.method(), headers)
    {
        return next.run(request).await;
    }
    let sentence = match rules.setting {
        Some(setting) => {
            format!("a page of another origin may not read this: list it in {setting}")
        }
        None => "a page of another origin may not read this".to_owned(),
    };
    error(StatusCode::FORBIDDEN, vec![sentence])
}

/// Another port is another origin, and the same site.
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let site = HeaderName::from_static("sec-fetch-site");
    is(headers, &site, "cross-site") || is(headers, &site, "same-site")
}

/// Whether the answer becomes a page of its own, and not a part of the one that asked.
fn is_led_to(headers: &HeaderMap) -> bool {
    is(headers, "sec-fetch-mode", "navigate") && is(headers, "sec-fetch-dest", "document")
}

fn is(headers: &HeaderMap, name: impl AsHeaderName, value: &str) -> bool {
    headers.get(name).is_some_and(|found| found == value)
}

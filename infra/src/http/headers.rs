//! Headers of every answer, errors included: browsers must not guess its type and must not give it to
//! pages of other origins.

use axum::Router;
use axum::http::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::map_response;
use axum::response::Response;

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// Without it a browser runs as a script what only looks like one.
pub const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// For all that is no page: it loads nothing, sends nothing, and is no part of a page.
const POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (X_CONTENT_TYPE_OPTIONS, NOSNIFF),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        CROSS_ORIGIN_RESOURCE_POLICY,
        HeaderValue::from_static("same-origin"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Adds them to every answer of a router that does not say otherwise. To be applied to the whole
/// router, last.
pub fn with_headers(router: Router) -> Router {
    router.layer(map_response(complete))
}

/// Adds the one of them that holds for what other pages may load, too.
pub fn with_nosniff(router: Router) -> Router {
    router.layer(map_response(async |mut response: Response| {
        response
            .headers_mut()
            .insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        response
    }))
}

pub(super) async fn complete(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

//! `GET /w.js`: the tracker.

use axum::http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING,
    CONTENT_LOCATION, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::tracker::Tracker;

const KIND: &str = "text/javascript; charset=utf-8";
/// A new version is everywhere within an hour.
const FOR_AN_HOUR: &str = "public, max-age=3600";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// The tracker
///
/// The script that a website loads, at the path that `ingest.tracker.path` says. `Content-Location`
/// names it by its version; under that name it never changes. It posts its events to the address it
/// came from, as to `/event`; an event that comes there is a page's also without an `Origin`.
#[utoipa::path(
    get,
    path = "/w.js",
    tag = "tracker",
    responses(
        (status = 200, description = "The script", content_type = "text/javascript", body = String,
            headers(
                ("Content-Location" = String, description = "Its name with its version"),
                ("ETag" = String, description = "Its version"),
            )),
        (status = 304, description = "It is the version that `If-None-Match` names"),
    ),
)]
pub(crate) fn get_script(tracker: &Tracker, headers: &HeaderMap) -> Response {
    answer(tracker, headers, FOR_AN_HOUR)
}

/// The tracker, in this version
///
/// As `/w.js`, for pages that name a version and its `integrity`. Another version than the one that
/// this weir has is not found.
#[utoipa::path(
    get,
    path = "/w.{version}.js",
    tag = "tracker",
    params(("version" = String, Path, description = "16 hexadecimal digits", example = "0123456789abcdef")),
    responses(
        (status = 200, description = "The script, to be kept for ever", content_type = "text/javascript", body = String),
        (status = 304, description = "It is the version that `If-None-Match` names"),
        (status = 404, description = "This weir has another version", body = infra::http::ErrorBody),
    ),
)]
pub(crate) fn get_version(tracker: &Tracker, headers: &HeaderMap) -> Response {
    answer(tracker, headers, FOR_EVER)
}

fn answer(tracker: &Tracker, headers: &HeaderMap, caching: &'static str) -> Response {
    let common = [
        (CACHE_CONTROL, caching),
        (VARY, "accept-encoding"),
        (ETAG, &tracker.etag),
        (CONTENT_LOCATION, tracker.versioned_name()),
        // Without regard to who asks, so that what a cache has is good for all.
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"),
    ];
    let is_known = list(headers, &IF_NONE_MATCH)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == tracker.etag);
    if is_known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(CONTENT_TYPE, KIND)];
    if list(headers, &ACCEPT_ENCODING).any(is_gzip) {
        let encoding = [(CONTENT_ENCODING, "gzip")];
        (common, kind, encoding, tracker.gzip.clone()).into_response()
    } else {
        (common, kind, tracker.plain.clone()).into_response()
    }
}

/// The items of a header that is a list.
fn list<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
}

/// Whether an item of `Accept-Encoding` is gzip, and not refused by a weight of 0.
fn is_gzip(item: &str) -> bool {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q="));
    let is_refused = weight
        .and_then(|weight| weight.parse::<f32>().ok())
        .is_some_and(|weight| weight <= 0.0);
    name.eq_ignore_ascii_case("gzip") && !is_refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_where_it_is_accepted() {
        for item in ["gzip", "GZIP", "gzip;q=0.5", "gzip; q=1"] {
            assert!(is_gzip(item), "{item}");
        }
        for item in ["", "br", "gzip;q=0", "gzip; q=0.000", "x-gzip"] {
            assert!(!is_gzip(item), "{item}");
        }
    }
}

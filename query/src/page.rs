//! `/`: the dashboard, whose files stand in `dashboard/` and are part of the binary.

mod files;

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderName, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use infra::http::error;

use files::{File, Files};

/// Nothing inline, nothing from elsewhere, nobody frames it; with trusted types the browser itself
/// refuses text that would become HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// The address of a file holds a hash of all of them, so it may be kept for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// The page names those addresses, so it is asked for each time, and most often not sent again.
const ASK_AGAIN: &str = "no-cache";

static FILES: LazyLock<Files> = LazyLock::new(Files::prepare);

/// The page and what it loads.
pub(crate) fn routes() -> Router {
    // Before the first request rather than in it.
    LazyLock::force(&FILES);
    Router::new()
        .route("/", get(index))
        .route("/dashboard/{version}/{*name}", get(asset))
}

async fn index(headers: HeaderMap) -> Response {
    answer(&FILES.index, &headers, ASK_AGAIN)
}

async fn asset(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    match FILES.find(&version, &name) {
        Some(file) => answer(file, &headers, FOR_EVER),
        // A page of another version asks, in a tab that was open meanwhile; loading it again helps.
        None => error(
            StatusCode::NOT_FOUND,
            vec!["there is no such file in this version".to_owned()],
        ),
    }
}

fn answer(file: &File, headers: &HeaderMap, caching: &'static str) -> Response {
    let mentions = |name: HeaderName, what: &str| {
        let mut values = headers.get_all(name).iter();
        values.any(|value| value.to_str().is_ok_and(|text| text.contains(what)))
    };
    let gzip = mentions(ACCEPT_ENCODING, "gzip");
    let common = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, caching),
        (VARY, "accept-encoding"),
        (ETAG, file.etag.as_str()),
    ];
    if mentions(IF_NONE_MATCH, &file.etag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(CONTENT_TYPE, file.kind)];
    if gzip {
        let encoding = [(CONTENT_ENCODING, "gzip")];
        (common, kind, encoding, file.gzip.clone()).into_response()
    } else {
        (common, kind, file.plain.clone()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[tokio::test]
    async fn the_page_is_not_sent_twice() {
        let first = index(HeaderMap::new()).await;
        assert_eq!(first.status(), StatusCode::OK);
        let etag = first.headers()[ETAG].to_str().unwrap().to_owned();
        let again = index(asked_with(IF_NONE_MATCH, &etag)).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let other = index(asked_with(IF_NONE_MATCH, "\"other\"")).await;
        assert_eq!(other.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn who_does_not_unpack_gets_it_plain() {
        let plain = index(HeaderMap::new()).await;
        assert!(!plain.headers().contains_key(CONTENT_ENCODING));
        let packed = index(asked_with(ACCEPT_ENCODING, "br, gzip")).await;
        assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
    }

    #[tokio::test]
    async fn files_of_another_version_are_not_there() {
        let path = |version: &str| Path((version.to_owned(), "app.js".to_owned()));
        let own = asset(path(&FILES.version), HeaderMap::new()).await;
        assert_eq!(own.status(), StatusCode::OK);
        assert_eq!(own.headers()[CACHE_CONTROL], FOR_EVER);
        let other = asset(path("0"), HeaderMap::new()).await;
        assert_eq!(other.status(), StatusCode::NOT_FOUND);
    }
}

//! `/`: a page that says what this is.

use axum::http::header::{CONTENT_SECURITY_POLICY, HeaderName};
use axum::response::Html;

/// A page without scripts; its own style is all it may load.
pub(crate) async fn index() -> ([(HeaderName, &'static str); 1], Html<&'static str>) {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'";
    (
        [(CONTENT_SECURITY_POLICY, policy)],
        Html(include_str!("index.html")),
    )
}

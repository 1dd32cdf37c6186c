//! One shape for every error a client gets: `{"success":false,"status":"error","errors":[..]}`.

use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde::Serialize;

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// Always `false`.
    pub success: bool,
    /// Always `error`.
    #[schema(example = "error")]
    pub status: &'static str,
    /// What is wrong, each a sentence the client can act on. Never empty.
    #[schema(example = json!(["site_id is required and must be a string"]))]
    pub errors: Vec<String>,
}

/// An error answer.
pub fn error(status: StatusCode, errors: Vec<String>) -> Response {
    (
        status,
        Json(ErrorBody {
            success: false,
            status: "error",
            errors,
        }),
    )
        .into_response()
}

/// Gives unknown paths and wrong methods the common shape. To be applied to the whole router,
/// last.
pub fn with_fallbacks(router: Router) -> Router {
    with_method_fallback(router).fallback(|uri: Uri| async move {
        error(
            StatusCode::NOT_FOUND,
            vec![format!("there is no {}", shown(uri.path()))],
        )
    })
}

/// Gives wrong methods the common shape: for routes whose layers must see them, as a preflight is.
pub fn with_method_fallback(router: Router) -> Router {
    router.method_not_allowed_fallback(|method: Method, uri: Uri| async move {
        let sentence = format!("{} does not take {method}", shown(uri.path()));
        error(StatusCode::METHOD_NOT_ALLOWED, vec![sentence])
    })
}

fn shown(path: &str) -> String {
    const CHARS_MAX: usize = 100;
    let mut chars = path.chars();
    let shown: String = chars.by_ref().take(CHARS_MAX).collect();
    if chars.next().is_some() {
        format!("{shown}...")
    } else {
        shown
    }
}

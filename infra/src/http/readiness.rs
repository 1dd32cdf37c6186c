//! Whether a service can do its work now, and if not, why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// What stands in the way, by dependency. Cheap to clone; clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Readiness {
    /// Says that `dependency` cannot be used, and why. Returns whether that is news.
    pub fn unavailable(&self, dependency: &'static str, reason: impl Into<String>) -> bool {
        self.lock().insert(dependency, reason.into()).is_none()
    }

    /// Says that `dependency` can be used. Returns whether that is news.
    pub fn available(&self, dependency: &'static str) -> bool {
        self.lock().remove(dependency).is_some()
    }

    /// Whether nothing stands in the way.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    pub(super) fn response(&self, service: &str) -> Response {
        let reasons = self.lock().clone();
        if reasons.is_empty() {
            return Json(json!({"status": "ready", "service": service})).into_response();
        }
        let body = json!({"status": "unavailable", "service": service, "reasons": reasons});
        (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        // A map of strings is whole at every await-free step, so a poisoned one is still right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

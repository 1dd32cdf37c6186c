//! The HTTP side every service has: binding, serving, `/health`, `/ready`, `/metrics`, the API's
//! pages, one shape for all errors, and what pages in browsers may do with it.

mod activity;
mod connections;
mod docs;
mod errors;
mod headers;
mod hosts;
mod open_access;
mod open_files;
mod origin;
mod pages;
mod places;
mod readiness;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use connections::{Answers, ConnectionLimits};
pub use docs::api_docs;
pub use errors::{ErrorBody, error, with_fallbacks, with_method_fallback};
pub use headers::{NOSNIFF, with_headers, with_nosniff};
pub use hosts::Hosts;
pub use open_access::{is_loopback, tell_of_open_access};
pub use origin::Origin;
pub use pages::Pages;
pub use places::bucket_of;
pub use readiness::Readiness;

use crate::telemetry;
use connections::Connections;

/// How long open requests may take to finish once shutdown was asked for.
const GRACE: Duration = Duration::from_secs(10);
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Listens on `address`. `setting` names the key that moves the service elsewhere.
///
/// # Errors
/// If the address is in use or not this machine's: one line that says what to do.
pub async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            anyhow::anyhow!(
                "{address} is already in use: stop what listens there, or set {setting} to another address"
            )
        } else {
            anyhow::Error::new(error).context(format!("listen on {address} ({setting})"))
        }
    })
}

/// Serves until `shutdown`, then lets open requests finish within a grace period. Handlers find
/// the client's address as [`ConnectInfo<SocketAddr>`](axum::extract::ConnectInfo).
///
/// # Errors
/// None so far: what goes wrong with a connection is over with it, and a listener that cannot
/// accept is tried again.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    serve_within(listener, router, ConnectionLimits::default(), shutdown).await
}

/// As [`serve`], with limits of its own, and of anything that answers.
///
/// # Errors
/// As [`serve`].
pub async fn serve_within(
    listener: TcpListener,
    service: impl Answers,
    limits: ConnectionLimits,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut connections = Connections::new(listener, service, limits, shutdown.clone());
    let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
    loop {
        tokio::select! {
            () = connections.accept() => {}
            () = shutdown.cancelled() => break,
            _ = upkeep.tick() => telemetry::keep_up(),
        }
    }
    if tokio::time::timeout(GRACE, connections.finish())
        .await
        .is_err()
    {
        warn!("requests still open after {GRACE:?} were cut off");
    }
    Ok(())
}

/// `/health`, `/ready` and `/metrics`.
pub fn operations(service: &'static str, readiness: Readiness) -> Router {
    let health =
        move || async move { axum::Json(serde_json::json!({"status": "ok", "service": service})) };
    let metrics = || async {
        (
            [(CONTENT_TYPE, "text/plain; version=0.0.4")],
            telemetry::render_metrics(),
        )
            .into_response()
    };
    Router::new()
        .route("/health", get(health))
        .route(
            "/ready",
            get(move || async move { readiness.response(service) }),
        )
        .route("/metrics", get(metrics))
}

//! The ceiling: the same HTTP server on the same runtime, which parses the same bodies into the
//! same types, by serde as any handler would, and answers at once. It judges nothing and keeps nothing, so what ingest costs beyond
//! it is what its promise costs.

use std::net::SocketAddr;

use anyhow::Context;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use event::EventRequest;
use infra::threads::run_apart;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;
use uuid::Uuid;

const BODY_BYTES_MAX: usize = 64 << 20;

/// The handler that `weir bench ingest` measures ingest against, alone.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    listen: SocketAddr,
    /// As `ingest.threads`.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    threads: usize,
}

/// Serves until a signal.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let shutdown = infra::shutdown::on_signal()?;
    let listener = infra::http::bind(options.listen, "--listen").await?;
    let address = listener.local_addr().context("ask for the address")?;
    let listener = listener.into_std()?;
    info!("the bare handler listens on {address}");
    let threads = options.threads;
    run_apart("bare", threads, move || serve(listener, shutdown)).await
}

async fn serve(listener: std::net::TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let router = Router::new()
        .route("/event", post(post_event))
        .route("/events", post(post_events))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    infra::http::serve(listener, router, shutdown).await
}

/// As ingest answers to one event.
#[derive(Serialize)]
struct Accepted {
    success: bool,
    status: &'static str,
    message: &'static str,
    event_id: Uuid,
}

/// As ingest answers to many.
#[derive(Serialize)]
struct BatchAccepted {
    success: bool,
    status: &'static str,
    accepted: usize,
    rejected: [(); 0],
}

async fn post_event(body: Bytes) -> Response {
    let Some(request) = parse::<EventRequest<'_>>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    // The work is the parsing, so nobody may find out that its result is not needed.
    std::hint::black_box(&request);
    let accepted = Accepted {
        success: true,
        status: "accepted",
        message: "Event queued for processing",
        event_id: Uuid::max(),
    };
    (StatusCode::ACCEPTED, Json(accepted)).into_response()
}

async fn post_events(body: Bytes) -> Response {
    let Some(requests) = parse::<Vec<EventRequest<'_>>>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    std::hint::black_box(&requests);
    let accepted = BatchAccepted {
        success: true,
        status: "accepted",
        accepted: requests.len(),
        rejected: [],
    };
    (StatusCode::ACCEPTED, Json(accepted)).into_response()
}

fn parse<'b, T: serde::Deserialize<'b>>(body: &'b [u8]) -> Option<T> {
    serde_json::from_str(std::str::from_utf8(body).ok()?).ok()
}

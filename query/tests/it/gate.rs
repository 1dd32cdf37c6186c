//! Stands between the service and ClickHouse, counts what is asked, can keep it from telling
//! its parts, and figures from arriving.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::sync::{RwLock, RwLockWriteGuard};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::world::DEADLINE;

pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    passing: Arc<Passing>,
    task: JoinHandle<()>,
}

struct Passing {
    to: SocketAddr,
    http: reqwest::Client,
    counted: AtomicUsize,
    answered: AtomicUsize,
    /// Figures pass while nobody holds this.
    figures: RwLock<()>,
    parts: AtomicUsize,
    tells_parts: AtomicBool,
}

impl Gate {
    pub(crate) async fn before(clickhouse: SocketAddr) -> Self {
        let passing = Arc::new(Passing {
            to: clickhouse,
            http: reqwest::Client::new(),
            counted: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            figures: RwLock::new(()),
            parts: AtomicUsize::new(0),
            tells_parts: AtomicBool::new(true),
        });
        let router = Router::new().fallback(pass).with_state(passing.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            passing,
            task: tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }),
        }
    }

    /// Statements that read figures, so far.
    pub(crate) fn counted(&self) -> usize {
        self.passing.counted.load(Ordering::SeqCst)
    }

    /// Keeps figures that ClickHouse has told from who asked for them.
    pub(crate) async fn hold_figures(&self) -> RwLockWriteGuard<'_, ()> {
        self.passing.figures.write().await
    }

    /// Waits until ClickHouse has told the figures of so many statements.
    pub(crate) async fn told(&self, statements: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.passing.answered.load(Ordering::SeqCst) < statements {
            assert!(Instant::now() < deadline);
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Statements that ask for the parts, so far.
    pub(crate) fn parts(&self) -> usize {
        self.passing.parts.load(Ordering::SeqCst)
    }

    pub(crate) fn hide_parts(&self) {
        self.passing.tells_parts.store(false, Ordering::SeqCst);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    State(passing): State<Arc<Passing>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let sql = String::from_utf8_lossy(&body);
    let figures = sql.contains("site_id = {site_id:String}");
    if sql.contains("FROM system.parts") {
        passing.parts.fetch_add(1, Ordering::SeqCst);
        if !passing.tells_parts.load(Ordering::SeqCst) {
            let refusal = "Code: 497. DB::Exception: Not enough privileges";
            return answer(StatusCode::FORBIDDEN, &HeaderMap::new(), refusal.into());
        }
    } else if figures {
        passing.counted.fetch_add(1, Ordering::SeqCst);
    }
    let url = format!("http://{}{uri}", passing.to);
    let request = passing
        .http
        .request(method, url)
        .headers(headers)
        .body(body);
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    if figures {
        passing.answered.fetch_add(1, Ordering::SeqCst);
        drop(passing.figures.read().await);
    }
    answer(status, &headers, body)
}

fn answer(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    for (name, value) in headers {
        // The body is sent as a whole here.
        if name != "transfer-encoding" && name != "content-length" {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

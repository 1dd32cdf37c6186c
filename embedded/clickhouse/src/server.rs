//! Opens the engine on its folder and its address, answers requests, and stops cleanly.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
    serve::ListenerExt as _,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use crate::{
    Config,
    engine::{self, Engine},
    exception::{Code, Exception},
    execute::{self, Reply},
    fetch,
    http::{
        blocks, body,
        request::{Head, Statement},
        response,
    },
    lock::{self, FolderLock},
    users::{Role, Users},
};

/// Chunks an answer may be ahead of its client.
const PIECES_MAX: usize = 4;

/// How long a statement that was told to stop is waited for.
const KILL_TIME_MAX: Duration = Duration::from_secs(5);

/// The engine, open on its folder and bound to its address, not answering yet.
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    grace: Duration,
    _lock: FolderLock,
}

struct Shared {
    engine: Engine,
    users: Users,
    bodies: body::Reader,
    /// Statements that run.
    places: Arc<Semaphore>,
    /// Those of them that readers sent.
    reader_places: Arc<Semaphore>,
    /// Statements that run or wait.
    queue: Arc<Semaphore>,
    queries: AtomicU64,
    /// Distinguishes this run's statement tags and exception tags from all others.
    run: uuid::Uuid,
    tasks: TaskTracker,
}

impl Server {
    /// Fetches the engine if it must, locks the folder, loads the engine and binds the address.
    /// A process can do this once.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        refuse_open_access(&config)?;
        // First, because a port in use should not cost a download.
        let listener = listen(config.listen).await?;
        let local_addr = listener
            .local_addr()
            .context("read the address listened on")?;
        let grace = config.grace;
        let (shared, lock) = tokio::task::spawn_blocking(move || {
            let lock = lock::folder(&config.data_dir)?;
            let library = fetch::ensure(&config)?;
            anyhow::Ok((Shared::new(&config, Engine::boot(&library, &config)?), lock))
        })
        .await
        .context("open the engine")??;
        Ok(Self {
            listener,
            local_addr,
            shared: Arc::new(shared),
            grace,
            _lock: lock,
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers until `shutdown`, then lets running statements finish within the grace period.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            listener,
            local_addr,
            shared,
            grace,
            _lock,
        } = self;
        info!(server.address = %local_addr, "the embedded ClickHouse answers on {local_addr}");
        let routes = Router::new()
            .route("/ping", get(ping))
            .route("/replicas_status", get(ping))
            .route("/", any(answer))
            .with_state(Arc::clone(&shared));
        // An answer's head and its chunks are written apart; waiting to join them costs 40 ms.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let serving = axum::serve(listener, routes)
            .with_graceful_shutdown(shutdown.clone().cancelled_owned())
            .into_future();
        tokio::select! {
            served = serving => served.context("serve the ClickHouse protocol")?,
            () = async {
                shutdown.cancelled().await;
                tokio::time::sleep(grace).await;
            } => warn!("statements still run after the grace period and are cancelled"),
        }
        shared.stop().await;
        Ok(())
    }
}

/// Without a password everyone who reaches the port is the service.
fn refuse_open_access(config: &Config) -> anyhow::Result<()> {
    let has_passwords = config.password.is_some() && config.reader_password.is_some();
    if config.listen.ip().is_loopback() || has_passwords || config.allow_open_access {
        return Ok(());
    }
    anyhow::bail!(
        "{} can be reached from other machines: set WEIR_CLICKHOUSE__PASSWORD and WEIR_CLICKHOUSE__READER_PASSWORD, or WEIR_CLICKHOUSE__ALLOW_OPEN_ACCESS=true",
        config.listen
    )
}

impl Shared {
    fn new(config: &Config, engine: Engine) -> Self {
        Self {
            engine,
            users: Users::new(config),
            bodies: body::Reader::new(
                config.body_bytes_max,
                config.bodies_bytes_max,
                config.body_time_max,
            ),
            places: Arc::new(Semaphore::new(config.queries_max.max(1))),
            reader_places: Arc::new(Semaphore::new(
                config.reader_queries_max.clamp(1, Semaphore::MAX_PERMITS),
            )),
            queue: Arc::new(Semaphore::new(
                config
                    .queries_max
                    .max(1)
                    .saturating_add(config.queries_waiting_max)
                    .min(Semaphore::MAX_PERMITS),
            )),
            queries: AtomicU64::new(0),
            run: uuid::Uuid::new_v4(),
            tasks: TaskTracker::new(),
        }
    }

    /// Cancels what still runs and closes the engine. A statement that does not let go in time is
    /// left to the end of the process, which the engine survives by design.
    async fn stop(self: Arc<Self>) {
        self.tasks.close();
        let stopped = kill_until(&self, "/*weir ", self.tasks.wait()).await
            && tokio::task::spawn_blocking(move || self.engine.close())
                .await
                .unwrap_or(false);
        if !stopped {
            // Its background threads, where there are tables: it is made to be killed at any time.
            debug!("the engine still had work when the process ended");
        }
    }
}

async fn ping() -> &'static str {
    "Ok.\n"
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.method != Method::GET && parts.method != Method::POST && parts.method != Method::HEAD {
        return (
            StatusCode::METHOD_NOT_ALLOWED,
            [(header::ALLOW, "GET, HEAD, POST")],
            "Use GET or POST.\n",
        )
            .into_response();
    }
    let prepared = async {
        refuse_pages(&parts.headers)?;
        let head = Head::read(&parts)?;
        let role = shared.users.authenticate(&head.credentials()?)?;
        let body = shared.bodies.read(body).await?;
        let statement = head.statement(role, body.bytes, shared.bodies.bytes_max())?;
        Ok::<_, Exception>((statement, body.share))
    };
    let (statement, share) = match prepared.await {
        Ok(prepared) => prepared,
        Err(exception) => return response::refused("", &exception),
    };
    if statement.sql.iter().all(u8::is_ascii_whitespace) {
        // What load balancers and browsers ask to see whether anybody is there.
        return "Ok.\n".into_response();
    }
    let query_id = statement.query_id.clone();
    match run(&shared, statement, share).await {
        Ok(response) => response,
        Err(exception) => response::refused(&query_id, &exception),
    }
}

/// Any page a person visits could have their browser send a statement to this machine, where no
/// password is asked. Browsers say so with every POST; clients that are no browsers never do.
fn refuse_pages(headers: &HeaderMap) -> Result<(), Exception> {
    if headers.contains_key(header::ORIGIN) {
        return Err(Exception::new(
            Code::AccessDenied,
            "Not enough privileges: pages in a browser may not ask here",
        ));
    }
    Ok(())
}

/// Waits for a place, runs the statement on a blocking thread, answers once its first bytes or
/// its failure are known.
async fn run(
    shared: &Arc<Shared>,
    statement: Statement,
    share: Option<tokio::sync::OwnedSemaphorePermit>,
) -> Result<Response, Exception> {
    let queued = Arc::clone(&shared.queue).try_acquire_owned().map_err(|_| {
        Exception::new(
            Code::TooManyQueries,
            "Too many simultaneous queries, try again",
        )
    })?;
    let stopping = |_| Exception::new(Code::TooManyQueries, "The server is stopping");
    // First, so that a reader who waits for another reader holds no place.
    let reader_place = match statement.context.role {
        Role::Reader => Some(
            Arc::clone(&shared.reader_places)
                .acquire_owned()
                .await
                .map_err(stopping)?,
        ),
        Role::Service | Role::ServiceReading => None,
    };
    let place = Arc::clone(&shared.places)
        .acquire_owned()
        .await
        .map_err(stopping)?;

    let number = shared.queries.fetch_add(1, Ordering::Relaxed);
    let tag = execute::tag(number);
    let query_id = statement.query_id.clone();
    let compress = statement.compress;
    let (head_sender, head) = oneshot::channel();
    let (piece_sender, pieces) = mpsc::channel(PIECES_MAX);
    let finished = CancellationToken::new();
    let running = Running {
        shared: Arc::clone(shared),
        tag: tag.clone(),
        pieces,
        finished: finished.clone(),
    };
    let reply = Reply {
        head: head_sender,
        pieces: piece_sender,
    };
    let engine_side = Arc::clone(shared);
    shared.tasks.spawn_blocking(move || {
        let _finished = finished.drop_guard();
        execute::run(&engine_side.engine, &statement, &tag, reply);
        drop((statement, share, place, reader_place, queued));
    });
    let head = head
        .await
        .unwrap_or_else(|_| Err(Exception::new(Code::Logical, "The statement was given up")))?;
    let exception_tag = exception_tag(shared.run, number);
    let body = Body::from_stream(pieces_to_body(running, exception_tag.clone(), compress));
    Ok(response::ok(&query_id, &exception_tag, &head, body))
}

/// Sixteen characters that an answer's rows cannot have guessed.
fn exception_tag(run: uuid::Uuid, number: u64) -> String {
    let tag = uuid::Uuid::new_v5(&run, &number.to_le_bytes());
    tag.simple().to_string()[..16].to_owned()
}

fn pieces_to_body(
    running: Running,
    tag: String,
    compress: bool,
) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream::unfold(Some(running), |running| async {
        let mut running = running?;
        let piece = running.pieces.recv().await?;
        let running = piece.is_ok().then_some(running);
        Some((piece, running))
    })
    .map(move |piece| {
        Ok(piece.unwrap_or_else(|exception| {
            let tail = response::exception_tail(&tag, &exception);
            Bytes::from(if compress {
                blocks::encode(&tail)
            } else {
                tail
            })
        }))
    })
}

/// An answer somebody waits for. Given up before its end, its statement is killed: the engine
/// notices a closed channel only between two chunks.
struct Running {
    shared: Arc<Shared>,
    tag: String,
    pieces: mpsc::Receiver<Result<Bytes, Exception>>,
    /// Cancelled, in the sense of told, when the statement has let go of the engine.
    finished: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.finished.is_cancelled() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let (tag, finished) = (std::mem::take(&mut self.tag), self.finished.clone());
        // Not among the tracked tasks: a stop would wait for it, and kills by itself.
        tokio::spawn(async move {
            if !kill_until(&shared, &tag, finished.cancelled()).await {
                warn!("a statement whose client has gone could not be cancelled");
            }
        });
    }
}

/// Kills the statements whose text starts with `tag`, as often as it takes until `finished`: one
/// the engine has not registered yet cannot be killed yet. False if it takes too long.
async fn kill_until(shared: &Arc<Shared>, tag: &str, finished: impl Future<Output = ()>) -> bool {
    const PAUSE: Duration = Duration::from_millis(50);
    let mut finished = std::pin::pin!(finished);
    let deadline = Instant::now() + KILL_TIME_MAX;
    loop {
        if tokio::time::timeout(PAUSE, &mut finished).await.is_ok() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        let (shared, tag) = (Arc::clone(shared), tag.to_owned());
        let killed = tokio::task::spawn_blocking(move || engine::kill(&shared.engine, &tag));
        if let Ok(Err(exception)) = killed.await {
            warn!(error = %exception, "could not cancel a statement");
        }
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            anyhow::anyhow!(
                "{address} is already in use: stop what listens there, or set engine.listen to another address"
            )
        } else {
            anyhow::Error::new(error).context(format!("listen on {address} (engine.listen)"))
        }
    })
}

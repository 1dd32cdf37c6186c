//! The engine as a child process: started, watched, started again if it dies, ended.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::files::{Limits, User};
use crate::job::{Job, READY};
use crate::ports::Ports;
use crate::{Access, Config, fetch, lock};

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// ClickHouse itself gives statements that run 5 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// An engine that lived this long did start; the next failure is a new one.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Free ports that were taken before the engine could open them.
const PORT_TRIES: usize = 5;
/// What is kept of what an engine says before it listens.
const WORDS_MAX: usize = 16 << 10;

/// How to run [`crate::serve`] in a process of its own.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
}

/// An engine that was started, and how to start it again.
#[derive(Debug)]
pub struct Server {
    running: Running,
    launch: Launch,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// The engine ends when this closes: also when this process is killed.
    leash: UnixStream,
    ports: Ports,
    /// Passes on what the engine says.
    words: JoinHandle<()>,
}

#[derive(Debug)]
struct Launch {
    config: Config,
    library: PathBuf,
    data_dir: PathBuf,
    program: Program,
}

impl Server {
    /// Checks the settings, fetches the engine where it is not on disk yet, starts it and waits
    /// until it listens.
    ///
    /// # Errors
    /// With one line that says what to do.
    pub async fn start(config: Config, program: Program) -> anyhow::Result<Self> {
        config.check()?;
        if !config.is_confined() {
            warn!(
                "this kernel does not confine the ClickHouse engine (it needs Landlock, Linux 5.13 or newer, and engine.landlock): who may send it statements may read this user's files; it listens on loopback alone"
            );
        }
        let is_open = config.password.is_none() || config.reader_password.is_none();
        if is_open && !config.listen.ip().is_loopback() {
            warn!(
                "anyone who reaches {} can ask ClickHouse without a password: WEIR_CLICKHOUSE__PASSWORD and WEIR_ENGINE__READER_PASSWORD set passwords",
                config.listen
            );
        }
        let data_dir = std::path::absolute(&config.data_dir)?;
        // Before a download that would be in vain.
        until_free(&data_dir).await?;
        Ports::choose(config.listen, 0)?;
        let fetching = config.clone();
        let library = tokio::task::spawn_blocking(move || fetch::ensure(&fetching))
            .await
            .context("fetch the engine")??;
        let mut launch = Launch {
            library: std::path::absolute(library)?,
            data_dir,
            config,
            program,
        };
        let mut tries = 1;
        let running = loop {
            match launch.spawn().await {
                Ok(running) => break running,
                // Chosen when it was free: the next choice finds it taken.
                Err(error) if tries < PORT_TRIES && is_of_a_port(&error) => tries += 1,
                Err(error) => return Err(error),
            }
        };
        // A restart must come back where clients look for it.
        launch.config.listen = running.ports.http;
        if let Some(native) = running.ports.native {
            launch.config.native_port = native.port();
        }
        Ok(Self { running, launch })
    }

    /// The address of the HTTP protocol.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.running.ports.http
    }

    /// The address of the native protocol, unless its port was taken.
    #[must_use]
    pub fn native(&self) -> Option<SocketAddr> {
        self.running.ports.native
    }

    /// The process that the engine is now; None once it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.child.id()
    }

    /// Starts the engine again whenever it dies, until `shutdown`; then lets it end.
    ///
    /// # Errors
    /// If it ends with a failure when it is asked to end.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failures = 0;
        let mut started_at = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => {
                    Access::remove(&self.launch.data_dir);
                    return self.running.stop().await;
                }
                ended = self.running.child.wait() => {
                    let status = ended.context("wait for the engine")?;
                    warn!("the ClickHouse engine died ({status}): starting it again");
                }
            }
            if started_at.elapsed() > SETTLED_AFTER {
                failures = 0;
            }
            self.running = loop {
                let pause = PAUSE_MIN.saturating_mul(1 << failures).min(PAUSE_MAX);
                failures = (failures + 1).min(16);
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = sleep(pause) => {}
                }
                match self.launch.spawn().await {
                    Ok(running) => break running,
                    Err(error) => warn!("{error:#}: trying again"),
                }
            };
            started_at = Instant::now();
            info!("the ClickHouse engine listens again on {}", self.http());
        }
    }
}

impl Running {
    async fn stop(self) -> anyhow::Result<()> {
        let Self {
            mut child,
            leash,
            words,
            ..
        } = self;
        drop(leash);
        if let Ok(ended) = timeout(STOP_TIMEOUT, child.wait()).await {
            let status = ended.context("wait for the engine")?;
            words.await.context("read what the engine said")?;
            // Its code is 1 where connections were still open after 5 s; a signal would be a crash.
            ensure!(
                status.code().is_some(),
                "the ClickHouse engine ended with {status}"
            );
            return Ok(());
        }
        warn!("the ClickHouse engine did not end within {STOP_TIMEOUT:?}: killing it");
        child.kill().await.context("kill the engine")
    }
}

impl Launch {
    /// A child that listens.
    async fn spawn(&self) -> anyhow::Result<Running> {
        until_free(&self.data_dir).await?;
        let ports = Ports::choose(self.config.listen, self.config.native_port)?;
        let (mut leash, stdin) = socket()?;
        let stdout = stdin.try_clone().context("share a socket")?;
        let (stderr, words_end) = socket()?;
        let mut child = Command::new(&self.program.path)
            .args(&self.program.arguments)
            .env_clear()
            .current_dir(&self.data_dir)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(words_end))
            // A group of its own: Ctrl-C reaches the parent, which needs it until the last flush.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("start the ClickHouse engine")?;
        let (words, before) = pass_on(stderr);
        let mut job = serde_json::to_vec(&self.job(ports))?;
        job.push(b'\n');
        let started = timeout(START_TIMEOUT, async {
            // A child that has ended says why below.
            let _ = leash.write_all(&job).await;
            listens(&mut leash).await
        });
        let listens = started.await.ok().with_context(|| {
            format!("the ClickHouse engine did not start within {START_TIMEOUT:?}")
        })?;
        if !listens {
            child.wait().await.context("wait for the engine")?;
            words.await.context("read what the engine said")?;
            let said = before.lock().unwrap_or_else(PoisonError::into_inner).take();
            bail!(
                "the ClickHouse engine did not start: {}",
                reason(&said.unwrap_or_default())
            );
        }
        before.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.access(ports).write(&self.data_dir)?;
        Ok(Running {
            child,
            leash,
            ports,
            words,
        })
    }

    fn job(&self, ports: Ports) -> Job {
        let config = &self.config;
        let user = |name: &str, password: &Option<SecretString>| User {
            name: name.to_owned(),
            sha256_hex: password.as_ref().map(|password| {
                let digest = Sha256::digest(password.expose_secret());
                digest.iter().map(|byte| format!("{byte:02x}")).collect()
            }),
        };
        Job {
            library: self.library.clone(),
            data_dir: self.data_dir.clone(),
            listen_host: ports.http.ip(),
            http_port: ports.http.port(),
            native_port: ports.native.map(|native| native.port()),
            landlock: config.is_confined(),
            database: config.database.clone(),
            service: user(&config.user, &config.password),
            reader: user(&config.reader, &config.reader_password),
            limits: Limits {
                memory_max: config.memory_max,
                query_time_max_seconds: config.query_time_max.as_secs().max(1),
                queries_max: config.queries_max.max(1),
                reader_queries_max: config.reader_queries_max.max(1),
                reader_time_max_seconds: config.reader_time_max.as_secs().max(1),
                reader_memory_max: config.reader_memory_max.max(1),
                reader_rows_max: config.reader_rows_max.max(1),
                reader_result_bytes_max: config.reader_result_bytes_max.max(1),
                reader_read_rows_max: config.reader_read_rows_max.max(1),
            },
        }
    }

    fn access(&self, ports: Ports) -> Access {
        let config = &self.config;
        let plain = |password: &Option<SecretString>| {
            let password = password.as_ref()?;
            Some(password.expose_secret().to_owned())
        };
        Access {
            http: ports.http,
            native: ports.native,
            user: config.user.clone(),
            passwords: [
                (config.user.clone(), plain(&config.password)),
                (config.reader.clone(), plain(&config.reader_password)),
            ]
            .into(),
        }
    }
}

/// An engine whose parent was killed holds its folder and its ports until its statements have ended.
async fn until_free(data_dir: &Path) -> anyhow::Result<()> {
    let data_dir = data_dir.to_owned();
    let waiting = tokio::task::spawn_blocking(move || lock::folder(&data_dir).map(drop));
    waiting.await.context("wait for the data directory")?
}

/// This process's end and the child's.
fn socket() -> anyhow::Result<(UnixStream, OwnedFd)> {
    let (ours, childs) = StdUnixStream::pair().context("make a pair of sockets")?;
    ours.set_nonblocking(true).context("make a socket")?;
    Ok((UnixStream::from_std(ours)?, childs.into()))
}

/// Waits for the line that says so; false if the child ends first.
async fn listens(stdout: &mut UnixStream) -> bool {
    let mut lines = BufReader::new(stdout.take(WORDS_MAX as u64)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line == READY {
            return true;
        }
    }
    false
}

/// What the engine says before it listens, if it has not been taken.
type Words = Arc<Mutex<Option<Vec<u8>>>>;

/// Keeps what the engine says until it listens, and logs what it says later.
fn pass_on(mut stderr: UnixStream) -> (JoinHandle<()>, Words) {
    let before: Words = Arc::new(Mutex::new(Some(Vec::new())));
    let kept = Arc::clone(&before);
    let task = tokio::spawn(async move {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stderr.read(&mut piece).await {
            let said = &piece[..length];
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            match kept.as_mut() {
                Some(kept) if kept.len() < WORDS_MAX => kept.extend_from_slice(said),
                Some(_) => {}
                None => {
                    for line in String::from_utf8_lossy(said).lines() {
                        warn!("the ClickHouse engine says: {line}");
                    }
                }
            }
        }
    });
    (task, before)
}

fn is_of_a_port(error: &anyhow::Error) -> bool {
    error.to_string().contains("Address already in use")
}

/// The line that says most.
fn reason(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let mut lines = said.lines().filter(|line| !line.trim().is_empty());
    let first = lines.clone().next().unwrap_or("it gave no reason");
    let exception = lines.find(|line| line.contains("DB::Exception"));
    exception.unwrap_or(first).to_owned()
}

//! The ClickHouse engine as a child process: this binary again, with `clickhouse`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use infra::retry::Backoff;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::Config;

/// A failure that a child process has printed already.
#[derive(Debug, thiserror::Error)]
#[error("the ClickHouse engine did not start; it says why above")]
pub(crate) struct AlreadyTold;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// An engine that lived this long did start; the next failure is a new one.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// An engine that was started, and how to start it again.
pub(super) struct Engine {
    running: Running,
    launch: Launch,
}

struct Running {
    child: Child,
    /// The engine ends when this closes: also when this process is killed.
    leash: ChildStdin,
    address: SocketAddr,
}

/// How to start it, the first time and again.
struct Launch {
    program: PathBuf,
    config_file: Option<PathBuf>,
    data_dir: PathBuf,
    listen: SocketAddr,
}

impl Engine {
    /// Fetches the engine where it is not on disk yet, starts it and waits until it listens.
    pub(super) async fn start(
        config: &Config,
        config_file: Option<PathBuf>,
        data_dir: PathBuf,
    ) -> anyhow::Result<Self> {
        let engine = config.engine();
        let listen = engine.listen;
        // Here and not in the child, so that the progress bar and its faults are this command's.
        tokio::task::spawn_blocking(move || embedded_clickhouse::fetch::ensure(&engine))
            .await
            .context("fetch the engine")??;
        let program = std::env::current_exe().context("find this program's own file")?;
        let mut launch = Launch {
            program,
            config_file,
            data_dir,
            listen,
        };
        let running = launch.spawn().await?;
        // A restart must come back where the services look for it.
        launch.listen = running.address;
        Ok(Self { running, launch })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// Starts the engine again whenever it dies, until `shutdown`; then lets it end.
    pub(super) async fn supervise(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let backoff = Backoff::default();
        let mut failures = 0;
        let mut started_at = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return self.stop().await,
                ended = self.running.child.wait() => {
                    let status = ended.context("wait for the engine")?;
                    warn!("the ClickHouse engine died ({status}): starting it again");
                }
            }
            if started_at.elapsed() > SETTLED_AFTER {
                failures = 0;
            }
            self.running = loop {
                failures += 1;
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = sleep(backoff.after(failures)) => {}
                }
                match self.launch.spawn().await {
                    Ok(running) => break running,
                    Err(error) => warn!("{error:#}: trying again"),
                }
            };
            started_at = Instant::now();
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        let Running {
            mut child, leash, ..
        } = self.running;
        drop(leash);
        if let Ok(ended) = timeout(STOP_TIMEOUT, child.wait()).await {
            let status = ended.context("wait for the engine")?;
            ensure!(
                status.success(),
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
        let mut command = Command::new(&self.program);
        if let Some(file) = &self.config_file {
            command.arg("--config").arg(file);
        }
        let mut child = command
            .arg("clickhouse")
            .arg("--attached")
            .arg("--data-dir")
            .arg(&self.data_dir)
            .arg("--listen")
            .arg(self.listen.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own: Ctrl-C reaches `up`, which needs the engine until the last flush.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("start the ClickHouse engine")?;
        let leash = child.stdin.take().context("hold the engine's stdin")?;
        let stdout = child.stdout.take().context("read the engine's stdout")?;
        let mut line = String::new();
        let announced = timeout(START_TIMEOUT, BufReader::new(stdout).read_line(&mut line)).await;
        match announced {
            Err(_) => bail!("the ClickHouse engine did not start within {START_TIMEOUT:?}"),
            Ok(read) => {
                read.context("read the engine's address")?;
            }
        }
        // Its last words went to the same stderr.
        let address = line.trim().parse().map_err(|_| AlreadyTold)?;
        Ok(Running {
            child,
            leash,
            address,
        })
    }
}

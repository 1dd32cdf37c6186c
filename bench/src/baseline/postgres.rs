//! A PostgreSQL of the run's own, as it comes: default settings, every commit synced.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::programs::{Owner, Programs};
use super::{free_port, without_settings, write_secret};
use crate::process::Server;

const STARTS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
pub(super) const USER: &str = "bench";

pub(super) struct Postgres {
    pub(super) server: Server,
    pub(super) port: u16,
    pub(super) password: String,
    psql: PathBuf,
}

impl Postgres {
    /// # Errors
    /// If it does not start; its log is part of the message.
    pub(super) async fn start(programs: &Programs, folder: &Path) -> anyhow::Result<Self> {
        let owner = programs.owner;
        let password = Uuid::new_v4().simple().to_string();
        make_folder(folder, &password, owner)?;
        let mut initdb = tokio::process::Command::from(as_owner(&programs.initdb, owner));
        initdb
            .args(["--pgdata", "data", "--username", USER])
            // Bytes decide what comes before what, as in ClickHouse; it is also the fastest.
            .args(["--encoding", "UTF8", "--no-locale"])
            .args(["--pwfile", "password", "--auth", "scram-sha-256"])
            .current_dir(folder);
        let made = output(initdb).await;
        made.and_then(|ended| check(ended, "initdb")).with_context(|| {
            let reach = match owner {
                None => "",
                Some(_) => " (the user postgres has to be able to get there; --dir names another folder)",
            };
            format!("make a PostgreSQL cluster in {}{reach}", folder.display())
        })?;

        let port = free_port()?;
        let mut postgres = as_owner(&programs.postgres, owner);
        postgres.args(["-D", "data", "-p", &port.to_string()]);
        postgres.args(["-c", "listen_addresses=127.0.0.1"]);
        postgres.args(["-c", "unix_socket_directories="]);
        // Told to end at once, it still frees what it shares with its own processes; killed, not.
        let server = Server::run("postgres", folder, postgres, Signal::QUIT)?;
        let mut started = Self {
            server,
            port,
            password,
            psql: programs.psql.clone(),
        };
        started.until_it_answers().await?;
        Ok(started)
    }

    async fn until_it_answers(&mut self) -> anyhow::Result<()> {
        let give_up_at = Instant::now() + STARTS_WITHIN;
        while let Err(error) = self.ask("postgres", "SELECT 1").await {
            self.server.check_alive()?;
            if Instant::now() > give_up_at {
                let log = self.server.log_tail();
                return Err(error).with_context(|| format!("reach PostgreSQL:\n{log}"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// What psql prints for one statement, or several.
    ///
    /// # Errors
    /// If PostgreSQL refuses.
    pub(super) async fn ask(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let mut psql = self.psql(database);
        psql.args(["--command", sql]);
        let ended = output(psql).await?;
        let asking = || format!("ask PostgreSQL: {}", sql.lines().next().unwrap_or_default());
        let answer = check(ended, "psql").with_context(asking)?;
        Ok(answer.trim().to_owned())
    }

    /// How many events there are.
    ///
    /// # Errors
    /// If PostgreSQL does not say so.
    pub(super) async fn count(&self, database: &str) -> anyhow::Result<u64> {
        let count = self.ask(database, "SELECT count(*) FROM events").await?;
        count
            .parse()
            .with_context(|| format!("PostgreSQL counted {count:?} events"))
    }

    /// Copies rows of tab-separated text into the columns of `events`, `next` piece by piece.
    ///
    /// # Errors
    /// If either side fails.
    pub(super) async fn copy(
        &self,
        database: &str,
        columns: &str,
        mut next: impl AsyncFnMut() -> anyhow::Result<Option<Bytes>>,
    ) -> anyhow::Result<()> {
        let copy = format!("COPY events ({columns}) FROM STDIN WITH (FORMAT text, NULL '')");
        let mut psql = self.psql(database);
        let mut child = psql
            .args(["--command", &copy])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start psql")?;
        let mut stdin = child.stdin.take().context("hold psql's stdin")?;
        let sending = async {
            while let Some(piece) = next().await? {
                stdin.write_all(&piece).await.context("write to psql")?;
            }
            stdin.shutdown().await.context("write to psql")?;
            drop(stdin);
            anyhow::Ok(())
        };
        // Both, or a psql that complains would be waited for while it waits to be read.
        let (sent, ended) = tokio::join!(sending, child.wait_with_output());
        check(ended.context("wait for psql")?, "copy rows into PostgreSQL")?;
        sent
    }

    fn psql(&self, database: &str) -> tokio::process::Command {
        let mut psql = Command::new(&self.psql);
        without_settings(&mut psql);
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
            .args(["--set", "ON_ERROR_STOP=1", "--no-password"])
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--username", USER, "--dbname", database])
            .env("PGPASSWORD", &self.password)
            // As ClickHouse writes them.
            .env("PGTZ", "UTC");
        let mut psql = tokio::process::Command::from(psql);
        psql.kill_on_drop(true);
        psql
    }
}

/// A folder with the password in it, that PostgreSQL's user has to itself.
fn make_folder(folder: &Path, password: &str, owner: Option<Owner>) -> anyhow::Result<()> {
    let making = || format!("make {}", folder.display());
    DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .with_context(making)?;
    let file = folder.join("password");
    write_secret(&file, password)?;
    if let Some(Owner { uid, gid }) = owner {
        for path in [folder, &file] {
            chown(path, Some(uid), Some(gid)).with_context(making)?;
        }
    }
    Ok(())
}

fn as_owner(program: &Path, owner: Option<Owner>) -> Command {
    let mut command = Command::new(program);
    without_settings(&mut command);
    command.env("LC_ALL", "C");
    if let Some(Owner { uid, gid }) = owner {
        command.uid(uid).gid(gid);
    }
    command
}

async fn output(mut command: tokio::process::Command) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let running = command.output();
    running
        .await
        .with_context(|| format!("run {}", command.as_std().get_program().display()))
}

fn check(ended: Output, what: &str) -> anyhow::Result<String> {
    ensure!(
        ended.status.success(),
        "{what}: {}: {}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

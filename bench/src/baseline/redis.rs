//! A Redis of the run's own, with its log synced every second, and what waits in BullMQ's queue.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::{free_port, without_settings, write_secret};
use crate::process::Server;

const STARTS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// Jobs that are neither done nor given up, in the order in which a job passes: one that moves on
/// between two questions counts twice, never not at all.
const WAITING: [&str; 4] = [
    "LLEN bull:events:wait",
    "ZCARD bull:events:prioritized",
    "LLEN bull:events:active",
    "ZCARD bull:events:delayed",
];
const GIVEN_UP: &str = "ZCARD bull:events:failed";

pub(super) struct Redis {
    pub(super) server: Server,
    pub(super) address: SocketAddr,
    pub(super) password: String,
    connection: BufReader<TcpStream>,
}

impl Redis {
    /// # Errors
    /// If it does not start; its log is part of the message.
    pub(super) async fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir(folder).with_context(|| format!("make {}", folder.display()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let password = Uuid::new_v4().simple().to_string();
        let file = folder.join("redis.conf");
        write_secret(&file, &configuration(address, &password))?;
        let mut command = Command::new(program);
        command.arg(&file);
        without_settings(&mut command);
        let mut server = Server::run("redis", folder, command, Signal::KILL)?;
        let give_up_at = Instant::now() + STARTS_WITHIN;
        let connection = loop {
            match connect(address, &password).await {
                Ok(connection) => break connection,
                Err(_) if Instant::now() < give_up_at => server.check_alive()?,
                Err(error) => {
                    let log = server.log_tail();
                    return Err(error).with_context(|| format!("reach redis:\n{log}"));
                }
            }
            tokio::time::sleep(POLL).await;
        };
        Ok(Self {
            server,
            address,
            password,
            connection,
        })
    }

    /// Jobs that are still to be done.
    ///
    /// # Errors
    /// If Redis does not say so, or a job was given up.
    pub(super) async fn waiting(&mut self) -> anyhow::Result<u64> {
        let mut jobs = 0;
        for question in WAITING {
            jobs += ask(&mut self.connection, question).await?;
        }
        let given_up = ask(&mut self.connection, GIVEN_UP).await?;
        ensure!(given_up == 0, "{given_up} jobs failed for good");
        Ok(jobs)
    }
}

/// What a production's configuration says; no snapshots beside the log, which would only cost more.
fn configuration(address: SocketAddr, password: &str) -> String {
    format!(
        "bind {}\nport {}\nrequirepass {password}\nappendonly yes\nappendfsync everysec\nsave \"\"\ndaemonize no\n",
        address.ip(),
        address.port()
    )
}

async fn connect(address: SocketAddr, password: &str) -> anyhow::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)
        .await
        .context("connect to redis")?;
    let mut connection = BufReader::new(stream);
    for question in [&format!("AUTH {password}"), "PING"] {
        let answer = exchange(&mut connection, question).await?;
        ensure!(answer.starts_with('+'), "redis answered {answer:?}");
    }
    Ok(connection)
}

async fn ask(connection: &mut BufReader<TcpStream>, question: &str) -> anyhow::Result<u64> {
    let answer = exchange(connection, question).await?;
    let count = answer
        .strip_prefix(':')
        .and_then(|count| count.parse().ok());
    count.with_context(|| format!("{question} was answered {answer:?}"))
}

/// All that is asked here has an answer of one line.
async fn exchange(connection: &mut BufReader<TcpStream>, question: &str) -> anyhow::Result<String> {
    let exchanging = async {
        let line = format!("{question}\r\n");
        connection.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_line(&mut answer).await?;
        anyhow::Ok(answer.trim_end().to_owned())
    };
    match tokio::time::timeout(ANSWERS_WITHIN, exchanging).await {
        Ok(answer) => answer.context("ask redis"),
        Err(_) => bail!("redis did not answer within {ANSWERS_WITHIN:?}"),
    }
}

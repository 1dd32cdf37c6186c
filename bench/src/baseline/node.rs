//! The Node design as it runs: Redis, PostgreSQL, the API's process and the worker's, on ports and
//! in a folder of their own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use rustix::process::Signal;
use tempfile::TempDir;

use super::packages::{INDEXES, SCHEMA, lay_out};
use super::postgres::{Postgres, USER};
use super::programs::Programs;
use super::redis::Redis;
use super::without_settings;
use crate::process::Server;

/// Where accepted events go.
pub(super) const DATABASE: &str = "weir";

pub(super) struct NodeDesign {
    pub(super) api: Api,
    pub(super) redis: Redis,
    pub(super) postgres: Postgres,
    node: PathBuf,
    // Last, because fields are dropped in order: the servers end before their folder goes.
    folder: TempDir,
}

/// A process of `server.js`.
pub(super) struct Api {
    pub(super) server: Server,
    pub(super) address: SocketAddr,
}

impl NodeDesign {
    /// Starts everything but the worker, before an empty table.
    ///
    /// # Errors
    /// If something does not start; its log is part of the message.
    pub(super) async fn start(
        programs: &Programs,
        cache: &Path,
        parent: &Path,
    ) -> anyhow::Result<Self> {
        let making = || format!("make a folder in {}", parent.display());
        let folder = tempfile::Builder::new()
            .prefix("weir-bench-")
            .tempdir_in(parent)
            .with_context(making)?;
        // PostgreSQL's user has to get to its own folder in there, and no further.
        let passable = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(folder.path(), passable).with_context(making)?;
        let in_folder = |name: &str| folder.path().join(name);
        let of_node = in_folder("node");
        lay_out(programs, cache, &of_node).await?;
        let redis = Redis::start(&programs.redis_server, &in_folder("redis")).await?;
        let postgres = Postgres::start(programs, &in_folder("postgres")).await?;
        make_database(&postgres, DATABASE).await?;
        make_indexes(&postgres, DATABASE).await?;
        let node = &programs.node;
        let api = serve("api", node, &of_node, &redis, &postgres, DATABASE).await?;
        Ok(Self {
            api,
            redis,
            postgres,
            node: node.clone(),
            folder,
        })
    }

    /// A worker that begins at once.
    ///
    /// # Errors
    /// If the system refuses.
    pub(super) fn worker(&self) -> anyhow::Result<Server> {
        let mut command = self.script("worker.js");
        let (redis, postgres) = (&self.redis, &self.postgres);
        command.envs(settings(redis, postgres, DATABASE));
        Server::run("worker", &self.node_folder(), command, Signal::KILL)
    }

    /// One more process of the API, before another database.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) async fn serve(&self, name: &'static str, database: &str) -> anyhow::Result<Api> {
        let (redis, postgres) = (&self.redis, &self.postgres);
        let folder = self.node_folder();
        serve(name, &self.node, &folder, redis, postgres, database).await
    }

    fn script(&self, name: &str) -> Command {
        script(&self.node, name)
    }

    fn node_folder(&self) -> PathBuf {
        self.folder.path().join("node")
    }
}

/// With the table, no row in it, and no index yet.
pub(super) async fn make_database(postgres: &Postgres, name: &str) -> anyhow::Result<()> {
    let create = format!("CREATE DATABASE {name}");
    postgres.ask("postgres", &create).await?;
    postgres.ask(name, SCHEMA).await?;
    Ok(())
}

pub(super) async fn make_indexes(postgres: &Postgres, database: &str) -> anyhow::Result<()> {
    postgres.ask(database, INDEXES).await?;
    Ok(())
}

async fn serve(
    name: &'static str,
    node: &Path,
    folder: &Path,
    redis: &Redis,
    postgres: &Postgres,
    database: &str,
) -> anyhow::Result<Api> {
    let mut command = script(node, "server.js");
    command
        .envs(settings(redis, postgres, database))
        .env("PORT", "0");
    let mut server = Server::run(name, folder, command, Signal::KILL)?;
    let address = server.address().await?;
    Ok(Api { server, address })
}

fn script(node: &Path, name: &str) -> Command {
    let mut command = Command::new(node);
    without_settings(&mut command);
    // Express writes fewer words to its log then, and answers faster.
    command.arg(name).env("NODE_ENV", "production");
    command
}

fn settings(redis: &Redis, postgres: &Postgres, database: &str) -> [(&'static str, String); 7] {
    [
        ("REDIS_PORT", redis.address.port().to_string()),
        ("REDIS_PASSWORD", redis.password.clone()),
        ("PGHOST", "127.0.0.1".to_owned()),
        ("PGPORT", postgres.port.to_string()),
        ("PGUSER", USER.to_owned()),
        ("PGPASSWORD", postgres.password.clone()),
        ("PGDATABASE", database.to_owned()),
    ]
}

//! The servers of a run: one embedded ClickHouse, and a query service before each of its databases.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use infra::url::ServerUrl;
use tempfile::TempDir;

use super::Place;
use super::http::Connection;
use crate::process::Server;

const ANY_PORT: &str = "127.0.0.1:0";
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// The engine, and where its data lies.
pub(crate) struct World {
    pub(crate) engine: Server,
    pub(crate) url: ServerUrl,
    folder: Folder,
}

/// A query service before one database.
pub(crate) struct Service {
    pub(crate) server: Server,
    pub(crate) url: String,
}

enum Folder {
    // Dropped after the engine: fields of the world are dropped in order.
    Temporary(TempDir),
    Kept(PathBuf),
}

impl World {
    /// Starts the engine.
    ///
    /// # Errors
    /// If it does not start; its log is part of the message.
    pub(crate) async fn start(
        place: &Place,
        settings: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let folder = match place {
            Place::In(parent) => Folder::Temporary(
                tempfile::Builder::new()
                    .prefix("weir-bench-")
                    .tempdir_in(parent)
                    .with_context(|| format!("make a folder in {}", parent.display()))?,
            ),
            Place::Kept(folder) => {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("make the folder {}", folder.display()))?;
                Folder::Kept(folder.clone())
            }
        };
        let arguments = [
            "clickhouse",
            "--data-dir",
            "clickhouse",
            "--listen",
            ANY_PORT,
        ];
        let mut engine = Server::start("clickhouse", folder.path(), &arguments, settings)?;
        let url: ServerUrl = format!("http://{}", engine.address().await?).parse()?;
        Ok(Self {
            engine,
            url,
            folder,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client's configuration for `database`.
    pub(crate) fn clickhouse(&self, database: &str) -> infra::clickhouse::Config {
        infra::clickhouse::Config {
            url: self.url.clone(),
            database: database.to_owned(),
            ..infra::clickhouse::Config::default()
        }
    }

    /// Starts a query service that counts every answer anew, so that what is asked twice costs
    /// twice.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn serve_counting(
        &self,
        name: &'static str,
        database: &str,
        settings: &[(String, String)],
    ) -> anyhow::Result<Service> {
        let keep_nothing = ("WEIR_QUERY__KEPT_BYTES_MAX".to_owned(), "0".to_owned());
        let settings = [settings, &[keep_nothing]].concat();
        self.serve(name, database, &settings).await
    }

    /// Starts a query service and waits until it can answer.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn serve(
        &self,
        name: &'static str,
        database: &str,
        settings: &[(String, String)],
    ) -> anyhow::Result<Service> {
        let mut settings = settings.to_vec();
        settings.extend([
            (
                "WEIR_CLICKHOUSE__URL".to_owned(),
                self.url.as_str().to_owned(),
            ),
            ("WEIR_CLICKHOUSE__DATABASE".to_owned(), database.to_owned()),
            ("WEIR_QUERY__LISTEN".to_owned(), ANY_PORT.to_owned()),
        ]);
        let mut server = Server::start(name, self.folder(), &["query"], &settings)?;
        let url = format!("http://{}", server.address().await?);
        let connection = Connection::new()?;
        let ready = format!("{url}/ready");
        let give_up_at = Instant::now() + READY_WITHIN;
        while connection.get(&ready).await.is_err() {
            server.check_alive()?;
            if Instant::now() > give_up_at {
                let log = server.log_tail();
                bail!("{name} is not ready after {READY_WITHIN:?}:\n{log}");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(Service { server, url })
    }
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

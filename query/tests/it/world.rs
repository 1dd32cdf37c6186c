//! A database and a query service of one test's own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use clickhouse::Row;
use query::{Config, Service};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::engine;

/// Nothing here takes longer unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) clickhouse: infra::clickhouse::Config,
    pub(crate) db: clickhouse::Client,
    pub(crate) address: SocketAddr,
    http: reqwest::Client,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Browser, its version, system, device and bot.
pub(crate) const PERSON: &str = "Chrome\t130\tLinux\tdesktop\t";
pub(crate) const BOT: &str = "\t\t\t\tGooglebot";

/// The columns of `events` that the figures depend on.
#[derive(Debug, Clone, Row, Serialize)]
pub(crate) struct EventRow {
    pub(crate) site_id: String,
    pub(crate) event_type: String,
    pub(crate) path: String,
    pub(crate) user_id: String,
    pub(crate) referrer: String,
    pub(crate) props: Vec<(String, String)>,
    /// Milliseconds.
    pub(crate) timestamp: i64,
    /// As [`PERSON`] and [`BOT`]; empty: not known.
    pub(crate) _agent: String,
    /// Channel, source and the five of a campaign.
    pub(crate) _source: String,
    /// Country, region and city.
    pub(crate) _place: String,
    pub(crate) hostname: String,
    pub(crate) language: String,
    pub(crate) screen: String,
}

pub(crate) fn row(site: &str, kind: &str, path: &str, user: &str, time: &str) -> EventRow {
    let time: DateTime<Utc> = time.parse().unwrap();
    EventRow {
        site_id: site.to_owned(),
        event_type: kind.to_owned(),
        path: path.to_owned(),
        user_id: user.to_owned(),
        referrer: String::new(),
        props: Vec::new(),
        timestamp: time.timestamp_millis(),
        _agent: String::new(),
        _source: String::new(),
        _place: String::new(),
        hostname: String::new(),
        language: String::new(),
        screen: String::new(),
    }
}

impl World {
    /// With the tables of weir.
    pub(crate) async fn new() -> Self {
        let world = Self::on(engine::shared()).await;
        world.migrate().await;
        world
    }

    /// The same with settings of its own.
    pub(crate) async fn with(config: Config) -> Self {
        let world = Self::of(engine::shared(), config).await;
        world.migrate().await;
        world
    }

    /// On a ClickHouse that need not be there, in a database that is not there yet.
    pub(crate) async fn on(clickhouse: SocketAddr) -> Self {
        Self::of(clickhouse, Config::default()).await
    }

    /// The same with settings of its own.
    pub(crate) async fn of(clickhouse: SocketAddr, config: Config) -> Self {
        static DATABASES: AtomicUsize = AtomicUsize::new(0);
        let clickhouse = infra::clickhouse::Config {
            url: clickhouse.into(),
            database: format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed)),
            ..Default::default()
        };
        Self::serve(clickhouse, config).await
    }

    /// Another service on the same database.
    pub(crate) async fn beside(&self) -> Self {
        Self::serve(self.clickhouse.clone(), Config::default()).await
    }

    /// Another service on the same database, with settings of its own.
    pub(crate) async fn beside_with(&self, config: Config) -> Self {
        Self::serve(self.clickhouse.clone(), config).await
    }

    async fn serve(clickhouse: infra::clickhouse::Config, config: Config) -> Self {
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ..config
        };
        let service = Service::bind(config, clickhouse.clone()).await.unwrap();
        let shutdown = CancellationToken::new();
        Self {
            db: infra::clickhouse::client(&clickhouse),
            clickhouse,
            address: service.local_addr(),
            http: reqwest::Client::new(),
            task: tokio::spawn(service.run(shutdown.clone())),
            shutdown,
        }
    }

    pub(crate) async fn migrate(&self) {
        infra::clickhouse::migrate(&self.clickhouse).await.unwrap();
    }

    pub(crate) async fn insert(&self, rows: &[EventRow]) {
        // Without its checks: it would have every column of the table named.
        let db = self.db.clone().with_validation(false);
        let mut insert = db.insert::<EventRow>("events").await.unwrap();
        for row in rows {
            insert.write(row).await.unwrap();
        }
        insert.end().await.unwrap();
    }

    pub(crate) async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> reqwest::Response {
        let url = format!("http://{}{path}", self.address);
        self.http.get(url).query(parameters).send().await.unwrap()
    }

    /// With headers.
    pub(crate) async fn get_with(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> reqwest::Response {
        let url = format!("http://{}{path}", self.address);
        let request = headers.iter().fold(
            self.http.get(url).query(parameters),
            |request, (name, value)| request.header(*name, *value),
        );
        request.send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str) -> reqwest::Response {
        let url = format!("http://{}{path}", self.address);
        self.http.post(url).send().await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str, parameters: &[(&str, &str)]) -> (u16, Value) {
        let response = self.get(path, parameters).await;
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// What `/stats` says; it must have something to say.
    pub(crate) async fn stats(&self, parameters: &[(&str, &str)]) -> Value {
        let (status, answer) = self.json("/stats", parameters).await;
        assert_eq!(status, 200, "{parameters:?}: {answer}");
        answer
    }

    /// Waits until `/ready` answers so, and returns all it says.
    pub(crate) async fn wait_until_ready_is(&self, wanted: u16, reason: &str) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (status, answer) = self.json("/ready", &[]).await;
            if status == wanted && answer.to_string().contains(reason) {
                return answer;
            }
            assert!(Instant::now() < deadline, "/ready is {status} {answer}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// As SIGTERM does.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

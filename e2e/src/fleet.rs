//! Every service and server of weir as a process of its own, as they run in production: several
//! sinks, and between each of them and ClickHouse a proxy that can get in the way.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use crate::kafka::{Kafka, loopback};
use crate::process::{Door, Process};
use crate::proxy::Proxy;
use crate::{ClickHouse, Finished, Group, command, free_port, is_apache, run};

/// Where the spool lies by default, seen from where ingest runs.
const SPOOL: &str = "data/spool";
/// What the disk of [`Plan::has_small_spool_disk`] takes.
pub const SMALL_DISK_BYTES: u64 = 512 << 10;
const POLL: Duration = Duration::from_millis(50);
/// Apache Kafka has this long to become whole.
const KAFKA_WITHIN: Duration = Duration::from_secs(60);

/// What a fleet is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    pub sinks: usize,
    /// The first row of a cut waits this long.
    pub cut_age: Duration,
    /// A sink that is silent for so long loses its partitions.
    pub session_timeout: Duration,
    /// Three nodes of Apache Kafka in place of the embedded broker.
    pub on_apache: bool,
    /// Whether the disk under the spool takes no more than [`SMALL_DISK_BYTES`].
    pub has_small_spool_disk: bool,
    /// Further settings of all of them.
    pub settings: Vec<(&'static str, String)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            sinks: 1,
            cut_age: Duration::from_millis(100),
            session_timeout: Duration::from_secs(3),
            on_apache: is_apache(),
            has_small_spool_disk: false,
            settings: Vec::new(),
        }
    }
}

/// A sink and its way to ClickHouse.
#[derive(Debug)]
pub struct Sink {
    pub process: Process,
    pub proxy: Proxy,
}

/// Running processes in a folder of their own. All of them end when it is dropped; after a failure
/// the folder stays, with every log.
#[derive(Debug)]
pub struct Fleet {
    pub kafka: Kafka,
    pub engine: Process,
    pub ingest: Process,
    pub query: Process,
    pub sinks: Vec<Sink>,
    pub ingest_url: String,
    pub query_url: String,
    settings: Vec<(&'static str, String)>,
    group: Group,
    clickhouse: ClickHouse,
    folder: TempDir,
}

impl Fleet {
    /// Starts all of it and waits until all of it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start(plan: Plan) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::start_in(folder, plan).await
    }

    /// The same in a folder of the caller's choice.
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start_in(folder: TempDir, plan: Plan) -> Self {
        let [engine_at, ingest_at, query_at] = std::array::from_fn(|_| loopback(free_port()));
        let mut settings = vec![
            ("WEIR_CLICKHOUSE__URL", format!("http://{engine_at}")),
            ("WEIR_LOG__FORMAT", "text".to_owned()),
            (
                "WEIR_LOG__FILTER",
                "info,sink=debug,rdkafka=error,librdkafka=error".to_owned(),
            ),
            ("WEIR_ENGINE__LISTEN", engine_at.to_string()),
            ("WEIR_INGEST__LISTEN", ingest_at.to_string()),
            ("WEIR_INGEST__ACK_TIMEOUT", "3s".to_owned()),
            ("WEIR_QUERY__LISTEN", query_at.to_string()),
            (
                "WEIR_SINK__CUT__AGE_MAX",
                format!("{}ms", plan.cut_age.as_millis()),
            ),
            (
                "WEIR_SINK__SESSION_TIMEOUT",
                format!("{}ms", plan.session_timeout.as_millis()),
            ),
            ("WEIR_SINK__RETRY__MAX", "500ms".to_owned()),
        ];
        settings.extend(plan.settings);
        let kafka = if plan.on_apache {
            Kafka::apache(folder.path())
        } else {
            Kafka::embedded(folder.path(), &settings)
        };
        settings.push(("WEIR_KAFKA__BROKERS", kafka.brokers()));
        let process = |name: &str, arguments: &[&str], door| {
            Process::new(name, folder.path(), arguments, settings.clone(), door)
        };
        let data = folder.path().join("clickhouse").display().to_string();
        let ping = Door::Http(format!("http://{engine_at}/ping"));
        let engine = process("engine", &["clickhouse", "--data-dir", &data], ping);
        let servers = || kafka.nodes.iter().chain([&engine]);
        for server in servers() {
            server.start();
        }
        for server in servers() {
            server.ready().await;
        }
        let group = Group::of(&kafka.brokers());
        group.brokers(kafka.nodes.len(), KAFKA_WITHIN).await;
        let migrated = migrate(folder.path(), &settings);
        assert!(migrated.success, "weir migrate: {}", migrated.stderr);

        let mut ingest = process("ingest", &["ingest"], door(ingest_at));
        if plan.has_small_spool_disk {
            ingest = ingest.behind(small_disk(&folder.path().join(SPOOL)));
        }
        let query = process("query", &["query"], door(query_at));
        let mut sinks = Vec::with_capacity(plan.sinks);
        for number in 1..=plan.sinks {
            sinks.push(sink(number, folder.path(), &settings, engine_at).await);
        }
        let fleet = Self {
            kafka,
            engine,
            ingest,
            query,
            sinks,
            ingest_url: format!("http://{ingest_at}"),
            query_url: format!("http://{query_at}"),
            group,
            clickhouse: ClickHouse {
                url: format!("http://{engine_at}"),
                user: "default",
            },
            settings,
            folder,
        };
        let services = || [&fleet.ingest, &fleet.query].into_iter();
        let services = || services().chain(fleet.sinks.iter().map(|sink| &sink.process));
        for service in services() {
            service.start();
        }
        for service in services() {
            service.ready().await;
        }
        fleet
    }

    /// Waits until the spool is empty, everything in Kafka is stored and committed, and no plan is
    /// left.
    ///
    /// # Panics
    /// If that has not come true in time.
    pub async fn settled(&self, within: Duration) {
        let begun = Instant::now();
        self.drained(within).await;
        self.group
            .settled(within.saturating_sub(begun.elapsed()))
            .await;
    }

    /// Waits until the spool is empty.
    ///
    /// # Panics
    /// If that has not come true in time.
    pub async fn drained(&self, within: Duration) {
        let give_up_at = Instant::now() + within;
        while self.spool_bytes().await != Some(0) {
            assert!(
                Instant::now() < give_up_at,
                "the spool is not empty after {within:?}"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// What the spool holds, while ingest answers.
    pub async fn spool_bytes(&self) -> Option<u64> {
        let response = reqwest::get(format!("{}/metrics", self.ingest_url)).await;
        let text = response.ok()?.text().await.ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("weir_ingest_spool_bytes "))?;
        line.parse().ok()
    }

    /// Its folder, with every log; the broker's data lies in `kafka` below it, the engine's in
    /// `clickhouse`, the spool in `data/spool`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let others = [&self.engine, &self.ingest, &self.query];
        let nodes = self.kafka.nodes.iter();
        nodes
            .chain(others)
            .chain(self.sinks.iter().map(|sink| &sink.process))
    }

    #[must_use]
    pub fn clickhouse(&self) -> &ClickHouse {
        &self.clickhouse
    }

    #[must_use]
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// How many planned cuts the sinks have found and made again, by their logs.
    #[must_use]
    pub fn cuts_recovered(&self) -> usize {
        self.told_by_sinks("completed what was left behind")
    }

    /// How many cuts the sinks have stored that they had planned themselves, by their logs.
    #[must_use]
    pub fn cuts_stored(&self) -> usize {
        self.told_by_sinks("stored a cut of")
    }

    fn told_by_sinks(&self, what: &str) -> usize {
        let told = |sink: &Sink| sink.process.log().matches(what).count();
        self.sinks.iter().map(told).sum()
    }

    /// `/stats` with this query string, which must be answered with success.
    ///
    /// # Panics
    /// If it is not.
    pub async fn stats(&self, query: &str) -> Value {
        let url = format!("{}/stats?{query}", self.query_url);
        let response = reqwest::get(url).await.expect("query answers");
        assert_eq!(response.status(), StatusCode::OK, "/stats?{query}");
        response.json().await.expect("query answers with JSON")
    }

    /// Posts a body to ingest, which must accept it.
    ///
    /// # Panics
    /// If it does not.
    pub async fn post(&self, path: &str, body: String) -> Value {
        let url = format!("{}{path}", self.ingest_url);
        let response = reqwest::Client::new().post(url).body(body).send().await;
        let response = response.expect("ingest answers");
        let status = response.status();
        let answer = response.text().await.expect("ingest answers with text");
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        serde_json::from_str(&answer).expect("ingest answers with JSON")
    }

    /// `weir audit`, which must find nothing wrong: what it printed.
    ///
    /// # Panics
    /// If it finds anything.
    #[must_use]
    pub fn audit(&self) -> String {
        let mut audit = command(self.folder.path());
        audit.arg("audit").envs(self.settings.iter().cloned());
        let audit = run(audit);
        assert!(
            audit.success,
            "weir audit:\n{}\n{}",
            audit.stdout, audit.stderr
        );
        audit.stdout
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            for process in self.processes() {
                eprintln!("--- {}\n{}", process.name(), process.log_tail());
            }
            eprintln!("all logs and data: {}", self.folder.path().display());
        }
    }
}

/// Before a command: lays a small disk of its own under `spool`. Where this machine lets nobody do
/// so, no file of the process may become larger than that, which the kernel says by another error.
fn small_disk(spool: &Path) -> Vec<String> {
    std::fs::create_dir_all(spool).expect("a temporary folder can be written");
    let mount = format!(
        "mount -t tmpfs -o size={SMALL_DISK_BYTES},mode=700 none '{}'",
        spool.display()
    );
    let words: &[&str] = &[
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
    ];
    let tried = Command::new(words[0])
        .args(&words[1..])
        .arg(&mount)
        .output();
    let (words, script) = if tried.is_ok_and(|tried| tried.status.success()) {
        (words, format!("{mount} && exec \"$@\""))
    } else {
        let blocks = SMALL_DISK_BYTES / 512;
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        (&["sh", "-c"][..], script)
    };
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    words.extend([script, "sh".to_owned()]);
    words
}

fn door(address: SocketAddr) -> Door {
    Door::Http(format!("http://{address}/ready"))
}

fn migrate(folder: &Path, settings: &[(&'static str, String)]) -> Finished {
    let mut migrate = command(folder);
    migrate.arg("migrate").envs(settings.iter().cloned());
    run(migrate)
}

async fn sink(
    number: usize,
    folder: &Path,
    settings: &[(&'static str, String)],
    engine: SocketAddr,
) -> Sink {
    let proxy = Proxy::to(engine).await;
    let address = loopback(free_port());
    let mut settings = settings.to_vec();
    settings.push(("WEIR_SINK__LISTEN", address.to_string()));
    // The last one named holds.
    settings.push(("WEIR_CLICKHOUSE__URL", proxy.url()));
    let name = format!("sink-{number}");
    let process = Process::new(&name, folder, &["sink"], settings, door(address));
    Sink { process, proxy }
}

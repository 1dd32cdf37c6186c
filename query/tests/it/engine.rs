//! The engine, in a process of its own: this very program again.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    pid: u32,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// On a thread and a runtime of its own: a test's runtime ends with the test.
    pub(crate) fn start(data_dir: &Path, port: u16) -> Self {
        let config = embedded_clickhouse::Config {
            data_dir: data_dir.to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            native_port: 0,
            ..Default::default()
        };
        let program = embedded_clickhouse::Program {
            path: std::env::current_exe().unwrap(),
            arguments: [
                "engine::engine_process",
                "--exact",
                "--ignored",
                "--nocapture",
            ]
            .map(Into::into)
            .into(),
        };
        let shutdown = CancellationToken::new();
        let ending = shutdown.clone();
        let (started, engine) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let engine = embedded_clickhouse::Server::start(config, program);
                let engine = engine.await.unwrap();
                started
                    .send((engine.http(), engine.pid().unwrap()))
                    .unwrap();
                engine.run(ending).await.unwrap();
            });
        });
        let (address, pid) = engine.recv().unwrap();
        Self {
            address,
            pid,
            shutdown,
            thread: Some(thread),
        }
    }

    /// Stops it in its tracks, as SIGSTOP does, or lets it go on with SIGCONT.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.pid);
        let sent = Command::new("sh").arg("-c").arg(kill).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it and waits until it has ended.
    pub(crate) fn stop(mut self) {
        self.shutdown.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// One that a failed test left stopped in its tracks would never see that the test has ended.
impl Drop for Engine {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.signal("CONT");
            self.shutdown.cancel();
        }
    }
}

/// One engine for all tests of this process that leave it running; ends with the process.
pub(crate) fn shared() -> SocketAddr {
    static SHARED: OnceLock<Engine> = OnceLock::new();
    let start = || {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("query");
        let _ = std::fs::remove_dir_all(&dir);
        Engine::start(&dir, 0)
    };
    SHARED.get_or_init(start).address
}

#[test]
#[ignore = "not a test: the process that becomes the engine, which the tests start"]
fn engine_process() {
    embedded_clickhouse::serve();
}

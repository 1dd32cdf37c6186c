//! The engine, in a process of its own: this very program, told by its standard input where to
//! keep things and where to listen, and that it should end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

const ENGINE_ANSWERS_ON: &str = "the engine answers on ";

pub(crate) struct Engine {
    process: Child,
    /// Open, or the test harness over there would end when it finds its test to be slow.
    _stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Engine {
    pub(crate) fn start(data_dir: &Path, port: u16) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "engine::engine_process",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], port));
        let config = serde_json::json!({"data_dir": data_dir, "listen": listen});
        // The pipe stays open as long as this process lives, and tells the engine when it does not.
        writeln!(process.stdin.as_mut().unwrap(), "{config}").unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while stdout.read_line(&mut line).unwrap() > 0 {
            if let Some((_, address)) = line.split_once(ENGINE_ANSWERS_ON) {
                let address = address.trim().parse().unwrap();
                return Self {
                    process,
                    _stdout: stdout,
                    address,
                };
            }
            line.clear();
        }
        panic!("the engine did not start: {:?}", process.wait());
    }

    /// Stops it in its tracks, as SIGSTOP does, or lets it go on with SIGCONT.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.process.id());
        let sent = Command::new("sh").arg("-c").arg(kill).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it and waits until it has ended.
    pub(crate) fn stop(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

/// One that a failed test left stopped in its tracks would never see that the test has ended.
impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test: the process of the engine, which the tests start"]
async fn engine_process() {
    let mut config = String::new();
    std::io::stdin().read_line(&mut config).unwrap();
    let config: embedded_clickhouse::Config = serde_json::from_str(&config).unwrap();
    let engine = embedded_clickhouse::Server::open(config).await.unwrap();
    println!("{ENGINE_ANSWERS_ON}{}", engine.local_addr());
    let shutdown = CancellationToken::new();
    let parent_gone = shutdown.clone().drop_guard();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(parent_gone);
    });
    engine.run(shutdown).await.unwrap();
    // Nobody reads what the test harness would say now.
    std::process::exit(0);
}

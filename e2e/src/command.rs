//! Commands of the `weir` binary, run to their end.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::leash::signal;
use crate::weir;

/// What a command that ended left.
#[derive(Debug)]
pub struct Finished {
    pub success: bool,
    /// None if it was killed.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A `weir` command with every port its own and nothing of the caller's environment in its
/// configuration.
#[must_use]
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(weir());
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(key);
        }
    }
    command
        .current_dir(folder)
        .env("WEIR_INGEST__LISTEN", "127.0.0.1:0")
        .env("WEIR_SINK__LISTEN", "127.0.0.1:0")
        .env("WEIR_QUERY__LISTEN", "127.0.0.1:0")
        .env("WEIR_BROKER__LISTEN", "127.0.0.1:0")
        .env("WEIR_ENGINE__LISTEN", "127.0.0.1:0")
        .env("WEIR_ENGINE__NATIVE_PORT", "0");
    command
}

/// Runs a command that is expected to end by itself within a minute.
///
/// # Panics
/// If it does not, or cannot be started.
#[must_use]
pub fn run(mut command: Command) -> Finished {
    const GIVE_UP_AFTER: Duration = Duration::from_secs(120);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("weir starts");
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let (ended, watched) = std::sync::mpsc::sync_channel(1);
    let pid = child.id();
    let watchdog = std::thread::spawn(move || {
        if watched.recv_timeout(GIVE_UP_AFTER).is_err() {
            let _ = signal("KILL", pid);
        }
    });
    let mut text = String::new();
    stdout.read_to_string(&mut text).expect("stdout is text");
    let status = child.wait().expect("weir ends");
    let _ = ended.send(());
    watchdog.join().expect("the watchdog ends");
    let stderr = reader
        .join()
        .expect("the reader ends")
        .expect("stderr is text");
    Finished {
        success: status.success(),
        code: status.code(),
        stdout: text,
        stderr,
    }
}

/// A file with this content, in `folder`.
///
/// # Panics
/// If it cannot be written.
#[must_use]
pub fn file(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a temporary folder can be written");
    path
}

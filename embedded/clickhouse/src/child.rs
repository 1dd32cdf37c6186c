//! The child process: gives up what it does not need, then becomes the engine.
//!
//! The engine runs these statements, one after the other, and ends after the last:
//!
//! 1. `SELECT file(loaded)`, a FIFO. That the engine opens it says that users and passwords are in
//!    its memory. A thread then removes the file of passwords and lets the statement end. Analysts
//!    may call `file()`, which no grant covers: from here on there is nothing for them to read.
//! 2. `SYSTEM START LISTEN`: ClickHouse's own listeners open. Nobody could connect before.
//! 3. `SELECT file(listening)`, a FIFO: the thread reports to the parent that the engine listens.
//! 4. A statement that looks three times a second whether the file `running` is empty. When the parent
//!    closes standard input or dies, the thread empties that file. ClickHouse then waits up to 5 s
//!    for statements that run, and ends. A statement that waited for standard input itself would be
//!    shorter, but others could open or read what it waits for, and would wait as long.
//!
//! To `clickhouse-local` this looks like a session at a terminal. Without one it takes any error of
//! any connection, such as one that a client resets, for a reason to abort.
//!
//! A kill at any of these points loses nothing acknowledged; the next start writes the files again.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::files;
use crate::job::{Job, READY};
use crate::lock;
use crate::{ffi, sandbox};

/// An engine that has not ended so long after its parent left is ended.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// The name of the file depends on a row, or it would be read only once. What little memory it takes
/// is not counted, so that it does not fail where others have taken all.
const UNTIL_EMPTY: &str = "SELECT 1 FROM numbers(18446744073709551615) WHERE sleepEachRow(0.3) = 0 AND empty(file(@PATH@ || substring(toString(number), 1, 0))) LIMIT 1 SETTINGS max_block_size = 1, max_threads = 1, max_execution_time = 0, max_untracked_memory = 1000000000 FORMAT Null";

/// Reads a job from standard input and is the engine until standard input closes; then ends the
/// process: with success, or after a line on stderr with a failure. To be called before any other
/// thread is started, for the sandbox covers the calling thread and those that it starts.
pub fn serve() -> ! {
    let status = match try_serve() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error:#}");
            1
        }
    };
    std::process::exit(status)
}

fn try_serve() -> anyhow::Result<()> {
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .context("read the job")?;
    let job: Job = serde_json::from_str(&line).context("understand the job")?;
    let _lock = lock::folder(&job.data_dir)?;
    let places = Places::prepare(&job)?;
    let parent = Parent::behind_stdin()?;
    let terminal = terminal_on_stdin()?;
    places.watch(parent, terminal);
    // After the thread above, which removes a file that the engine must not reach.
    if job.landlock {
        sandbox::confine(&sandbox::Rules {
            library: &job.library,
            read: &places.config,
            write: &places.store,
            ports: [Some(job.http_port), job.native_port],
        })?;
    }
    sandbox::give_up_new_privileges().context("give up new privileges")?;
    let error = ffi::run(&job.library, &places.arguments(&job))?;
    if fs::read(&places.running).is_ok_and(|text| text.is_empty()) {
        return Ok(());
    }
    match error {
        Some(error) => anyhow::bail!("{error}"),
        // The engine has printed why.
        None => anyhow::bail!("the engine ended"),
    }
}

/// What standard input was when the process started: it closes when the parent ends.
struct Parent(OwnedFd);

impl Parent {
    fn behind_stdin() -> anyhow::Result<Self> {
        let stdin = std::io::stdin().as_fd().try_clone_to_owned();
        stdin.map(Self).context("keep standard input")
    }

    fn wait_for_its_end(&self) {
        let mut end = [PollFd::new(&self.0, PollFlags::empty())];
        while poll(&mut end, None).is_err() || !end[0].revents().contains(PollFlags::HUP) {}
    }
}

/// Puts a terminal on standard input, and returns its other end, where nobody types.
fn terminal_on_stdin() -> anyhow::Result<OwnedFd> {
    let open = || -> rustix::io::Result<OwnedFd> {
        let other_end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&other_end)?;
        unlockpt(&other_end)?;
        let path = ptsname(&other_end, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(path, flags, Mode::empty())?;
        dup2_stdin(&terminal)?;
        Ok(other_end)
    };
    open().context("open a pseudoterminal")
}

/// Where the child keeps things below its data folder.
struct Places {
    store: PathBuf,
    config: PathBuf,
    passwords: PathBuf,
    loaded: PathBuf,
    listening: PathBuf,
    running: PathBuf,
}

impl Places {
    fn prepare(job: &Job) -> anyhow::Result<Self> {
        let config = job.data_dir.join("config");
        // What an earlier version or a start that was killed has left.
        match fs::remove_dir_all(&config) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("clear {}", config.display()));
            }
            _ => {}
        }
        let places = Self {
            store: job.data_dir.join("store"),
            passwords: files::write(&config, job)?,
            loaded: config.join("loaded"),
            listening: config.join("listening"),
            running: config.join("running"),
            config,
        };
        fs::write(&places.running, "yes")
            .with_context(|| format!("write {}", places.running.display()))?;
        private_folder::make(&places.store)?;
        for fifo in [&places.loaded, &places.listening] {
            make_fifo(fifo).with_context(|| format!("make the FIFO {}", fifo.display()))?;
        }
        Ok(places)
    }

    fn arguments(&self, job: &Job) -> Vec<String> {
        let listen = match job.native_port {
            Some(_) => "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP",
            None => "SYSTEM START LISTEN HTTP",
        };
        let text = |path: &Path| {
            let path = path.display().to_string();
            format!("'{}'", path.replace('\\', "\\\\").replace('\'', "\\'"))
        };
        vec![
            format!("--path={}", self.store.display()),
            format!("--config-file={}", self.config.join("config.xml").display()),
            "--interactive".to_owned(),
            // It would be a second session.
            "--disable_suggestion".to_owned(),
            "--progress=off".to_owned(),
            "--query".to_owned(),
            format!(
                "SELECT file({}) FORMAT Null; {listen}; SELECT file({}) FORMAT Null; {}",
                text(&self.loaded),
                text(&self.listening),
                UNTIL_EMPTY.replace("@PATH@", &text(&self.running))
            ),
        ]
    }

    /// Follows the statements (see above) on a thread that the sandbox does not cover.
    fn watch(&self, parent: Parent, terminal: OwnedFd) {
        let passwords = self.passwords.clone();
        let (loaded, listening) = (self.loaded.clone(), self.listening.clone());
        let running = self.running.clone();
        thread::spawn(move || {
            let followed =
                follow(&passwords, &loaded, &listening).and_then(|()| end_with(&parent, &running));
            if let Err(error) = followed {
                eprintln!("{error:#}");
            }
            drop(terminal);
            std::process::exit(1);
        });
    }
}

#[cfg(target_os = "linux")]
fn make_fifo(path: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, mkfifoat};
    Ok(mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?)
}

#[cfg(not(target_os = "linux"))]
fn make_fifo(path: &Path) -> std::io::Result<()> {
    let made = std::process::Command::new("mkfifo")
        .args(["-m", "600"])
        .arg(path)
        .status()?;
    match made.success() {
        true => Ok(()),
        false => Err(std::io::Error::other("mkfifo failed")),
    }
}

fn follow(passwords: &Path, loaded: &Path, listening: &Path) -> anyhow::Result<()> {
    let wait = |fifo: &Path| -> anyhow::Result<File> {
        // Opens once the engine opens it to read.
        let opened = File::options().write(true).open(fifo);
        let opened = opened.with_context(|| format!("open {}", fifo.display()))?;
        fs::remove_file(fifo).with_context(|| format!("remove {}", fifo.display()))?;
        Ok(opened)
    };
    let users_are_loaded = wait(loaded)?;
    fs::remove_file(passwords).with_context(|| format!("remove {}", passwords.display()))?;
    drop(users_are_loaded);
    let _listens = wait(listening)?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "\n{READY}")
        .and_then(|()| stdout.flush())
        .context("report to the parent")?;
    // Nobody reads on.
    let nowhere = File::options().write(true).open("/dev/null");
    let nowhere = nowhere.context("open /dev/null")?;
    dup2_stdout(&nowhere).context("let go of standard output")
}

/// Asks the engine to end once the parent has. Returns only if it does not.
fn end_with(parent: &Parent, running: &Path) -> anyhow::Result<()> {
    parent.wait_for_its_end();
    // It complains that it cannot keep the history of a session at its terminal.
    let nowhere = File::options().write(true).open("/dev/null");
    dup2_stderr(nowhere.context("open /dev/null")?).context("let go of standard error")?;
    File::create(running).with_context(|| format!("empty {}", running.display()))?;
    thread::sleep(END_TIMEOUT);
    anyhow::bail!("the engine did not end within {END_TIMEOUT:?}")
}

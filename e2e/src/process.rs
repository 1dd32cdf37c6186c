//! A server as a process of its own, which can be killed, stopped, continued and started again
//! under the same settings and on the same port.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::command;
use crate::leash::signal;

const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const LOG_TAIL_LINES: usize = 25;

/// `command` with `words` before it.
fn behind(words: &[String], command: &Command) -> Command {
    let mut whole = Command::new(&words[0]);
    whole.args(&words[1..]).arg(command.get_program());
    whole.args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => whole.env(key, value),
            None => whole.env_remove(key),
        };
    }
    whole
}

/// How a process shows that it is there.
#[derive(Debug, Clone)]
pub enum Door {
    /// It takes connections.
    Tcp(SocketAddr),
    /// This URL answers with success.
    Http(String),
}

/// A command and the process that runs it now, if any. Dropping it kills that process, and
/// so does the end of the test, however it ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    folder: PathBuf,
    /// None: weir.
    program: Option<&'static str>,
    arguments: Vec<String>,
    settings: Vec<(&'static str, String)>,
    /// Runs before the program, which it has to become.
    before: Option<Vec<String>>,
    door: Door,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// Describes a weir; `name` names its log. Nothing runs yet.
    #[must_use]
    pub fn new(
        name: &str,
        folder: &Path,
        arguments: &[&str],
        settings: Vec<(&'static str, String)>,
        door: Door,
    ) -> Self {
        let mut process = Self::of_others(name, folder, "weir", arguments, door);
        process.program = None;
        process.settings = settings;
        process
    }

    /// Describes a program that is not weir.
    #[must_use]
    pub fn of_others(
        name: &str,
        folder: &Path,
        program: &'static str,
        arguments: &[&str],
        door: Door,
    ) -> Self {
        Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            program: Some(program),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            settings: Vec::new(),
            before: None,
            door,
            child: Mutex::new(None),
        }
    }

    /// The same, with `words` before the command: a program that prepares something and becomes it.
    #[must_use]
    pub fn behind(mut self, words: Vec<String>) -> Self {
        self.before = Some(words);
        self
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it and does not wait for anything.
    ///
    /// # Panics
    /// If it runs already, or cannot be started.
    pub fn start(&self) {
        let mut child = lock(&self.child);
        assert!(child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("a log can be written");
        let mut command = match self.program {
            None => command(&self.folder),
            Some(program) => Command::new(program),
        };
        if let Some(words) = &self.before {
            command = behind(words, &command);
        }
        let started = command
            .current_dir(&self.folder)
            .args(&self.arguments)
            .envs(self.settings.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log has two ends"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", self.name));
        leash().hold(started.id());
        *child = Some(started);
    }

    /// Waits until its door is open.
    ///
    /// # Panics
    /// If it ends or a minute passes before.
    pub async fn ready(&self) {
        let give_up_at = Instant::now() + READY_WITHIN;
        while !self.is_ready().await {
            self.assert_alive();
            assert!(
                Instant::now() < give_up_at,
                "{} is not ready after {READY_WITHIN:?}:\n{}",
                self.name,
                self.log_tail()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    pub async fn is_ready(&self) -> bool {
        match &self.door {
            Door::Tcp(address) => tokio::net::TcpStream::connect(address).await.is_ok(),
            Door::Http(url) => {
                let request = reqwest::Client::new().get(url);
                let answer = request.timeout(Duration::from_secs(2)).send().await;
                answer.is_ok_and(|answer| answer.status().is_success())
            }
        }
    }

    /// A process that runs must never end by itself, whatever happens to the others.
    ///
    /// # Panics
    /// If it has.
    pub fn assert_alive(&self) {
        if let Some(child) = &mut *lock(&self.child)
            && let Some(status) = child.try_wait().expect("a child can be asked")
        {
            panic!(
                "{} ended by itself, {status}:\n{}",
                self.name,
                self.log_tail()
            );
        }
    }

    /// kill -9 of it and of the engine that it has started, running or stopped.
    ///
    /// # Panics
    /// If it has ended by itself before.
    pub fn kill(&self) {
        self.assert_alive();
        if let Some(child) = lock(&self.child).take() {
            end(child);
        }
    }

    /// SIGSTOP to it and to the engine that it has started: they hold their connections and do
    /// nothing.
    ///
    /// # Panics
    /// If it does not run.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    ///
    /// # Panics
    /// If it does not run.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    /// The process that runs now.
    ///
    /// # Panics
    /// If none does.
    #[must_use]
    pub fn pid(&self) -> u32 {
        lock(&self.child).as_ref().expect("a process runs").id()
    }

    // By the shell, whose own `kill` is there on every machine.
    fn signal(&self, name: &str) {
        self.assert_alive();
        let pid = self.pid();
        let mut kill = format!("kill -{name} {pid}");
        for child in children(pid) {
            kill += &format!(" {child}");
        }
        let sent = Command::new("sh").arg("-c").arg(kill).status();
        assert!(
            sent.expect("a shell").success(),
            "SIG{name} to {}",
            self.name
        );
    }

    /// Everything that every process of this name has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The end of the log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = lock(&self.child).take() {
            end(child);
        }
    }
}

/// Processes that `pid` has started; an engine has none of its own.
#[must_use]
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let children: String = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
        .collect();
    children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

fn end(mut child: Child) {
    let engines = children(child.id());
    // A process that cannot be killed has ended already.
    let _ = child.kill();
    // Each would end by itself now, and let go of its folder a moment later.
    for engine in engines {
        let _ = signal("KILL", engine);
    }
    // Before its number may mean another process.
    leash().let_go(child.id());
    let _ = child.wait();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere is the test's failure; the processes must end all the same.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A shell that reads from this process and kills whom it holds once there is nobody to read from:
/// a test that is killed leaves nobody behind.
struct Leash {
    stdin: Mutex<ChildStdin>,
    _shell: Child,
}

const LEASH: &str = r#"trap '' INT TERM HUP
held=' '
while read -r what pid; do
    case $what in
        hold) held="$held$pid " ;;
        let_go) held="${held%% $pid *} ${held#* $pid }" ;;
    esac
done
for pid in $held; do kill -9 "$pid"; done"#;

fn leash() -> &'static Leash {
    static THE_LEASH: LazyLock<Leash> = LazyLock::new(|| {
        let mut shell = Command::new("sh")
            .args(["-c", LEASH])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        Leash {
            stdin: Mutex::new(shell.stdin.take().expect("stdin is piped")),
            _shell: shell,
        }
    });
    &THE_LEASH
}

impl Leash {
    fn hold(&self, pid: u32) {
        self.tell("hold", pid);
    }

    fn let_go(&self, pid: u32) {
        self.tell("let_go", pid);
    }

    fn tell(&self, what: &str, pid: u32) {
        // Without it the tests still work; it only matters when they are killed.
        let _ = writeln!(lock(&self.stdin), "{what} {pid}");
    }
}

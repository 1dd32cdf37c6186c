//! This binary, or another program, as a server in a process of its own: its processor time and
//! memory read, and ended however this process ends.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

const LISTENS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
const LOG_TAIL_LINES: usize = 20;
/// What every server here logs once it is bound.
const LISTENS_ON: &str = " listens on ";
/// One that is asked to end may take so long, then it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// A server that runs; dropping it ends it.
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    guard: Guard,
    log_file: PathBuf,
    end: Signal,
}

impl Server {
    /// Starts `weir <arguments>` in `folder`, with `settings` as its only configuration.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn start(
        name: &'static str,
        folder: &Path,
        arguments: &[&str],
        settings: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let starting = || format!("start {name}");
        let command = command(folder, arguments, settings).with_context(starting)?;
        // The engine is a child, which lets go of its folder before its parent ends.
        let end = match arguments.first() {
            Some(&"clickhouse") => Signal::TERM,
            _ => Signal::KILL,
        };
        Self::run(name, folder, command, end)
    }

    /// Runs any program in `folder`, with its log there. `end` is how it is told to end; one that
    /// has to clean up is told so by another signal than KILL.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn run(
        name: &'static str,
        folder: &Path,
        mut command: Command,
        end: Signal,
    ) -> anyhow::Result<Self> {
        let starting = || format!("start {name}");
        let log_file = folder.join(format!("{name}.log"));
        let log = File::create(&log_file).with_context(starting)?;
        // Before the child: without a guard there is nothing to be left behind.
        let mut guard = Guard::start(end).with_context(starting)?;
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().with_context(starting)?)
            .stderr(log)
            .spawn()
            .with_context(starting)?;
        guard.hold(child.id());
        Ok(Self {
            name,
            child,
            guard,
            log_file,
            end,
        })
    }

    /// Waits until the server has said where it listens.
    ///
    /// # Errors
    /// If it ends or half a minute passes before.
    pub(crate) async fn address(&mut self) -> anyhow::Result<SocketAddr> {
        let give_up_at = Instant::now() + LISTENS_WITHIN;
        loop {
            if let Some(address) = address_in(&self.log()) {
                return Ok(address);
            }
            self.check_alive()?;
            if Instant::now() > give_up_at {
                bail!(
                    "{} does not listen after {LISTENS_WITHIN:?}:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// # Errors
    /// If the server has ended, with the end of its log.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait();
        if let Some(status) = ended.with_context(|| format!("look after {}", self.name))? {
            bail!(
                "{} ended by itself, {status}:\n{}",
                self.name,
                self.log_tail()
            );
        }
        Ok(())
    }

    /// User and system time so far, with all processes that it has started: [`tree_cpu_time`].
    ///
    /// # Errors
    /// If the system does not tell.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        tree_cpu_time(self.child.id()).with_context(|| format!("of {}", self.name))
    }

    /// The most memory that it and what it has started ever held, in bytes.
    ///
    /// # Errors
    /// If the system does not tell.
    pub(crate) fn rss_bytes_max(&self) -> anyhow::Result<u64> {
        self.memory("VmHWM:")
    }

    /// The memory that it and what it has started hold now, in bytes.
    ///
    /// # Errors
    /// If the system does not tell.
    pub(crate) fn rss_bytes(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    fn memory(&self, field: &str) -> anyhow::Result<u64> {
        let root = self.child.id();
        let reading = || format!("read the memory of {}", self.name);
        let mut bytes = 0;
        for pid in std::iter::once(root).chain(children(root)) {
            let path = format!("/proc/{pid}/status");
            match std::fs::read_to_string(&path) {
                Ok(status) => bytes += bytes_in(&status, field).with_context(reading)?,
                // A child may have ended meanwhile.
                Err(_) if pid != root => {}
                Err(error) => return Err(error).with_context(reading),
            }
        }
        Ok(bytes)
    }

    /// The end of what it has logged.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// One that cannot be signalled has ended already.
    fn end(&mut self) {
        if self.end != Signal::KILL {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            let asked = pid.is_some_and(|pid| kill_process(pid, self.end).is_ok());
            let kill_at = Instant::now() + ENDS_WITHIN;
            while asked && Instant::now() < kill_at {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(POLL);
            }
        }
        let _ = self.child.kill();
    }

    /// What it has written so far, log and answers alike.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(&self.log_file).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        // Before its number may mean another process, so before it is waited for.
        self.guard.let_go();
        let _ = self.child.wait();
    }
}

/// `weir <arguments>` in `folder`, with `settings` as its only configuration.
///
/// # Errors
/// If the system does not tell where this program lies.
pub(crate) fn command(
    folder: &Path,
    arguments: &[&str],
    settings: &[(String, String)],
) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("find this program's own file")?;
    let mut command = Command::new(program);
    // Neither the caller's environment nor a weir.toml of theirs: no server here may reach
    // what they run.
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(key);
        }
    }
    command
        .current_dir(folder)
        .args(arguments)
        .env("WEIR_LOG__FORMAT", "text")
        .envs(settings.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null());
    Ok(command)
}

/// Complete lines only: an address that is still being written could be cut short.
fn address_in(log: &str) -> Option<SocketAddr> {
    let complete = &log[..=log.rfind('\n')?];
    complete.lines().find_map(|line| {
        let (_, address) = line.split_once(LISTENS_ON)?;
        address.trim().parse().ok()
    })
}

/// Processes that `pid` has started.
fn children(pid: u32) -> Vec<u32> {
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

/// User and system time so far of a process with all processes that it has started, and they in
/// turn; also those that have ended.
///
/// # Errors
/// If the system does not tell.
pub fn tree_cpu_time(root: u32) -> anyhow::Result<Duration> {
    let reading = || format!("read the times of process {root} and its children");
    let mut stats = HashMap::new();
    for entry in std::fs::read_dir("/proc").with_context(reading)? {
        let Ok(pid) = entry
            .with_context(reading)?
            .file_name()
            .to_string_lossy()
            .parse::<u32>()
        else {
            continue;
        };
        // Whoever has ended since is in its parent's times now.
        if let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            stats.extend(Stat::parse(&stat).map(|stat| (pid, stat)));
        }
    }
    let ticks = tree_ticks(&stats, root).with_context(reading)?;
    Ok(cpu_tick() * u32::try_from(ticks).with_context(reading)?)
}

/// User and system time of this process so far.
///
/// # Errors
/// If the system does not tell.
pub(crate) fn own_cpu_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    cpu_time(&stat).context("read the times of this process")
}

/// Processor time of the whole machine so far, whoever used it; what was stolen from a virtual one
/// is used too.
///
/// # Errors
/// If the system does not tell.
pub(crate) fn machine_cpu_time() -> anyhow::Result<Duration> {
    machine_ticks().map(|ticks| ticks_long(ticks.busy()))
}

/// Processor time so far that the host of a virtual machine gave to others while something here
/// waited for it; none on a machine of its own.
///
/// # Errors
/// If the system does not tell.
pub(crate) fn stolen_cpu_time() -> anyhow::Result<Duration> {
    machine_ticks().map(|ticks| ticks_long(ticks.stolen()))
}

fn machine_ticks() -> anyhow::Result<MachineTicks> {
    let stat = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    MachineTicks::parse(&stat).context("read the machine's times")
}

fn ticks_long(ticks: u64) -> Duration {
    cpu_tick().mul_f64(ticks as f64)
}

/// The step in which the system counts processor time.
pub(crate) fn cpu_tick() -> Duration {
    Duration::from_secs(1) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100)
}

fn cpu_time(stat: &str) -> Option<Duration> {
    let ticks = u32::try_from(Stat::parse(stat)?.own_ticks).ok()?;
    Some(cpu_tick() * ticks)
}

/// What `/proc/<pid>/stat` says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system time.
    own_ticks: u64,
    /// The same of children that have ended and were waited for, and of theirs.
    ended_ticks: u64,
}

impl Stat {
    /// The 4th field and the 14th to 17th, counted from behind the name, which stands in brackets
    /// and may hold anything.
    fn parse(stat: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let mut ticks = fields.skip(9).map(|field| field.parse::<u64>().ok());
        Some(Self {
            parent,
            own_ticks: ticks.next()?? + ticks.next()??,
            ended_ticks: ticks.next()?? + ticks.next()??,
        })
    }
}

fn tree_ticks(stats: &HashMap<u32, Stat>, root: u32) -> Option<u64> {
    let Stat {
        own_ticks,
        ended_ticks,
        ..
    } = stats.get(&root)?;
    let children = stats.iter().filter(|(_, stat)| stat.parent == root);
    let of_children: u64 = children
        .filter_map(|(child, _)| tree_ticks(stats, *child))
        .sum();
    Some(own_ticks + ended_ticks + of_children)
}

/// The first line of `/proc/stat`: user, nice, system, idle, waiting for disks, two kinds of
/// interrupts, stolen.
#[derive(Debug, PartialEq, Eq)]
struct MachineTicks([u64; 8]);

impl MachineTicks {
    fn parse(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?;
        let mut ticks = [0; 8];
        // Old systems tell fewer.
        for (ticks, field) in ticks.iter_mut().zip(fields.split_whitespace()) {
            *ticks = field.parse().ok()?;
        }
        Some(Self(ticks))
    }

    fn busy(&self) -> u64 {
        let [user, nice, system, _idle, _disks, hard, soft, stolen] = self.0;
        user + nice + system + hard + soft + stolen
    }

    fn stolen(&self) -> u64 {
        let [.., stolen] = self.0;
        stolen
    }
}

/// A field of `/proc/<pid>/status`.
fn bytes_in(status: &str, field: &str) -> Option<u64> {
    let kbytes = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kbytes: u64 = kbytes.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kbytes * 1024)
}

/// A shell that waits for the end of its own stdin. This process holds the other end of that pipe,
/// and the system closes it when this process is gone, be it by kill -9; then the shell kills the
/// server, which would otherwise stay for ever.
struct Guard {
    shell: Child,
    stdin: Option<ChildStdin>,
}

// Ctrl-C reaches everybody of a terminal, and must not reach the one who sees to the end.
const GUARD: &str = r#"trap '' HUP INT TERM
read -r held || exit 0
read -r _ || kill -"$1" "$held""#;

impl Guard {
    fn start(end: Signal) -> anyhow::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", GUARD, "guard", &end.as_raw().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start a shell")?;
        let stdin = shell.stdin.take();
        Ok(Self { shell, stdin })
    }

    fn hold(&mut self, pid: u32) {
        self.tell(&pid.to_string());
    }

    fn let_go(&mut self) {
        self.tell("let go");
    }

    fn tell(&mut self, line: &str) {
        // Without it the run still works; it only matters if this process is killed.
        if let Some(stdin) = &mut self.stdin {
            let _ = writeln!(stdin, "{line}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_once_its_line_is_complete() {
        let log = "2026-01-01T00:00:00Z  INFO the broker listens on 127.0.0.1:4711";
        assert_eq!(address_in(log), None);
        let complete = format!("starting\n{log}\nmore");
        assert_eq!(
            address_in(&complete),
            Some("127.0.0.1:4711".parse().unwrap())
        );
    }

    #[test]
    fn processor_time_is_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 20 3 20 0 3 0 1 2 3";
        let expected = Stat {
            parent: 1,
            own_ticks: 300,
            ended_ticks: 23,
        };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn the_time_of_a_tree_is_that_of_all_who_descend_from_its_root() {
        let stat = |parent, own_ticks, ended_ticks| Stat {
            parent,
            own_ticks,
            ended_ticks,
        };
        let stats = HashMap::from([
            (7, stat(1, 1, 2)),
            (8, stat(7, 4, 8)),
            (9, stat(8, 16, 0)),
            (10, stat(1, 1000, 0)),
        ]);
        assert_eq!(tree_ticks(&stats, 7), Some(31));
        assert_eq!(tree_ticks(&stats, 9), Some(16));
        assert_eq!(tree_ticks(&stats, 11), None);
    }

    #[test]
    fn a_process_that_has_ended_counts_with_the_one_that_started_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // A child that works until it has used its second, and a parent that then only waits.
        command.args([
            "-c",
            "sh -c 'ulimit -t 1; while :; do :; done'; echo it listens on 127.0.0.1:1; sleep 1000",
        ]);
        let mut server = Server::run("sh", folder.path(), command, Signal::KILL).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(server.address()).unwrap();
        assert!(server.cpu_time().unwrap() >= Duration::from_millis(900));
    }

    #[test]
    fn a_server_that_is_to_clean_up_is_given_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "trap 'sleep 0.2; touch cleaned; exit' TERM; echo it listens on 127.0.0.1:1; \
             while :; do sleep 0.05; done",
        ]);
        let mut server = Server::run("sh", folder.path(), command, Signal::TERM).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(server.address()).unwrap();
        drop(server);
        assert!(folder.path().join("cleaned").exists());
    }

    #[test]
    fn a_machine_is_busy_unless_it_is_idle_or_waits_for_a_disk() {
        let stat = "cpu  100 20 30 5000 600 7 8 9 1 1\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let ticks = MachineTicks::parse(stat).unwrap();
        assert_eq!((ticks.busy(), ticks.stolen()), (174, 9));
        assert_eq!(MachineTicks::parse("intr 5\n"), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "Name:\tweir\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(bytes_in(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(bytes_in(status, "VmRSS:"), Some(1 << 20));
        assert_eq!(bytes_in("Name:\tweir\n", "VmRSS:"), None);
    }

    #[test]
    fn a_guard_kills_whom_it_holds_once_nobody_is_left_and_spares_whom_it_let_go() {
        let mut held = Command::new("sleep").arg("1000").spawn().unwrap();
        let mut spared = Command::new("sleep").arg("1000").spawn().unwrap();
        let mut guard = Guard::start(Signal::KILL).unwrap();
        guard.hold(held.id());
        drop(guard);
        assert!(!held.wait().unwrap().success());
        let mut guard = Guard::start(Signal::KILL).unwrap();
        guard.hold(spared.id());
        guard.let_go();
        drop(guard);
        assert_eq!(spared.try_wait().unwrap(), None);
        spared.kill().unwrap();
        spared.wait().unwrap();
    }
}

//! A process that never outlives the test that started it, however that test ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A process under a shell that waits for the end of its own stdin. The test holds the other end
/// of that pipe, and the system closes it when the test's process is gone, be it by kill -9; then
/// the shell kills the process and removes its folder.
#[derive(Debug)]
pub struct Leash {
    shell: Child,
    pid: u32,
}

// The shell itself must outlive Ctrl-C, or nobody would end the process. It prints the process's id
// and ends when it is told to or when nobody is left to tell it.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
folder=$1; shift
"$@" </dev/null >"$folder.log" 2>&1 &
echo $!
exec >&-
read -r word
kill -9 $! 2>/dev/null
wait $! 2>/dev/null
[ "$word" = keep ] || rm -rf "$folder" "$folder.log"
"#;

impl Leash {
    /// Starts `program` with its output in a file beside its folder (see [`log`]).
    ///
    /// # Panics
    /// If there is no shell.
    #[must_use]
    pub fn start(folder: &Path, program: &Command) -> Self {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", SCRIPT, "leash"])
            .arg(folder)
            .arg(program.get_program())
            .args(program.get_args());
        for (key, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(directory) = program.get_current_dir() {
            shell.current_dir(directory);
        }
        let mut shell = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let stdout = shell.stdout.take().expect("stdout is piped");
        let mut pid = String::new();
        BufReader::new(stdout)
            .read_line(&mut pid)
            .expect("the shell answers");
        let pid = pid.trim().parse().expect("the shell says the process's id");
        Self { shell, pid }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the process is there, be it stopped; one that ended is not.
    #[must_use]
    pub fn is_running(&self) -> bool {
        // The state follows the name, which stands in brackets and may hold anything.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        !matches!(state, None | Some('Z' | 'X'))
    }

    /// Sends a signal by name.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn signal(&self, name: &str) {
        let sent = signal(name, self.pid).expect("kill runs");
        assert!(sent.success(), "process {} takes SIG{name}", self.pid);
    }

    /// kill -9, and waits until the process is gone; its folder stays.
    ///
    /// # Panics
    /// If the shell does not end.
    pub fn kill(mut self) {
        use std::io::Write;
        let mut stdin = self.shell.stdin.take().expect("stdin is piped");
        // One that ended before leaves nothing to kill, but its shell waits all the same.
        stdin.write_all(b"keep\n").expect("the shell is told");
        self.shell.wait().expect("the shell ends");
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // Without a word: the folder goes too.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// What the process of this folder has printed so far.
pub(crate) fn log(folder: &Path) -> String {
    let mut path = folder.as_os_str().to_owned();
    path.push(".log");
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// By the shell, whose own `kill` is there on every machine.
pub(crate) fn signal(name: &str, pid: u32) -> std::io::Result<ExitStatus> {
    Command::new("sh")
        .arg("-c")
        .arg(format!("kill -{name} {pid}"))
        .status()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Leash {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000");
        Leash::start(folder, &sleep)
    }

    fn is_there(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn dropping_the_leash_ends_the_process_and_removes_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("f");
        std::fs::create_dir(&folder).unwrap();
        let leash = sleeper(&folder);
        let pid = leash.pid();
        assert!(leash.is_running() && is_there(pid));
        drop(leash);
        assert!(!is_there(pid) && !folder.exists());
    }

    #[test]
    fn killing_leaves_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("f");
        std::fs::create_dir(&folder).unwrap();
        let leash = sleeper(&folder);
        leash.signal("STOP");
        assert!(leash.is_running(), "a stopped process is still there");
        let pid = leash.pid();
        leash.kill();
        assert!(!is_there(pid) && folder.exists());
    }

    #[test]
    fn a_process_that_ended_by_itself_is_not_running() {
        let root = tempfile::tempdir().unwrap();
        let leash = Leash::start(&root.path().join("f"), &Command::new("true"));
        let give_up_at = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while leash.is_running() {
            assert!(std::time::Instant::now() < give_up_at);
            std::thread::yield_now();
        }
    }
}

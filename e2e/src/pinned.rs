//! Clients of other languages: what tests install once, by the language's own package manager, in
//! pinned versions, below `~/.cache/weir`.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::environment::text;
use crate::file;

/// Some thirty megabytes, also over a slow line.
const INSTALL_TIME_MAX: Duration = Duration::from_secs(300);
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// Whether a test may install what it needs: `cargo test` asks nothing of the network unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The variable is not set.
    None,
    /// Where it can be installed.
    Try,
    /// A test that cannot install it fails.
    Require,
}

impl Wish {
    /// What this variable of the environment says: `try` or `require`.
    ///
    /// # Panics
    /// If it says something else.
    #[must_use]
    pub fn of(variable: &str) -> Self {
        let asked = text(variable).unwrap_or_default();
        match asked.to_str() {
            Some("") => Self::None,
            Some("try") => Self::Try,
            Some("require") => Self::Require,
            _ => panic!("{variable}={asked:?}: it can be `try` or `require`"),
        }
    }
}

/// What `install` made; none, with a line on stderr, where it was not asked for or not possible.
///
/// # Panics
/// If it is not possible and `variable` says `require`.
pub fn wished<T>(
    variable: &str,
    name: &str,
    install: impl FnOnce() -> Result<T, String>,
) -> Option<T> {
    let wish = Wish::of(variable);
    let installed = match wish {
        Wish::None => Err(format!(
            "{variable} is not set (`try` or `require` installs it)"
        )),
        Wish::Try | Wish::Require => install(),
    };
    match installed {
        Ok(installed) => Some(installed),
        Err(reason) if wish == Wish::Require => panic!("{name} cannot be installed: {reason}"),
        Err(reason) => {
            // Not by a macro, whose words would be kept back from a test that passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {name}: {}", reason.trim_end());
            None
        }
    }
}

/// A folder with these very files, by name and content, and with what `fill` makes of them: whole or
/// not at all, once.
///
/// # Errors
/// Why it cannot be made.
pub fn pinned(
    name: &str,
    files: &[(&str, &str)],
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let cache = text("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(text("HOME")?).join(".cache")))
        .ok_or("there is no folder for caches")?
        .join("weir");
    let mut sum = Sha256::new();
    for (_, content) in files {
        sum.update(content);
    }
    let sum: String = sum.finalize()[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let folder = cache.join(format!("{name}-{sum}"));
    if folder.exists() {
        return Ok(folder);
    }
    let making = cache.join(format!("{name}-{sum}.{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&making);
    std::fs::create_dir_all(&making).map_err(|error| error.to_string())?;
    for (name, content) in files {
        let _ = file(&making, name, content.as_bytes());
    }
    let made = fill(&making);
    if made.is_ok() {
        // Another run may have been quicker with the same.
        let _ = std::fs::rename(&making, &folder);
    }
    let _ = std::fs::remove_dir_all(&making);
    made.map(|()| folder)
}

/// A Python with these requirements in an environment of its own.
///
/// # Errors
/// Why there is none.
pub fn python(requirements: &str, imports: &str) -> Result<PathBuf, String> {
    let files = [("requirements.txt", requirements)];
    let folder = pinned("python", &files, environment)?;
    if python_imports(&folder.join("bin/python"), imports) {
        return Ok(folder.join("bin/python"));
    }
    // It was made by a Python that has gone.
    std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    let python = pinned("python", &files, environment)?.join("bin/python");
    if python_imports(&python, imports) {
        return Ok(python);
    }
    Err(format!("{} does not import {imports}", python.display()))
}

/// Whether this Python can import these modules.
#[must_use]
pub fn python_imports(python: &Path, imports: &str) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", &format!("import {imports}")]);
    bounded(command, START_TIME_MAX).0
}

fn environment(folder: &Path) -> Result<(), String> {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(folder);
    install("python3 -m venv", venv)?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--require-hashes"])
        // Nothing is compiled, and no package's own code runs while it is installed.
        .args(["--no-deps", "--only-binary", ":all:"])
        .args(["--timeout", "30", "--retries", "2", "--requirement"])
        .arg(folder.join("requirements.txt"));
    install("pip install", pip)
}

/// Runs a command of a package manager.
///
/// # Errors
/// What it said, if it fails or takes too long.
pub fn install(name: &str, command: Command) -> Result<(), String> {
    match bounded(command, INSTALL_TIME_MAX) {
        (true, _) => Ok(()),
        (false, said) => Err(format!("{name}: {said}")),
    }
}

/// Runs a command to its end, or for so long; whether it succeeded, and what it said.
///
/// # Panics
/// If there is no temporary folder.
#[must_use]
pub fn bounded(mut command: Command, time_max: Duration) -> (bool, String) {
    const POLL: Duration = Duration::from_millis(50);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("said");
    let said = File::create(&path).expect("a temporary folder can be written");
    let copy = said.try_clone().expect("a file can be opened twice");
    let spawned = command.stdin(Stdio::null()).stdout(copy).stderr(said);
    let mut child = match spawned.spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = command.get_program().to_string_lossy().into_owned();
            return (false, format!("{program}: {error}"));
        }
    };
    let give_up_at = Instant::now() + time_max;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break Some(status);
        }
        if Instant::now() > give_up_at {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(POLL);
    };
    let said = std::fs::read_to_string(&path).unwrap_or_default();
    match status {
        Some(status) => (status.success(), said),
        None => (false, format!("not done after {time_max:?}: {said}")),
    }
}

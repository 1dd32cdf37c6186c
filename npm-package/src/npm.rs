//! Has npm fetch a package, under whatever registry and proxy the user has set for it.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{FetchError, Package, disk, progress};

/// A slow line may take its time; a hung npm may not.
const TIME_MAX: Duration = Duration::from_secs(30 * 60);
const PAUSE: Duration = Duration::from_millis(100);

/// npm's words for a registry that cannot be reached.
const OFFLINE_CODES: &[&str] = &[
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENOTCACHED",
    "ENOTFOUND",
    "ERR_SOCKET_TIMEOUT",
    "ETIMEDOUT",
];

/// Fetches the package's tarball into `folder` and returns its path.
pub(super) fn pack(npm: &Path, package: &Package, folder: &Path) -> Result<PathBuf, FetchError> {
    let bar = progress::bytes(
        &format!("fetching {}, once", package.what),
        package.packed_bytes,
    );
    let child = Command::new(npm)
        .args(["pack", &package.spec(), "--loglevel=error"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|_| FetchError::NoNpm {
            npm: npm.to_owned(),
            what: package.what,
            instead: package.instead,
        })?;
    let errors = wait(package, child, || {
        bar.set_position(tarball(folder).map_or(0, |(_, size)| size))
    })?;
    bar.finish_and_clear();
    match (tarball(folder), errors) {
        (Some((path, _)), None) => Ok(path),
        (_, Some(errors)) => Err(explain(package, &errors)),
        (None, None) => Err(failed(
            package,
            "it left no package; update npm and try again",
        )),
    }
}

/// Waits for npm and returns what it complained of, if it failed.
fn wait(
    package: &Package,
    mut child: Child,
    mut tick: impl FnMut(),
) -> Result<Option<String>, FetchError> {
    let broken = |error: io::Error| failed(package, error.to_string());
    // Read beside the wait, or a talkative npm would block on a full pipe.
    let stderr = child.stderr.take();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(stderr) = stderr {
            // More than this is never shown; the rest is left to a closed pipe.
            let _ = stderr.take(1 << 20).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let deadline = Instant::now() + TIME_MAX;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(broken)? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().and_then(|()| child.wait()).map_err(broken)?;
            return Err(failed(
                package,
                format!("it took more than {} minutes", TIME_MAX.as_secs() / 60),
            ));
        }
        tick();
        thread::sleep(PAUSE);
    };
    let errors = reader.join().unwrap_or_default();
    Ok((!status.success()).then_some(errors))
}

fn failed(package: &Package, reason: impl Into<String>) -> FetchError {
    FetchError::Npm {
        what: package.what,
        reason: reason.into(),
    }
}

/// One line out of npm's many.
fn explain(package: &Package, errors: &str) -> FetchError {
    let lines: Vec<&str> = errors
        .lines()
        .filter_map(|line| {
            line.strip_prefix("npm error ")
                .or_else(|| line.strip_prefix("npm ERR! "))
        })
        .collect();
    let code = lines.iter().find_map(|line| line.strip_prefix("code "));
    if let Some(code) = code.filter(|code| OFFLINE_CODES.contains(code)) {
        return FetchError::Offline {
            code: code.to_owned(),
            what: package.what,
            instead: package.instead,
        };
    }
    let reason = lines
        .iter()
        .find(|line| !line.starts_with("code "))
        .or(lines.first());
    failed(package, *reason.unwrap_or(&"it gave no reason"))
}

fn tarball(folder: &Path) -> Option<(PathBuf, u64)> {
    fs::read_dir(folder)
        .map_err(disk("read", folder))
        .ok()?
        .filter_map(Result::ok)
        .find(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "tgz")
        })
        .and_then(|entry| Some((entry.path(), entry.metadata().ok()?.len())))
}

//! Python's clickhouse-connect and pandas, in an environment of their own.
//!
//! `WEIR_E2E_PYTHON=try` installs them once, into the cache, where pip can; `require` takes no
//! excuse. Without it they are used where they are installed already: `cargo test` asks nothing of
//! the network.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chrono::Utc;
use e2e::{Weir, eventually, file};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{answers, ask, data, page, send};

const REQUIREMENTS: &str = include_str!("requirements.txt");
const SCRIPT: &str = include_str!("analyst.py");
const README: &str = include_str!("../../../README.md");

/// Some thirty megabytes, also over a slow line.
const INSTALL_TIME_MAX: Duration = Duration::from_secs(300);
const SCRIPT_TIME_MAX: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_analyst_with_python_gets_data_frames() {
    let Some(python) = python() else {
        eprintln!("skipped: no Python with clickhouse-connect and pandas (WEIR_E2E_PYTHON=try)");
        return;
    };
    let weir = Weir::up();
    let events = data::events(Utc::now());
    send(&weir, &events).await;

    let mut recipes = Map::new();
    for recipe in page::recipes() {
        let rows = ask(&weir, &recipe).await;
        recipes.insert(
            recipe.title.to_owned(),
            json!({
                "sql": recipe.sql,
                "rows": rows.len(),
                "columns": rows[0].split('\t').count(),
            }),
        );
    }
    let views = answers::answer("Views and visitors of a range", &events).unwrap();
    let stats: Vec<u64> = views[0].split('\t').map(|n| n.parse().unwrap()).collect();
    let parameters: Map<String, Value> = answers::parameters()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let asked = json!({
        "recipes": recipes,
        "parameters": parameters,
        "stats": stats,
        "events": events.iter().filter(|event| event.site == data::SITE).count(),
    });
    let folder = tempfile::tempdir().unwrap();
    let asked = file(folder.path(), "asked.json", asked.to_string().as_bytes());
    let script = file(folder.path(), "analyst.py", SCRIPT.as_bytes());
    let port = weir.clickhouse.rsplit(':').next().unwrap();
    let mut command = Command::new(&python);
    command.arg(script).arg(port).arg(asked);
    let (success, said) = bounded(command, SCRIPT_TIME_MAX);
    assert!(success && said.contains("python is content"), "{said}");

    assert_readme_works(&weir, &python, folder.path()).await;
}

/// What README shows is run as it stands, but for the port.
async fn assert_readme_works(weir: &Weir, python: &Path, folder: &Path) {
    let event = json!({"site_id": "my-site", "event_type": "page_view", "path": "/pricing", "user_id": "user-1", "timestamp": "2025-01-15T12:00:00Z"});
    weir.post("/event", event.to_string()).await;
    let stored = "SELECT users FROM weir.daily WHERE site_id = 'my-site'";
    eventually("1".to_owned(), async || weir.analyst().text(stored).await).await;

    let (_, example) = README.split_once("```python\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    assert!(example.contains("8123"), "{example}");
    let port = weir.clickhouse.rsplit(':').next().unwrap();
    let example = file(
        folder,
        "readme.py",
        example.replace("8123", port).as_bytes(),
    );
    let mut command = Command::new(python);
    command.arg(example);
    let (success, said) = bounded(command, SCRIPT_TIME_MAX);
    assert!(success && said.contains("2025-01-15"), "{said}");
}

/// A Python that can import what the test needs, installed first where that is asked for.
fn python() -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "what a test may install is no part of weir's configuration"
    )]
    let (asked, cache, home) = (
        std::env::var_os("WEIR_E2E_PYTHON"),
        std::env::var_os("XDG_CACHE_HOME"),
        std::env::var_os("HOME"),
    );
    let asked = asked.map(|asked| asked.to_string_lossy().into_owned());
    let system = PathBuf::from("python3");
    match asked.as_deref() {
        None | Some("") => return imports(&system).then_some(system),
        Some("try" | "require") => {}
        Some(other) => panic!("WEIR_E2E_PYTHON={other}: it can be `try` or `require`"),
    }
    let cache = cache
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(home?).join(".cache")))
        .expect("there is a folder for caches");
    match installed(&cache.join("weir")) {
        Ok(python) => Some(python),
        Err(reason) if asked.as_deref() == Some("try") => {
            eprintln!("pip cannot install clickhouse-connect here: {reason}");
            None
        }
        Err(reason) => panic!("install clickhouse-connect: {reason}"),
    }
}

/// The environment for these very requirements, made if it is not there.
fn installed(cache: &Path) -> Result<PathBuf, String> {
    let sum = Sha256::digest(REQUIREMENTS);
    let sum: String = sum[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let environment = cache.join(format!("python-{sum}"));
    let python = environment.join("bin/python");
    if imports(&python) {
        return Ok(python);
    }
    // One that does not import was made by a Python that has gone.
    let _ = std::fs::remove_dir_all(&environment);
    std::fs::create_dir_all(cache).map_err(|error| error.to_string())?;
    let making = cache.join(format!("python-{sum}.{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&making);
    let made = make(&making);
    if made.is_ok() {
        // Whole or not at all; another run may have been quicker with the same.
        let _ = std::fs::rename(&making, &environment);
    }
    let _ = std::fs::remove_dir_all(&making);
    made?;
    if imports(&python) {
        return Ok(python);
    }
    Err(format!("{} does not import it", python.display()))
}

fn make(environment: &Path) -> Result<(), String> {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(environment);
    let (success, said) = bounded(venv, SCRIPT_TIME_MAX);
    if !success {
        return Err(format!("python3 -m venv: {said}"));
    }
    let requirements = file(environment, "requirements.txt", REQUIREMENTS.as_bytes());
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args([
            "--disable-pip-version-check",
            "--require-hashes",
            "--no-deps",
        ])
        // Nothing is compiled, and no package's own code runs while it is installed.
        .args([
            "--only-binary",
            ":all:",
            "--timeout",
            "30",
            "--retries",
            "2",
        ])
        .arg("--requirement")
        .arg(requirements);
    match bounded(pip, INSTALL_TIME_MAX) {
        (true, _) => Ok(()),
        (false, said) => Err(format!("pip install: {said}")),
    }
}

fn imports(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", "import clickhouse_connect, pandas"]);
    bounded(command, SCRIPT_TIME_MAX).0
}

/// Runs a command to its end, or for so long; whether it succeeded, and what it said.
fn bounded(mut command: Command, time_max: Duration) -> (bool, String) {
    const POLL: Duration = Duration::from_millis(50);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("said");
    let said = File::create(&path).unwrap();
    let spawned = command
        .stdin(Stdio::null())
        .stdout(said.try_clone().unwrap())
        .stderr(said)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return (false, error.to_string()),
    };
    let give_up_at = Instant::now() + time_max;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
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

//! Python's clickhouse-connect and pandas, in an environment of their own.
//!
//! `WEIR_E2E_PYTHON=try` installs them once, into the cache, where pip can; `require` takes no
//! excuse. Without it they are used where they are installed already: `cargo test` asks nothing of
//! the network.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chrono::Utc;
use e2e::pinned::{self, Wish, bounded};
use e2e::{Weir, eventually, file};
use serde_json::{Map, Value, json};

use crate::{answers, ask, data, page, send};

const REQUIREMENTS: &str = include_str!("requirements.txt");
const SCRIPT: &str = include_str!("analyst.py");
const README: &str = include_str!("../../../README.md");
const WISH: &str = "WEIR_E2E_PYTHON";
const IMPORTS: &str = "clickhouse_connect, pandas";

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
    if Wish::of(WISH) == Wish::None {
        let system = PathBuf::from("python3");
        return pinned::python_imports(&system, IMPORTS).then_some(system);
    }
    pinned::wished(WISH, "Python's clickhouse-connect", || {
        pinned::python(REQUIREMENTS, IMPORTS)
    })
}

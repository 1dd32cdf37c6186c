//! What `sdk/js/build.js` makes is what is committed.

use std::path::Path;
use std::process::Command;

use e2e::pinned;

const WISH: &str = "WEIR_E2E_CLIENTS";
const FILES: [(&str, &str); 2] = [
    ("package.json", include_str!("../../../sdk/js/package.json")),
    (
        "package-lock.json",
        include_str!("../../../sdk/js/package-lock.json"),
    ),
];
const BUILT: [(&str, &str); 2] = [
    ("w.js", include_str!("../../../sdk/js/dist/w.js")),
    ("weir.mjs", include_str!("../../../sdk/js/dist/weir.mjs")),
];

#[test]
fn committed_scripts_are_what_the_build_makes() {
    let install = || pinned::pinned("sdk", &FILES, install);
    let Some(packages) = pinned::wished(WISH, "terser", install) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/js");
    // A module finds its packages above itself.
    for name in [
        "build.js",
        "src/tracker.js",
        "src/script.js",
        "src/module.js",
    ] {
        let source = std::fs::read_to_string(sources.join(name)).unwrap();
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, source).unwrap();
    }
    let modules = packages.join("node_modules");
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
    let _ = e2e::file(folder.path(), "package.json", FILES[0].1.as_bytes());
    let mut node = Command::new("node");
    node.arg(folder.path().join("build.js"));
    pinned::install("node build.js", node).unwrap();
    for (name, committed) in BUILT {
        let built = std::fs::read_to_string(folder.path().join("dist").join(name)).unwrap();
        assert!(
            built == committed,
            "sdk/js/dist/{name} is not what the build makes: run `npm run build` in sdk/js"
        );
    }
}

fn install(folder: &Path) -> Result<(), String> {
    let mut npm = Command::new("npm");
    npm.current_dir(folder)
        // No package's own code runs while it is installed.
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .args(["--fetch-retries=2", "--fetch-timeout=30000"]);
    pinned::install("npm ci", npm)
}

//! The `weir` binary under test, built in the profile of the tests themselves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

static BINARY: LazyLock<PathBuf> = LazyLock::new(build);

/// The path of the binary, built at first use.
#[must_use]
pub fn weir() -> &'static Path {
    &BINARY
}

/// Where cargo builds what these tests belong to.
pub(crate) fn profile_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a program has a path");
    // target/<profile>/deps/<test>, target/<profile>/examples/<example>, or
    // target/<profile>/<program>.
    let folder = program.parent().expect("a program lies in a folder");
    let profile = match folder.file_name() {
        Some(name) if name == "deps" || name == "examples" => folder.parent(),
        _ => Some(folder),
    };
    profile.expect("deps lie in target/<profile>").to_owned()
}

// Cargo hands a package's tests the path of that package's binaries alone, and this is another
// package. Asking cargo again costs a moment where the binary is fresh.
fn build() -> PathBuf {
    let profile = profile_folder();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--package", "weir", "--bin", "weir"])
        .arg("--target-dir")
        .arg(
            profile
                .parent()
                .expect("a profile lies in the target directory"),
        )
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(
        cargo.status().expect("cargo runs").success(),
        "weir does not build"
    );
    profile.join("weir")
}

//! Jars as Maven fetches them, checked against a list of sums.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::pinned::bounded;

const FETCH_TIME_MAX: Duration = Duration::from_secs(600);

/// Copies the dependencies of a project into a folder that is not there yet. `sums` are written as
/// sha256sum writes them.
///
/// # Errors
/// If Maven cannot be run or cannot fetch them, or if it fetches other files.
pub fn fetch(pom: &Path, sums: &str, folder: &Path) -> Result<(), String> {
    let mut maven = Command::new("mvn");
    maven
        .args(["--batch-mode", "--quiet", "--strict-checksums", "--file"])
        .arg(pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", folder.display()));
    let (success, said) = bounded(maven, FETCH_TIME_MAX);
    if !success {
        return Err(format!("mvn (it needs Java 17): {said}"));
    }
    let faults = faults(folder, sums);
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!(
        "what mvn fetched is not what is pinned: {}",
        faults.join(", ")
    ))
}

fn faults(folder: &Path, sums: &str) -> Vec<String> {
    let mut wanted: BTreeMap<&str, &str> = sums
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name, sum))
        .collect();
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(folder).expect("Maven made the folder") {
        let entry = entry.expect("a folder can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let content = std::fs::read(entry.path()).expect("a jar can be read");
        match wanted.remove(name.as_str()) {
            None => faults.push(format!("{name} is not in the list")),
            Some(sum) if sum != hex(&Sha256::digest(content)) => {
                faults.push(format!("{name} is another file"));
            }
            Some(_) => {}
        }
    }
    faults.extend(wanted.keys().map(|name| format!("{name} is missing")));
    faults
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jar_that_is_changed_added_or_missing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            std::fs::write(folder.path().join(name), content).unwrap();
        };
        write("a.jar", "a");
        write("b.jar", "b");
        let sum = |content: &str| hex(&Sha256::digest(content));
        let sums = format!("{}  a.jar\n{}  b.jar\n", sum("a"), sum("b"));
        assert!(faults(folder.path(), &sums).is_empty());

        write("b.jar", "tampered");
        assert_eq!(faults(folder.path(), &sums), ["b.jar is another file"]);
        write("b.jar", "b");
        write("c.jar", "c");
        assert_eq!(faults(folder.path(), &sums), ["c.jar is not in the list"]);
        std::fs::remove_file(folder.path().join("c.jar")).unwrap();
        std::fs::remove_file(folder.path().join("a.jar")).unwrap();
        assert_eq!(faults(folder.path(), &sums), ["a.jar is missing"]);
    }
}

//! Apache Kafka's jars, fetched by Maven once for all tests and checked against
//! `infra/kafka/jars.sha256`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

const SUMS: &str = include_str!("../../../infra/kafka/jars.sha256");
const POM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/kafka/pom.xml");

static JARS: LazyLock<PathBuf> = LazyLock::new(fetch);

/// The folder with all the jars.
pub(crate) fn jars() -> &'static Path {
    &JARS
}

fn fetch() -> PathBuf {
    let profile = crate::binary::profile_folder();
    let target = profile.parent();
    let target = target.expect("a profile lies in the target directory");
    let cache = target.join("apache-kafka");
    std::fs::create_dir_all(&cache).expect("the target directory can be written");
    // Other pins are another folder.
    let name = hex(&Sha256::digest(SUMS))[..16].to_owned();
    let folder = cache.join(&name);
    // Several tests' processes may come here at once: one fetches, the others wait. What stands
    // under the final name is complete and checked.
    let lock = File::create(cache.join("lock")).expect("the target directory can be written");
    lock.lock().expect("a file can be locked");
    if !folder.exists() {
        let fresh = cache.join(format!("{name}.fetching"));
        let _ = std::fs::remove_dir_all(&fresh);
        copy_dependencies(&fresh);
        let problems = faults(&fresh, SUMS);
        assert!(
            problems.is_empty(),
            "the jars that Maven fetched are not those of infra/kafka/jars.sha256, and were not used:\n{}",
            problems.join("\n")
        );
        std::fs::rename(&fresh, &folder).expect("a folder can be renamed");
    }
    folder
}

fn copy_dependencies(folder: &Path) {
    let output = Command::new("mvn")
        .args(["--batch-mode", "--quiet", "--strict-checksums", "--file", POM])
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "mvn cannot be run ({error}): tests against Apache Kafka need Java 17 and Maven; install both (on Debian: openjdk-17-jre-headless and maven)"
            )
        });
    assert!(
        output.status.success(),
        "Maven cannot fetch Apache Kafka:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What tells the folder from the sums, which are written as sha256sum writes them.
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

//! Apache Kafka's jars, fetched by Maven once for all tests and checked against
//! `infra/kafka/jars.sha256`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use crate::maven;

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
        maven::fetch(Path::new(POM), SUMS, &fresh).unwrap_or_else(|reason| {
            panic!(
                "tests against Apache Kafka need Java 17 and Maven (on Debian: openjdk-17-jre-headless and maven), and infra/kafka's jars were not fetched: {reason}"
            )
        });
        std::fs::rename(&fresh, &folder).expect("a folder can be renamed");
    }
    folder
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

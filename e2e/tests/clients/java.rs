//! The JDBC driver, which Metabase and DBeaver use.

use std::path::Path;
use std::process::Command;

use e2e::{maven, pinned};

use crate::{WISH, matrix};

const SUMS: &str = include_str!("java/jars.sha256");
const FILES: [(&str, &str); 3] = [
    ("pom.xml", include_str!("java/pom.xml")),
    ("jars.sha256", SUMS),
    ("Client.java", include_str!("java/Client.java")),
];

#[tokio::test]
async fn java_reads_looks_up_and_cancels() {
    let install = || pinned::pinned("java", &FILES, build);
    let Some(folder) = pinned::wished(WISH, "the JDBC driver", install) else {
        return;
    };
    let mut java = Command::new("java");
    java.current_dir(folder).args(["-cp", "jars/*:.", "Client"]);
    matrix::try_client("JDBC", java).await;
}

fn build(folder: &Path) -> Result<(), String> {
    maven::fetch(&folder.join("pom.xml"), SUMS, &folder.join("jars"))?;
    let mut compiler = Command::new("javac");
    compiler.current_dir(folder).arg("Client.java");
    pinned::install("javac (of a JDK 17)", compiler)
}

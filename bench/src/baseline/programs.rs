//! The programs that the Node design needs and weir does not bring: found, with their versions, or
//! named together with the Debian package that has them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

/// Debian keeps PostgreSQL's servers here, by major version, and only the client in the PATH.
const POSTGRESQL: &str = "/usr/lib/postgresql";
/// What the packages in `bench/baseline` run on.
const NODE_MAJOR_MIN: u32 = 18;

/// How each program is called.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) node: PathBuf,
    pub(super) npm: PathBuf,
    pub(super) redis_server: PathBuf,
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
    pub(super) psql: PathBuf,
    /// Whom PostgreSQL runs as; `None`: whoever runs this.
    pub(super) owner: Option<Owner>,
    pub(super) versions: Versions,
}

/// Of what is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Versions {
    pub node: String,
    pub redis: String,
    pub postgresql: String,
}

/// What was looked for in vain.
#[derive(Debug, Default)]
struct Missing {
    programs: Vec<&'static str>,
    packages: Vec<&'static str>,
}

impl Programs {
    /// # Errors
    /// If one is missing, with all that are and how to get them; or nobody can run PostgreSQL.
    pub(super) fn find() -> anyhow::Result<Self> {
        let mut missing = Missing::default();
        let mut version = |program: &Path, name, package| {
            let version = version_of(program);
            if version.is_none() {
                missing.note(name, package);
            }
            version.unwrap_or_default()
        };
        let [node, npm, redis_server] = ["node", "npm", "redis-server"].map(PathBuf::from);
        let of_node = version(&node, "node", "nodejs");
        version(&npm, "npm", "npm");
        let of_redis = version(&redis_server, "redis-server", "redis-server");
        let folder = newest_postgresql(Path::new(POSTGRESQL));
        let [initdb, postgres, psql] = ["initdb", "postgres", "psql"].map(|name| match &folder {
            Some(folder) => folder.join(name),
            None => PathBuf::from(name),
        });
        version(&initdb, "initdb", "postgresql");
        let of_postgresql = version(&postgres, "postgres", "postgresql");
        version(&psql, "psql", "postgresql");
        missing.check()?;
        ensure!(
            major(&of_node) >= Some(NODE_MAJOR_MIN),
            "the Node design needs Node.js {NODE_MAJOR_MIN} or newer, and `node` is {of_node}"
        );
        Ok(Self {
            node,
            npm,
            redis_server,
            initdb,
            postgres,
            psql,
            owner: Owner::of_postgresql()?,
            versions: Versions {
                node: of_node,
                redis: of_redis,
                postgresql: of_postgresql,
            },
        })
    }
}

impl Missing {
    fn note(&mut self, program: &'static str, package: &'static str) {
        self.programs.push(program);
        if !self.packages.contains(&package) {
            self.packages.push(package);
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.programs.is_empty() {
            return Ok(());
        }
        bail!(
            "the Node design needs programs that are not there: {}; on Debian, `apt-get install {}` brings them (none of them has to run as a service: weir starts its own)",
            self.programs.join(", "),
            self.packages.join(" ")
        )
    }
}

/// `None` if it cannot be run.
fn version_of(program: &Path) -> Option<String> {
    let run = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|run| run.status.success())?;
    Some(version_in(&String::from_utf8_lossy(&run.stdout)))
}

/// The first word that is a number, be it behind a `v` or `v=`.
fn version_in(text: &str) -> String {
    text.split_whitespace()
        .map(|word| {
            word.trim_start_matches('v')
                .trim_start_matches('=')
                .trim_end_matches([',', ')'])
        })
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
        .unwrap_or("of an unknown version")
        .to_owned()
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

fn newest_postgresql(root: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(root).ok()?;
    versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let major = major(&entry.file_name().to_string_lossy())?;
            let folder = entry.path().join("bin");
            folder.join("postgres").is_file().then_some((major, folder))
        })
        .max_by_key(|(major, _)| *major)
        .map(|(_, folder)| folder)
}

/// A user of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owner {
    /// # Errors
    /// If root runs this, whom PostgreSQL refuses, and there is nobody else.
    fn of_postgresql() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
        let owner = owner_in(&users).context(
            "PostgreSQL refuses to run as root, and there is no user `postgres` whom it could run as: run this as another user",
        )?;
        Ok(Some(owner))
    }
}

fn owner_in(users: &str) -> Option<Owner> {
    let mut fields = users
        .lines()
        .find_map(|line| line.strip_prefix("postgres:"))?
        .split(':')
        .skip(1);
    Some(Owner {
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_each_program_says() {
        for (said, version) in [
            ("v20.20.2\n", "20.20.2"),
            (
                "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64\n",
                "7.0.15",
            ),
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                "15.18",
            ),
            ("nothing", "of an unknown version"),
        ] {
            assert_eq!(version_in(said), version);
        }
        assert_eq!(major("20.20.2"), Some(20));
        assert_eq!(major("of an unknown version"), None);
    }

    #[test]
    fn all_that_is_missing_is_named_at_once_and_each_package_once() {
        let mut missing = Missing::default();
        missing.check().unwrap();
        missing.note("npm", "npm");
        missing.note("initdb", "postgresql");
        missing.note("psql", "postgresql");
        let told = missing.check().unwrap_err().to_string();
        assert!(told.contains("not there: npm, initdb, psql;"), "{told}");
        assert!(told.contains("`apt-get install npm postgresql`"), "{told}");
    }

    #[test]
    fn of_several_postgresqls_the_newest_is_taken_by_number() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(newest_postgresql(root.path()), None);
        for version in ["9.6", "15", "17"] {
            std::fs::create_dir_all(root.path().join(version).join("bin")).unwrap();
        }
        for version in ["9.6", "15"] {
            let program = root.path().join(version).join("bin/postgres");
            std::fs::write(program, "").unwrap();
        }
        // 17 has clients only.
        let expected = root.path().join("15/bin");
        assert_eq!(newest_postgresql(root.path()), Some(expected));
    }

    #[test]
    fn postgresqls_own_user_is_found_by_name() {
        let users = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104:,,,:/var/lib:/bin/bash\n";
        let owner = Owner { uid: 101, gid: 104 };
        assert_eq!(owner_in(users), Some(owner));
        assert_eq!(owner_in("root:x:0:0:root:/root:/bin/bash\n"), None);
    }
}

//! How commands of this machine's user reach a running engine: a file in its data folder that only
//! that user can read, and the engine itself cannot.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

/// An engine's addresses and users.
#[derive(Clone, Serialize, Deserialize)]
pub struct Access {
    pub http: SocketAddr,
    pub native: Option<SocketAddr>,
    /// The user of the services, one of `passwords`.
    pub user: String,
    /// By user; None asks for no password.
    pub passwords: BTreeMap<String, Option<String>>,
}

impl Access {
    /// What the engine that last started in `data_dir` can be reached by; None where none did.
    ///
    /// # Errors
    /// If the file cannot be read, is another user's, or names an address beyond loopback: passwords
    /// are not sent to where a file points.
    pub fn find(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = path(data_dir);
        let text = match fs::metadata(&path).and_then(|found| Ok((found.uid(), fs::read(&path)?))) {
            Ok((owner, text)) => {
                // In a folder such as /tmp somebody else could have put it there.
                ensure!(
                    owner == rustix::process::geteuid().as_raw(),
                    "{} belongs to user {owner}: run weir as that user, or set WEIR_CLICKHOUSE__URL",
                    path.display()
                );
                text
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let access: Self = serde_json::from_slice(&text)
            .with_context(|| format!("understand {}", path.display()))?;
        ensure!(
            access.http.ip().is_loopback(),
            "{} names {}, which is beyond this machine: set WEIR_CLICKHOUSE__URL, WEIR_CLICKHOUSE__USER and WEIR_CLICKHOUSE__PASSWORD to reach it",
            path.display(),
            access.http
        );
        Ok(Some(access))
    }

    /// Removes it: no password must be sent to a port where the engine no longer listens.
    pub(crate) fn remove(data_dir: &Path) {
        // One that stays behind is replaced by the next start.
        let _ = fs::remove_file(path(data_dir));
    }

    /// Replaces the file as a whole.
    pub(crate) fn write(&self, data_dir: &Path) -> anyhow::Result<()> {
        let path = path(data_dir);
        let new = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let _ = fs::remove_file(&new);
            let mut file = File::options()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("write {}", path.display()))
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("access.json")
}

//! Who a line's visitor is and which event the line is, without storing an address.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, ensure};
use hmac::{Hmac, Mac};
use infra::config::Secret;
use sha2::{Digest, Sha256};

const KEY_FILE: &str = "visitor.key";
const KEY_BYTES_MIN: usize = 16;

/// The secret behind the visitors' hashes: who has the log but not the key cannot tell whose
/// events are whose.
pub(super) struct VisitorKey(Hmac<Sha256>);

impl VisitorKey {
    /// The configured key, or the one kept in `data_dir`, made at first use.
    pub(super) fn obtain(configured: Option<&Secret>, data_dir: &Path) -> anyhow::Result<Self> {
        let key = match configured {
            Some(key) => key.expose().to_owned(),
            None => kept_key(data_dir)?,
        };
        ensure!(
            key.len() >= KEY_BYTES_MIN,
            "the visitor key has {} bytes, fewer than {KEY_BYTES_MIN}",
            key.len()
        );
        Ok(Self(
            Hmac::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length"),
        ))
    }

    /// 16 hex digits that stand for an address and a user agent.
    pub(super) fn visitor(&self, address: &str, user_agent: &str) -> String {
        let mut mac = self.0.clone();
        // No address has a NUL in it, so no two pairs read the same.
        mac.update(address.as_bytes());
        mac.update(b"\0");
        mac.update(user_agent.as_bytes());
        hex(&mac.finalize().into_bytes()[..8])
    }
}

fn kept_key(data_dir: &Path) -> anyhow::Result<String> {
    let path = data_dir.join(KEY_FILE);
    private_folder::make_around(data_dir).context("--data-dir")?;
    let key = format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    );
    // Written aside and linked into place: two imports that start at once agree on one key.
    let draft = data_dir.join(format!("{KEY_FILE}.{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(key.as_bytes())?;
        file.sync_all()
    };
    if !path.exists() {
        write().with_context(|| format!("write the visitors' key {}", draft.display()))?;
        let linked = fs::hard_link(&draft, &path);
        fs::remove_file(&draft).with_context(|| format!("remove {}", draft.display()))?;
        match linked {
            Ok(()) => return Ok(key),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("keep {}", path.display()));
            }
        }
    }
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The events' ids: a hash over all lines so far, so a line is known by its place and its past.
/// The same line in another file, or twice in one, is another event.
pub(super) struct LineIds(Sha256);

impl LineIds {
    pub(super) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(super) fn next(&mut self, line: &[u8]) -> String {
        self.0.update((line.len() as u64).to_le_bytes());
        self.0.update(line);
        format!("log:{}", hex(&self.0.clone().finalize()[..16]))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(lines: &[&str]) -> Vec<String> {
        let mut ids = LineIds::new();
        lines.iter().map(|line| ids.next(line.as_bytes())).collect()
    }

    #[test]
    fn a_log_that_has_grown_keeps_the_ids_of_its_lines() {
        assert_eq!(ids(&["a", "b"])[..], ids(&["a", "b", "c"])[..2]);
    }

    #[test]
    fn equal_lines_of_one_file_are_different_events() {
        let ids = ids(&["a", "a"]);
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn equal_lines_after_different_ones_are_different_events() {
        assert_ne!(ids(&["a", "c"])[1], ids(&["b", "c"])[1]);
        assert_ne!(ids(&["ab", "c"])[1], ids(&["a", "bc"])[1]);
    }

    #[test]
    fn a_visitor_is_the_pair_of_address_and_agent_under_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let key = VisitorKey::obtain(None, directory.path()).unwrap();
        let again = VisitorKey::obtain(None, directory.path()).unwrap();
        assert_eq!(key.visitor("1.2.3.4", "x"), again.visitor("1.2.3.4", "x"));
        assert_ne!(key.visitor("1.2.3.4", "x"), key.visitor("1.2.3.4", "y"));
        assert_ne!(key.visitor("1.2.3.4", "x"), key.visitor("1.2.3.5", "x"));
        let other = VisitorKey::obtain(
            Some(&Secret::from("0123456789abcdef".to_owned())),
            directory.path(),
        );
        assert_ne!(
            key.visitor("1.2.3.4", "x"),
            other.unwrap().visitor("1.2.3.4", "x")
        );
    }

    #[test]
    fn a_short_key_is_refused() {
        let short = Secret::from("0123456789abcde".to_owned());
        assert!(VisitorKey::obtain(Some(&short), Path::new("/nonexistent")).is_err());
    }
}

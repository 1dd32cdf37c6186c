//! The one secret behind all visitors' ids: a file that several edges share, or one made at the first
//! start.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The name of the secret's file in a data folder.
pub const KEY_FILE: &str = "visitor.key";

const BYTES_MIN: usize = 16;
const BYTES_MAX: u64 = 4096;

/// Why there is no secret, in one line that names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the visitors' secret {0} does not exist: copy there the file of the other edges")]
    Missing(PathBuf),
    #[error(
        "the visitors' secret has {0} bytes, fewer than {BYTES_MIN}: `openssl rand -hex 32` makes one"
    )]
    Short(usize),
    #[error(
        "the visitors' secret {path} has {bytes} bytes, fewer than {BYTES_MIN}: `openssl rand -hex 32` makes one"
    )]
    ShortFile { path: PathBuf, bytes: usize },
    #[error("the visitors' secret {0} has more than {BYTES_MAX} bytes: is it the right file?")]
    Long(PathBuf),
    /// The data folder is not this user's; the message names it.
    #[error("{0}")]
    Folder(io::Error),
    #[error("cannot {attempt} the visitors' secret {path}: {source}")]
    Disk {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// The secret. It cannot be printed.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Secret {
    /// # Errors
    /// [`SecretError::Short`] for fewer than 16 bytes. White space at the ends does not count.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        let bytes = bytes.trim_ascii();
        if bytes.len() < BYTES_MIN {
            return Err(SecretError::Short(bytes.len()));
        }
        let key = Hmac::new_from_slice(bytes).expect("HMAC takes a key of any length");
        Ok(Self(key))
    }

    /// The secret in a file that was named.
    ///
    /// # Errors
    /// If the file is missing, too short, too long, or cannot be read.
    pub fn of_file(path: &Path) -> Result<Self, SecretError> {
        Self::new(&read(path)?).map_err(|error| match error {
            SecretError::Short(bytes) => SecretError::ShortFile {
                path: path.to_owned(),
                bytes,
            },
            error => error,
        })
    }

    /// The secret kept in a data folder as [`KEY_FILE`], made there first where there is none.
    /// Processes that start at once agree on one.
    ///
    /// # Errors
    /// If the folder is another user's, the file cannot be read or made, or holds too little.
    pub fn kept_in(folder: &Path) -> Result<Self, SecretError> {
        let path = folder.join(KEY_FILE);
        private_folder::make_around(folder).map_err(SecretError::Folder)?;
        if !path.exists() {
            make(folder, &path)?;
        }
        Self::of_file(&path)
    }

    pub(super) fn derive(&self, label: &[u8], number: i32) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(label);
        mac.update(&number.to_le_bytes());
        Hmac::new_from_slice(&mac.finalize().into_bytes()).expect("HMAC takes a key of any length")
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SecretError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(SecretError::Missing(path.to_owned()));
        }
        opened => opened.map_err(disk("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(disk("read", path))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(SecretError::Long(path.to_owned()));
    }
    Ok(bytes)
}

/// Written aside, synced and linked into place: a crash leaves a whole secret or none, and of two
/// that start at once the first one's stays.
fn make(folder: &Path, path: &Path) -> Result<(), SecretError> {
    let unique = uuid::Uuid::new_v4().simple();
    let draft = folder.join(format!("{KEY_FILE}.{unique}"));
    let key = format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    );
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(key.as_bytes())?;
        file.sync_all()
    };
    let linked =
        write()
            .map_err(disk("write", &draft))
            .and_then(|()| match fs::hard_link(&draft, path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    Err(disk("keep", path)(error))
                }
                _ => Ok(()),
            });
    let removed = fs::remove_file(&draft);
    linked?;
    removed.map_err(disk("remove", &draft))?;
    // The name too must outlive a crash, or the next start makes another secret.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(disk("sync the folder of", path))
}

fn disk(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SecretError {
    let path = path.to_owned();
    move |source| SecretError::Disk {
        attempt,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::visitor::{Period, Visitors};

    fn id(secret: Secret) -> String {
        let time = "2026-11-30T12:00:00Z".parse().unwrap();
        let visitors = Visitors::new(secret, Period::Day);
        visitors.id("site", "1.2.3.4", "agent", time).unwrap()
    }

    #[test]
    fn a_secret_is_made_once_and_is_its_owners_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data");
        let first = id(Secret::kept_in(&folder).unwrap());
        assert_eq!(first, id(Secret::kept_in(&folder).unwrap()));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(KEY_FILE)), 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        let elsewhere = Secret::kept_in(&parent.path().join("other")).unwrap();
        assert_ne!(first, id(elsewhere));
    }

    #[test]
    fn several_that_start_at_once_agree_on_one_secret() {
        let folder = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(8);
        let ids: Vec<String> = std::thread::scope(|scope| {
            let starters: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        id(Secret::kept_in(folder.path()).unwrap())
                    })
                })
                .collect();
            starters
                .into_iter()
                .map(|starter| starter.join().unwrap())
                .collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn the_secret_of_an_earlier_import_stays() {
        let folder = tempfile::tempdir().unwrap();
        let key = "3f2a".repeat(16);
        fs::write(folder.path().join(KEY_FILE), &key).unwrap();
        let kept = Secret::kept_in(folder.path()).unwrap();
        assert_eq!(id(kept), id(Secret::new(key.as_bytes()).unwrap()));
    }

    #[test]
    fn a_shared_file_may_end_with_a_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shared");
        fs::write(&path, "0123456789abcdef\n").unwrap();
        let shared = Secret::of_file(&path).unwrap();
        assert_eq!(id(shared), id(Secret::new(b"0123456789abcdef").unwrap()));
    }

    #[test]
    fn a_named_file_that_is_missing_short_or_long_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shared");
        let refused = || Secret::of_file(&path).unwrap_err().to_string();
        assert!(refused().contains("does not exist"), "{}", refused());
        fs::write(&path, "0123456789abcde\n").unwrap();
        assert!(
            refused().contains("has 15 bytes, fewer than 16"),
            "{}",
            refused()
        );
        fs::write(&path, "x".repeat(4097)).unwrap();
        assert!(refused().contains("more than 4096 bytes"), "{}", refused());
        assert!(
            refused().contains(&path.display().to_string()),
            "{}",
            refused()
        );
        assert!(!path.with_file_name(KEY_FILE).exists());
    }
}

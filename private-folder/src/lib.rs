//! Folders that no other user of the machine can read. Everything weir keeps on a disk lies in one,
//! so the modes of the files inside do not matter.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tracing::info;

const PRIVATE: u32 = 0o700;
const OF_OTHERS: u32 = 0o077;
/// Of a folder in which everybody may make files, and only their owner may remove them.
const STICKY: u32 = 0o1000;

/// Makes a folder that is weir's alone, with the parents that are missing. One that is there already
/// is closed to other users, which the log says.
///
/// # Errors
/// If it belongs to another user, is no folder, or cannot be made; the message names it and says
/// what to do.
pub fn make(folder: &Path) -> io::Result<()> {
    let found = make_around(folder)?;
    let mode = found.mode() & 0o7777;
    if mode & OF_OTHERS == 0 {
        return Ok(());
    }
    if mode & STICKY != 0 {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!(
                "the folder {} is shared by all users, as /tmp is: name a folder inside it",
                folder.display()
            ),
        ));
    }
    fs::set_permissions(folder, Permissions::from_mode(mode & !OF_OTHERS))
        .map_err(|error| about(&error, "close to other users", folder))?;
    info!(
        folder.path = %folder.display(),
        "other users could enter {} (mode {mode:o}); now only its owner can", folder.display()
    );
    Ok(())
}

/// Makes a folder in which private ones will lie. One that is there already keeps its mode, since it
/// may hold other things of its owner.
///
/// # Errors
/// As [`make`].
pub fn make_around(folder: &Path) -> io::Result<Metadata> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(folder)
        .map_err(|error| about(&error, "create", folder))?;
    let found = fs::metadata(folder).map_err(|error| about(&error, "look at", folder))?;
    let this_user = rustix::process::geteuid().as_raw();
    if found.uid() == this_user {
        return Ok(found);
    }
    Err(io::Error::new(
        ErrorKind::PermissionDenied,
        format!(
            "the folder {} belongs to user {}, and this process runs as user {this_user}: run it as that user, change the owner, or name a folder that does not exist yet",
            folder.display(),
            found.uid()
        ),
    ))
}

fn about(error: &io::Error, attempt: &str, folder: &Path) -> io::Error {
    let sentence = format!("cannot {attempt} the folder {}: {error}", folder.display());
    io::Error::new(error.kind(), sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(folder: &Path) -> u32 {
        fs::metadata(folder).unwrap().mode() & 0o777
    }

    fn folder_of_mode(parent: &Path, mode: u32) -> std::path::PathBuf {
        let folder = parent.join("kept");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        folder
    }

    #[test]
    fn a_new_folder_and_its_missing_parents_are_its_owners_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data/kafka");
        make(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&parent.path().join("data")), 0o700);
    }

    #[test]
    fn a_folder_that_others_could_enter_is_closed_to_them() {
        let parent = tempfile::tempdir().unwrap();
        let folder = folder_of_mode(parent.path(), 0o755);
        make(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
    }

    #[test]
    fn a_folder_that_all_users_share_is_refused_and_stays_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let folder = folder_of_mode(parent.path(), 0o1777);
        let refused = make(&folder).unwrap_err().to_string();
        assert!(refused.contains("name a folder inside it"), "{refused}");
        assert_eq!(mode(&folder), 0o777);
    }

    #[test]
    fn a_folder_around_keeps_its_mode() {
        let parent = tempfile::tempdir().unwrap();
        let folder = folder_of_mode(parent.path(), 0o755);
        make_around(&folder).unwrap();
        assert_eq!(mode(&folder), 0o755);
    }

    #[test]
    fn a_folder_of_another_user_is_refused_and_stays_as_it_is() {
        // Only root can give a folder away; for all others root's own serves.
        let parent = tempfile::tempdir().unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let folder = if is_root {
            let folder = folder_of_mode(parent.path(), 0o755);
            std::os::unix::fs::chown(&folder, Some(4711), None).unwrap();
            folder
        } else {
            "/usr".into()
        };
        for refused in [make(&folder), make_around(&folder).map(drop)] {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("belongs to user"), "{refused}");
            assert!(refused.contains(&folder.display().to_string()), "{refused}");
            assert!(!refused.contains('\n'));
        }
        assert_eq!(mode(&folder), 0o755);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("kept");
        fs::write(&file, "").unwrap();
        let refused = make(&file).unwrap_err().to_string();
        assert!(refused.contains(&file.display().to_string()), "{refused}");
    }
}

//! Damaged bytes that are kept for people to look at, in files beside those they were in.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Such files in one folder, and how many bytes they have together. Beyond that damaged bytes are
/// not kept.
pub(crate) const FILES_MAX: usize = 64;
const BYTES_MAX: u64 = 256 << 20;

const EXTENSION: &str = "damaged";

/// Has `write` make a file of the `bytes` damaged ones at `position` of the file `of`, durable with
/// its name. Returns what became of them, for the log.
pub(crate) fn keep(
    dir: &Path,
    of: &str,
    position: u64,
    bytes: u64,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<String> {
    if bytes == 0 {
        return Ok("its bytes are missing".to_owned());
    }
    let there = files(dir)?;
    let mut size = bytes;
    for path in &there {
        size += fs::metadata(path)?.len();
    }
    if there.len() >= FILES_MAX || size > BYTES_MAX {
        return Ok(format!(
            "the {bytes} damaged bytes are not kept, since {} holds as many such files as are allowed",
            dir.display()
        ));
    }
    // Of an earlier damage at the same place, or of a start that ended before it was done.
    let mut name = format!("{of}.{position}.{EXTENSION}");
    let mut number = 1;
    while there.contains(&dir.join(&name)) {
        number += 1;
        name = format!("{of}.{position}.{number}.{EXTENSION}");
    }
    let path = dir.join(name);
    write(&path)?;
    Ok(format!(
        "the {bytes} damaged bytes are kept in {}",
        path.display()
    ))
}

pub(crate) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == EXTENSION)
        {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Deletes what was kept of one file.
pub(crate) fn forget(dir: &Path, of: &str) -> io::Result<()> {
    for path in files(dir)? {
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| {
            name.strip_prefix(of)
                .is_some_and(|rest| rest.starts_with('.'))
        }) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

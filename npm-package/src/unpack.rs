//! Checks a tarball and moves the file in it into place, whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use base64::Engine as _;
use flate2::read::GzDecoder;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};

use super::{FetchError, Package, disk, progress};

/// What was installed, kept beside it: a start compares the length, which costs nothing.
#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    bytes: u64,
    sha512: String,
}

/// Whether the file is there in the length it was installed with.
pub(super) fn is_whole(installed: &Path) -> bool {
    let receipt = fs::read(receipt_path(installed))
        .ok()
        .and_then(|text| serde_json::from_slice::<Receipt>(&text).ok());
    let length = fs::metadata(installed).map(|metadata| metadata.len()).ok();
    receipt.is_some_and(|receipt| Some(receipt.bytes) == length)
}

pub(super) fn install(
    tarball: &Path,
    package: &Package,
    temporary: &Path,
    installed: &Path,
) -> Result<(), FetchError> {
    check(tarball, package)?;
    let unpacked = temporary.join(package.file);
    let receipt = unpack(tarball, package, &unpacked)?;
    let receipt_file = receipt_path(installed);
    let text = serde_json::to_vec(&receipt).map_err(|error| damaged(package, error))?;
    write_synced(&receipt_file, &text).map_err(disk("write", &receipt_file))?;
    // Last: until here the receipt matches nothing, and the file counts as absent.
    fs::rename(&unpacked, installed).map_err(disk("move the unpacked file to", installed))?;
    if let Some(folder) = installed.parent() {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(disk("sync", folder))?;
    }
    Ok(())
}

fn check(tarball: &Path, package: &Package) -> Result<(), FetchError> {
    let bar = progress::bytes(&format!("checking {}", package.what), package.packed_bytes);
    let file = File::open(tarball).map_err(disk("read", tarball))?;
    let mut digest = Digesting {
        inner: file,
        digest: Sha512::new(),
        bar,
    };
    io::copy(&mut digest, &mut io::sink()).map_err(disk("read", tarball))?;
    digest.bar.finish_and_clear();
    let found = base64::engine::general_purpose::STANDARD.encode(digest.digest.finalize());
    let found = format!("sha512-{found}");
    if found == package.integrity {
        return Ok(());
    }
    Err(FetchError::Checksum {
        what: package.what,
        expected: package.integrity.clone(),
        found,
    })
}

fn unpack(tarball: &Path, package: &Package, target: &Path) -> Result<Receipt, FetchError> {
    let bar = progress::bytes(
        &format!("unpacking {}", package.what),
        package.unpacked_bytes,
    );
    let file = File::open(tarball).map_err(disk("read", tarball))?;
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    for entry in archive.entries().map_err(|error| damaged(package, error))? {
        let entry = entry.map_err(|error| damaged(package, error))?;
        let is_wanted = entry
            .path()
            .is_ok_and(|path| path == Path::new("package").join(package.file));
        if !is_wanted {
            continue;
        }
        let mut source = Digesting {
            inner: entry,
            digest: Sha512::new(),
            bar,
        };
        let mut file = File::create(target).map_err(disk("create", target))?;
        let bytes =
            io::copy(&mut source, &mut file).map_err(disk("unpack the package to", target))?;
        file.sync_all().map_err(disk("sync", target))?;
        source.bar.finish_and_clear();
        let sha512 = base64::engine::general_purpose::STANDARD.encode(source.digest.finalize());
        return Ok(Receipt { bytes, sha512 });
    }
    Err(damaged(package, format!("it holds no {}", package.file)))
}

fn damaged(package: &Package, fault: impl ToString) -> FetchError {
    FetchError::Package {
        what: package.what,
        fault: fault.to_string(),
    }
}

fn receipt_path(installed: &Path) -> PathBuf {
    installed.with_extension("json")
}

fn write_synced(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Sums up and shows what is read through it.
struct Digesting<R> {
    inner: R,
    digest: Sha512,
    bar: ProgressBar,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.digest.update(&buffer[..length]);
        self.bar.inc(length as u64);
        Ok(length)
    }
}

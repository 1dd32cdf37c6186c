//! A small package in place of the engine, and scripts in place of npm.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use sha2::{Digest as _, Sha512};

use super::*;

const CONTENT: &[u8] = b"an engine, as far as this test goes";

const LIBRARY: &str = "libchdb.so";

struct Place {
    folder: tempfile::TempDir,
    package: Package,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(CONTENT.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut archive = tar::Builder::new(packer);
        archive
            .append_data(&mut header, "package/libchdb.so", CONTENT)
            .unwrap();
        let tarball = archive.into_inner().unwrap().finish().unwrap();
        let digest = base64::engine::general_purpose::STANDARD.encode(Sha512::digest(&tarball));
        fs::write(folder.path().join("package.tar"), &tarball).unwrap();
        let package = Package {
            what: "the engine",
            instead: "set WEIR_CLICKHOUSE__LIBRARY",
            file: LIBRARY,
            name: "@weir/engine".into(),
            version: "1".into(),
            integrity: format!("sha512-{digest}"),
            packed_bytes: tarball.len() as u64,
            unpacked_bytes: CONTENT.len() as u64,
        };
        Self { folder, package }
    }

    fn npm(&self, script: &str) -> PathBuf {
        let path = self.folder.path().join("npm");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn working_npm(&self) -> PathBuf {
        let tarball = self.folder.path().join("package.tar");
        self.npm(&format!("cp '{}' engine.tgz", tarball.display()))
    }

    fn ensure(&self, npm: &Path) -> Result<PathBuf, FetchError> {
        ensure(&self.package, Some(&self.folder.path().join("cache")), npm)
    }
}

fn one_line(result: Result<PathBuf, FetchError>) -> String {
    let text = result.unwrap_err().to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn the_engine_is_fetched_once() {
    let place = Place::new();
    let library = place.ensure(&place.working_npm()).unwrap();
    assert_eq!(fs::read(&library).unwrap(), CONTENT);
    let again = place.ensure(Path::new("/nowhere/npm")).unwrap();
    assert_eq!(again, library);
    assert!(!library.parent().unwrap().join("fetching").exists());
}

#[test]
fn an_engine_cut_short_is_fetched_again() {
    let place = Place::new();
    let npm = place.working_npm();
    let library = place.ensure(&npm).unwrap();
    fs::write(&library, &CONTENT[..CONTENT.len() - 1]).unwrap();
    assert!(one_line(place.ensure(Path::new("/nowhere/npm"))).contains("install Node.js"));
    assert_eq!(fs::read(place.ensure(&npm).unwrap()).unwrap(), CONTENT);
}

#[test]
fn a_wrong_checksum_leaves_nothing_behind() {
    let mut place = Place::new();
    place.package.integrity = "sha512-AAAA".into();
    let npm = place.working_npm();
    assert!(one_line(place.ensure(&npm)).contains("wrong checksum"));
    let folder = place
        .folder
        .path()
        .join("cache")
        .join(place.package.folder_name());
    assert!(!folder.join(LIBRARY).exists() && !folder.join("fetching").exists());
}

#[test]
fn a_missing_npm_is_named_with_what_to_do() {
    let place = Place::new();
    let text = one_line(place.ensure(Path::new("/nowhere/npm")));
    assert!(
        text.contains("install Node.js or set WEIR_CLICKHOUSE__LIBRARY"),
        "{text}"
    );
}

#[test]
fn npms_own_errors_become_one_line() {
    let place = Place::new();
    let offline =
        place.npm("echo 'npm error code ENOTFOUND' >&2; echo 'npm error errno' >&2; exit 1");
    assert!(matches!(
        place.ensure(&offline),
        Err(FetchError::Offline { .. })
    ));
    let missing = place
        .npm("echo 'npm error code E404' >&2; echo 'npm error 404 no such package' >&2; exit 1");
    assert!(one_line(place.ensure(&missing)).ends_with("404 no such package"));
    let silent = place.npm("exit 0");
    assert!(one_line(place.ensure(&silent)).contains("left no package"));
}

#[test]
fn a_fetch_that_was_killed_is_cleaned_up() {
    let place = Place::new();
    let left = place
        .folder
        .path()
        .join("cache")
        .join(place.package.folder_name())
        .join("fetching");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("half.tgz"), b"half").unwrap();
    assert_eq!(
        fs::read(place.ensure(&place.working_npm()).unwrap()).unwrap(),
        CONTENT
    );
}

#[test]
fn several_at_once_fetch_once() {
    let place = Place::new();
    let count = place.folder.path().join("count");
    let tarball = place.folder.path().join("package.tar");
    let npm = place.npm(&format!(
        "echo x >> '{}'; cp '{}' engine.tgz",
        count.display(),
        tarball.display()
    ));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| place.ensure(&npm).unwrap());
        }
    });
    assert_eq!(fs::read_to_string(count).unwrap(), "x\n");
}

#[test]
fn a_cache_that_others_could_have_written_to_is_closed_and_one_of_theirs_is_refused() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let place = Place::new();
    let library = place.ensure(&place.working_npm()).unwrap();
    let folder = library.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    place.ensure(&place.working_npm()).unwrap();
    let mode = fs::metadata(folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // Only root may give a folder away.
    if chown(folder, Some(65_534), None).is_ok() {
        let refused = one_line(place.ensure(&place.working_npm()));
        assert!(refused.contains("belongs to user 65534"), "{refused}");
    }
}

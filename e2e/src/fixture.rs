//! Data folders as earlier versions of weir left them, packed into `e2e/fixtures`, and the figures
//! that they have to show. None is ever made again: it is there because later code did not make it.

mod figures;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub use figures::{Figures, Log, Month, Site, Torn};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
const ARCHIVE: &str = "data.tar.zst";
const FIGURES: &str = "figures.json";
/// The default of 3 leaves it a third larger; nobody waits for this one.
const LEVEL: i32 = 19;
/// Written by the engine at each start, with the paths of its machine in it.
const MADE_AT_EACH_START: &str = "config";
/// For a folder that is years old: the broker deletes nothing for its age.
const SETTINGS: &str = "[broker]\nretention = \"0s\"\noffsets_retention = \"100years\"\n";

/// One packed data folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fixture {
    folder: PathBuf,
}

impl Fixture {
    /// All there are, by name.
    ///
    /// # Panics
    /// If the folder of fixtures cannot be read.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir(FIXTURES).expect("there are fixtures");
        let mut all: Vec<Self> = entries
            .map(|entry| Self {
                folder: entry.expect("fixtures can be listed").path(),
            })
            .collect();
        all.sort();
        all
    }

    /// Packs the data folders of broker and engine and the spool, which nobody may be using.
    ///
    /// # Panics
    /// If there is a fixture of this name, or files cannot be read or written.
    #[must_use]
    pub fn pack(name: &str, figures: &Figures, parts: &Parts<'_>) -> Self {
        let folder = Path::new(FIXTURES).join(name);
        fs::create_dir(&folder).expect("a fixture is never made again");
        let text = serde_json::to_string_pretty(figures).expect("figures are JSON");
        fs::write(folder.join(FIGURES), text + "\n").expect("a fixture can be written");
        pack(&folder.join(ARCHIVE), parts).expect("a fixture can be written");
        Self { folder }
    }

    #[must_use]
    pub fn name(&self) -> String {
        let name = self.folder.file_name().expect("a fixture has a name");
        name.to_string_lossy().into_owned()
    }

    /// What its data has to show.
    ///
    /// # Panics
    /// If its file is not whole.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let text = fs::read(self.folder.join(FIGURES)).expect("a fixture has figures");
        serde_json::from_slice(&text).expect("figures are JSON")
    }

    /// A copy in a temporary folder, where a weir that is started there looks for it: in `data`.
    /// Beside it stand the settings for a broker whose data is old.
    ///
    /// # Panics
    /// If it cannot be unpacked.
    #[must_use]
    pub fn unpack(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("weir.toml"), SETTINGS).expect("a temporary folder");
        let archive = File::open(self.folder.join(ARCHIVE)).expect("a fixture has data");
        let archive = zstd::Decoder::new(archive).expect("the data is packed with zstd");
        tar::Archive::new(archive)
            .unpack(folder.path().join("data"))
            .expect("the data can be unpacked");
        folder
    }
}

/// The files below `folder` that hold the path `place`, or lead there.
///
/// # Panics
/// If they cannot be read.
#[must_use]
pub fn files_with(folder: &Path, place: &Path) -> Vec<PathBuf> {
    let text = place.as_os_str().as_encoded_bytes();
    assert!(text.len() > 1, "every file holds that");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("a folder can be listed").path();
        let kind = fs::symlink_metadata(&path).expect("a file has a kind");
        if kind.is_dir() {
            found.extend(files_with(&path, place));
            continue;
        }
        let bytes = if kind.is_symlink() {
            let target = fs::read_link(&path).expect("a link leads somewhere");
            target.into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).expect("a file can be read")
        };
        if bytes.windows(text.len()).any(|bytes| bytes == text) {
            found.push(path);
        }
    }
    found
}

/// Where the parts of a data folder lie.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'p> {
    pub kafka: &'p Path,
    pub clickhouse: &'p Path,
    pub spool: &'p Path,
}

fn pack(archive: &Path, parts: &Parts<'_>) -> io::Result<()> {
    let packed = zstd::Encoder::new(File::create(archive)?, LEVEL)?.auto_finish();
    let mut tar = tar::Builder::new(packed);
    tar.follow_symlinks(false);
    tar.append_dir_all("kafka", parts.kafka)?;
    tar.append_dir_all("spool", parts.spool)?;
    tar.append_dir("clickhouse", parts.clickhouse)?;
    for entry in fs::read_dir(parts.clickhouse)? {
        let entry = entry?;
        let name = Path::new("clickhouse").join(entry.file_name());
        if entry.file_name() == MADE_AT_EACH_START {
            continue;
        }
        if entry.file_type()?.is_dir() {
            tar.append_dir_all(name, entry.path())?;
        } else {
            tar.append_path_with_name(entry.path(), name)?;
        }
    }
    tar.finish()
}

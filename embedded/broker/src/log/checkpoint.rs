//! What a log knows about itself, written at each roll and at a clean end. It is only ever a
//! shortcut: without it, or if it is damaged, the segments are read.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::producers::Producers;
use super::segment::Index;
use crate::file;

const NAME: &str = "checkpoint";

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// By base offset: the index, and the offset behind the last batch in it.
    pub(super) segments: BTreeMap<i64, (Index, i64)>,
    /// As of the end of the last segment above.
    pub(super) producers: Producers,
}

impl Checkpoint {
    pub(super) fn load(directory: &Path) -> io::Result<Option<Self>> {
        let path = directory.join(NAME);
        let understood = file::read_checked(&path).and_then(|bytes| {
            Ok(bytes
                .map(|bytes| serde_json::from_slice(&bytes))
                .transpose()?)
        });
        match understood {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                warn!("reading all of {}: {error}", directory.display());
                Ok(None)
            }
            read => read,
        }
    }

    pub(super) fn store(&self, directory: &Path) -> io::Result<()> {
        file::write_checked(&directory.join(NAME), &serde_json::to_vec(self)?)
    }
}

//! `weir import` into it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Weir;
use crate::{Finished, command, run};

impl Weir {
    /// `weir import` of a file into this one; its exit and what it printed.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn import(&self, site_id: &str, file: &Path) -> Finished {
        run(self.import_command(site_id, file))
    }

    /// The same, started and not waited for.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn begin_import(&self, site_id: &str, file: &Path) -> Child {
        self.import_command(site_id, file)
            .args(["--retry-for", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("weir starts")
    }

    fn import_command(&self, site_id: &str, file: &Path) -> Command {
        let mut command = command(self.folder());
        command
            .args([
                "import",
                "--format",
                "combined",
                "--site-id",
                site_id,
                "--url",
                &self.ingest,
            ])
            .arg("--data-dir")
            .arg(self.folder().join("data"))
            .arg(file);
        command
    }
}

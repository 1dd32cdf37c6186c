//! What the tests of the binary share.

use std::path::Path;
use std::process::Command;

/// `weir` in `folder`, with nothing of the caller's environment in its configuration.
pub(crate) fn weir(folder: &Path) -> Command {
    let mut weir = Command::new(env!("CARGO_BIN_EXE_weir"));
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("WEIR_") {
            weir.env_remove(key);
        }
    }
    weir.current_dir(folder);
    weir
}

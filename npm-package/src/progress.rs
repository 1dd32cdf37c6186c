//! What a person sees while a package is fetched: bars on a terminal, single lines elsewhere.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

/// One line on stderr, on a terminal or not. Logging may not be set up yet.
pub(super) fn line(text: &str) {
    eprintln!("{text}");
}

/// A bar of bytes; silent where stderr is no terminal, save for its one line at the start.
pub(super) fn bytes(doing: &str, total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        line(&format!("{doing} ({} MB)", total / 1_000_000));
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total)
        .with_style(style)
        .with_message(doing.to_owned())
}

//! Which event a line is.

use sha2::{Digest, Sha256};

/// The events' ids: a hash over all lines so far, so a line is known by its place and its past.
/// The same line in another file, or twice in one, is another event.
pub(super) struct LineIds(Sha256);

impl LineIds {
    pub(super) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(super) fn next(&mut self, line: &[u8]) -> String {
        self.0.update((line.len() as u64).to_le_bytes());
        self.0.update(line);
        format!("log:{}", hex(&self.0.clone().finalize()[..16]))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(lines: &[&str]) -> Vec<String> {
        let mut ids = LineIds::new();
        lines.iter().map(|line| ids.next(line.as_bytes())).collect()
    }

    #[test]
    fn a_log_that_has_grown_keeps_the_ids_of_its_lines() {
        assert_eq!(ids(&["a", "b"])[..], ids(&["a", "b", "c"])[..2]);
    }

    #[test]
    fn equal_lines_of_one_file_are_different_events() {
        let ids = ids(&["a", "a"]);
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn equal_lines_after_different_ones_are_different_events() {
        assert_ne!(ids(&["a", "c"])[1], ids(&["b", "c"])[1]);
        assert_ne!(ids(&["ab", "c"])[1], ids(&["a", "bc"])[1]);
    }
}

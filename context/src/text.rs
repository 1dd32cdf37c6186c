//! Texts of others, made fit for a column.

use std::borrow::Cow;

/// The first `bytes_max` bytes, or fewer, so that no character is cut in two.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// At most `bytes_max` bytes on one line: control characters become blanks, and blanks at both ends
/// go.
pub(crate) fn one_line(text: &str, bytes_max: usize) -> Cow<'_, str> {
    let text = cut(text.trim(), bytes_max).trim_end();
    if text.contains(char::is_control) {
        text.replace(char::is_control, " ").trim().to_owned().into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_keeps_to_one_line() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("aäb", 3), "aä");
        assert_eq!(cut("ab", 9), "ab");
        assert_eq!(one_line(" a\tb\u{85}c\n", 99), "a b c");
        assert_eq!(one_line("a b", 2), "a");
    }
}

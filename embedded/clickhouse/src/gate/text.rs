//! Reading raw bytes of SQL: words, calls and what may stand between them.

/// Whether `name` stands in `text` where a bracket follows, or may be applied to columns by
/// `APPLY(name)`.
pub(super) fn calls(text: &[u8], name: &[u8]) -> bool {
    let mut from = 0;
    while let Some(start) = find_word(text, name, from) {
        let rest = &text[start + name.len()..];
        let follows = &rest[between(rest)..];
        if follows.starts_with(b"(") {
            return true;
        }
        if find_word(text, b"APPLY", 0).is_some() {
            return true;
        }
        from = start + name.len();
    }
    false
}

/// Position of `word` in any case, not inside a longer word.
pub(super) fn find_word(text: &[u8], word: &[u8], from: usize) -> Option<usize> {
    (from..text.len().saturating_sub(word.len() - 1)).find(|start| {
        let end = start + word.len();
        text[*start..end].eq_ignore_ascii_case(word)
            && !start
                .checked_sub(1)
                .is_some_and(|before| is_part(text[before]))
            && !text.get(end).is_some_and(|byte| is_part(*byte))
    })
}

/// Whether a byte is part of a word.
pub(super) fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Text with backslash escapes resolved, as a quoted name would have them: `\\N` is nothing at all.
pub(super) fn unescape(sql: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(sql.len());
    let mut position = 0;
    while let Some(byte) = sql.get(position) {
        let hex = || {
            let digits = std::str::from_utf8(sql.get(position + 2..position + 4)?).ok()?;
            u8::from_str_radix(digits, 16).ok()
        };
        match (byte, sql.get(position + 1)) {
            (b'\\', Some(b'x')) if hex().is_some() => {
                plain.extend(hex());
                position += 4;
            }
            (b'\\', Some(b'N')) => position += 2,
            (b'\\', Some(escaped)) => {
                plain.push(*escaped);
                position += 2;
            }
            _ => {
                plain.push(*byte);
                position += 1;
            }
        }
    }
    plain
}

/// Length of what may stand between two tokens, and of the quotes around them: blanks, quotes,
/// comments, and whatever is no ASCII (blanks and quotes of other scripts).
pub(super) fn between(text: &[u8]) -> usize {
    let mut position = 0;
    while let Some(byte) = text.get(position) {
        let rest = &text[position..];
        position += match byte {
            b'`' | b'"' | b'\'' => 1,
            byte if *byte <= b' ' || *byte >= 0x7f => 1,
            b'/' if rest.starts_with(b"/*") => length_to(rest, b"*/"),
            b'-' if rest.starts_with(b"--") => length_to(rest, b"\n"),
            b'#' => length_to(rest, b"\n"),
            _ => break,
        };
    }
    position
}

/// Length of `text` up to and with `end`, or all of it.
fn length_to(text: &[u8], end: &[u8]) -> usize {
    text.windows(end.len())
        .position(|window| window == end)
        .map_or(text.len(), |start| start + end.len())
}

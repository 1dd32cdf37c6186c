//! Output formats: which one a statement asks for, and how its chunks may be strung together.

use super::token::{Kind, Token, tokens};

/// The format named by a trailing `FORMAT x`, at the statement's own level.
pub(crate) fn named(sql: &[u8]) -> Option<String> {
    let mut depth = 0_u32;
    let mut previous: Option<Token<'_>> = None;
    let mut found = None;
    for token in tokens(sql) {
        match token.kind {
            Kind::Sign(b'(') => depth += 1,
            Kind::Sign(b')') => depth = depth.saturating_sub(1),
            Kind::Word(word)
                if depth == 0 && previous.is_some_and(|last| last.is_word("FORMAT")) =>
            {
                found = Some(word.to_owned());
            }
            _ => {}
        }
        previous = Some(token);
    }
    found
}

/// How the engine's chunks, each a document of its own, become one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joining {
    /// Chunks simply follow each other.
    Plain,
    /// Each chunk repeats the header of names and types; all but the first lose it.
    BinaryHeader,
    /// One document: the answer must be made whole.
    Whole,
}

pub(crate) fn joining(format: &str) -> Joining {
    const PLAIN: &[&str] = &[
        "TabSeparated",
        "TSV",
        "TabSeparatedRaw",
        "TSVRaw",
        "Raw",
        "CSV",
        "JSONEachRow",
        "JSONLines",
        "NDJSON",
        "JSONCompactEachRow",
        "JSONStringsEachRow",
        "RowBinary",
        "Native",
        "LineAsString",
        "Null",
    ];
    if PLAIN.contains(&format) {
        Joining::Plain
    } else if format == "RowBinaryWithNamesAndTypes" {
        Joining::BinaryHeader
    } else {
        Joining::Whole
    }
}

/// Length of a RowBinaryWithNamesAndTypes header: a count, then as many names, then types.
pub(crate) fn binary_header_length(chunk: &[u8]) -> Option<usize> {
    let mut position = 0;
    let columns = varint(chunk, &mut position)?;
    for _ in 0..columns.checked_mul(2)? {
        let length = varint(chunk, &mut position)?;
        position = position
            .checked_add(length)
            .filter(|end| *end <= chunk.len())?;
    }
    Some(position)
}

fn varint(bytes: &[u8], position: &mut usize) -> Option<usize> {
    let mut value = 0_usize;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(*position)?;
        *position += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

pub(crate) fn content_type(format: &str) -> &'static str {
    match format {
        "JSON" | "JSONCompact" | "JSONStrings" | "JSONCompactStrings" => {
            "application/json; charset=UTF-8"
        }
        "JSONEachRow" | "JSONLines" | "NDJSON" | "JSONCompactEachRow" => {
            "application/x-ndjson; charset=UTF-8"
        }
        "TabSeparated"
        | "TSV"
        | "TabSeparatedWithNames"
        | "TSVWithNames"
        | "TabSeparatedWithNamesAndTypes"
        | "TSVWithNamesAndTypes" => "text/tab-separated-values; charset=UTF-8",
        "CSV" | "CSVWithNames" | "CSVWithNamesAndTypes" => "text/csv; charset=UTF-8; header=absent",
        "XML" => "application/xml; charset=UTF-8",
        "RowBinary"
        | "RowBinaryWithNames"
        | "RowBinaryWithNamesAndTypes"
        | "Native"
        | "Parquet"
        | "Arrow"
        | "ArrowStream"
        | "ORC"
        | "Avro"
        | "MsgPack" => "application/octet-stream",
        _ => "text/plain; charset=UTF-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_format_is_named_at_the_statements_own_level() {
        assert_eq!(named(b"SELECT 1 FORMAT JSON").as_deref(), Some("JSON"));
        assert_eq!(named(b"SELECT 'FORMAT JSON'"), None);
        assert_eq!(named(b"SELECT format('{}', x)"), None);
    }

    #[test]
    fn a_binary_header_ends_behind_names_and_types() {
        assert_eq!(binary_header_length(b"\x01\x01a\x05UInt8\x07"), Some(9));
        assert_eq!(binary_header_length(b"\x01\x01a\x05UInt"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_upset_the_header(chunk in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(binary_header_length(&chunk).is_none_or(|length| length <= chunk.len()));
        }
    }
}

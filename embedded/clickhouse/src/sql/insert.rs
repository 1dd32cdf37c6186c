//! An INSERT with data is cut in two: the engine takes the statement, the name of the format and
//! the data apart, and misreads binary data that stands in the statement's text.

use super::token::{Kind, tokens};

/// `INSERT INTO t (a, b)`, its format, and where its data starts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Insert<'s> {
    pub(crate) head: &'s [u8],
    pub(crate) format: &'s str,
    pub(crate) body: &'s [u8],
}

/// Splits an INSERT that carries data; `None` for every other statement, INSERT SELECT included.
pub(crate) fn split(sql: &[u8]) -> Option<Insert<'_>> {
    let mut depth = 0_u32;
    let mut tokens = tokens(sql);
    if !tokens.next()?.is_word("INSERT") {
        return None;
    }
    while let Some(token) = tokens.next() {
        match token.kind {
            Kind::Sign(b'(') => depth += 1,
            Kind::Sign(b')') => depth = depth.saturating_sub(1),
            Kind::Word(_) if depth > 0 => {}
            Kind::Word(_) if token.is_word("SELECT") || token.is_word("WITH") => return None,
            Kind::Word(_) if token.is_word("VALUES") => {
                let body = &sql[token.end..];
                return Some(Insert {
                    head: &sql[..token.start],
                    format: "Values",
                    body,
                });
            }
            Kind::Word(_) if token.is_word("FORMAT") => {
                let name = tokens.next()?;
                let Kind::Word(format) = name.kind else {
                    return None;
                };
                let body = after_first_line_end(&sql[name.end..]);
                return Some(Insert {
                    head: &sql[..token.start],
                    format,
                    body,
                });
            }
            _ => {}
        }
    }
    None
}

/// Data starts behind one line end, or, on the same line, behind the blanks.
fn after_first_line_end(rest: &[u8]) -> &[u8] {
    let blanks = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
        .count();
    match rest.get(blanks) {
        Some(b'\n') => &rest[blanks + 1..],
        _ => &rest[blanks..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn data_starts_behind_the_line_end_and_is_left_alone() {
        let insert =
            split(b"INSERT INTO t (`FORMAT`, b) SETTINGS a = 'x' FORMAT RowBinary\n\n\x00VALUES")
                .unwrap();
        assert_eq!(
            insert.head,
            b"INSERT INTO t (`FORMAT`, b) SETTINGS a = 'x' "
        );
        assert_eq!(
            (insert.format, insert.body),
            ("RowBinary", &b"\n\x00VALUES"[..])
        );
    }

    #[test]
    fn values_is_a_format() {
        let insert = split(b"insert into t values (1), (2)").unwrap();
        assert_eq!((insert.format, insert.body), ("Values", &b" (1), (2)"[..]));
    }

    #[test]
    fn statements_without_data_are_left_whole() {
        for sql in [
            "SELECT 1 FORMAT JSON",
            "INSERT INTO t SELECT 1 FORMAT JSON",
            "INSERT INTO t",
            "",
        ] {
            assert_eq!(split(sql.as_bytes()), None, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn any_data_comes_out_as_it_went_in(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut sql = b"INSERT INTO weir.t(a) FORMAT Native\n".to_vec();
            sql.extend_from_slice(&data);
            let insert = split(&sql).unwrap();
            prop_assert_eq!(insert.format, "Native");
            prop_assert_eq!(insert.body, &data[..]);
        }
    }
}

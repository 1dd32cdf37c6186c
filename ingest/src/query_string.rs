//! Names and values of a query string, as a form or a script writes them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A name or a value that is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a parameter of the query is not UTF-8")]
pub(crate) struct NotText;

type Pair<'q> = (Cow<'q, str>, Cow<'q, str>);

/// In their order. Strict about UTF-8, where the URL standard would put replacement characters: an
/// event must not be stored as something that nobody sent.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = Result<Pair<'_>, NotText>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Ok((decode(name)?, decode(value)?))
    })
}

fn decode(text: &str) -> Result<Cow<'_, str>, NotText> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().map_err(|_| NotText);
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(|text| text.into_owned().into())
        .map_err(|_| NotText)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let decoded: Vec<_> = pairs("a=1&&b=%2Fx+y%C3%A9&c&=d&e=f=g&h=%zz")
            .map(Result::unwrap)
            .collect();
        let expected = [
            ("a", "1"),
            ("b", "/x y\u{e9}"),
            ("c", ""),
            ("", "d"),
            ("e", "f=g"),
            ("h", "%zz"),
        ];
        assert_eq!(
            decoded,
            expected.map(|(name, value)| (name.into(), value.into()))
        );
    }

    #[test]
    fn what_is_not_utf_8_is_a_fault() {
        for query in ["a=%ff", "%c3=1", "a=+%ff"] {
            assert_eq!(pairs(query).last(), Some(Err(NotText)));
        }
    }
}

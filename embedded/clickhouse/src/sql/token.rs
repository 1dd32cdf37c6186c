//! ClickHouse's tokens, as far as words, quotes, comments and brackets go.

/// A token and where it stands. Everything but words, quoted names and signs is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'s> {
    pub(crate) kind: Kind<'s>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'s> {
    /// A bare word, number included: `SELECT`, `max_threads`, `12`.
    Word(&'s str),
    /// A name in backticks or double quotes, quotes included.
    Name(&'s str),
    /// A string in single quotes or a heredoc, quotes included.
    Text,
    Sign(u8),
}

impl Token<'_> {
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(self.kind, Kind::Word(own) if own.eq_ignore_ascii_case(word))
    }

    pub(crate) fn is_sign(&self, sign: u8) -> bool {
        self.kind == Kind::Sign(sign)
    }
}

/// Tokens of `sql`, lazily: an INSERT's data behind its head is never looked at.
pub(crate) struct Tokens<'s> {
    sql: &'s [u8],
    position: usize,
}

pub(crate) fn tokens(sql: &[u8]) -> Tokens<'_> {
    Tokens { sql, position: 0 }
}

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        self.skip_blanks();
        let start = self.position;
        let first = *self.sql.get(start)?;
        let kind = match first {
            b'\'' => {
                self.position = quoted_end(self.sql, start);
                Kind::Text
            }
            b'`' | b'"' => {
                self.position = quoted_end(self.sql, start);
                Kind::Name(utf8(&self.sql[start..self.position]))
            }
            b'$' if heredoc_end(self.sql, start).is_some() => {
                self.position = heredoc_end(self.sql, start)?;
                Kind::Text
            }
            _ if is_word_byte(first) => {
                let length = self.sql[start..]
                    .iter()
                    .take_while(|byte| is_word_byte(**byte))
                    .count();
                self.position = start + length;
                Kind::Word(utf8(&self.sql[start..self.position]))
            }
            sign => {
                self.position = start + 1;
                Kind::Sign(sign)
            }
        };
        Some(Token {
            kind,
            start,
            end: self.position,
        })
    }
}

impl Tokens<'_> {
    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.sql[self.position.min(self.sql.len())..];
            let skipped = match rest {
                [byte, ..] if byte.is_ascii_whitespace() || *byte == 0x0b => 1,
                [b'-', b'-', ..] | [b'#', b' ' | b'!', ..] => line_length(rest),
                [b'/', b'*', ..] => comment_length(rest),
                _ => return,
            };
            self.position += skipped;
        }
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_length(rest: &[u8]) -> usize {
    rest.iter()
        .position(|byte| *byte == b'\n')
        .map_or(rest.len(), |end| end + 1)
}

fn comment_length(rest: &[u8]) -> usize {
    rest[2..]
        .windows(2)
        .position(|pair| pair == b"*/")
        .map_or(rest.len(), |end| end + 4)
}

/// The end of a quoted token: a quote is kept by a backslash before it or by its own double.
fn quoted_end(sql: &[u8], start: usize) -> usize {
    let quote = sql[start];
    let mut position = start + 1;
    while let Some(byte) = sql.get(position) {
        let doubled = *byte == quote && sql.get(position + 1) == Some(&quote);
        if *byte == b'\\' || doubled {
            position += 2;
        } else if *byte == quote {
            return position + 1;
        } else {
            position += 1;
        }
    }
    sql.len()
}

/// The end of `$tag$ ... $tag$`, if one starts here.
fn heredoc_end(sql: &[u8], start: usize) -> Option<usize> {
    let tag = sql[start + 1..]
        .iter()
        .take_while(|byte| is_word_byte(**byte))
        .count();
    let opening = sql
        .get(start..start + tag + 2)
        .filter(|opening| opening.ends_with(b"$"))?;
    let body = start + opening.len();
    let length = sql[body..]
        .windows(opening.len())
        .position(|window| window == opening)?;
    Some(body + length + opening.len())
}

/// Bytes that are no UTF-8 cannot be a keyword or a name this crate looks for.
fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(sql: &str) -> Vec<&str> {
        tokens(sql.as_bytes())
            .filter_map(|token| match token.kind {
                Kind::Word(word) => Some(word),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn words_in_strings_names_and_comments_are_not_words() {
        let sql = "SELECT 'a\\'b FORMAT', `c FORMAT`, \"d\"\"FORMAT\" -- FORMAT\n /* FORMAT */ , $x$ FORMAT $x$ one";
        assert_eq!(words(sql), ["SELECT", "one"]);
    }

    #[test]
    fn a_quote_that_never_ends_takes_the_rest() {
        assert_eq!(words("a 'b c"), ["a"]);
        assert_eq!(words("a /* b"), ["a"]);
        assert_eq!(words("a 'b\\"), ["a"]);
    }

    proptest! {
        #[test]
        fn tokens_stand_in_order_and_inside_the_text(sql in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut last = 0;
            for token in tokens(&sql) {
                prop_assert!(token.start >= last && token.end > token.start);
                last = token.end;
            }
            prop_assert!(last <= sql.len());
        }
    }
}

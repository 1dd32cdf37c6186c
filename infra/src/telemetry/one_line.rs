//! Keeps what a client sent from looking like a log of ours: an event is one line, and nothing in it
//! moves the cursor or changes colours. Done where lines are written, for all that is ever logged.

use std::fmt::{self, Write as _};
use std::io;

use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{self, FormatFields, Writer};

/// Control characters, and what else breaks lines or turns the direction of writing around.
fn is_unruly(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` without what could end its line: `\n`, `\u{1b}` and the like stand for it.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    // A String takes everything.
    let _ = Escaping(&mut line).write_str(text);
    line
}

/// Hands text on, escaped.
struct Escaping<W>(W);

impl<W: fmt::Write> fmt::Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_unruly) {
            self.0.write_str(&rest[..at])?;
            let mut after = rest[at..].chars();
            if let Some(character) = after.next() {
                write!(self.0, "{}", character.escape_default())?;
            }
            rest = after.as_str();
        }
        self.0.write_str(rest)
    }
}

/// The fields of a line of text; values are escaped, colours are this function's own.
pub(super) fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    format::debug_fn(|writer: &mut Writer<'_>, field: &Field, value| {
        if field.name() == "message" {
            return write!(Escaping(writer), "{value:?}");
        }
        let (italic, dim, plain) = match writer.has_ansi_escapes() {
            true => ("\u{1b}[3m", "\u{1b}[2m", "\u{1b}[0m"),
            false => ("", "", ""),
        };
        write!(writer, "{italic}{}{plain}{dim}={plain}", field.name())?;
        write!(Escaping(writer), "{value:?}")
    })
    .delimited(" ")
}

/// Writes lines of JSON. Its strings have the first 32 control characters escaped already, and the
/// others must not reach a terminal either.
#[derive(Clone)]
pub(super) struct EscapedJson<W>(pub(super) W);

impl<W: io::Write> io::Write for EscapedJson<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) if text.trim_end_matches('\n').contains(is_unruly) => {
                self.0.write_all(escaped_json(text).as_bytes())?;
            }
            _ => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn escaped_json(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len());
    for character in line.chars() {
        if character != '\n' && is_unruly(character) {
            // All of them are below U+10000: one unit of UTF-16.
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_line_or_moves_the_cursor_is_written_out() {
        for (text, line) in [
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}[31m\u{7f}\u{9b}", r"\u{1b}[31m\u{7f}\u{9b}"),
            ("a\u{2028}b\u{202e}c", r"a\u{2028}b\u{202e}c"),
            ("größe 東京", "größe 東京"),
        ] {
            assert_eq!(one_line(text), line);
        }
    }
}

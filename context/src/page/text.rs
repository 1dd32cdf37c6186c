//! What all texts of an address have in common: percent-encoding, Unicode's form, a limit.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;

/// Of a source, a campaign value: what is longer is cut.
pub(crate) const VALUE_BYTES_MAX: usize = 255;

/// More of an encoded value is not read. Nine letters of three bytes each, all percent-encoded, can
/// become one letter of three bytes.
const ENCODED_BYTES_MAX: usize = 27 * VALUE_BYTES_MAX;

const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfc();

/// Control characters, and those that break or turn the line in which they are shown.
pub(super) fn spoils_a_line(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Letters, digits and signs of ASCII. Looks at every byte, which is done many at a time.
pub(super) fn is_plain(text: &str, also_not: impl Fn(u8) -> bool) -> bool {
    let bytes = text.bytes();
    !bytes.fold(false, |found, byte| {
        found | !matches!(byte, b' '..=b'~') | also_not(byte)
    })
}

/// Brings what a text has from `start` on into Unicode's composed form, which a `é` of two
/// characters is not in.
fn compose(text: &mut String, start: usize) {
    let tail = &text[start..];
    if tail.is_ascii() {
        return;
    }
    if let Cow::Owned(composed) = NFC.normalize(tail) {
        text.truncate(start);
        text.push_str(&composed);
    }
}

/// At most so many bytes of a text, in whole characters.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let is_boundary = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=bytes_max).rev().find(is_boundary).unwrap_or(0);
    &text[..end]
}

/// A value as it is kept: a blank for what spoils a line, none around it, at most
/// [`VALUE_BYTES_MAX`] bytes.
pub(super) fn value(text: &str) -> Cow<'_, str> {
    if text.is_empty() {
        return Cow::Borrowed("");
    }
    let text = text.trim();
    if text.len() <= VALUE_BYTES_MAX && is_plain(text, |_| false) {
        return Cow::Borrowed(text);
    }
    let shown = cut(text, ENCODED_BYTES_MAX).chars();
    let mut shown: String = shown
        .map(|character| {
            if spoils_a_line(character) {
                ' '
            } else {
                character
            }
        })
        .collect();
    compose(&mut shown, 0);
    Cow::Owned(cut(shown.trim(), VALUE_BYTES_MAX).trim_end().to_owned())
}

/// The value of a parameter, which is percent-encoded and has `+` for a blank. Bytes that are no
/// UTF-8 become U+FFFD, as in browsers.
pub(super) fn value_of_parameter(encoded: &str) -> Cow<'_, str> {
    if encoded.is_empty() || is_plain(encoded, |byte| matches!(byte, b'%' | b'+')) {
        return value(encoded);
    }
    let mut rest = cut(encoded, ENCODED_BYTES_MAX).as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        rest = after;
        decoded.push(match first {
            b'+' => b' ',
            b'%' => match hex_pair(after) {
                Some(byte) => {
                    rest = &after[2..];
                    byte
                }
                None => b'%',
            },
            _ => *first,
        });
    }
    Cow::Owned(value(&String::from_utf8_lossy(&decoded)).into_owned())
}

/// How [`decode`] reads a part of an address.
#[derive(Clone, Copy)]
pub(super) struct Decoding {
    /// Characters that stay encoded, because they would mean something else.
    pub(super) keep: &'static [char],
    pub(super) plus_is_blank: bool,
    pub(super) lower_case: bool,
}

/// Decodes a part of an address where that leaves its meaning: not what is to be kept, what spoils
/// a line, or what is no UTF-8. These are encoded, in upper case, even where the client did not.
/// What it returns it would return again.
pub(super) fn decode(part: &str, how: Decoding) -> String {
    let mut decoded = String::with_capacity(part.len());
    // An accent behind an escape must not join its last digit.
    let mut after_escape = 0;
    let mut rest = part;
    while let Some(first) = rest.chars().next() {
        let is_escaped = first == '%';
        let escaped = escaped_character(rest.as_bytes());
        let (character, length) = match escaped {
            Some(escaped) => escaped,
            None if first == '+' && how.plus_is_blank => (' ', 1),
            None => (first, first.len_utf8()),
        };
        let escape = if is_escaped && escaped.is_none() {
            lone_percent(rest)
        } else if spoils_a_line(character) || is_escaped && how.keep.contains(&character) {
            Some(Escape::Of(character))
        } else {
            None
        };
        let Some(escape) = escape else {
            if how.lower_case {
                decoded.extend(character.to_lowercase());
            } else {
                decoded.push(character);
            }
            rest = &rest[length..];
            continue;
        };
        compose(&mut decoded, after_escape);
        match escape {
            Escape::Of(character) => {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    push_escaped(&mut decoded, byte);
                }
                rest = &rest[length..];
            }
            Escape::OfByte(byte) => {
                push_escaped(&mut decoded, byte);
                rest = &rest[3..];
            }
        }
        after_escape = decoded.len();
    }
    compose(&mut decoded, after_escape);
    decoded
}

enum Escape {
    Of(char),
    /// One that stood there, of a byte that is no character.
    OfByte(u8),
}

/// How the `%` at the start of a text is written, which begins no character.
fn lone_percent(text: &str) -> Option<Escape> {
    let after = &text[1..];
    if let Some(byte) = hex_pair(after.as_bytes()) {
        return Some(Escape::OfByte(byte));
    }
    // What follows may be decoded to digits or begin with them, and it would be an escape then.
    let may_change = |character| character == '%' || spoils_a_line(character);
    let mut after = after.chars();
    let first = after.next()?;
    let second = after.next();
    let may_become_escape =
        may_change(first) || first.is_ascii_hexdigit() && second.is_some_and(may_change);
    may_become_escape.then_some(Escape::Of('%'))
}

fn push_escaped(decoded: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let [high, low] = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
    decoded.extend(['%', char::from(high), char::from(low)]);
}

/// The character at the start of a text that is percent-encoded there, and the bytes it takes.
fn escaped_character(text: &[u8]) -> Option<(char, usize)> {
    let mut buffer = [0; 4];
    buffer[0] = escaped_byte(text)?;
    let length = match buffer[0] {
        ..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    for (index, byte) in buffer[..length].iter_mut().enumerate().skip(1) {
        *byte = escaped_byte(text.get(3 * index..)?)?;
    }
    let text = std::str::from_utf8(&buffer[..length]).ok()?;
    Some((text.chars().next()?, 3 * length))
}

fn escaped_byte(text: &[u8]) -> Option<u8> {
    match text {
        [b'%', after @ ..] => hex_pair(after),
        _ => None,
    }
}

fn hex_pair(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

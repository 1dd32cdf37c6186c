//! Reading a request the way nearly all clients write them: texts without escapes, whole numbers,
//! `true`, `false`, `null`, and nothing nested but `props`. It gives up, without saying why, at
//! whatever is not that; serde then has the last word. What it does take is what serde would make
//! of it, which a test with made-up texts holds it to.

use std::borrow::Cow;

use super::{EventRequest, Props, Scalar, Value};
use crate::limits::PROPS_KEYS_MAX;

/// Whole numbers of more digits may not be the ones that serde would write.
const DIGITS_MAX: usize = 18;

/// A place in a JSON text.
pub(super) struct Plain<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Plain<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Reads the request that stands here into `request`; returns where it ends.
    pub(super) fn read(mut self, request: &mut EventRequest<'a>) -> Option<usize> {
        let mut room = request.clear();
        let mut seen = 0_u32;
        let mut more = self.opens_object()?;
        while more {
            let key = self.key()?;
            match request.field(key) {
                Some((bit, _, field)) => {
                    if seen & (1 << bit) != 0 {
                        return None;
                    }
                    seen |= 1 << bit;
                    *field = self.value(&mut room)?;
                }
                None => drop(self.scalar()?),
            }
            more = self.goes_on()?;
        }
        Some(self.at)
    }

    /// `room` is for an object.
    fn value(&mut self, room: &mut Props<'a>) -> Option<Value<'a>> {
        match self.peek()? {
            b'"' => Some(Value::String(Cow::Borrowed(self.string()?))),
            b'{' => self.props(std::mem::take(room)).map(Value::Object),
            _ => match self.scalar()? {
                Scalar::Null => Some(Value::Absent),
                _ => Some(Value::Other),
            },
        }
    }

    fn props(&mut self, mut props: Props<'a>) -> Option<Props<'a>> {
        let mut more = self.opens_object()?;
        while more {
            let key = self.key()?;
            let value = self.scalar()?;
            // One more than allowed is enough to say so.
            if props.len() <= PROPS_KEYS_MAX {
                props.push((Cow::Borrowed(key), value));
            }
            more = self.goes_on()?;
        }
        Some(props)
    }

    fn scalar(&mut self) -> Option<Scalar<'a>> {
        let text = match self.peek()? {
            b'"' => self.string()?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => return self.word("null").map(|_| Scalar::Null),
            _ => self.whole_number()?,
        };
        Some(Scalar::Text(Cow::Borrowed(text)))
    }

    /// Whether there is anything in the object that begins here.
    fn opens_object(&mut self) -> Option<bool> {
        self.take(b'{')?;
        let is_empty = self.peek()? == b'}';
        self.at += usize::from(is_empty);
        Some(!is_empty)
    }

    /// Whether the object has another entry; otherwise it has ended.
    fn goes_on(&mut self) -> Option<bool> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            b'}' => Some(false),
            _ => None,
        }
    }

    #[inline]
    fn key(&mut self) -> Option<&'a str> {
        self.peek()?;
        let key = self.string()?;
        self.take(b':')?;
        Some(key)
    }

    #[inline]
    /// The text between the quotes, the first of which stands here.
    fn string(&mut self) -> Option<&'a str> {
        let begin = self.at + 1;
        if self.text.as_bytes().get(self.at) != Some(&b'"') {
            return None;
        }
        let end = begin + plain_bytes(&self.text.as_bytes()[begin..]);
        if self.text.as_bytes().get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        Some(&self.text[begin..end])
    }

    fn word(&mut self, word: &'static str) -> Option<&'static str> {
        let is_there = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        is_there.then_some(word)
    }

    /// Without a leading zero or a negative one, so that it stands as serde would write it.
    fn whole_number(&mut self) -> Option<&'a str> {
        let rest = &self.text.as_bytes()[self.at..];
        let sign = usize::from(rest.first() == Some(&b'-'));
        let digits = rest[sign..]
            .iter()
            .take(DIGITS_MAX + 1)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let is_zero = rest.get(sign) == Some(&b'0');
        let end = sign + digits;
        let is_whole = !matches!(rest.get(end), Some(b'.' | b'e' | b'E'));
        if digits == 0 || digits > DIGITS_MAX || is_zero && end > 1 || !is_whole {
            return None;
        }
        let begin = self.at;
        self.at += end;
        Some(&self.text[begin..self.at])
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        let is_there = self.peek()? == byte;
        self.at += 1;
        is_there.then_some(())
    }

    /// The next byte that is not white space, without taking it.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }
}

/// How many bytes there are before the first quote, backslash or control character, or the end.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let found = not_plain(*chunk);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += chunk.len();
    }
    let is_plain = |byte: &&u8| !matches!(**byte, b'"' | b'\\' | ..0x20);
    at + bytes[at..].iter().take_while(is_plain).count()
}

/// The high bits of the bytes that are a quote, a backslash or a control character; above the
/// first one, of others too. (Mycroft's trick: a byte below another borrows from the bit above.)
fn not_plain(chunk: [u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let chars = u64::from_le_bytes(chunk);
    let below = |chars: u64, bound: u8| chars.wrapping_sub(ONES * u64::from(bound)) & !chars;
    let is = |byte: u8| below(chars ^ (ONES * u64::from(byte)), 1);
    (below(chars, 0x20) | is(b'"') | is(b'\\')) & HIGHS
}

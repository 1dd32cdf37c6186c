//! Bytes with their length and CRC in front, so that a torn or rotten file is told from a whole one.

use bytes::{Buf, BufMut};

const HEADER_BYTES: usize = 8;

/// Appends one frame to `out`.
pub(crate) fn write(out: &mut Vec<u8>, content: &[u8]) {
    out.put_u32(content.len() as u32);
    out.put_u32(crc32c::crc32c(content));
    out.put_slice(content);
}

/// One frame alone.
pub(crate) fn of(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + content.len());
    write(&mut out, content);
    out
}

/// Takes the next frame off the front; `None` at the end and at the first damage.
pub(crate) fn next<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut header = bytes.get(..HEADER_BYTES)?;
    let (len, crc) = (header.get_u32() as usize, header.get_u32());
    let content = bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(len)?)?;
    if crc32c::crc32c(content) != crc {
        return None;
    }
    *bytes = &bytes[HEADER_BYTES + len..];
    Some(content)
}

/// Where the first frame ends by its own length, whole or not.
pub(crate) fn end(bytes: &[u8]) -> Option<usize> {
    let mut header = bytes.get(..HEADER_BYTES)?;
    HEADER_BYTES.checked_add(header.get_u32() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_in_order_and_end_at_the_first_damage() {
        let mut file = of(b"first");
        write(&mut file, b"");
        write(&mut file, b"third");
        let mut rest = &file[..];
        assert_eq!(next(&mut rest), Some(&b"first"[..]));
        assert_eq!(next(&mut rest), Some(&b""[..]));
        assert_eq!(next(&mut rest), Some(&b"third"[..]));
        assert_eq!(next(&mut rest), None);

        let last = file.len() - 1;
        file[last] ^= 1;
        let mut rest = &file[..];
        next(&mut rest);
        next(&mut rest);
        assert_eq!(next(&mut rest), None);
        assert_eq!(rest.len(), 8 + 5);
    }
}

//! ClickHouse's compressed blocks (`decompress=1`, `compress=1`): CityHash128 of what follows,
//! one byte of method, both sizes, then LZ4 or plain bytes.

use crate::exception::{Code, Exception};

const CHECKSUM_BYTES: usize = 16;
const HEADER_BYTES: usize = 9;
const LZ4: u8 = 0x82;
const PLAIN: u8 = 0x02;

/// Bytes of one block before compression, as ClickHouse's own writer cuts them.
const BLOCK_BYTES: usize = 1 << 20;

/// Unpacks all blocks. A block cut short or damaged refuses the whole body.
pub(crate) fn decode(mut body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Exception> {
    let mut plain = Vec::new();
    while !body.is_empty() {
        let (checksum, rest) = body
            .split_at_checked(CHECKSUM_BYTES)
            .ok_or_else(cut_short)?;
        let header = rest.get(..HEADER_BYTES).ok_or_else(cut_short)?;
        let packed = length(&header[1..5]);
        let unpacked = length(&header[5..9]);
        if packed < HEADER_BYTES {
            return Err(damaged("a block is smaller than its own header"));
        }
        let (block, next) = rest.split_at_checked(packed).ok_or_else(cut_short)?;
        if checksum != hash(block) {
            return Err(damaged("a block does not match its checksum"));
        }
        if plain.len().saturating_add(unpacked) > bytes_max {
            return Err(super::body::too_large(bytes_max));
        }
        let content = &block[HEADER_BYTES..];
        match header[0] {
            LZ4 => {
                let start = plain.len();
                plain.resize(start + unpacked, 0);
                let written = lz4_flex::block::decompress_into(content, &mut plain[start..])
                    .map_err(|error| damaged(&error.to_string()))?;
                if written != unpacked {
                    return Err(damaged("a block holds less than it says"));
                }
            }
            PLAIN if content.len() == unpacked => plain.extend_from_slice(content),
            PLAIN => return Err(damaged("a block holds less than it says")),
            method => {
                return Err(damaged(&format!(
                    "method 0x{method:02x} is unknown; use LZ4 (0x82)"
                )));
            }
        }
        body = next;
    }
    Ok(plain)
}

/// Packs bytes into as many blocks as they need.
pub(crate) fn encode(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for piece in plain.chunks(BLOCK_BYTES) {
        let content = lz4_flex::block::compress(piece);
        let mut block = Vec::with_capacity(HEADER_BYTES + content.len());
        block.push(LZ4);
        // Both fit: a piece is at most a megabyte, and LZ4 adds less than one per cent.
        block.extend_from_slice(&((HEADER_BYTES + content.len()) as u32).to_le_bytes());
        block.extend_from_slice(&(piece.len() as u32).to_le_bytes());
        block.extend_from_slice(&content);
        packed.extend_from_slice(&hash(&block));
        packed.extend_from_slice(&block);
    }
    packed
}

/// ClickHouse writes the two halves of CityHash 1.0.2 low half first.
fn hash(block: &[u8]) -> [u8; CHECKSUM_BYTES] {
    cityhash_rs::cityhash_102_128(block)
        .rotate_left(64)
        .to_le_bytes()
}

fn length(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rev()
        .fold(0, |length, byte| length << 8 | usize::from(*byte))
}

fn cut_short() -> Exception {
    damaged("the body ends inside a block")
}

fn damaged(reason: &str) -> Exception {
    Exception::new(
        Code::CannotDecompress,
        format_args!("Cannot decompress the body: {reason}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 4 << 20;

    #[test]
    fn a_body_cut_at_any_byte_is_refused() {
        let whole = encode(&[7; 3000]);
        for end in 1..whole.len() {
            assert!(decode(&whole[..end], MAX).is_err(), "cut at {end}");
        }
        assert_eq!(decode(&whole, MAX).unwrap().len(), 3000);
    }

    #[test]
    fn a_small_block_that_says_it_is_huge_is_refused() {
        let whole = encode(&[0; 3000]);
        assert!(decode(&whole, 2999).is_err());
        assert!(decode(&whole, 3000).is_ok());
    }

    proptest! {
        #[test]
        fn blocks_come_back_as_they_went_in(plain in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(decode(&encode(&plain), MAX).unwrap(), plain);
        }

        #[test]
        fn no_bytes_upset_the_decoder(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&body, MAX);
        }
    }
}

//! A request's body: read whole within its limits before anything runs, since the engine cannot
//! roll back an insert whose body ends too early.

use std::{io::Read, sync::Arc, time::Duration};

use axum::body::{Body, HttpBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::exception::{Code, Exception};

/// Unit of the memory budget that all bodies share.
const PAGE_BYTES: usize = 64 << 10;

/// Reads bodies within a limit each and a budget for all.
pub(crate) struct Reader {
    bytes_max: usize,
    time_max: Duration,
    budget: Arc<Semaphore>,
}

/// A body and the share of the budget it holds.
pub(crate) struct Whole {
    pub(crate) bytes: Vec<u8>,
    pub(crate) share: Option<OwnedSemaphorePermit>,
}

impl Reader {
    pub(crate) fn new(bytes_max: usize, bodies_bytes_max: usize, time_max: Duration) -> Self {
        let pages = (bodies_bytes_max / PAGE_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            bytes_max,
            time_max,
            budget: Arc::new(Semaphore::new(pages)),
        }
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(crate) async fn read(&self, body: Body) -> Result<Whole, Exception> {
        if body.is_end_stream() {
            return Ok(Whole {
                bytes: Vec::new(),
                share: None,
            });
        }
        if body.size_hint().lower() > self.bytes_max as u64 {
            return Err(too_large(self.bytes_max));
        }
        tokio::time::timeout(self.time_max, self.collect(body))
            .await
            .unwrap_or_else(|_| {
                let seconds = self.time_max.as_secs();
                Err(Exception::new(
                    Code::TimeoutExceeded,
                    format_args!(
                        "Timeout exceeded: the request's body did not arrive within {seconds} s"
                    ),
                ))
            })
    }

    async fn collect(&self, mut body: Body) -> Result<Whole, Exception> {
        let mut bytes = Vec::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        let mut paid = 0;
        while let Some(frame) =
            std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await
        {
            let frame = frame.map_err(|_| {
                Exception::new(
                    Code::BadArguments,
                    "The request's body ended before it was whole",
                )
            })?;
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            let length = bytes.len() + chunk.len();
            if length > self.bytes_max {
                return Err(too_large(self.bytes_max));
            }
            let pages = length.div_ceil(PAGE_BYTES);
            if pages > paid {
                let more = self.pay(pages - paid)?;
                match &mut share {
                    Some(share) => share.merge(more),
                    None => share = Some(more),
                }
                paid = pages;
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Whole { bytes, share })
    }

    /// Never waits: bodies that wait for each other's memory would wait for ever.
    fn pay(&self, pages: usize) -> Result<OwnedSemaphorePermit, Exception> {
        u32::try_from(pages)
            .ok()
            .and_then(|pages| Arc::clone(&self.budget).try_acquire_many_owned(pages).ok())
            .ok_or_else(|| {
                Exception::new(
                    Code::MemoryLimit,
                    "Memory limit exceeded: too many request bodies at once, try again",
                )
            })
    }
}

pub(crate) fn too_large(bytes_max: usize) -> Exception {
    Exception::new(
        Code::ReceivedTooLarge,
        format_args!(
            "The request's body is larger than {bytes_max} bytes; send less at once or raise WEIR_CLICKHOUSE__BODY_BYTES_MAX"
        ),
    )
}

/// Undoes a Content-Encoding. A stream cut short refuses the whole body.
pub(crate) fn decode(
    encoding: Option<&str>,
    body: Vec<u8>,
    bytes_max: usize,
) -> Result<Vec<u8>, Exception> {
    match encoding.map(str::trim) {
        None | Some("" | "identity") => Ok(body),
        Some("gzip" | "x-gzip") => unpack(
            flate2::read::MultiGzDecoder::new(body.as_slice()),
            bytes_max,
        ),
        Some("deflate") => unpack(flate2::read::ZlibDecoder::new(body.as_slice()), bytes_max),
        // The decoder takes a missing end for an end.
        Some("lz4") if !lz4_frames_end(&body) => Err(Exception::new(
            Code::CannotDecompress,
            "Cannot decompress the body: it ends inside an LZ4 frame",
        )),
        Some("lz4") => unpack(
            lz4_flex::frame::FrameDecoder::new(body.as_slice()),
            bytes_max,
        ),
        Some(other) => Err(Exception::new(
            Code::NoMethod,
            format_args!("Content-Encoding {other} is not supported; use gzip, deflate or lz4"),
        )),
    }
}

fn unpack(packed: impl Read, bytes_max: usize) -> Result<Vec<u8>, Exception> {
    let mut plain = Vec::new();
    packed
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| {
            Exception::new(
                Code::CannotDecompress,
                format_args!("Cannot decompress the body: {error}"),
            )
        })?;
    if plain.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(plain)
}

/// Whether the body is a row of LZ4 frames each of which has its end mark. Walks the sizes only;
/// what they hold is the decoder's to judge.
fn lz4_frames_end(mut body: &[u8]) -> bool {
    while !body.is_empty() {
        match after_lz4_frame(body) {
            Some(rest) => body = rest,
            None => return false,
        }
    }
    true
}

fn after_lz4_frame(frame: &[u8]) -> Option<&[u8]> {
    const MAGIC_AND_FLAGS: usize = 6;
    const HEADER_CHECKSUM: usize = 1;
    let flags = *frame.get(4)?;
    let extra = |bit: u8, bytes: usize| if flags & bit == 0 { 0 } else { bytes };
    let (content_size, dictionary) = (extra(0x08, 8), extra(0x01, 4));
    let (block_checksum, content_checksum) = (extra(0x10, 4), extra(0x04, 4));
    let mut rest = frame.get(MAGIC_AND_FLAGS + content_size + dictionary + HEADER_CHECKSUM..)?;
    loop {
        let (size, blocks) = rest.split_first_chunk::<4>()?;
        // The highest bit says that the block is stored as it is.
        let size = (u32::from_le_bytes(*size) & 0x7fff_ffff) as usize;
        if size == 0 {
            return blocks.get(content_checksum..);
        }
        rest = blocks.get(size.checked_add(block_checksum)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn an_lz4_body_cut_at_any_byte_is_refused() {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(&[0; 100_000]).unwrap();
        let body = encoder.finish().unwrap();
        for end in 1..body.len() {
            assert!(
                decode(Some("lz4"), body[..end].to_vec(), 1 << 20).is_err(),
                "cut at {end}"
            );
        }
        assert_eq!(decode(Some("lz4"), body, 1 << 20).unwrap().len(), 100_000);
    }

    #[test]
    fn a_gzip_body_cut_at_any_byte_is_refused() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&[0; 1000]).unwrap();
        let body = encoder.finish().unwrap();
        for end in 1..body.len() {
            assert!(
                decode(Some("gzip"), body[..end].to_vec(), 1 << 20).is_err(),
                "cut at {end}"
            );
        }
        assert!(decode(Some("gzip"), body.clone(), 999).is_err());
        assert_eq!(decode(Some("gzip"), body, 1000).unwrap().len(), 1000);
    }
}

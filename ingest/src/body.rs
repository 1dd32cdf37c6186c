//! Bodies: read up to a limit, unpacked up to a limit, UTF-8.

use std::borrow::Cow;
use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;

/// What a body may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes_max: usize,
    pub(crate) unpacked_bytes_max: usize,
}

/// Why a body cannot be used: the status and the sentence of the answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BodyError(pub(crate) StatusCode, pub(crate) String);

/// A client that sends too much is listened to for this long, so that it comes to read why it is
/// refused instead of a broken connection.
const DRAIN_BYTES_MAX: usize = 256 << 20;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Bodies larger than this are unpacked away from the threads that answer.
const UNPACK_INLINE_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
    Brotli,
}

/// Reads a body and unpacks it.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> Result<Bytes, BodyError> {
    let encoding = match encoding(headers) {
        Ok(encoding) => encoding,
        Err(error) => {
            drain(body).await;
            return Err(error);
        }
    };
    let packed = read_limited(headers, body, limits.bytes_max).await?;
    if encoding == Encoding::Identity {
        return Ok(packed);
    }
    let unpacked_max = limits.unpacked_bytes_max;
    if packed.len() <= UNPACK_INLINE_BYTES_MAX {
        return unpack(encoding, &packed, unpacked_max).map(Bytes::from);
    }
    tokio::task::spawn_blocking(move || unpack(encoding, &packed, unpacked_max).map(Bytes::from))
        .await
        .map_err(|_| bad("the body could not be unpacked"))?
}

/// A body as text.
pub(crate) fn text(body: &[u8]) -> Result<&str, BodyError> {
    // The mark some editors put before UTF-8.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    std::str::from_utf8(body).map_err(|error| {
        bad(format!(
            "the body is not UTF-8 from byte {} on",
            error.valid_up_to()
        ))
    })
}

fn bad(sentence: impl Into<String>) -> BodyError {
    BodyError(StatusCode::BAD_REQUEST, sentence.into())
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, BodyError> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else {
        return Ok(Encoding::Identity);
    };
    let name = value
        .to_str()
        .map_or(Cow::Borrowed("?"), |name| name.trim().to_lowercase().into());
    let known = match &*name {
        "" | "identity" => Some(Encoding::Identity),
        "gzip" | "x-gzip" => Some(Encoding::Gzip),
        "deflate" => Some(Encoding::Deflate),
        "zstd" => Some(Encoding::Zstd),
        "br" => Some(Encoding::Brotli),
        _ => None,
    };
    known.filter(|_| values.next().is_none()).ok_or_else(|| {
        let sentence = "the content encoding can be gzip, deflate, zstd, br or identity, once";
        BodyError(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence.to_owned())
    })
}

async fn read_limited(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Bytes, BodyError> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    let mut chunks = body.into_data_stream();
    let mut read = Vec::new();
    if announced <= bytes_max as u64 {
        let mut first = None;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| bad("the body ended early"))?;
            let before = first.as_ref().map_or(read.len(), Bytes::len);
            if before + chunk.len() > bytes_max {
                read.clear();
                drain(Body::from_stream(chunks)).await;
                return Err(too_large(bytes_max));
            }
            // Most bodies come in one piece, which then need not be copied.
            match first.take() {
                None if read.is_empty() => first = Some(chunk),
                earlier => {
                    read.extend_from_slice(&earlier.unwrap_or_default());
                    read.extend_from_slice(&chunk);
                }
            }
        }
        return Ok(first.unwrap_or_else(|| Bytes::from(read)));
    }
    drain(Body::from_stream(chunks)).await;
    Err(too_large(bytes_max))
}

fn too_large(bytes_max: usize) -> BodyError {
    let sentence = format!("the body is larger than {bytes_max} bytes");
    BodyError(StatusCode::PAYLOAD_TOO_LARGE, sentence)
}

async fn drain(body: Body) {
    let mut chunks = body.into_data_stream();
    let mut drained = 0;
    // Out of time is out of patience, and the answer is the same.
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, async {
        while drained < DRAIN_BYTES_MAX {
            let Some(Ok(chunk)) = chunks.next().await else {
                return;
            };
            drained += chunk.len();
        }
    })
    .await;
}

fn unpack(encoding: Encoding, packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, BodyError> {
    let unpacked = match encoding {
        Encoding::Identity => Ok(packed.to_vec()),
        Encoding::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(packed), bytes_max),
        // The standard's deflate has a zlib header; some clients send it without.
        Encoding::Deflate => read_bounded(flate2::read::ZlibDecoder::new(packed), bytes_max)
            .or_else(|_| read_bounded(flate2::read::DeflateDecoder::new(packed), bytes_max)),
        Encoding::Zstd => zstd::Decoder::new(packed)
            .and_then(|mut decoder| {
                // A frame's window is memory too.
                decoder.window_log_max(27)?;
                Ok(decoder)
            })
            .and_then(|decoder| read_bounded(decoder, bytes_max)),
        Encoding::Brotli => read_bounded(brotli::Decompressor::new(packed, 4096), bytes_max),
    };
    let unpacked =
        unpacked.map_err(|error| bad(format!("the body cannot be unpacked: {error}")))?;
    if unpacked.len() > bytes_max {
        let sentence = format!("the body is larger than {bytes_max} bytes once unpacked");
        return Err(BodyError(StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    Ok(unpacked)
}

/// Reads one byte more than allowed at the most, so that too much can be told from enough.
fn read_bounded(reader: impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    reader
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

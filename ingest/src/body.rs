//! Reading a request's body: within its limits as sent and unpacked, within its time, and within
//! what all open bodies together may hold. A body that is too large is never gathered.

mod room;

use std::io::Read;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use metrics::{Counter, counter};
use tokio::sync::Semaphore;

use crate::limits::Proxies;
pub(crate) use room::budget_for;
use room::{Full, Room, Share};

/// A client that is still sending does not read: what it sends is read past, within these bounds,
/// so that the refusal reaches it instead of a reset connection.
const READ_PAST_BYTES_MAX: usize = 256 << 20;
/// Where the point of refusing is to save the work.
const SKIPPED_BYTES_MAX: usize = 1 << 20;
const READ_PAST_TIMEOUT: Duration = Duration::from_secs(5);

/// What RFC 9659 allows a zstd stream in HTTP to ask for: 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Room for what is announced is made before it is there, but not for more than this.
const GATHERED_AT_ONCE_BYTES_MAX: usize = 256 << 10;
const UNPACK_STEP_BYTES: usize = 64 << 10;

/// Why a body cannot be used: the status and the sentence of the answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BodyError(pub(crate) StatusCode, pub(crate) String);

/// What a body may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes_max: usize,
    pub(crate) unpacked_bytes_max: usize,
    pub(crate) timeout: Duration,
}

/// How many bytes all open bodies may hold. Clones share it.
#[derive(Clone)]
pub(crate) struct OpenBytes {
    room: Arc<Room>,
    /// Turns at unpacking. What it takes besides its output, a window of up to 16 MiB, counts
    /// nowhere else; and more at once than processors would not be faster.
    unpacking: Arc<Semaphore>,
    received: Counter,
}

impl OpenBytes {
    pub(crate) fn new(bytes_max: usize, proxies: Proxies) -> Self {
        Self {
            room: Room::new(bytes_max, proxies),
            unpacking: Arc::new(Semaphore::new(unpacked_at_once())),
            received: counter!("weir_ingest_body_bytes_total"),
        }
    }
}

fn unpacked_at_once() -> usize {
    2 * std::thread::available_parallelism().map_or(1, usize::from)
}

/// A whole body, unpacked.
pub(crate) struct Body {
    bytes: Bytes,
    _share: Share,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body {
    /// Without a byte order mark, which some editors and shells put before their text.
    pub(crate) fn content(&self) -> &[u8] {
        self.bytes
            .strip_prefix(b"\xEF\xBB\xBF")
            .unwrap_or(&self.bytes)
    }
}

/// Reads and unpacks the body of `request`.
pub(crate) async fn read(
    request: Request,
    limits: BodyLimits,
    open_bytes: &OpenBytes,
) -> Result<Body, BodyError> {
    let (head, body) = request.into_parts();
    let mut chunks = body.into_data_stream();
    let client = || open_bytes.room.client(&head);
    match gather(&head.headers, &mut chunks, limits, open_bytes, client).await {
        Ok((Packing::Identity, bytes, mut share)) => {
            share.is_whole().map_err(busy)?;
            Ok(Body {
                bytes,
                _share: share,
            })
        }
        Ok((packing, bytes, mut share)) => {
            // It may grow by much.
            share.list(client);
            let unpacked_bytes_max = limits.unpacked_bytes_max;
            let turn = open_bytes.unpacking.clone().acquire_owned().await;
            let turn = turn.map_err(|_| busy(Full))?;
            let unpacking = tokio::task::spawn_blocking(move || {
                // Here, since the client may be gone before the work is.
                let _turn = turn;
                unpack(packing, &bytes, unpacked_bytes_max, share)
            });
            unpacking.await.map_err(|_| busy(Full))?
        }
        Err(refused) => {
            // Such a client waits for a word before it sends: the answer is that word.
            let waits = head.headers.contains_key(EXPECT);
            if !waits && refused.0 != StatusCode::REQUEST_TIMEOUT {
                read_past(&mut chunks, READ_PAST_BYTES_MAX).await;
            }
            Err(refused)
        }
    }
}

async fn gather(
    headers: &HeaderMap,
    chunks: &mut BodyDataStream,
    limits: BodyLimits,
    open_bytes: &OpenBytes,
    client: impl Fn() -> IpAddr + Copy,
) -> Result<(Packing, Bytes, Share), BodyError> {
    let packing = Packing::of(headers)?;
    let too_large = || {
        let sentence = format!("the body is larger than {} bytes", limits.bytes_max);
        BodyError(StatusCode::PAYLOAD_TOO_LARGE, sentence)
    };
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > limits.bytes_max as u64) {
        return Err(too_large());
    }
    let mut share = open_bytes.room.share();
    let gathering = async {
        let mut first = Bytes::new();
        let mut gathered = BytesMut::new();
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = share.gives_way() => return Err(busy(Full)),
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|_| bad("the body ended early"))?;
            open_bytes.received.increment(chunk.len() as u64);
            let arrived = first.len() + gathered.len() + chunk.len();
            if arrived > limits.bytes_max {
                return Err(too_large());
            }
            share.grow_to(arrived, client).map_err(busy)?;
            // Most bodies come in one piece, which is then the body itself.
            if first.is_empty() && gathered.is_empty() {
                if announced != Some(arrived as u64) {
                    share.list(client);
                }
                first = chunk;
                continue;
            }
            if gathered.is_empty() {
                let room = (4 * arrived).min(GATHERED_AT_ONCE_BYTES_MAX);
                let room = announced.map_or(room, |announced| room.min(announced as usize));
                share.grow_to(room, client).map_err(busy)?;
                gathered.reserve(room);
                gathered.extend_from_slice(&std::mem::take(&mut first));
            }
            gathered.extend_from_slice(&chunk);
        }
        Ok(if gathered.is_empty() {
            first
        } else {
            gathered.freeze()
        })
    };
    let bytes = tokio::time::timeout(limits.timeout, gathering)
        .await
        .map_err(|_| {
            let sentence = "the body did not arrive in time";
            BodyError(StatusCode::REQUEST_TIMEOUT, sentence.to_owned())
        })??;
    Ok((packing, bytes, share))
}

/// Reads past the body of a request that was refused by its head.
pub(crate) async fn skip(request: Request) {
    if !request.headers().contains_key(EXPECT) {
        read_past(
            &mut request.into_body().into_data_stream(),
            SKIPPED_BYTES_MAX,
        )
        .await;
    }
}

async fn read_past(chunks: &mut BodyDataStream, bytes_max: usize) {
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            bytes += chunk.len();
            if bytes > bytes_max {
                return;
            }
        }
    };
    // Either way the answer follows; a client that never stops sending may miss it.
    let _ = tokio::time::timeout(READ_PAST_TIMEOUT, reading).await;
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Identity,
    Gzip,
    Deflate,
    Zstd,
    Brotli,
}

impl Packing {
    fn of(headers: &HeaderMap) -> Result<Self, BodyError> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let Some(value) = values.next() else {
            return Ok(Self::Identity);
        };
        let name = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        let known = match name.trim() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "zstd" => Some(Self::Zstd),
            "br" => Some(Self::Brotli),
            _ => None,
        };
        known.filter(|_| values.next().is_none()).ok_or_else(|| {
            let sentence = "the content encoding can be gzip, deflate, zstd, br or identity, once";
            BodyError(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence.to_owned())
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
            Self::Brotli => "br",
        }
    }

    fn reader<'p>(self, packed: &'p [u8]) -> std::io::Result<Box<dyn Read + 'p>> {
        Ok(match self {
            Self::Identity => Box::new(packed),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            // The standard's deflate has a zlib header; some clients send it without.
            Self::Deflate if has_zlib_header(packed) => {
                Box::new(flate2::read::ZlibDecoder::new(packed))
            }
            Self::Deflate => Box::new(flate2::read::DeflateDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Self::Brotli => Box::new(brotli::Decompressor::new(packed, 4096)),
        })
    }
}

/// RFC 1950: method 8, and a check over both bytes.
fn has_zlib_header(packed: &[u8]) -> bool {
    let [method, flags, ..] = packed else {
        return false;
    };
    method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
}

/// Unpacks step by step, so that a small body can never become more than it may.
fn unpack(
    packing: Packing,
    packed: &[u8],
    bytes_max: usize,
    mut share: Share,
) -> Result<Body, BodyError> {
    let broken = |error| {
        let name = packing.name();
        bad(format!("the body cannot be unpacked as {name}: {error}"))
    };
    let mut reader = packing.reader(packed).map_err(broken)?;
    let mut unpacked = Vec::new();
    let mut filled = 0;
    loop {
        if filled == unpacked.len() {
            if filled > bytes_max {
                let sentence = format!("the body is larger than {bytes_max} bytes once unpacked");
                return Err(BodyError(StatusCode::PAYLOAD_TOO_LARGE, sentence));
            }
            // One byte more than allowed is enough to know that there is more.
            let grown = (2 * filled).max(UNPACK_STEP_BYTES).min(bytes_max + 1);
            let listed = || unreachable!("a body that is unpacked is listed");
            share.grow_to(packed.len() + grown, listed).map_err(busy)?;
            unpacked.reserve_exact(grown - filled);
            unpacked.resize(grown, 0);
        }
        match reader.read(&mut unpacked[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error)),
        }
    }
    unpacked.truncate(filled);
    share.is_whole().map_err(busy)?;
    Ok(Body {
        bytes: unpacked.into(),
        _share: share,
    })
}

pub(crate) fn bad(sentence: impl Into<String>) -> BodyError {
    BodyError(StatusCode::BAD_REQUEST, sentence.into())
}

fn busy(_: Full) -> BodyError {
    let sentence = "too much is being received at the moment; nothing was taken, try again";
    BodyError(StatusCode::SERVICE_UNAVAILABLE, sentence.to_owned())
}

/// What to say of bytes that are no text.
pub(crate) fn not_utf8(error: &std::str::Utf8Error) -> String {
    format!("not UTF-8 from byte {} on", error.valid_up_to())
}

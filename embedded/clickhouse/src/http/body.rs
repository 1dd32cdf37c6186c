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
        Self { bytes_max, time_max, budget: Arc::new(Semaphore::new(pages)) }
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(crate) async fn read(&self, body: Body) -> Result<Whole, Exception> {
        if body.is_end_stream() {
            return Ok(Whole { bytes: Vec::new(), share: None });
        }
        if body.size_hint().lower() > self.bytes_max as u64 {
            return Err(too_large(self.bytes_max));
        }
        tokio::time::timeout(self.time_max, self.collect(body)).await.unwrap_or_else(|_| {
            let seconds = self.time_max.as_secs();
            Err(Exception::new(
                Code::TimeoutExceeded,
                format_args!("Timeout exceeded: the request's body did not arrive within {seconds} s"),
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
                Exception::new(Code::BadArguments, "The request's body ended before it was whole")
            })?;
            let Ok(chunk) = frame.into_data() else { continue };
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
        Some("gzip" | "x-gzip") => unpack(flate2::read::MultiGzDecoder::new(body.as_slice()), bytes_max),
        Some("deflate") => unpack(flate2::read::ZlibDecoder::new(body.as_slice()), bytes_max),
        Some("lz4") => unpack(lz4_flex::frame::FrameDecoder::new(body.as_slice()), bytes_max),
        Some(other) => Err(Exception::new(
            Code::NoMethod,
            format_args!("Content-Encoding {other} is not supported; use gzip, deflate or lz4"),
        )),
    }
}

fn unpack(packed: impl Read, bytes_max: usize) -> Result<Vec<u8>, Exception> {
    let mut plain = Vec::new();
    packed.take(bytes_max as u64 + 1).read_to_end(&mut plain).map_err(|error| {
        Exception::new(Code::CannotDecompress, format_args!("Cannot decompress the body: {error}"))
    })?;
    if plain.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(plain)
}

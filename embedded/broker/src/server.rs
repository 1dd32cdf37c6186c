//! Connections: frames in, frames out, one request at a time as the protocol has it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::Shared;
use crate::api::{self, Client, SUPPORTED};

/// A frame's buffer grows with the bytes that come, never with what its length claims.
const FRAME_BYTES_FIRST: usize = 64 * 1024;

/// Accepts connections until shutdown; those open then end with it.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(shared.config.connections_max));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = shared.shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: those that are open will give some back.
                warn!("a connection was not accepted: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            warn!(
                "{peer} was turned away: {} connections are open",
                shared.config.connections_max
            );
            continue;
        };
        let shared = shared.clone();
        connections.spawn(async move {
            let _place = place;
            let shutdown = shared.shutdown.clone();
            tokio::select! {
                served = connection(&shared, stream, peer) => if let Err(error) = served {
                    warn!("the connection of {peer} was closed: {error:#}");
                },
                () = shutdown.cancelled() => {}
            }
        });
    }
    connections.shutdown().await;
    Ok(())
}

async fn connection(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (read_half, mut write_half) = stream.into_split();
    let mut reader = BufReader::with_capacity(FRAME_BYTES_FIRST, read_half);
    while let Some(frame) = read_frame(&mut reader, shared.config.request_bytes_max).await? {
        if let Some(response) = respond(shared, peer, frame).await? {
            match write_half.write_all(&response).await {
                Err(error) if is_goodbye(&error) => return Ok(()),
                written => written.context("write a response")?,
            }
        }
    }
    Ok(())
}

/// `None`: the client closed the connection.
async fn read_frame(
    reader: &mut BufReader<tokio::net::tcp::OwnedReadHalf>,
    bytes_max: usize,
) -> anyhow::Result<Option<Bytes>> {
    let length = match reader.read_i32().await {
        Ok(length) => length,
        Err(error) if is_goodbye(&error) => return Ok(None),
        Err(error) => return Err(error).context("read a request"),
    };
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= bytes_max);
    let Some(length) = length else {
        bail!("a request of more than {bytes_max} bytes")
    };
    let mut frame = BytesMut::with_capacity(length.min(FRAME_BYTES_FIRST));
    let mut rest = reader.take(length as u64);
    while frame.len() < length {
        match rest.read_buf(&mut frame).await {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if is_goodbye(&error) => return Ok(None),
            Err(error) => return Err(error).context("read a request"),
        }
    }
    Ok(Some(frame.freeze()))
}

fn is_goodbye(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

async fn respond(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    mut frame: Bytes,
) -> anyhow::Result<Option<BytesMut>> {
    ensure!(frame.len() >= 8, "a request of {} bytes", frame.len());
    let (key, version) = ((&frame[..2]).get_i16(), (&frame[2..4]).get_i16());
    let correlation_id = (&frame[4..8]).get_i32();
    let Ok(api_key) = ApiKey::try_from(key) else {
        bail!("an unknown request, key {key}")
    };
    let supported = SUPPORTED
        .iter()
        .find(|(known, min, max)| *known == api_key && (*min..=*max).contains(&version));
    if supported.is_none() {
        // How a client learns what this broker speaks, whatever it speaks itself.
        if api_key == ApiKey::ApiVersions {
            let response = api::api_versions(Some(ResponseError::UnsupportedVersion));
            return encode(correlation_id, api_key, 0, &response).map(Some);
        }
        bail!("{api_key:?} in version {version}, which this broker does not speak");
    }
    let header = RequestHeader::decode(&mut frame, api_key.request_header_version(version))
        .with_context(|| format!("read the header of {api_key:?}"))?;
    let request = RequestKind::decode(api_key, &mut frame, version)
        .with_context(|| format!("read {api_key:?} in version {version}"))?;
    let client = Client {
        id: header
            .client_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        host: format!("/{}", peer.ip()),
    };
    debug!("{peer} sends {api_key:?} in version {version}");
    let response = api::answer(shared, &client, version, request).await?;
    response
        .map(|response| encode(correlation_id, api_key, version, &response))
        .transpose()
}

fn encode(
    correlation_id: i32,
    api_key: ApiKey,
    version: i16,
    response: &ResponseKind,
) -> anyhow::Result<BytesMut> {
    let mut frame = BytesMut::with_capacity(4096);
    frame.put_i32(0);
    ResponseHeader::default()
        .with_correlation_id(correlation_id)
        .encode(&mut frame, api_key.response_header_version(version))?;
    response
        .encode(&mut frame, version)
        .with_context(|| format!("write the answer to {api_key:?} in version {version}"))?;
    let length = i32::try_from(frame.len() - 4).context("an answer of over 2 GiB")?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

//! One client: frames in, answers out in the same order. The next request is read while a Produce
//! waits for its fsync, so that a pipelining producer shares fsyncs with itself.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, RequestHeader, ResponseHeader, ResponseKind},
    protocol::{Decodable, Encodable},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::timeout,
};

use super::{Room, advertised, preflight};
use crate::{
    api::{self, Request},
    broker::Shared,
    groups::Client,
};

/// Answers that may be outstanding; librdkafka keeps at most 5 idempotent requests under way.
const PIPELINE_MAX: usize = 8;

/// A frame that has begun must end, and an answer must be taken, within this time.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Enough for the fixed part of any request header.
const REQUEST_BYTES_MIN: usize = 8;

/// A frame being received grows by this much, so that a length alone reserves no memory.
const RECEIVE_BYTES: usize = 1 << 20;

/// The answer to come: a frame, or nothing for a Produce that wants none.
type Answer = Pin<Box<dyn Future<Output = anyhow::Result<Option<Bytes>>> + Send>>;

pub(super) struct Connection {
    broker: Arc<Shared>,
    room: Arc<Room>,
    peer: SocketAddr,
}

impl Connection {
    pub(super) fn new(broker: Arc<Shared>, room: Arc<Room>, peer: SocketAddr) -> Self {
        Self { broker, room, peer }
    }

    /// Ends when the client does, at the first request that makes no sense, and when idle.
    pub(super) async fn serve(&self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let reached = stream.local_addr().context("read the local address")?;
        let (reader, writer) = stream.into_split();
        let (answers, queue) = mpsc::channel(PIPELINE_MAX);
        // Whichever ends first ends the other: answers owed to a client that is gone are dropped,
        // by which the group coordinator learns that a waiting member is gone.
        tokio::select! {
            read = self.read(reader, reached, answers) => read,
            written = write(writer, queue) => written,
        }
    }

    async fn read(
        &self,
        reader: OwnedReadHalf,
        reached: SocketAddr,
        answers: mpsc::Sender<Answer>,
    ) -> anyhow::Result<()> {
        let mut reader = BufReader::with_capacity(64 << 10, reader);
        let idle_max = self.broker.config.connection_idle_max;
        loop {
            let Ok(len) = timeout(idle_max, reader.read_i32()).await else {
                return Ok(());
            };
            // An end between two frames is the usual good-bye.
            let Ok(len) = len else { return Ok(()) };
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let allowed = REQUEST_BYTES_MIN..=self.broker.config.request_bytes_max;
            ensure!(
                allowed.contains(&len),
                "a request of {len} bytes is outside of {allowed:?}"
            );
            let room = self.room.take(len).await;
            let frame = timeout(STALL_MAX, receive(&mut reader, len))
                .await
                .context("a request did not end in time")??;
            let answer = self.begin(frame, reached).await?;
            let answer: Answer = Box::pin(async move {
                let answer = answer.await;
                drop(room);
                answer
            });
            if answers.send(answer).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Decodes a request and begins it. Work whose order matters is done when this returns.
    async fn begin(&self, mut frame: Bytes, reached: SocketAddr) -> anyhow::Result<Answer> {
        let (code, version) = ((&frame[0..2]).get_i16(), (&frame[2..4]).get_i16());
        let Some(api) = api::find(code) else {
            bail!("unknown request {code} (version {version})");
        };
        let header = RequestHeader::decode(
            &mut frame,
            api.key.request_header_version(version.clamp(0, api.max)),
        )
        .with_context(|| format!("decode the header of a {:?} request", api.key))?;
        if !(api.min..=api.max).contains(&version) {
            // A newer client asks this first, and learns from the oldest form of the answer what it may ask.
            ensure!(
                api.key == ApiKey::ApiVersions,
                "{:?} version {version} is not supported",
                api.key
            );
            return Ok(Box::pin(async move {
                frame_of(&header, api::versions::unsupported(), api.key, 0).map(Some)
            }));
        }
        let body = preflight::check(api.key, version, &frame)
            .and_then(|()| api::decode(api.key, version, &mut frame))
            .with_context(|| format!("decode a {:?} request, version {version}", api.key))?;
        let (host, port) = advertised(self.broker.config.advertised.as_deref(), reached);
        let client = Client {
            id: header.client_id.as_deref().unwrap_or_default().to_owned(),
            host: self.peer.ip().to_string(),
        };
        let request = Request {
            broker: self.broker.clone(),
            version,
            client,
            host,
            port,
        };
        let pending = api::begin(request, body).await?;
        Ok(Box::pin(async move {
            match pending.await? {
                Some(response) => frame_of(&header, response, api.key, version).map(Some),
                None => Ok(None),
            }
        }))
    }
}

async fn receive(reader: &mut BufReader<OwnedReadHalf>, len: usize) -> anyhow::Result<Bytes> {
    let mut frame = BytesMut::with_capacity(len.min(RECEIVE_BYTES));
    while frame.len() < len {
        let missing = len - frame.len();
        frame.reserve(missing.min(RECEIVE_BYTES.max(frame.len())));
        let mut limited = (&mut frame).limit(missing);
        let read = reader
            .read_buf(&mut limited)
            .await
            .context("read a request")?;
        ensure!(read > 0, "the connection ended within a request");
    }
    Ok(frame.freeze())
}

async fn write(
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Answer>,
) -> anyhow::Result<()> {
    while let Some(answer) = queue.recv().await {
        let Some(frame) = answer.await? else { continue };
        timeout(STALL_MAX, writer.write_all(&frame))
            .await
            .context("the client takes no answers")?
            .context("write an answer")?;
    }
    Ok(())
}

fn frame_of(
    header: &RequestHeader,
    response: ResponseKind,
    key: ApiKey,
    version: i16,
) -> anyhow::Result<Bytes> {
    let mut frame = BytesMut::with_capacity(256);
    frame.put_i32(0);
    ResponseHeader::default()
        .with_correlation_id(header.correlation_id)
        .encode(&mut frame, key.response_header_version(version))
        .and_then(|()| response.encode(&mut frame, version))
        .with_context(|| format!("encode the answer to {key:?}, version {version}"))?;
    let len = i32::try_from(frame.len() - 4).context("an answer beyond 2 GiB")?;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    Ok(frame.freeze())
}

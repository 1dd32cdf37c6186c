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
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Held, advertised,
    memory::{Memory, SMALL_BYTES},
    places::{Place, Taken},
    preflight,
};
use crate::{
    api::{self, Request, Room},
    broker::Shared,
    groups::Client,
};

/// Answers that may be outstanding; librdkafka keeps at most 5 idempotent requests under way.
const PIPELINE_MAX: usize = 8;

/// A frame that has begun must end, and an answer must be taken, within this time. A new connection
/// has as long for its first frame.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Enough for the fixed part of any request header.
const REQUEST_BYTES_MIN: usize = 8;

/// A frame being received grows by at most this much, or by as much as it is long already.
const RECEIVE_BYTES: usize = 1 << 20;

/// The answer to come: a frame, or nothing for a Produce that wants none.
type Answer = Pin<Box<dyn Future<Output = anyhow::Result<Option<Bytes>>> + Send>>;

/// An answer to come, and the memory that it takes.
struct Owed {
    answer: Answer,
    room: Room,
}

pub(super) struct Connection {
    broker: Arc<Shared>,
    taken: Taken,
    requests: Arc<Memory>,
    answers: Arc<Memory>,
    peer: SocketAddr,
}

impl Connection {
    pub(super) fn new(
        broker: Arc<Shared>,
        taken: Taken,
        (requests, answers): (Arc<Memory>, Arc<Memory>),
        peer: SocketAddr,
    ) -> Self {
        Self {
            broker,
            taken,
            requests,
            answers,
            peer,
        }
    }

    /// Resolves when others need this connection's place or memory.
    pub(super) async fn gives_way(&self) {
        self.taken.place.gives_way().await;
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
            written = self.write(writer, queue) => written,
        }
    }

    async fn read(
        &self,
        reader: OwnedReadHalf,
        reached: SocketAddr,
        answers: mpsc::Sender<Owed>,
    ) -> anyhow::Result<()> {
        let place = &self.taken.place;
        let mut reader = BufReader::with_capacity(64 << 10, reader);
        while self.another(&mut reader).await {
            place.receives();
            let (frame, held) = self.receive(&mut reader).await?;
            place.owes();
            let room = Room::new(self.answers.hold(place.clone()).into());
            let answer = self.begin(frame, reached, room.clone()).await?;
            let answer: Answer = Box::pin(async move {
                let answer = answer.await;
                drop(held);
                answer
            });
            if answers.send(Owed { answer, room }).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Waits for the first byte of another request; false if the client has ended or idled too long.
    /// One that waits for an answer does not idle.
    async fn another(&self, reader: &mut BufReader<OwnedReadHalf>) -> bool {
        let place = &self.taken.place;
        let mut idle_max = self.broker.config.connection_idle_max;
        if place.is_new() {
            idle_max = idle_max.min(STALL_MAX);
        }
        loop {
            match timeout(idle_max, reader.fill_buf()).await {
                Ok(arrived) => return arrived.is_ok_and(|arrived| !arrived.is_empty()),
                Err(_) if place.is_owed_an_answer() => {}
                Err(_) => return false,
            }
        }
    }

    /// Receives one frame. Room for it is taken as its bytes arrive: its length alone takes none.
    async fn receive(
        &self,
        reader: &mut BufReader<OwnedReadHalf>,
    ) -> anyhow::Result<(Bytes, Held)> {
        const LATE: &str = "a request did not end in time";
        let place = &self.taken.place;
        let mut deadline = Instant::now() + STALL_MAX;
        let len = timeout_at(deadline, reader.read_i32())
            .await
            .context(LATE)?;
        let len = usize::try_from(len.context("read a request")?).unwrap_or(usize::MAX);
        let allowed = REQUEST_BYTES_MIN..=self.broker.config.request_bytes_max;
        ensure!(
            allowed.contains(&len),
            "a request of {len} bytes is outside of {allowed:?}"
        );
        let mut held = self.requests.hold(place.clone());
        let mut frame = Vec::new();
        while frame.len() < len {
            if frame.len() == frame.capacity() {
                let arrived = timeout_at(deadline, reader.fill_buf())
                    .await
                    .context(LATE)?;
                ensure!(
                    !arrived.context("read a request")?.is_empty(),
                    "the connection ended within a request"
                );
                let grown = (3 * frame.len()).clamp(SMALL_BYTES, RECEIVE_BYTES.max(frame.len()));
                let more = grown.min(len - frame.len());
                let asked_at = Instant::now();
                held.more(more).await;
                if asked_at.elapsed() > Duration::from_millis(1) {
                    // The client is not to blame for this wait.
                    deadline += asked_at.elapsed();
                    place.received_late();
                }
                frame.reserve_exact(more);
            }
            let missing = len - frame.len();
            let mut limited = (&mut frame).limit(missing);
            let read = timeout_at(deadline, reader.read_buf(&mut limited))
                .await
                .context(LATE)?
                .context("read a request")?;
            ensure!(read > 0, "the connection ended within a request");
            place.received(read);
        }
        Ok((frame.into(), held))
    }

    /// Decodes a request and begins it. Work whose order matters is done when this returns.
    async fn begin(
        &self,
        mut frame: Bytes,
        reached: SocketAddr,
        room: Room,
    ) -> anyhow::Result<Answer> {
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
            room,
        };
        let pending = api::begin(request, body).await?;
        Ok(Box::pin(async move {
            match pending.await? {
                Some(response) => frame_of(&header, response, api.key, version).map(Some),
                None => Ok(None),
            }
        }))
    }

    async fn write(
        &self,
        mut writer: OwnedWriteHalf,
        mut queue: mpsc::Receiver<Owed>,
    ) -> anyhow::Result<()> {
        let place = &self.taken.place;
        while let Some(Owed { answer, room }) = queue.recv().await {
            if let Some(frame) = answer.await? {
                // Held until the client has it.
                let mut held = room.lock().await;
                held.shrink_to(frame.len());
                place.sends();
                timeout(STALL_MAX, write_all(&mut writer, &frame, place))
                    .await
                    .context("the client takes no answers")?
                    .context("write an answer")?;
            }
            place.answered();
        }
        Ok(())
    }
}

async fn write_all(
    writer: &mut OwnedWriteHalf,
    mut rest: &[u8],
    place: &Place,
) -> std::io::Result<()> {
    while !rest.is_empty() {
        let written = writer.write(rest).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        place.sent(written);
        rest = &rest[written..];
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

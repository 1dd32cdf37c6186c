//! The protocol by hand, for what librdkafka would never send.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind},
    protocol::{Decodable, Encodable, StrBytes},
};

use super::PATIENCE;

pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    /// From another address of this machine.
    pub(crate) fn connect_from(from: &str, address: SocketAddr) -> Self {
        let from = SocketAddr::new(from.parse().unwrap(), 0);
        let stream = super::block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(from).unwrap();
            socket.connect(address).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    /// Sends a request and does not wait for the answer.
    pub(crate) fn send(&mut self, key: ApiKey, version: i16, request: &RequestKind) {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();
        self.send_body(key, version, &body).unwrap();
    }

    pub(crate) fn call(
        &mut self,
        key: ApiKey,
        version: i16,
        request: &RequestKind,
    ) -> ResponseKind {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();
        let frame = self.exchange(key, version, &body).expect("an answer");
        self.decode(key, version, frame)
    }

    pub(crate) fn decode(&self, key: ApiKey, version: i16, mut frame: Bytes) -> ResponseKind {
        ResponseHeader::decode(&mut frame, key.response_header_version(version)).unwrap();
        ResponseKind::decode(key, &mut frame, version).unwrap()
    }

    /// Sends a body as it is; `None` if the broker closes the connection instead of answering.
    pub(crate) fn exchange(&mut self, key: ApiKey, version: i16, body: &[u8]) -> Option<Bytes> {
        self.send_body(key, version, body).ok()?;
        self.receive()
    }

    fn send_body(&mut self, key: ApiKey, version: i16, body: &[u8]) -> std::io::Result<()> {
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(1)
            .with_client_id(Some(StrBytes::from_static_str("by-hand")))
            .encode(&mut frame, key.request_header_version(version))
            .unwrap();
        frame.put_slice(body);
        let mut sent = (frame.len() as i32).to_be_bytes().to_vec();
        sent.extend(&frame);
        self.stream.write_all(&sent)
    }

    pub(crate) fn receive(&mut self) -> Option<Bytes> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).ok()?;
        let mut frame = vec![0; (&len[..]).get_i32() as usize];
        self.stream.read_exact(&mut frame).ok()?;
        Some(frame.into())
    }

    /// Whether the broker closes the connection, having said nothing.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

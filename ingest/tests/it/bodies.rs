//! Bodies too large, packed, torn or slow.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, DEADLINE, Edge, GOOD};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// Brotli of stored blocks: the format's own way to leave bytes as they are, so that no encoder is
/// needed to test the decoder.
fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(1, 0); // window of 16 bits
    for block in bytes.chunks(1 << 16) {
        bits.put(1, 0); // not the last
        bits.put(2, 0); // length in four nibbles
        bits.put(16, block.len() as u32 - 1);
        bits.put(1, 1); // stored
        bits.align();
        bits.bytes.extend_from_slice(block);
    }
    bits.put(2, 0b11); // the last, and empty
    bits.align();
    bits.bytes
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    pending: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, bits: u32, value: u32) {
        self.pending |= value << self.count;
        self.count += bits;
        while self.count >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    fn align(&mut self) {
        if self.count > 0 {
            self.put(8 - self.count, 0);
        }
    }
}

async fn packed(edge: &Edge, path: &str, encoding: &str, body: impl Into<reqwest::Body>) -> Answer {
    Answer::of(edge.post(path, body).header("content-encoding", encoding)).await
}

#[tokio::test]
async fn every_encoding_is_unpacked_on_both_routes() {
    let (edge, broker) = Edge::ready().await;
    let good = GOOD.as_bytes();
    let bodies = [
        ("identity", good.to_vec()),
        ("gzip", gzip(good)),
        ("GZIP", gzip(good)),
        ("x-gzip", gzip(good)),
        // Two members one after the other are one gzip file.
        ("gzip", [gzip(&good[..20]), gzip(&good[20..])].concat()),
        ("deflate", zlib(good)),
        // Not what the standard says, and what some clients send.
        ("deflate", raw_deflate(good)),
        ("zstd", zstd(good)),
        ("br", brotli(good)),
    ];
    for (encoding, body) in &bodies {
        for path in ["/event", "/events"] {
            packed(&edge, path, encoding, body.clone()).await.is(202);
        }
    }
    broker.read(2 * bodies.len()).await;
    edge.stop().await;
}

#[tokio::test]
async fn an_unknown_encoding_is_refused_and_told_what_is_known() {
    let (edge, _broker) = Edge::ready().await;
    for encoding in ["lzma", "compress", "gzip, br", "\u{e9}"] {
        let answer = packed(&edge, "/event", encoding, GOOD).await;
        answer.refused(415);
        assert_eq!(
            answer.header("accept-encoding"),
            Some("gzip, deflate, zstd, br")
        );
    }
    let twice = edge
        .post("/event", GOOD)
        .header("content-encoding", "gzip")
        .header("content-encoding", "gzip");
    Answer::of(twice).await.refused(415);
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn what_does_not_unpack_is_a_clear_400() {
    let (edge, _broker) = Edge::ready().await;
    let good = GOOD.as_bytes();
    for (encoding, whole) in [
        ("gzip", gzip(good)),
        ("deflate", zlib(good)),
        ("deflate", raw_deflate(good)),
        ("zstd", zstd(good)),
        ("br", brotli(good)),
    ] {
        for broken in [
            GOOD.into(),
            whole[..whole.len() - 3].to_vec(),
            vec![0xff; 50],
        ] {
            let errors = packed(&edge, "/event", encoding, broken).await.refused(400);
            assert!(errors[0].contains(encoding), "{errors:?}");
        }
    }
    // A window of 2 GiB, which an honest 8 MiB decoder does not grant.
    let greedy = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    packed(&edge, "/event", "zstd", greedy.to_vec())
        .await
        .refused(400);
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn a_small_body_that_unpacks_beyond_the_limit_is_refused() {
    let (edge, _broker) = Edge::ready().await;
    let limits = ingest::Config::default();
    let spaces = |bytes: usize| {
        let mut body = GOOD.as_bytes().to_vec();
        body.resize(bytes, b' ');
        body
    };
    for (path, bytes_max) in [
        ("/event", limits.event_bytes_max),
        ("/events", limits.batch_unpacked_bytes_max),
    ] {
        for (encoding, pack) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("zstd", zstd)] {
            packed(&edge, path, encoding, pack(&spaces(bytes_max)))
                .await
                .is(202);
            let errors = packed(&edge, path, encoding, pack(&spaces(bytes_max + 1)))
                .await
                .refused(413);
            assert!(errors[0].contains("unpacked"), "{errors:?}");
        }
    }
    edge.is_unharmed().await;
    edge.stop().await;
}

/// 128 MB in some hundred bytes to some hundred kilobytes: deflate cannot do better than a thousandth.
fn bomb(encoding: &str) -> Vec<u8> {
    static CHUNK: [u8; 1 << 16] = [b' '; 1 << 16];
    let pour = |into: &mut dyn Write| {
        for _ in 0..(128 << 20) / CHUNK.len() {
            into.write_all(&CHUNK).unwrap();
        }
    };
    let best = flate2::Compression::best();
    match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), best);
            pour(&mut encoder);
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), best);
            pour(&mut encoder);
            encoder.finish().unwrap()
        }
        "zstd" => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            pour(&mut encoder);
            encoder.finish().unwrap()
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 1 << 16, 1, 22);
            pour(&mut encoder);
            encoder.into_inner()
        }
        _ => unreachable!("{encoding}"),
    }
}

#[tokio::test]
async fn a_bomb_in_any_encoding_stops_at_the_limit() {
    let config = ingest::Config {
        batch_unpacked_bytes_max: 8 << 20,
        ..ingest::Config::default()
    };
    let (edge, _broker) = Edge::ready_with(config).await;
    for encoding in ["gzip", "deflate", "zstd", "br"] {
        let bomb = tokio::task::spawn_blocking(move || bomb(encoding));
        let bomb = bomb.await.unwrap();
        assert!(bomb.len() < 256 << 10, "{encoding}: {}", bomb.len());
        let errors = packed(&edge, "/events", encoding, bomb.clone())
            .await
            .refused(413);
        assert!(errors[0].contains("unpacked"), "{encoding}: {errors:?}");
        // One that is small enough as sent unpacks no further on the other route either.
        packed(&edge, "/event", encoding, bomb).await.refused(413);
        // A bomb in a bomb is one layer: the encoding is named once.
        let twice = format!("{encoding}, {encoding}");
        packed(&edge, "/events", &twice, GOOD).await.refused(415);
    }
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn a_body_at_its_limit_is_taken_and_one_byte_more_is_refused() {
    let (edge, _broker) = Edge::ready().await;
    let limits = ingest::Config::default();
    for (path, bytes_max) in [
        ("/event", limits.event_bytes_max),
        ("/events", limits.batch_bytes_max),
    ] {
        let mut body = GOOD.as_bytes().to_vec();
        body.resize(bytes_max, b' ');
        Answer::of(edge.post(path, body.clone())).await.is(202);
        body.push(b' ');
        let errors = Answer::of(edge.post(path, body.clone())).await.refused(413);
        assert_eq!(
            errors,
            [format!("the body is larger than {bytes_max} bytes")]
        );
        // Without a length announced, too.
        let chunks = body
            .chunks(100_000)
            .map(Bytes::copy_from_slice)
            .collect::<Vec<_>>();
        let stream = futures_util::stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>));
        let unannounced = edge.post(path, reqwest::Body::wrap_stream(stream));
        Answer::of(unannounced).await.refused(413);
    }
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn a_body_of_100_megabytes_gets_its_refusal_whether_announced_or_not() {
    let (edge, _broker) = Edge::ready().await;
    for path in ["/event", "/events"] {
        Answer::of(edge.post(path, vec![b'x'; 100 << 20]))
            .await
            .refused(413);
        let chunk = Bytes::from(vec![b'x'; 1 << 20]);
        let stream = futures_util::stream::iter(
            (0..100).map(move |_| Ok::<_, std::io::Error>(chunk.clone())),
        );
        Answer::of(edge.post(path, reqwest::Body::wrap_stream(stream)))
            .await
            .refused(413);
    }
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_refused_at_once() {
    let (edge, _broker) = Edge::ready().await;
    let head = "POST /event HTTP/1.1\r\nhost: weir\r\ncontent-length: 100000000\r\nexpect: 100-continue\r\n\r\n";
    let answer = raw(&edge, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    edge.stop().await;
}

#[tokio::test]
async fn a_path_of_one_megabyte_is_a_4xx_and_does_no_harm() {
    let (edge, _broker) = Edge::ready().await;
    let path = "a".repeat(1 << 20);
    let answer = raw(
        &edge,
        format!("POST /{path} HTTP/1.1\r\nhost: weir\r\n\r\n").as_bytes(),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer:?}");

    let event = format!(r#"{{"site_id":"shop","event_type":"page_view","path":"/{path}"}}"#);
    edge.event(event.clone()).await.refused(413);
    let answer = edge.events(event).await;
    answer.refused(400);
    assert_eq!(
        answer.json["rejected"][0]["errors"][0],
        "path must be at most 2048 bytes before its query"
    );
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let config = ingest::Config {
        body_timeout: Duration::from_millis(100),
        ..ingest::Config::default()
    };
    let (edge, _broker) = Edge::ready_with(config).await;
    let head = "POST /event HTTP/1.1\r\nhost: weir\r\ncontent-length: 100\r\n\r\n{";
    let answer = raw(&edge, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("did not arrive in time"), "{answer}");
    edge.is_unharmed().await;
    edge.stop().await;
}

const LARGE_BYTES: usize = 512 << 10;

/// Room for 14 large bodies, and an eighth for small ones.
fn little_room() -> ingest::Config {
    ingest::Config {
        batch_bytes_max: 1 << 20,
        batch_unpacked_bytes_max: 1 << 20,
        event_bytes_max: 256 << 10,
        open_bytes_max: 8 << 20,
        trusted_proxies: vec!["127.0.0.1".to_owned()],
        ..ingest::Config::default()
    }
}

/// A body of `client` of which half is there, a large one in itself, and does not go on.
async fn begun(edge: &Edge, client: &str) -> TcpStream {
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    let head = format!(
        "POST /events HTTP/1.1\r\nhost: weir\r\nx-forwarded-for: {client}\r\ncontent-length: {}\r\n\r\n",
        1 << 20
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // One that is refused may be closed already.
    let _ = stream.write_all(&vec![b' '; LARGE_BYTES]).await;
    stream
}

/// Begins bodies of `client` until it finds no room for another.
async fn fill(edge: &Edge, client: &str) -> Vec<TcpStream> {
    let mut slow = Vec::new();
    let begun_at = Instant::now();
    while Answer::of(large(edge, client)).await.status != 503 {
        assert!(begun_at.elapsed() < DEADLINE, "there is always room");
        slow.push(begun(edge, client).await);
    }
    slow
}

fn large(edge: &Edge, client: &str) -> reqwest::RequestBuilder {
    let mut body = GOOD.as_bytes().to_vec();
    body.resize(LARGE_BYTES, b' ');
    edge.post("/events", body).header("x-forwarded-for", client)
}

fn small(edge: &Edge, client: &str) -> reqwest::RequestBuilder {
    edge.post("/event", GOOD).header("x-forwarded-for", client)
}

#[tokio::test]
async fn large_slow_bodies_stop_other_large_ones_of_their_client_and_no_small_ones() {
    let (edge, _broker) = Edge::ready_with(little_room()).await;
    let slow = fill(&edge, "10.0.0.1").await;
    let answer = Answer::of(large(&edge, "10.0.0.1")).await;
    answer.refused(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    for client in ["10.0.0.1", "10.0.0.2"] {
        Answer::of(small(&edge, client)).await.is(202);
    }
    let begun_at = Instant::now();
    drop(slow);
    loop {
        if Answer::of(large(&edge, "10.0.0.1")).await.status == 202 {
            break;
        }
        assert!(begun_at.elapsed() < DEADLINE, "the room never came back");
    }
    edge.stop().await;
}

#[tokio::test]
async fn when_the_room_is_full_the_client_that_holds_most_gives_way_to_another() {
    let (edge, _broker) = Edge::ready_with(little_room()).await;
    let slow = fill(&edge, "10.0.0.1").await;
    for _ in 0..3 {
        Answer::of(large(&edge, "10.0.0.2")).await.is(202);
        for client in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
            Answer::of(small(&edge, client)).await.is(202);
        }
    }
    // Who had to leave hears it.
    let mut listening = tokio::task::JoinSet::new();
    for mut stream in slow {
        listening.spawn(async move {
            let mut answer = [0; 1000];
            let read = stream.read(&mut answer).await.unwrap_or(0);
            String::from_utf8_lossy(&answer[..read]).into_owned()
        });
    }
    let answer = tokio::time::timeout(DEADLINE, listening.join_next()).await;
    let answer = answer.unwrap().unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    listening.abort_all();
    edge.stop().await;
}

/// Sends bytes as they are and reads until the server has said all it has to say.
async fn raw(edge: &Edge, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    // The server may hang up on what it does not want to read.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while let Ok(read) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&answer);
            if read == 0 || text.ends_with('}') || text.ends_with("\r\n\r\n") {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap();
    String::from_utf8(answer).unwrap()
}

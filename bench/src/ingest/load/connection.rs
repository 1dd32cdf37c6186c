//! HTTP/1.1 with as little work as it takes: prepared bytes out; status, length and the number of
//! accepted events in. The processor time saved here is the server's.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Answers are small; a larger one is not from a server of weir.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A kept-alive connection with at most one request under way.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How many events it took, if it says so: a batch's answer does.
    pub(crate) accepted: Option<u64>,
}

impl Connection {
    /// # Errors
    /// If nobody listens.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::with_capacity(4096),
        })
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// If the connection breaks or the answer is none; the connection is then of no use any more.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.received.clear();
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = parse(&self.received)? {
                return Ok(answer);
            }
        }
    }
}

/// `None`: there is more to come.
fn parse(received: &[u8]) -> io::Result<Option<Answer>> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer");
    let Some(head_bytes) = find(received, b"\r\n\r\n") else {
        return if received.len() > ANSWER_BYTES_MAX {
            Err(broken())
        } else {
            Ok(None)
        };
    };
    let (head, body) = (&received[..head_bytes], &received[head_bytes + 4..]);
    let head = std::str::from_utf8(head).map_err(|_| broken())?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    let status: u16 = status
        .and_then(|status| status.parse().ok())
        .ok_or_else(broken)?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    // All servers measured here say their answers' lengths.
    let length = length
        .filter(|length| *length <= ANSWER_BYTES_MAX)
        .ok_or_else(broken)?;
    if body.len() < length {
        return Ok(None);
    }
    if body.len() > length {
        return Err(broken());
    }
    Ok(Some(Answer {
        status,
        accepted: accepted(body),
    }))
}

fn accepted(body: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"accepted\":";
    let digits = &body[find(body, KEY)? + KEY.len()..];
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(&digits[..count]).ok()?.parse().ok()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINGLE: &str = "HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\nContent-Length: 36\r\n\r\n{\"success\":true,\"status\":\"accepted\"}";

    #[test]
    fn an_answer_is_complete_with_its_last_byte() {
        for cut in 0..SINGLE.len() {
            assert_eq!(parse(&SINGLE.as_bytes()[..cut]).unwrap(), None);
        }
        let answer = parse(SINGLE.as_bytes()).unwrap().unwrap();
        assert_eq!((answer.status, answer.accepted), (202, None));
    }

    #[test]
    fn a_batch_says_how_many_events_were_taken() {
        let body = r#"{"success":true,"status":"accepted","accepted":98,"rejected":[]}"#;
        let text = format!(
            "HTTP/1.1 202 Accepted\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(answer.accepted, Some(98));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for text in [
            "SMTP\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 2x2 Accepted\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 202 Accepted\r\n\r\n",
            "HTTP/1.1 202 Accepted\r\ncontent-length: 1\r\n\r\nab",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}

//! The smallest HTTP client that tells an answer from a connection that hangs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::cases::Case;
use crate::support::DEADLINE;

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// One connection, kept for as long as the server keeps it.
pub(super) struct Client {
    address: SocketAddr,
    open: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            open: None,
        }
    }

    pub(super) fn ask(&mut self, case: &Case) -> Result<Answer, String> {
        // A server may close a connection that stands idle, as after a body that it did not want;
        // a client learns of it with its next request.
        let kept = self.open.take();
        let answer = match kept {
            Some(kept) => self.ask_on(kept, case)?,
            None => None,
        };
        match answer {
            Some(answer) => Ok(answer),
            None => {
                let answer = self.ask_on(connect(self.address)?, case)?;
                answer.ok_or_else(|| "no answer".to_owned())
            }
        }
    }

    fn ask_on(
        &mut self,
        mut connection: BufReader<TcpStream>,
        case: &Case,
    ) -> Result<Option<Answer>, String> {
        // The server may hang up on what it does not want to read; its answer is still there.
        let _ = connection.get_mut().write_all(&case.bytes());
        let answer = read(&mut connection, case.method == "HEAD")?;
        let kept = |answer: &Answer| answer.header("connection") != Some("close");
        if answer.as_ref().is_some_and(kept) {
            self.open = Some(connection);
        }
        Ok(answer)
    }
}

/// All answers to bytes that may be no request at all.
pub(super) fn answers_to_garbage(address: SocketAddr, bytes: &[u8]) -> Result<Vec<Answer>, String> {
    let mut connection = connect(address)?;
    let _ = connection.get_mut().write_all(bytes);
    let _ = connection.get_ref().shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    // Whether the garbage began with HEAD is anybody's guess; then the end comes early.
    while let Some(answer) = read(&mut connection, bytes.starts_with(b"HEAD"))? {
        answers.push(answer);
    }
    Ok(answers)
}

fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>, String> {
    let stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    Ok(BufReader::new(stream))
}

/// `None`: the server hung up without a word.
fn read(connection: &mut BufReader<TcpStream>, headless: bool) -> Result<Option<Answer>, String> {
    let line = match read_line(connection) {
        Ok(line) if line.is_empty() => return Ok(None),
        Ok(line) => line,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
        Err(error) => return Err(format!("the answer does not come: {error}")),
    };
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| line.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(|| format!("not an answer: {line:?}"))?;
    let mut headers = Vec::new();
    loop {
        let line =
            read_line(connection).map_err(|error| format!("the head ends early: {error}"))?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    let length = answer.header("content-length").map(str::parse::<usize>);
    let length = length.transpose().map_err(|error| error.to_string())?;
    if !headless && status >= 200 {
        let length = length.unwrap_or(0);
        answer.body.resize(length, 0);
        connection
            .read_exact(&mut answer.body)
            .map_err(|error| format!("the body ends early: {error}"))?;
    }
    Ok(Some(answer))
}

/// An origin is told back as it came, whatever bytes it had.
fn read_line(connection: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = Vec::new();
    connection.read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

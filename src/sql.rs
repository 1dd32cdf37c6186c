//! `weir sql`: a statement to ClickHouse, its answer on stdout as it comes.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context, bail};
use reqwest::{Body, Response};
use tokio_util::io::ReaderStream;

use crate::config::Config;
use crate::found;

/// What of ClickHouse's words about a failure is kept, in bytes.
const WORDS_MAX: usize = 64 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where `weir up` keeps its data: the address and the password of its ClickHouse are found
    /// there, unless they are configured.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Ask as this user, `analyst` for instance; default: the services' user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The format of the answer; default: a table on a terminal, tab-separated lines elsewhere.
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The statement; without it, standard input holds the statement and the rows of an INSERT.
    #[arg(value_name = "STATEMENT")]
    statement: Option<String>,
}

pub(crate) async fn run(mut config: Config, options: Options) -> anyhow::Result<()> {
    let access = found::clickhouse(&mut config, options.data_dir.as_deref())?;
    let user = options.user.as_ref().unwrap_or(&config.clickhouse.user);
    let password = found::password(&config, access.as_ref(), user);
    let format = options.format.as_deref().unwrap_or({
        if std::io::stdout().is_terminal() {
            "PrettyCompact"
        } else {
            "TSV"
        }
    });
    let body = match options.statement {
        Some(statement) => Body::from(statement),
        None => Body::wrap_stream(ReaderStream::new(tokio::io::stdin())),
    };
    let url = &config.clickhouse.url;
    let mut request = reqwest::Client::new()
        .post(url.as_str())
        .query(&[
            ("database", config.clickhouse.database.as_str()),
            ("default_format", format),
        ])
        .header("X-ClickHouse-User", user)
        .body(body);
    if let Some(password) = password {
        request = request.header("X-ClickHouse-Key", password);
    }
    let response = request
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| {
            format!(
                "ClickHouse at {url} cannot be reached: is it running, as by `weir up`? --data-dir or WEIR_CLICKHOUSE__URL say where"
            )
        })?;
    if !response.status().is_success() {
        let words = response.text().await.unwrap_or_default();
        bail!("{}", words.trim());
    }
    pass_on(response).await
}

/// Writes the answer as it comes. An error after the first rows comes within the answer, behind a
/// mark that the head has announced.
async fn pass_on(mut response: Response) -> anyhow::Result<()> {
    let tag = response
        .headers()
        .get("X-ClickHouse-Exception-Tag")
        .and_then(|tag| tag.to_str().ok());
    let mut answer = Answer::new(tag);
    let mut stdout = std::io::stdout().lock();
    loop {
        let chunk = response.chunk().await.map_err(reqwest::Error::without_url);
        let rows = match &chunk {
            Ok(Some(chunk)) => answer.rows(chunk),
            Ok(None) | Err(_) => answer.rest(),
        };
        match stdout.write_all(&rows).and_then(|()| stdout.flush()) {
            // Who reads has seen enough, as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("write the answer")?,
        }
        match chunk {
            Ok(Some(_)) => {}
            _ if answer.failure.is_some() => {
                bail!("{}", answer.failure_words());
            }
            Ok(None) => return Ok(()),
            Err(error) => return Err(error).context("the answer was cut off"),
        }
    }
}

/// Parts rows from ClickHouse's words about a failure.
struct Answer {
    /// Stands before those words; empty where the server has no such mark.
    mark: Vec<u8>,
    /// The end of what came, which may be the beginning of the mark.
    held: Vec<u8>,
    failure: Option<Vec<u8>>,
}

impl Answer {
    fn new(tag: Option<&str>) -> Self {
        let mark = |tag| format!("\r\n__exception__\r\n{tag}\r\n").into_bytes();
        Self {
            mark: tag.map(mark).unwrap_or_default(),
            held: Vec::new(),
            failure: None,
        }
    }

    /// The rows of what has come so far, without those that were returned before.
    fn rows(&mut self, chunk: &[u8]) -> Vec<u8> {
        if let Some(words) = &mut self.failure {
            let room = WORDS_MAX.saturating_sub(words.len());
            words.extend_from_slice(&chunk[..chunk.len().min(room)]);
            return Vec::new();
        }
        self.held.extend_from_slice(chunk);
        if self.mark.is_empty() {
            return self.rest();
        }
        let found = self
            .held
            .windows(self.mark.len())
            .position(|window| window == self.mark);
        match found {
            Some(start) => {
                let mut words = self.held.split_off(start + self.mark.len());
                words.truncate(WORDS_MAX);
                self.failure = Some(words);
                self.held.truncate(start);
                self.rest()
            }
            None => {
                let sure = self.held.len().saturating_sub(self.mark.len() - 1);
                let held = self.held.split_off(sure);
                std::mem::replace(&mut self.held, held)
            }
        }
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Behind the words stands their length on a line of its own.
    fn failure_words(&self) -> String {
        let words = String::from_utf8_lossy(self.failure.as_deref().unwrap_or_default());
        let words = words.trim_end();
        let words = words.strip_suffix("__exception__").unwrap_or(words);
        let (words, _length) = words.trim_end().rsplit_once('\n').unwrap_or((words, ""));
        words.trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"1\n2\n\r\n__exception__\r\nabcd\r\nCode: 395. Thrown.\n20 abcd\r\n__exception__\r\n";

    #[test]
    fn rows_and_a_failure_behind_them_are_parted_wherever_the_answer_is_cut() {
        for cut in 0..ANSWER.len() {
            let mut answer = Answer::new(Some("abcd"));
            let mut rows = answer.rows(&ANSWER[..cut]);
            rows.extend(answer.rows(&ANSWER[cut..]));
            rows.extend(answer.rest());
            assert_eq!(rows, b"1\n2\n", "cut at {cut}");
            assert_eq!(answer.failure_words(), "Code: 395. Thrown.", "cut at {cut}");
        }
    }

    #[test]
    fn an_answer_without_a_failure_is_whole() {
        for tag in [Some("abcd"), None] {
            let mut answer = Answer::new(tag);
            let rows = [
                answer.rows(b"1\r\n__exception__"),
                answer.rows(b"\r\nother\r\n"),
                answer.rest(),
            ];
            assert_eq!(rows.concat(), b"1\r\n__exception__\r\nother\r\n");
            assert!(answer.failure.is_none());
        }
    }
}

//! Runs one statement on a blocking thread and hands its answer over piece by piece.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::{
    engine::{Engine, Session},
    exception::Exception,
    ffi::{Analysis, Class, Output, Progress},
    gate,
    http::{blocks, request::Statement, response},
    sql::{
        format::{self, Joining},
        insert::Insert,
    },
};

/// Where an answer goes: first its head, or why there is none; then its body.
pub(crate) struct Reply {
    pub(crate) head: oneshot::Sender<Result<response::Head, Exception>>,
    pub(crate) pieces: mpsc::Sender<Result<Bytes, Exception>>,
}

/// Marks a statement's text, so that it can be found among those that run and killed.
pub(crate) fn tag(query_number: u64) -> String {
    format!("/*weir {query_number}*/ ")
}

/// Runs `statement`, whose `tag` stands before its text if it reads.
pub(crate) fn run(engine: &Engine, statement: &Statement, tag: &str, reply: Reply) {
    let mut answer = Answer::new(statement, reply);
    if let Err(exception) = try_run(engine, statement, tag, &mut answer) {
        answer.fail(exception);
    }
}

fn try_run(
    engine: &Engine,
    statement: &Statement,
    tag: &str,
    answer: &mut Answer,
) -> Result<(), Exception> {
    for (name, value) in &statement.context.settings {
        gate::check_setting(name, value, statement.context.role, engine.reader_limits)?;
    }
    let mut session = engine.session(&statement.context)?;
    let insert = statement.insert();
    let analysis = analyse(&mut session, &statement.sql, insert.as_ref());
    let text = insert
        .as_ref()
        .map_or(statement.sql.as_slice(), |insert| insert.head);
    let outcome = gate::check(text, analysis, statement.context.role, engine.reader_limits)
        .and_then(|()| match insert {
            Some(insert) => run_insert(&mut session, statement, &insert, answer),
            None if analysis.class == Class::ReadOnly => {
                run_read(&mut session, statement, tag, answer)
            }
            None => {
                let output = whole(&mut session, &statement.sql, statement)?;
                answer.whole(&output);
                Ok(())
            }
        });
    // SET and USE have changed the session behind the pool's back; a statement that failed or was
    // abandoned stays in its session, and among those that run, until the session closes.
    if analysis.class != Class::Control && outcome.is_ok() && !answer.is_abandoned() {
        engine.give_back(session);
    }
    outcome
}

/// An INSERT is classed without its data, which may be large and is not SQL.
fn analyse(session: &mut Session, sql: &[u8], insert: Option<&Insert<'_>>) -> Analysis {
    match insert {
        Some(insert) => {
            let mut statement = insert.head.to_vec();
            statement.extend_from_slice(format!(" FORMAT {}", insert.format).as_bytes());
            session.connection.classify(&statement)
        }
        None => session.connection.classify(sql),
    }
}

fn run_insert(
    session: &mut Session,
    statement: &Statement,
    insert: &Insert<'_>,
    answer: &mut Answer,
) -> Result<(), Exception> {
    // VALUES evaluates expressions, so its data is SQL for all that matters here.
    if insert.format.eq_ignore_ascii_case("Values") {
        gate::check_text(insert.body)?;
    }
    let progress = session
        .connection
        .insert(insert.head, insert.format, &statement.params, insert.body)
        .map_err(|error| Exception::from_engine(&error))?;
    answer.head(progress);
    Ok(())
}

fn run_read(
    session: &mut Session,
    statement: &Statement,
    tag: &str,
    answer: &mut Answer,
) -> Result<(), Exception> {
    let mut sql = tag.as_bytes().to_vec();
    sql.extend_from_slice(&statement.sql);
    let joining = format::joining(&answer.format);
    if joining == Joining::Whole || statement.wait_for_end || !is_select(&statement.sql) {
        let output = whole(session, &sql, statement)?;
        answer.whole(&output);
        return Ok(());
    }
    let mut stream = session
        .connection
        .stream(&sql, &statement.default_format, &statement.params)
        .map_err(|error| Exception::from_engine(&error))?;
    let mut header: Option<Vec<u8>> = None;
    while let Some(chunk) = stream
        .next()
        .map_err(|error| Exception::from_engine(&error))?
    {
        let mut bytes = chunk.bytes();
        if joining == Joining::BinaryHeader {
            match &header {
                Some(header) => bytes = bytes.strip_prefix(header.as_slice()).unwrap_or(bytes),
                None => {
                    let length = format::binary_header_length(bytes).unwrap_or(0);
                    header = Some(bytes[..length].to_vec());
                }
            }
        }
        answer.head(Progress::default());
        if !answer.piece(bytes) {
            // The client has gone; dropping the stream cancels the statement.
            return Ok(());
        }
    }
    answer.head(Progress::default());
    Ok(())
}

fn whole(session: &mut Session, sql: &[u8], statement: &Statement) -> Result<Output, Exception> {
    session
        .connection
        .query(sql, &statement.default_format, &statement.params)
        .map_err(|error| Exception::from_engine(&error))
}

/// The engine streams selects only; SHOW, DESCRIBE, EXISTS and EXPLAIN are small.
fn is_select(sql: &[u8]) -> bool {
    crate::sql::token::tokens(sql)
        .find(|token| !token.is_sign(b'('))
        .is_some_and(|token| token.is_word("SELECT") || token.is_word("WITH"))
}

/// The answer under way: its head goes out once, with or before the first bytes.
struct Answer {
    format: String,
    compress: bool,
    started: Instant,
    head: Option<oneshot::Sender<Result<response::Head, Exception>>>,
    pieces: mpsc::Sender<Result<Bytes, Exception>>,
}

impl Answer {
    fn new(statement: &Statement, reply: Reply) -> Self {
        Self {
            format: statement.output_format(),
            compress: statement.compress,
            started: Instant::now(),
            head: Some(reply.head),
            pieces: reply.pieces,
        }
    }

    fn head(&mut self, progress: Progress) {
        if let Some(head) = self.head.take() {
            let elapsed_ns = self.started.elapsed().as_nanos();
            // Nobody may be waiting any more; the first piece will tell.
            let _ = head.send(Ok(response::Head {
                format: self.format.clone(),
                progress,
                elapsed_ns,
            }));
        }
    }

    fn whole(&mut self, output: &Output) {
        // The largest piece that is copied out of the engine's memory at once.
        const PIECE_BYTES: usize = 1 << 20;
        self.head(output.progress());
        for piece in output.bytes().chunks(PIECE_BYTES) {
            if !self.piece(piece) {
                return;
            }
        }
    }

    /// False once nobody listens.
    fn piece(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let bytes = if self.compress {
            Bytes::from(blocks::encode(bytes))
        } else {
            Bytes::copy_from_slice(bytes)
        };
        self.pieces.blocking_send(Ok(bytes)).is_ok()
    }

    fn is_abandoned(&self) -> bool {
        self.pieces.is_closed()
    }

    fn fail(&mut self, exception: Exception) {
        match self.head.take() {
            Some(head) => drop(head.send(Err(exception))),
            None => drop(self.pieces.blocking_send(Err(exception))),
        }
    }
}

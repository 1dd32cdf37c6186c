//! Answers that were given, for those who ask the same again: given again while the rows that they
//! were counted from are the rows there are, and never after.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::answer::{Format, Written};
use crate::api::Question;
use crate::database::{Database, Failure};
use crate::parts::{Parts, Version};

/// Days that are not over change with every cut: after this long it costs less to count anew
/// than to ask whether they did.
const OPEN_DAYS: Duration = Duration::from_secs(1);
/// What an answer takes beside its body and its question.
const ANSWER_BYTES: usize = 256;

pub(crate) type Asked = (Question, Format);
pub(crate) type Outcome = Result<Arc<Written>, Failure>;

/// Bounded in bytes; those asked for least make room.
pub(crate) struct Kept {
    answers: Cache<Asked, Answer, Bytes>,
    parts: Parts,
}

#[derive(Clone)]
struct Answer {
    written: Arc<Written>,
    /// Of a moment before it was counted.
    version: Version,
    kept_at: Instant,
}

#[derive(Clone)]
struct Bytes;

impl Kept {
    pub(crate) fn new(database: Database, bytes_max: u64) -> Self {
        const ANSWERS: usize = 1000;
        Self {
            answers: Cache::with_weighter(ANSWERS, bytes_max, Bytes),
            parts: Parts::new(database),
        }
    }

    /// The answer that is kept if it still holds; what `count` gives otherwise, kept from then on.
    pub(crate) async fn answer(
        &self,
        asked: Asked,
        count: impl Future<Output = Outcome>,
    ) -> Outcome {
        let Some(spans) = asked.0.spans().filter(|_| self.answers.capacity() > 0) else {
            return count.await;
        };
        let closed = asked.0.is_closed();
        let may_hold = |answer: &Answer| closed || answer.kept_at.elapsed() < OPEN_DAYS;
        let known = self.answers.get(&asked).filter(may_hold);
        let before = self.parts.before();
        let snapshot = if known.is_some() || before.is_none() {
            self.parts.now().await?
        } else {
            // Older than what will be counted, which is all that matters to who asks next.
            before
        };
        let version = snapshot.map(|snapshot| snapshot.version(&spans));
        if let Some(answer) = known
            && version == Some(answer.version)
        {
            tally("kept");
            return Ok(answer.written);
        }
        tally("counted");
        let written = count.await?;
        if let Some(version) = version {
            let answer = Answer {
                written: written.clone(),
                version,
                kept_at: Instant::now(),
            };
            self.answers.insert(asked, answer);
        }
        Ok(written)
    }
}

impl Weighter<Asked, Answer> for Bytes {
    fn weight(&self, (question, _): &Asked, answer: &Answer) -> u64 {
        let bytes = ANSWER_BYTES + question.bytes() + answer.written.bytes();
        bytes as u64
    }
}

fn tally(from: &'static str) {
    counter!("weir_query_answers_total", "from" => from).increment(1);
}

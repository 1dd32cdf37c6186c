//! Why there is no answer, and whose affair that is.

use std::time::Duration;

use clickhouse::error::Error;

use crate::statement::Reads;

/// Shared by all who asked the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The question asks for too much; asked again it would fail again. Told to the client.
    TooMuch(String),
    /// A parameter that only the data shows to be at fault. Told to the client.
    Parameter(String),
    /// ClickHouse cannot answer now. For the log.
    Unavailable(String),
    /// ClickHouse answers with a fault that is not the question's. For the log.
    Refused(String),
}

const HINT: &str = "ask for fewer days, or without exact and filters that only raw rows can answer";

/// ClickHouse's numbers for limits that were met.
const TOO_MANY_ROWS: u32 = 158;
const TIMEOUT_EXCEEDED: u32 = 159;
const MEMORY_LIMIT_EXCEEDED: u32 = 241;

pub(super) fn classify(error: &Error, reads: Reads, patience: Duration) -> Failure {
    let text = error.to_string();
    match (code(error), reads) {
        (Some(TOO_MANY_ROWS), _) => Failure::TooMuch(format!(
            "this would read more rows than one question may: {HINT}"
        )),
        (Some(TIMEOUT_EXCEEDED), _) => out_of_time(reads, patience),
        (Some(MEMORY_LIMIT_EXCEEDED), Reads::Rows) => Failure::TooMuch(format!(
            "this would take more memory than one question may: {HINT}"
        )),
        _ if matches!(error, Error::BadResponse(_)) => Failure::Refused(text),
        _ => Failure::Unavailable(text),
    }
}

pub(super) fn out_of_time(reads: Reads, patience: Duration) -> Failure {
    match reads {
        Reads::Rows => Failure::TooMuch(format!("this takes longer than {patience:?}: {HINT}")),
        Reads::Rollups => Failure::Unavailable(format!("no answer of ClickHouse in {patience:?}")),
    }
}

/// The number in `Code: 158. DB::Exception: ...`.
fn code(error: &Error) -> Option<u32> {
    let Error::BadResponse(text) = error else {
        return None;
    };
    let (_, rest) = text.split_once("Code: ")?;
    let digits = rest.find(|byte: char| !byte.is_ascii_digit())?;
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str, reads: Reads) -> Failure {
        let error = Error::BadResponse(text.to_owned());
        classify(&error, reads, Duration::from_secs(10))
    }

    #[test]
    fn a_limit_that_was_met_is_the_questions_affair() {
        for code in ["158", "159", "241"] {
            let text = format!("Code: {code}. DB::Exception: Limit exceeded");
            assert!(matches!(failure(&text, Reads::Rows), Failure::TooMuch(_)));
        }
        // Rollups are small: it is ClickHouse that is slow.
        let slow = failure("Code: 159. DB::Exception: Timeout exceeded", Reads::Rollups);
        assert!(matches!(slow, Failure::Unavailable(_)));
    }

    #[test]
    fn all_else_is_clickhouses() {
        for text in ["", "Code: ", "Code: 60. DB::Exception: no table", "158"] {
            let failure = failure(text, Reads::Rows);
            assert!(matches!(failure, Failure::Refused(_)), "{text}");
        }
    }
}

//! A ClickHouse exception: code, text, and the HTTP status ClickHouse answers it with.

use axum::http::StatusCode;

pub(crate) const VERSION: &str = "26.7.3.1";

/// What a client is told when its statement fails, worded as ClickHouse words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) code: u32,
    text: String,
}

/// The codes this server raises by itself, with their names in ClickHouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    BadArguments,
    SyntaxError,
    UnknownSetting,
    ReadOnly,
    TimeoutExceeded,
    TooManyQueries,
    MemoryLimit,
    CannotDecompress,
    ReceivedTooLarge,
    AccessDenied,
    AuthenticationFailed,
    NoMethod,
    Logical,
}

impl Code {
    fn number_and_name(self) -> (u32, &'static str) {
        match self {
            Self::BadArguments => (36, "BAD_ARGUMENTS"),
            Self::Logical => (49, "LOGICAL_ERROR"),
            Self::SyntaxError => (62, "SYNTAX_ERROR"),
            Self::UnknownSetting => (115, "UNKNOWN_SETTING"),
            Self::TimeoutExceeded => (159, "TIMEOUT_EXCEEDED"),
            Self::ReadOnly => (164, "READONLY"),
            Self::TooManyQueries => (202, "TOO_MANY_SIMULTANEOUS_QUERIES"),
            Self::MemoryLimit => (241, "MEMORY_LIMIT_EXCEEDED"),
            Self::CannotDecompress => (271, "CANNOT_DECOMPRESS"),
            Self::ReceivedTooLarge => (307, "TOO_MANY_BYTES"),
            Self::AccessDenied => (497, "ACCESS_DENIED"),
            Self::AuthenticationFailed => (516, "AUTHENTICATION_FAILED"),
            Self::NoMethod => (48, "NOT_IMPLEMENTED"),
        }
    }
}

impl Exception {
    pub(crate) fn new(code: Code, message: impl std::fmt::Display) -> Self {
        let (number, name) = code.number_and_name();
        Self {
            code: number,
            text: format!("Code: {number}. DB::Exception: {message} ({name})"),
        }
    }

    /// Takes over what the engine said. A text without a code is an error of the engine itself.
    pub(crate) fn from_engine(text: &str) -> Self {
        let code = text
            .split_once("Code: ")
            .and_then(|(_, rest)| rest.split_once('.'))
            .and_then(|(code, _)| code.parse().ok());
        match code {
            Some(code) => Self {
                code,
                text: text.trim_end().to_owned(),
            },
            None => Self::new(Code::Logical, text.trim_end()),
        }
    }

    /// The text as ClickHouse ends it. Old clients look for the closing `))` and a line feed.
    pub(crate) fn body(&self) -> String {
        if self.text.contains("(version ") {
            return format!("{}\n", self.text);
        }
        format!("{} (version {VERSION} (official build))\n", self.text)
    }

    /// `exceptionCodeToHTTPStatus.cpp`, and three that ClickHouse answers with a bare 500 although
    /// the client can act on them: too many statements, a body too large, out of memory.
    pub(crate) fn status(&self) -> StatusCode {
        match self.code {
            194 => StatusCode::UNAUTHORIZED,
            164 | 192 | 193 | 452 | 481 | 497 | 512 | 516 => StatusCode::FORBIDDEN,
            6 | 10 | 15 | 25 | 26 | 27 | 33 | 36 | 38 | 41 | 43 | 44 | 53 | 56 | 62 | 69 | 72
            | 117 | 167 | 168 | 223 | 235 | 271 | 376 | 427 | 441 | 442 | 456 | 457 => {
                StatusCode::BAD_REQUEST
            }
            46 | 47 | 50 | 60 | 63 | 73 | 78 | 81 | 115 | 208 | 336 | 511 => StatusCode::NOT_FOUND,
            66 | 307 => StatusCode::PAYLOAD_TOO_LARGE,
            48 => StatusCode::NOT_IMPLEMENTED,
            159 => StatusCode::REQUEST_TIMEOUT,
            202 | 209 | 241 | 439 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl std::fmt::Display for Exception {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_code_is_read_from_its_text() {
        let exception = Exception::from_engine("Code: 60. DB::Exception: No t. (UNKNOWN_TABLE)");
        assert_eq!(
            (exception.code, exception.status()),
            (60, StatusCode::NOT_FOUND)
        );
        assert!(
            exception
                .body()
                .ends_with("(UNKNOWN_TABLE) (version 26.7.3.1 (official build))\n")
        );
    }

    #[test]
    fn a_text_without_a_code_is_a_server_error() {
        assert_eq!(
            Exception::from_engine("gone").status(),
            StatusCode::INTERNAL_SERVER_ERROR
        );
    }
}

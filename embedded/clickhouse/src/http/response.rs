//! Answers as ClickHouse gives them, the error in the middle of a body included.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};

use crate::{exception::Exception, ffi::Progress, sql::format};

/// What the headers say about an answer whose body is about to follow.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) format: String,
    pub(crate) progress: Progress,
    pub(crate) elapsed_ns: u128,
}

pub(crate) fn ok(query_id: &str, tag: &str, head: &Head, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format::content_type(&head.format)),
    );
    insert(headers, "x-clickhouse-format", &head.format);
    insert(headers, "x-clickhouse-exception-tag", tag);
    insert(headers, "x-clickhouse-summary", &summary(head));
    with_common(response, query_id)
}

pub(crate) fn refused(query_id: &str, exception: &Exception) -> Response {
    let mut response = Response::new(Body::from(exception.body()));
    *response.status_mut() = exception.status();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=UTF-8"),
    );
    insert(
        headers,
        "x-clickhouse-exception-code",
        &exception.code.to_string(),
    );
    if exception.status() == StatusCode::UNAUTHORIZED {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"weir\""),
        );
    }
    if exception.status() == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    with_common(response, query_id)
}

/// The end of a body that fails after its first bytes have gone out: the text between two tags
/// that only this answer's headers name, so that no row can be mistaken for it.
pub(crate) fn exception_tail(tag: &str, exception: &Exception) -> Vec<u8> {
    let text = exception.body();
    format!(
        "\r\n__exception__\r\n{tag}\r\n{text}{} {tag}\r\n__exception__\r\n",
        text.len()
    )
    .into_bytes()
}

fn with_common(mut response: Response, query_id: &str) -> Response {
    let headers = response.headers_mut();
    insert(headers, "x-clickhouse-query-id", query_id);
    insert(headers, "x-clickhouse-timezone", "UTC");
    insert(headers, "x-clickhouse-server-display-name", "weir");
    response
}

/// A value a client chose (its query id) may not be fit for a header; then it is left out.
fn insert(headers: &mut axum::http::HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn summary(head: &Head) -> String {
    let Progress {
        read_rows,
        read_bytes,
        written_rows,
        written_bytes,
        result_rows,
    } = head.progress;
    let elapsed_ns = head.elapsed_ns;
    format!(
        r#"{{"read_rows":"{read_rows}","read_bytes":"{read_bytes}","written_rows":"{written_rows}","written_bytes":"{written_bytes}","total_rows_to_read":"0","result_rows":"{result_rows}","result_bytes":"0","elapsed_ns":"{elapsed_ns}"}}"#
    )
}

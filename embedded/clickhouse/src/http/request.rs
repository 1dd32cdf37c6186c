//! One request taken apart: who asks, which statement, under which settings, answered how.

use std::collections::BTreeMap;

use axum::{
    extract::Query,
    http::{HeaderMap, Method, header, request::Parts},
};
use base64::Engine as _;

use super::{blocks, body, multipart};
use crate::{
    engine::Context,
    exception::{Code, Exception},
    sql::{format, insert},
    users::{Credentials, Role},
};

/// URL keys that speak to the HTTP layer and are no settings. Those this server has no use for
/// (sessions, roles, progress headers) are taken and ignored, as their defaults would be.
const PROTOCOL_KEYS: &[&str] = &[
    "add_http_cors_header",
    "buffer_size",
    "cancel_http_readonly_queries_on_client_close",
    "client_protocol_version",
    "close_session",
    "compress",
    "database",
    "decompress",
    "default_format",
    "enable_http_compression",
    "http_headers_progress_interval_ms",
    "http_response_headers",
    "http_write_exception_in_output_format",
    "http_zlib_compression_level",
    "password",
    "query",
    "query_id",
    "quota_key",
    "role",
    "send_progress_in_http_headers",
    "session_check",
    "session_id",
    "session_timeout",
    "stacktrace",
    "user",
    "wait_end_of_query",
];

const PARAMS_MAX: usize = 1000;

/// What a URL and its headers say, before the body has arrived.
pub(crate) struct Head {
    fields: Vec<(String, String)>,
    headers: HeaderMap,
    is_get: bool,
}

/// A statement ready to run.
pub(crate) struct Statement {
    pub(crate) sql: Vec<u8>,
    pub(crate) default_format: String,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) context: Context,
    pub(crate) query_id: String,
    pub(crate) compress: bool,
    pub(crate) wait_for_end: bool,
}

impl Head {
    pub(crate) fn read(parts: &Parts) -> Result<Self, Exception> {
        let Query(fields) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Exception::new(Code::BadArguments, error))?;
        if fields.len() > PARAMS_MAX {
            return Err(Exception::new(
                Code::BadArguments,
                format_args!("The URL has more than {PARAMS_MAX} parameters"),
            ));
        }
        Ok(Self {
            fields,
            headers: parts.headers.clone(),
            is_get: parts.method != Method::POST,
        })
    }

    /// URL keys come first, then ClickHouse's headers, then Basic.
    pub(crate) fn credentials(&self) -> Result<Credentials, Exception> {
        let url = Credentials {
            user: self.field("user"),
            password: self.field("password"),
        };
        if url.user.is_some() || url.password.is_some() {
            return Ok(url);
        }
        let own = Credentials {
            user: self.header("x-clickhouse-user"),
            password: self.header("x-clickhouse-key"),
        };
        if own.user.is_some() || own.password.is_some() {
            return Ok(own);
        }
        match self.header(header::AUTHORIZATION.as_str()) {
            Some(authorization) => basic(&authorization).ok_or_else(|| {
                Exception::new(
                    Code::AuthenticationFailed,
                    "The Authorization header is not of the form Basic base64(user:password)",
                )
            }),
            None => Ok(Credentials::default()),
        }
    }

    /// Adds the body: it may hold the statement, the rest of it, an insert's data, or a form.
    pub(crate) fn statement(
        mut self,
        role: Role,
        body: Vec<u8>,
        bytes_max: usize,
    ) -> Result<Statement, Exception> {
        let encoding = self.header(header::CONTENT_ENCODING.as_str());
        let mut body = body::decode(encoding.as_deref(), body, bytes_max)?;
        let content_type = self
            .header(header::CONTENT_TYPE.as_str())
            .unwrap_or_default();
        if content_type.starts_with("multipart/form-data") {
            self.fields.extend(multipart::fields(&content_type, &body)?);
            body.clear();
        }
        if self.flag("decompress") {
            body = blocks::decode(&body, bytes_max)?;
        }
        let mut sql = self.field("query").unwrap_or_default().into_bytes();
        if sql.is_empty() {
            sql = body;
        } else if !body.is_empty() {
            sql.push(b'\n');
            sql.append(&mut body);
        }
        let role = if self.is_get && role == Role::Service {
            Role::ServiceReading
        } else {
            role
        };
        Ok(Statement {
            default_format: self
                .field("default_format")
                .or_else(|| self.header("x-clickhouse-format"))
                .unwrap_or_else(|| "TabSeparated".into()),
            params: self.params(),
            context: Context {
                role,
                database: self
                    .field("database")
                    .or_else(|| self.header("x-clickhouse-database"))
                    .filter(|database| !database.is_empty()),
                settings: self.settings()?,
            },
            query_id: self
                .field("query_id")
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            compress: self.flag("compress"),
            wait_for_end: self.flag("wait_end_of_query"),
            sql,
        })
    }

    fn params(&self) -> Vec<(String, String)> {
        self.fields
            .iter()
            .filter_map(|(name, value)| {
                Some((name.strip_prefix("param_")?.to_owned(), value.clone()))
            })
            .collect()
    }

    fn settings(&self) -> Result<BTreeMap<String, String>, Exception> {
        let mut settings = BTreeMap::new();
        for (name, value) in &self.fields {
            if PROTOCOL_KEYS.contains(&name.as_str()) || name.starts_with("param_") {
                continue;
            }
            // The name becomes part of a SET statement.
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || !name.bytes().all(is_plain) {
                return Err(Exception::new(
                    Code::UnknownSetting,
                    format_args!("Unknown setting '{}'", name.escape_default()),
                ));
            }
            settings.insert(name.clone(), value.clone());
        }
        Ok(settings)
    }

    fn field(&self, name: &str) -> Option<String> {
        self.fields
            .iter()
            .rev()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.clone())
    }

    fn flag(&self, name: &str) -> bool {
        self.field(name)
            .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }

    fn header(&self, name: &str) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }
}

impl Statement {
    /// The format of the answer: the statement's own, else the request's.
    pub(crate) fn output_format(&self) -> String {
        format::named(&self.sql).unwrap_or_else(|| self.default_format.clone())
    }

    pub(crate) fn insert(&self) -> Option<insert::Insert<'_>> {
        insert::split(&self.sql)
    }
}

fn basic(authorization: &str) -> Option<Credentials> {
    let encoded = authorization.strip_prefix("Basic ")?;
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(Credentials {
        user: Some(user.to_owned()),
        password: Some(password.to_owned()),
    })
}

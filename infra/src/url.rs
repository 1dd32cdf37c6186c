//! Addresses of servers, which may carry credentials. People are shown the rest of them.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use url::{Position, Url};

const REDACTED: &str = "[redacted]";

/// An http or https URL with nothing but an address and a path in it. Its client ignores all else, so
/// credentials in it would be left out without a word.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ServerUrl(String);

/// Says nothing of the text that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoServerUrl {
    #[error("that is no URL of a server: it has to be like http://127.0.0.1:8123")]
    NoUrl,
    #[error(
        "a user name, a password and what stands behind ? or # are not read from a URL: leave them out, and set clickhouse.user and clickhouse.password"
    )]
    Credentials,
}

impl ServerUrl {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerUrl {
    type Err = NoServerUrl;

    fn from_str(text: &str) -> Result<Self, NoServerUrl> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = NoServerUrl;

    fn try_from(text: String) -> Result<Self, NoServerUrl> {
        let url = parse(&text).ok_or(NoServerUrl::NoUrl)?;
        if has_user(&url) || has_more(&url) {
            return Err(NoServerUrl::Credentials);
        }
        // As it was written: a parsed one always ends in a path.
        Ok(Self(text))
    }
}

impl From<SocketAddr> for ServerUrl {
    fn from(address: SocketAddr) -> Self {
        Self(format!("http://{address}"))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for ServerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A URL as people may see it: user information, query and fragment are redacted. A text that is no
/// such URL is shown as it is where nothing in it can be one of these.
#[must_use]
pub fn without_credentials(text: &str) -> String {
    let Some(url) = parse(text) else {
        let is_harmless = !text.contains(['@', '?', '#', '=']);
        return if is_harmless { text } else { REDACTED }.to_owned();
    };
    let (has_user, has_more) = (has_user(&url), has_more(&url));
    if !has_user && !has_more {
        return text.to_owned();
    }
    let user = if has_user { "[redacted]@" } else { "" };
    let more = if has_more { "?[redacted]" } else { "" };
    format!(
        "{}{user}{}{more}",
        &url[..Position::BeforeUsername],
        &url[Position::BeforeHost..Position::AfterPath]
    )
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn has_more(url: &Url) -> bool {
    url.query().is_some() || url.fragment().is_some()
}

fn parse(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_carries_of_credentials_is_redacted_and_a_servers_has_none() {
        for (text, shown) in [
            ("http://127.0.0.1:8123", "http://127.0.0.1:8123"),
            ("https://ch.example/a/b", "https://ch.example/a/b"),
            ("http://me:hunter2@ch:8123", "http://[redacted]@ch:8123/"),
            ("http://hunter2@ch:8123/a", "http://[redacted]@ch:8123/a"),
            ("http://:hunter2@ch:8123/", "http://[redacted]@ch:8123/"),
            (
                "https://a:hunter2@b:hunter2@[::1]:1/",
                "https://[redacted]@[::1]:1/",
            ),
            (
                "http://ch/?user=me&password=hunter2",
                "http://ch/?[redacted]",
            ),
            ("http://ch/#hunter2", "http://ch/?[redacted]"),
            ("http:me:hunter2@ch", "http://[redacted]@ch/"),
            ("HTTP:\\\\me:hunter2@ch", "http://[redacted]@ch/"),
            (" \thttp://me:hunt\ner2@ch", "http://[redacted]@ch/"),
        ] {
            assert_eq!(without_credentials(text), shown);
            let url = text.parse::<ServerUrl>();
            if text != shown {
                assert_eq!(url, Err(NoServerUrl::Credentials), "{text}");
                continue;
            }
            let url = url.unwrap();
            assert_eq!(url.as_str(), text);
            assert_eq!(url.to_string(), text);
            assert_eq!(serde_json::to_value(&url).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused_without_a_word_of_it() {
        for text in [
            "",
            "me:hunter2@ch:8123",
            "//me:hunter2@ch",
            "tcp://me:hunter2@ch:9000",
            "http://me:hunter2@",
            "http://me:hunter2@ch:port",
            "host=ch password=hunter2",
        ] {
            assert_eq!(text.parse::<ServerUrl>(), Err(NoServerUrl::NoUrl), "{text}");
            assert!(!without_credentials(text).contains("hunter2"), "{text}");
        }
        assert_eq!(without_credentials("localhost:8123"), "localhost:8123");
    }
}

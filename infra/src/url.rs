//! Addresses of servers, which may carry credentials. People are shown the rest of them.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use url::{Position, Url};

const REDACTED: &str = "[redacted]";

/// An http or https URL. What it carries of credentials is in none of its texts but
/// [`expose`](Self::expose).
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ServerUrl(String);

/// Says nothing of the text that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("that is no URL of a server: it has to be like http://127.0.0.1:8123")]
pub struct NoServerUrl;

impl ServerUrl {
    /// All of it.
    #[must_use]
    pub fn expose(&self) -> &str {
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
        // As it was written: a parsed one always ends in a path.
        if parse(&text).is_some() {
            Ok(Self(text))
        } else {
            Err(NoServerUrl)
        }
    }
}

impl From<SocketAddr> for ServerUrl {
    fn from(address: SocketAddr) -> Self {
        Self(format!("http://{address}"))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&without_credentials(&self.0))
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
    let has_user = !url.username().is_empty() || url.password().is_some();
    let has_more = url.query().is_some() || url.fragment().is_some();
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

fn parse(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_carries_of_credentials_is_in_no_text_of_it() {
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
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(url.expose(), text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(serde_json::to_value(&url).unwrap(), shown);
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
            let refused = text.parse::<ServerUrl>().unwrap_err().to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
            assert!(!without_credentials(text).contains("hunter2"), "{text}");
        }
        assert_eq!(without_credentials("localhost:8123"), "localhost:8123");
    }
}

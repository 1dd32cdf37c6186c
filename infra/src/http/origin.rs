//! Where a page comes from.

use serde::{Deserialize, Serialize};

/// Scheme, host and port of a page, as browsers write it: `https://shop.example`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Origin(String);

impl Origin {
    /// The origin of a URL.
    #[must_use]
    pub fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let host = &rest[..end];
        let written_well = !scheme.is_empty()
            && !host.is_empty()
            && url.bytes().all(|byte| byte.is_ascii_graphic())
            && !host.contains('@');
        written_well.then(|| {
            let origin = format!("{scheme}://{host}").to_ascii_lowercase();
            // Browsers leave a scheme's own port out.
            let port = match scheme.to_ascii_lowercase().as_str() {
                "https" => ":443",
                "http" => ":80",
                _ => return Self(origin),
            };
            Self(origin.strip_suffix(port).unwrap_or(&origin).to_owned())
        })
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let authority = text.split_once("://").map(|(_, authority)| authority);
        Self::of(&text)
            .filter(|_| authority.is_some_and(|authority| !authority.contains(['/', '?', '#'])))
            .ok_or_else(|| format!("{text:?} is no origin such as https://shop.example"))
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_as_browsers_write_it() {
        let of = |url: &str| Origin::of(url).map(String::from);
        for (url, origin) in [
            ("https://Shop.Example", "https://shop.example"),
            ("https://shop.example:443", "https://shop.example"),
            ("http://shop.example:80/", "http://shop.example"),
            ("http://shop.example:8080/a?b#c", "http://shop.example:8080"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(of(url).as_deref(), Some(origin));
        }
        for none in [
            "null",
            "",
            "https://",
            "://x",
            "shop.example",
            "https://a b",
            "https://u@h",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
        assert!(Origin::try_from("https://shop.example".to_owned()).is_ok());
        assert!(Origin::try_from("https://shop.example/".to_owned()).is_err());
    }
}

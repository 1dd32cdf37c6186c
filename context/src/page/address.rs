//! The parts of a URL, and the one form of a host. What is no URL has neither.

use std::borrow::Cow;

use idna::uts46::{AsciiDenyList, Hyphens, Uts46};

use super::text::spoils_a_line;

/// Of a name in DNS, here in bytes of UTF-8.
pub(crate) const HOSTNAME_BYTES_MAX: usize = 253;

/// A longer one is not decoded: it has no form within the limit, or is made to cost time.
const ENCODED_BYTES_MAX: usize = 4 * HOSTNAME_BYTES_MAX;

/// A URL in its parts, as they were sent. None has its separators but the path, which begins with
/// `/` where it is not empty.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Address<'t> {
    pub(super) scheme: &'t str,
    pub(super) authority: &'t str,
    pub(super) path: &'t str,
    pub(super) query: &'t str,
    pub(super) fragment: &'t str,
}

impl<'t> Address<'t> {
    /// Of a full URL, one without a scheme (`//host/path`), or one without a host (`/path`).
    pub(super) fn of(url: &'t str) -> Option<Self> {
        let url = url.trim();
        if let Some((scheme, rest)) = split_scheme(url) {
            return Some(Self {
                scheme,
                ..Self::with_authority(rest)
            });
        }
        match url.strip_prefix("//") {
            Some(rest) => Some(Self::with_authority(rest)),
            None => url.starts_with('/').then(|| Self::without_authority(url)),
        }
    }

    fn with_authority(rest: &'t str) -> Self {
        let end = rest.bytes().position(ends_authority);
        let end = end.unwrap_or(rest.len());
        Self {
            authority: &rest[..end],
            ..Self::without_authority(&rest[end..])
        }
    }

    pub(super) fn without_authority(rest: &'t str) -> Self {
        let (rest, fragment) = split_at_byte(rest, b'#');
        let (path, query) = split_at_byte(rest, b'?');
        Self {
            path,
            query,
            fragment,
            ..Self::default()
        }
    }

    pub(super) fn is_of_a_file(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("file")
    }
}

/// What comes before the first such byte, and after it. Texts of addresses are short, and a search
/// for a byte that is made for long ones takes longer.
fn split_at_byte(text: &str, byte: u8) -> (&str, &str) {
    let at = text.bytes().position(|other| other == byte);
    at.map_or((text, ""), |at| (&text[..at], &text[at + 1..]))
}

/// The scheme of a URL, and what comes after its `://`.
pub(super) fn split_scheme(url: &str) -> Option<(&str, &str)> {
    let is_of_scheme =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let end = url.bytes().position(|byte| !is_of_scheme(byte))?;
    let (scheme, rest) = url.split_at(end);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    is_scheme.then_some((scheme, rest.strip_prefix("://")?))
}

/// The end of an authority. Browsers take `\` for `/`.
pub(super) fn ends_authority(byte: u8) -> bool {
    matches!(byte, b'/' | b'?' | b'#' | b'\\')
}

/// The host of an authority in its one form: lower case, Unicode, without user and port. An address
/// of IPv6 keeps its brackets. Nothing where there is none, or something that no host can be.
pub(super) fn host_of(authority: &str) -> Option<Cow<'_, str>> {
    let user = authority.bytes().rposition(|byte| byte == b'@');
    let host = user.map_or(authority, |at| &authority[at + 1..]);
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
        let host = &host[..address.len() + 2];
        return (is_address && (port.is_empty() || is_port(port.strip_prefix(':')?)))
            .then(|| lower_case(host));
    }
    let (host, port) = split_at_byte(host, b':');
    if !is_port(port) {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.len() > ENCODED_BYTES_MAX {
        return None;
    }
    let is_in_form = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    let is_encoded = || labels(host).any(|label| label.starts_with(b"xn--"));
    let host = if host.bytes().all(is_in_form) && !is_encoded() {
        Cow::Borrowed(host)
    } else {
        let (host, read) =
            Uts46::new().to_unicode(host.as_bytes(), AsciiDenyList::URL, Hyphens::Allow);
        if read.is_err() || !host.chars().all(is_of_host) {
            return None;
        }
        host
    };
    let has_empty_label = labels(&host).any(<[u8]>::is_empty);
    (host.len() <= HOSTNAME_BYTES_MAX && !has_empty_label).then_some(host)
}

/// The host of a text that is one, or a URL.
pub(super) fn host_of_either(text: &str) -> Option<Cow<'_, str>> {
    if text.is_empty() {
        return None;
    }
    let text = text.trim();
    let authority = Address::of(text).map_or(text, |address| address.authority);
    host_of(authority)
}

/// Without the `www.` that stands before the host of most sites, but not of all of their links.
pub(super) fn without_www(host: &str) -> &str {
    let rest = host.strip_prefix("www.");
    rest.filter(|rest| rest.contains('.')).unwrap_or(host)
}

fn labels(host: &str) -> impl Iterator<Item = &[u8]> {
    host.as_bytes().split(|byte| *byte == b'.')
}

fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_of_host(character: char) -> bool {
    match character {
        '-' | '_' | '.' => true,
        character if character.is_ascii() => character.is_ascii_alphanumeric(),
        character => !character.is_whitespace() && !spoils_a_line(character),
    }
}

fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

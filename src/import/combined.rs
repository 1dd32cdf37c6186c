//! One line of the `combined` log format, as Apache and nginx write it:
//! `host ident user [time] "request" status bytes "referrer" "user agent"`.

use std::borrow::Cow;
use std::net::IpAddr;

use chrono::{DateTime, FixedOffset};

use super::LINE_BYTES_MAX;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request<'l> {
    pub(super) address: Cow<'l, str>,
    pub(super) time: DateTime<FixedOffset>,
    method: &'l str,
    target: &'l str,
    status: u16,
    referrer: Cow<'l, str>,
    user_agent: Cow<'l, str>,
}

/// What a page does not end with: these are its parts, or files.
const ASSETS: [&str; 20] = [
    ".css", ".js", ".png", ".jpg", ".jpeg", ".gif", ".ico", ".svg", ".woff", ".woff2", ".ttf",
    ".map", ".xml", ".txt", ".pdf", ".zip", ".gz", ".tar", ".mp4", ".webm",
];

/// Reads one line. The error says what was looked for and not found.
pub(super) fn parse(line: &[u8]) -> Result<Request<'_>, &'static str> {
    if line.len() > LINE_BYTES_MAX {
        return Err("longer than 64 KiB");
    }
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    let (address, rest) = line.split_once(' ').ok_or("no address")?;
    let (before, rest) = rest
        .split_once("] \"")
        .ok_or("no [time] before a \"request\"")?;
    // The user, whose name stands before the time, may have brackets in it.
    let (_, time) = before.rsplit_once(" [").ok_or("no [time]")?;
    let time = DateTime::parse_from_str(time, "%d/%b/%Y:%H:%M:%S %z")
        .map_err(|_| "the time is not like 17/May/2015:10:05:03 +0000")?;
    let (request, rest) = quoted(rest).ok_or("the request has no closing quote")?;
    let mut numbers = rest.strip_prefix(' ').ok_or("no status")?.splitn(3, ' ');
    let status = numbers
        .next()
        .filter(|status| status.len() == 3)
        .and_then(|status| status.parse().ok())
        .ok_or("the status is not a three-digit number")?;
    let bytes = numbers.next().ok_or("no size")?;
    if bytes != "-" && bytes.parse::<u64>().is_err() {
        return Err("the size is neither a number nor -");
    }
    let rest = numbers
        .next()
        .and_then(|rest| rest.strip_prefix('"'))
        .ok_or("no \"referrer\"")?;
    let (referrer, rest) = quoted(rest).ok_or("the referrer has no closing quote")?;
    let rest = rest.strip_prefix(" \"").ok_or("no \"user agent\"")?;
    let (user_agent, _) = quoted(rest).ok_or("the user agent has no closing quote")?;

    // A request that is not HTTP ("-", a TLS hello) is a well-formed line without a page.
    let mut words = request.split(' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    Ok(Request {
        address: Cow::Borrowed(address),
        time,
        method,
        target,
        status,
        referrer: unescape(referrer),
        user_agent: unescape(user_agent),
    })
}

/// Splits after the closing quote; a backslash guards the character behind it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut guarded = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if guarded => guarded = false,
            b'\\' => guarded = true,
            b'"' => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> Cow<'_, str> {
    if text.contains("\\\"") {
        Cow::Owned(text.replace("\\\"", "\""))
    } else {
        Cow::Borrowed(text)
    }
}

impl Request<'_> {
    /// A GET of a path or a URL, answered below 400, that is not one of an asset.
    pub(super) fn is_page_view(&self) -> bool {
        let path = self.path();
        let asset = ASSETS.iter().any(|suffix| {
            path.len() >= suffix.len()
                && path.as_bytes()[path.len() - suffix.len()..]
                    .eq_ignore_ascii_case(suffix.as_bytes())
        });
        self.method == "GET" && path.starts_with('/') && self.status < 400 && !asset
    }

    /// The target's path, cut at `?` and `#`.
    pub(super) fn path(&self) -> &str {
        let target = self.path_and_query();
        &target[..target.find(['?', '#']).unwrap_or(target.len())]
    }

    /// The target without its host. It begins with one slash: with two, what is behind them would be
    /// taken for a host.
    pub(super) fn path_and_query(&self) -> &str {
        let target = match self.after_scheme() {
            Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => self.target,
        };
        let slashes = target.len() - target.trim_start_matches('/').len();
        &target[slashes.saturating_sub(1)..]
    }

    /// The page's address: with `host`, or with the one that the line has, or with none.
    pub(super) fn url(&self, host: Option<&str>) -> Cow<'_, str> {
        let path = self.path_and_query();
        match host {
            Some(host) => Cow::Owned(format!("https://{host}{path}")),
            None if self.after_scheme().is_some() => Cow::Borrowed(self.target),
            None => Cow::Borrowed(path),
        }
    }

    /// A proxy logs whole URLs.
    fn after_scheme(&self) -> Option<&str> {
        let schemes = ["http://", "https://"];
        schemes.iter().find_map(|scheme| {
            let (start, rest) = self.target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
    }

    /// The client's address, where the server has not looked up its name.
    pub(super) fn ip(&self) -> Option<&str> {
        Some(&*self.address).filter(|address| address.parse::<IpAddr>().is_ok())
    }

    pub(super) fn referrer(&self) -> Option<&str> {
        said(&self.referrer)
    }

    /// Empty where the client sent none.
    pub(super) fn user_agent(&self) -> &str {
        said(&self.user_agent).unwrap_or_default()
    }
}

/// `-` is how a log says none.
fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty() && *text != "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"83.149.9.216 - - [17/May/2015:10:05:03 +0200] "GET /a/b?c#d HTTP/1.1" 200 203023 "http://example.com/" "Mozilla/5.0 (\"X11\")""#;

    fn with(request: &str, status: &str) -> String {
        LINE.replace("GET /a/b?c#d HTTP/1.1", request)
            .replace(" 200 ", &format!(" {status} "))
    }

    fn is_page_view(request: &str, status: &str) -> bool {
        parse(with(request, status).as_bytes())
            .unwrap()
            .is_page_view()
    }

    #[test]
    fn a_line_gives_its_address_time_path_referrer_and_agent() {
        let request = parse(LINE.as_bytes()).unwrap();
        assert_eq!(request.address, "83.149.9.216");
        assert_eq!(request.time.to_rfc3339(), "2015-05-17T10:05:03+02:00");
        assert_eq!(request.path(), "/a/b");
        assert_eq!(request.referrer(), Some("http://example.com/"));
        assert_eq!(request.user_agent(), r#"Mozilla/5.0 ("X11")"#);
        assert_eq!(request.ip(), Some("83.149.9.216"));
        assert!(request.is_page_view());
    }

    #[test]
    fn an_address_has_its_query_and_the_host_that_is_known() {
        let url = |target: &str, host: Option<&str>| {
            let line = with(&format!("GET {target} HTTP/1.1"), "200");
            parse(line.as_bytes()).unwrap().url(host).into_owned()
        };
        let known = Some("shop.example");
        assert_eq!(url("/p?utm_source=x", None), "/p?utm_source=x");
        assert_eq!(url("/p?ref=x", known), "https://shop.example/p?ref=x");
        assert_eq!(url("http://a.example/p?q", None), "http://a.example/p?q");
        assert_eq!(
            url("http://a.example/p?q", known),
            "https://shop.example/p?q"
        );
        assert_eq!(url("//wp-admin/x", None), "/wp-admin/x");
        assert_eq!(
            url("//wp-admin/x", known),
            "https://shop.example/wp-admin/x"
        );
    }

    #[test]
    fn a_path_with_more_than_one_slash_before_it_has_no_host() {
        for (target, path) in [
            ("//wp-admin/x?y", "/wp-admin/x"),
            ("///", "/"),
            ("http://a.example//b", "/b"),
            ("HTTP://a.example/b", "/b"),
        ] {
            let line = with(&format!("GET {target} HTTP/1.1"), "200");
            assert_eq!(parse(line.as_bytes()).unwrap().path(), path, "{target}");
        }
    }

    #[test]
    fn a_target_that_is_neither_a_path_nor_a_url_is_no_page() {
        for request in [
            "GET * HTTP/1.1",
            "GET",
            "GET  HTTP/1.1",
            "GET x:443 HTTP/1.1",
        ] {
            assert!(!is_page_view(request, "200"), "{request}");
        }
        assert!(is_page_view("GET http://a.example HTTP/1.1", "200"));
    }

    #[test]
    fn a_user_may_have_brackets_in_the_name() {
        let line = LINE.replace("- - [", "- a [b] c [");
        assert_eq!(
            parse(line.as_bytes()).unwrap(),
            parse(LINE.as_bytes()).unwrap()
        );
    }

    #[test]
    fn a_line_may_name_a_host_and_no_agent() {
        let line = LINE
            .replace("83.149.9.216", "crawler.example")
            .replace(r#""Mozilla/5.0 (\"X11\")""#, "\"-\"");
        let request = parse(line.as_bytes()).unwrap();
        assert_eq!((request.ip(), request.user_agent()), (None, ""));
    }

    #[test]
    fn a_page_view_is_a_get_answered_below_400() {
        assert!(is_page_view("GET / HTTP/1.1", "399"));
        assert!(!is_page_view("GET / HTTP/1.1", "400"));
        assert!(!is_page_view("HEAD / HTTP/1.1", "200"));
        assert!(!is_page_view("POST / HTTP/1.1", "200"));
        assert!(!is_page_view("-", "200"));
    }

    #[test]
    fn an_asset_is_no_page_in_any_case_and_with_any_query() {
        for suffix in ASSETS {
            assert!(
                !is_page_view(&format!("GET /x{suffix} HTTP/1.1"), "200"),
                "{suffix}"
            );
            let upper = suffix.to_uppercase();
            assert!(
                !is_page_view(&format!("GET /x{upper}?v=1 HTTP/1.1"), "200"),
                "{upper}"
            );
            assert!(
                is_page_view(&format!("GET /x{suffix}/ HTTP/1.1"), "200"),
                "{suffix}/"
            );
            assert!(
                is_page_view(&format!("GET /x?y={suffix} HTTP/1.1"), "200"),
                "query {suffix}"
            );
        }
    }

    #[test]
    fn the_page_about_access_logs_and_its_count_know_every_asset() {
        let page = include_str!("../../docs/access-logs.md");
        let count = include_str!("../../docs/access-logs/count.py");
        for (name, text) in [("page", page), ("count", count)] {
            let mut words = text.split([' ', '`', '"', '\n']);
            for asset in ASSETS {
                assert!(words.any(|word| word == asset), "{asset} in the {name}");
            }
        }
    }

    #[test]
    fn a_whole_url_gives_its_path() {
        let line = with("GET http://example.com/p?q HTTP/1.1", "200");
        assert_eq!(parse(line.as_bytes()).unwrap().path(), "/p");
        let line = with("GET http://example.com HTTP/1.1", "200");
        assert_eq!(parse(line.as_bytes()).unwrap().path(), "/");
    }

    #[test]
    fn every_prefix_of_a_line_is_malformed_and_none_panics() {
        for end in 0..LINE.len() {
            assert!(parse(&LINE.as_bytes()[..end]).is_err(), "{}", &LINE[..end]);
        }
        assert_eq!(parse(b"\xff\xfe"), Err("not UTF-8"));
    }

    #[test]
    fn each_fault_is_named() {
        for (from, to, reason) in [
            (
                "17/May",
                "17/Mai",
                "the time is not like 17/May/2015:10:05:03 +0000",
            ),
            (" 200 ", " ok ", "the status is not a three-digit number"),
            (" 203023 ", " many ", "the size is neither a number nor -"),
        ] {
            assert_eq!(
                parse(LINE.replace(from, to).as_bytes()).unwrap_err(),
                reason
            );
        }
    }
}

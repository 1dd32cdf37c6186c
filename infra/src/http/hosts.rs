//! The names under which a service answers. A page can have a name of its own point at this machine
//! (DNS rebinding) and then reads what it asks for as its own; its browser sends that name as
//! `Host`, and cannot send another.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::ensure;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

use super::error;

const LABEL_BYTES_MAX: usize = 63;
const NAME_BYTES_MAX: usize = 253;
/// How much of a name that is refused is shown back.
const SHOWN_CHARS_MAX: usize = 100;
/// What Kubernetes' cluster domains end with that nobody can register. Of `a.svc.example.com` the
/// owner of `example.com` decides where it points.
const PRIVATE_DOMAINS: [&str; 2] = ["local", "internal"];

/// The names of a service: those that no page can have, and those that are listed.
#[derive(Debug, Clone)]
pub struct Hosts {
    setting: &'static str,
    listed: Arc<[String]>,
}

impl Hosts {
    /// `setting` is where names are listed.
    ///
    /// # Errors
    /// If what is listed is no name.
    pub fn new(setting: &'static str, listed: &[String]) -> anyhow::Result<Self> {
        let mut names = Vec::new();
        for text in listed {
            let name = canonical(text);
            ensure!(
                is_name(&name),
                "{setting}: {text:?} is no name such as stats.example.com, which stands without scheme, port and path"
            );
            names.push(name);
        }
        Ok(Self {
            setting,
            listed: names.into(),
        })
    }

    /// Has a router refuse, with 421, what is asked of another name.
    pub fn guard(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), refuse_others))
    }

    /// The first name of a request that is another's. A request without a name is of no browser.
    fn others_in(&self, request: &Request) -> Option<String> {
        let target = request.uri().authority().map(|target| target.as_str());
        if let Some(target) = target
            && !self.has(target)
        {
            return Some(target.to_owned());
        }
        let hosts = request.headers().get_all(HOST).iter();
        let mut others = hosts.filter(|host| !host.to_str().is_ok_and(|host| self.has(host)));
        let other = others.next()?;
        Some(String::from_utf8_lossy(other.as_bytes()).into_owned())
    }

    /// Whether a name, with or without a port, is one of this service's.
    fn has(&self, host: &str) -> bool {
        if let Some(rest) = host.strip_prefix('[') {
            return rest.split_once(']').is_some_and(|(address, port)| {
                address.parse::<Ipv6Addr>().is_ok() && is_port(port)
            });
        }
        let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
        if !is_port(port) {
            return false;
        }
        let name = canonical(name);
        name.parse::<Ipv4Addr>().is_ok()
            || is_name(&name) && (!name.contains('.') || is_of_a_cluster(&name))
            || self.listed.contains(&name)
    }
}

async fn refuse_others(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let Some(other) = hosts.others_in(&request) else {
        return next.run(request).await;
    };
    let shown: String = other.chars().take(SHOWN_CHARS_MAX).collect();
    let sentence = format!(
        "{shown:?} is not a name of this service: list it in {}, or ask by address",
        hosts.setting
    );
    error(StatusCode::MISDIRECTED_REQUEST, vec![sentence])
}

/// Names are the same in either case, and with a dot at the end.
fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label)
}

/// `figures.weir.svc` and `figures.weir.svc.cluster.local`.
fn is_of_a_cluster(name: &str) -> bool {
    let labels: Vec<&str> = name.split('.').collect();
    let domain = labels.iter().skip(1).position(|label| *label == "svc");
    let domain = domain.map(|at| &labels[at + 2..]);
    domain.is_some_and(|domain| {
        domain
            .last()
            .is_none_or(|last| PRIVATE_DOMAINS.contains(last))
    })
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    fn hosts() -> Hosts {
        Hosts::new("query.hosts", &["Stats.Example.com.".to_owned()]).unwrap()
    }

    #[test]
    fn addresses_short_names_cluster_names_and_listed_names_are_ones_own() {
        for own in [
            "127.0.0.1",
            "127.0.0.1:3001",
            "127.0.0.1.",
            "0.0.0.0:1",
            "203.0.113.7",
            "[::1]",
            "[::1]:3001",
            "[::FFFF:127.0.0.1]:80",
            "[fe80::1]",
            "localhost",
            "LocalHost:3001",
            "localhost.",
            "localhost:",
            "query",
            "weir_query-1:3001",
            "figures.weir.svc",
            "Query.Weir.SVC:3001",
            "query.svc",
            "figures.weir.svc.cluster.local",
            "figures.weir.svc.cluster.local.:3001",
            "figures.weir.svc.k8s.corp.internal",
            "stats.example.com",
            "STATS.example.COM:443",
            "stats.example.com.",
        ] {
            assert!(hosts().has(own), "{own}");
        }
    }

    #[test]
    fn all_that_a_page_can_have_pointed_here_is_anothers() {
        for other in [
            "",
            ".",
            ":3001",
            "evil.example",
            "evil.example:3001",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "127.1",
            "0127.0.0.1",
            "0x7f.0.0.1",
            "256.0.0.1",
            "127.0.0.1.1",
            "127.0.0.1..",
            "127.0.0.1:80:80",
            "127.0.0.1:x",
            "127.0.0.1:-1",
            "127.0.0.1 ",
            "[::1].evil",
            "[::1]evil",
            "[::1",
            "[127.0.0.1]",
            "[localhost]",
            "[]",
            "[::1]:x",
            "::1",
            "::1]:80",
            "user@localhost",
            "evil.example@localhost",
            "localhost@evil.example",
            "localhost,evil.example",
            "localhost/evil.example",
            "localhost#",
            "localhost%00",
            "localhost\u{e9}",
            "\u{ff4c}ocalhost",
            "local..host",
            ".localhost",
            "svc",
            "svc.evil.example",
            "query.svc.evil.example",
            "figures.weir.svc.evil.example",
            "figures.weir.svc.local.evil.example",
            "figures.weir.svc..local",
            "figures.weir.svcx",
            "xstats.example.com",
            "stats.example.com.evil.example",
            "example.com",
            "x.stats.example.com",
        ] {
            // The label that marks Kubernetes' names is itself a short name.
            assert_eq!(hosts().has(other), other == "svc", "{other}");
        }
        assert!(hosts().has(&"a".repeat(LABEL_BYTES_MAX)));
        assert!(!hosts().has(&"a".repeat(LABEL_BYTES_MAX + 1)));
    }

    #[test]
    fn what_is_no_name_cannot_be_listed() {
        for wrong in [
            "",
            "*",
            "*.example.com",
            "https://stats.example.com",
            "stats.example.com:3001",
            "stats.example.com/",
            "st\u{e4}ts.example.com",
            "a b",
        ] {
            let refused = Hosts::new("query.hosts", &[wrong.to_owned()]).unwrap_err();
            let said = refused.to_string();
            assert!(said.contains("query.hosts") && said.contains(&format!("{wrong:?}")));
        }
    }

    async fn status(request: axum::http::request::Builder) -> StatusCode {
        let router = hosts().guard(Router::new().route("/", get(|| async { "" })));
        let request = request.body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn every_name_that_a_request_gives_counts() {
        let refused = StatusCode::MISDIRECTED_REQUEST;
        let to = |uri: &str| Request::get(uri);
        // As HTTP/1.0 asks, which no browser does.
        assert_eq!(status(to("/")).await, StatusCode::OK);
        let own = to("/").header(HOST, "localhost");
        assert_eq!(status(own).await, StatusCode::OK);
        for other in [
            to("/").header(HOST, "evil.example"),
            to("/").header(HOST, ""),
            to("/").header(HOST, b"\xff".as_slice()),
            to("/")
                .header(HOST, "localhost")
                .header(HOST, "evil.example"),
            to("/")
                .header(HOST, "evil.example")
                .header(HOST, "localhost"),
            to("http://evil.example/").header(HOST, "localhost"),
            to("http://user@localhost/").header(HOST, "localhost"),
            to("http://localhost/").header(HOST, "evil.example"),
            // No route, and no method of one.
            to("/nothing").header(HOST, "evil.example"),
            Request::post("/").header(HOST, "evil.example"),
            Request::options("/").header(HOST, "evil.example"),
        ] {
            assert_eq!(status(other).await, refused);
        }
        let both = to("http://localhost:1/").header(HOST, "127.0.0.1:1");
        assert_eq!(status(both).await, StatusCode::OK);
    }
}

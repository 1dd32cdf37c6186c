//! Whose request it is: the peer's address, or what a trusted proxy says.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use axum::http::{HeaderMap, HeaderName, header::FORWARDED};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The header in which proxies name the client. Only one is believed: a proxy that writes one of
/// them hands the other on as the client sent it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    #[default]
    XForwardedFor,
    Forwarded,
}

/// The proxies whose word is taken.
#[derive(Debug, Clone)]
pub(crate) struct Proxies {
    networks: Vec<IpNet>,
    header: ForwardedHeader,
}

impl Proxies {
    pub(crate) fn new(networks: &[String], header: ForwardedHeader) -> anyhow::Result<Self> {
        let network = |text: &String| -> anyhow::Result<IpNet> {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .with_context(|| {
                    format!("ingest.trusted_proxies: {text:?} is neither an address nor a network such as 10.0.0.0/8")
                })
        };
        Ok(Self {
            networks: networks.iter().map(network).collect::<Result<_, _>>()?,
            header,
        })
    }

    /// The client's address. The header is read from its end, where the nearest proxy wrote: the
    /// first address that is not a proxy's own is the client's, and what stands before it is
    /// anybody's word.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let name = match self.header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => FORWARDED,
        };
        for value in headers.get_all(name).iter().rev() {
            let Ok(value) = value.to_str() else {
                return client;
            };
            for element in value.rsplit(',') {
                let named = match self.header {
                    ForwardedHeader::XForwardedFor => address(element),
                    ForwardedHeader::Forwarded => forwarded_for(element).and_then(address),
                };
                let Some(named) = named else {
                    // Hidden or garbled: the proxy that says so is the client for all one knows.
                    return client;
                };
                client = named;
                if !self.trusts(client) {
                    return client;
                }
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

/// The value of `for=` in one element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then(|| value.trim().trim_matches('"'))
    })
}

/// An address with or without a port; IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let parsed = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .or_else(|| {
            let inner = text.strip_prefix('[')?.strip_suffix(']')?;
            Some(IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?))
        });
    parsed.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: ForwardedHeader, peer: &str, values: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".to_owned(), "2001:db8::1".to_owned()];
        let proxies = Proxies::new(&trusted, header).unwrap();
        let mut headers = HeaderMap::new();
        let name = match header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => FORWARDED,
        };
        for value in values {
            headers.append(name.clone(), value.parse().unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxys_word_is_taken() {
        let x = ForwardedHeader::XForwardedFor;
        assert_eq!(client(x, "1.1.1.1", &["2.2.2.2"]), "1.1.1.1");
        assert_eq!(client(x, "10.1.1.1", &["2.2.2.2"]), "2.2.2.2");
        assert_eq!(client(x, "::ffff:10.1.1.1", &["2.2.2.2"]), "2.2.2.2");
        assert_eq!(client(x, "2001:db8::1", &["2.2.2.2"]), "2.2.2.2");
        assert_eq!(client(x, "2001:db8::2", &["2.2.2.2"]), "2001:db8::2");
        assert_eq!(client(x, "10.1.1.1", &[]), "10.1.1.1");
    }

    #[test]
    fn what_a_client_wrote_itself_is_not_believed() {
        let x = ForwardedHeader::XForwardedFor;
        assert_eq!(
            client(x, "10.1.1.1", &["6.6.6.6, 2.2.2.2, 10.2.2.2"]),
            "2.2.2.2"
        );
        assert_eq!(client(x, "10.1.1.1", &["6.6.6.6", "2.2.2.2"]), "2.2.2.2");
        assert_eq!(client(x, "10.1.1.1", &["2.2.2.2, nonsense"]), "10.1.1.1");
        assert_eq!(
            client(x, "10.1.1.1", &["2.2.2.2, nonsense, 10.3.3.3"]),
            "10.3.3.3"
        );
    }

    #[test]
    fn addresses_come_with_ports_and_in_brackets() {
        let x = ForwardedHeader::XForwardedFor;
        assert_eq!(client(x, "10.1.1.1", &["2.2.2.2:80"]), "2.2.2.2");
        assert_eq!(client(x, "10.1.1.1", &["[2001:db8::7]:80"]), "2001:db8::7");
        let forwarded = ForwardedHeader::Forwarded;
        for value in [
            "for=2.2.2.2",
            "For=\"2.2.2.2:4711\";proto=https",
            "by=10.1.1.1;for=6.6.6.6, proto=https;for=2.2.2.2",
        ] {
            assert_eq!(client(forwarded, "10.1.1.1", &[value]), "2.2.2.2");
        }
        assert_eq!(
            client(forwarded, "10.1.1.1", &["for=\"[2001:db8::7]\""]),
            "2001:db8::7"
        );
        assert_eq!(client(forwarded, "10.1.1.1", &["for=unknown"]), "10.1.1.1");
    }

    #[test]
    fn a_network_that_is_none_is_refused_by_its_name() {
        let refused = Proxies::new(&["10.0.0.0/99".to_owned()], ForwardedHeader::default());
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("ingest.trusted_proxies"), "{refused}");
    }
}

//! What a request's head says of the person who sends: kept until its events are read.

use std::net::{IpAddr, SocketAddr};

use anyhow::anyhow;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{ACCEPT_LANGUAGE, ORIGIN, REFERER, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use context::{Sender, place};

use crate::keys::Grant;
use crate::limits::Proxies;

/// The route that a request came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Where the tracker is, which posts its events to its own address.
    Tracker,
    /// The image of pages that run no script.
    Pixel,
    /// `/event` and `/events`, for pages and servers.
    Api,
}

/// What a page's request says of its visitor; nothing for a server's request, whose own address and
/// user agent are not those of any visitor.
#[derive(Debug, Default)]
pub(crate) struct Head(Option<Page>);

#[derive(Debug)]
struct Page {
    address: Option<IpAddr>,
    user_agent: Option<HeaderValue>,
    languages: Option<HeaderValue>,
    page: Option<HeaderValue>,
    place: [Option<HeaderValue>; 3],
}

/// The headers in which a proxy says where a client is: country, region and city.
#[derive(Debug, Default)]
pub(crate) struct PlaceHeaders([Option<HeaderName>; 3]);

impl PlaceHeaders {
    /// # Errors
    /// If a name is none that a header can have.
    pub(crate) fn new(config: &place::Config) -> anyhow::Result<Self> {
        let name = |setting: &str, name: &Option<String>| -> anyhow::Result<Option<HeaderName>> {
            let Some(name) = name else { return Ok(None) };
            let parsed = name.parse().map(Some);
            parsed.map_err(|_| anyhow!("ingest.geo.{setting}: {name:?} is not a header's name"))
        };
        Ok(Self([
            name("country_header", &config.country_header)?,
            name("region_header", &config.region_header)?,
            name("city_header", &config.city_header)?,
        ]))
    }
}

impl Head {
    /// A request is a page's by its door, or by an `Origin`, which today's browsers send with every
    /// POST. Old ones leave it out to their own origin, and so do some proxies and extensions.
    pub(crate) fn of(
        request: &Request,
        door: Door,
        proxies: &Proxies,
        place: &PlaceHeaders,
    ) -> Self {
        let headers = request.headers();
        let is_page = door != Door::Api || headers.contains_key(ORIGIN);
        if !is_page {
            return Self(None);
        }
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let value = |name: HeaderName| headers.get(name).cloned();
        // A frame in a sandbox, and a file, have the origin "null".
        let origin = value(ORIGIN).filter(|origin| origin != "null");
        Self(Some(Page {
            address: peer.map(|ConnectInfo(peer)| proxies.client(peer.ip(), headers)),
            user_agent: value(USER_AGENT),
            languages: value(ACCEPT_LANGUAGE),
            page: origin.or_else(|| value(REFERER)),
            place: place.0.each_ref().map(|name| said(headers, name.as_ref())),
        }))
    }

    /// The sender of an event that a key of this kind let in.
    pub(crate) fn sender(&self, grant: Grant) -> Sender<'_> {
        let Some(page) = &self.0 else {
            return Sender {
                is_trusted: grant != Grant::Public,
                ..Sender::default()
            };
        };
        let [country, region, city] = page
            .place
            .each_ref()
            .map(|value| value.is_some().then(|| text(value)));
        Sender {
            is_page: true,
            address: page.address,
            // A request without a user agent is a bot's: every browser sends one.
            user_agent: Some(text(&page.user_agent)),
            languages: text(&page.languages),
            page: text(&page.page),
            country,
            region,
            city,
            is_trusted: false,
        }
    }
}

fn said(headers: &HeaderMap, name: Option<&HeaderName>) -> Option<HeaderValue> {
    headers.get(name?).cloned()
}

/// A header's value; empty where it is missing or not UTF-8.
fn text(value: &Option<HeaderValue>) -> &str {
    let bytes = value.as_ref().map(HeaderValue::as_bytes);
    str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
}

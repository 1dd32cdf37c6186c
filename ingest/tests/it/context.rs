//! What the edge knows of an event beside its client's words, and of whom it knows nothing.

use event::{Event, UserOrigin};
use ingest::{GeoConfig, KeysConfig, Paths, Period, SiteKeys, VisitorsConfig, key_hash};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Broker, Edge};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0";
const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1";
const GOOGLEBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
const SHOP: &str = "https://shop.example";

/// An edge behind a proxy on this machine, which says who its clients are.
fn behind_a_proxy() -> ingest::Config {
    ingest::Config {
        trusted_proxies: vec!["127.0.0.1".to_owned()],
        geo: GeoConfig {
            country_header: Some("CF-IPCountry".to_owned()),
            ..GeoConfig::default()
        },
        ..ingest::Config::default()
    }
}

/// What a browser sends from a page of the shop.
struct Browser<'b> {
    agent: &'b str,
    address: &'b str,
    origin: Option<&'b str>,
}

const READER: Browser<'_> = Browser {
    agent: FIREFOX,
    address: "203.0.113.7",
    origin: Some(SHOP),
};

impl Browser<'_> {
    async fn send(&self, edge: &Edge, event: Value) -> Answer {
        let request = edge.post("/event", event.to_string());
        Answer::of(self.with_headers(request)).await
    }

    fn with_headers(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = request
            .header("user-agent", self.agent)
            .header("x-forwarded-for", self.address)
            .header("accept-language", "de-DE,de;q=0.9")
            .header("cf-ipcountry", "DE");
        match self.origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        }
    }
}

fn view(more: Value) -> Value {
    let mut event = json!({"site_id": "shop", "event_type": "page_view"});
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

/// The events of the topic, in the order of their numbers in `props.n`.
async fn read(broker: &Broker, events: usize) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for (_, batch) in broker.read(events).await {
        all.extend(batch.events);
    }
    assert_eq!(all.len(), events);
    all.sort_by_key(|event| {
        let number = event.props.iter().find(|(key, _)| key == "n");
        number.map(|(_, number)| number.parse::<u32>().unwrap())
    });
    all
}

#[tokio::test]
async fn a_pages_event_says_who_sent_it_where_from_and_with_what() {
    let (edge, broker) = Edge::ready_with(behind_a_proxy()).await;
    let sent = view(json!({
        "url": "https://www.Shop.example/caf%C3%A9?utm_source=newsletter&utm_medium=email&x=1#top",
        "referrer": "https://www.google.de/", "screen": "1440x900",
    }));
    READER.send(&edge, sent).await.is(202);
    let events = read(&broker, 1).await;
    let Event {
        path,
        user_id,
        context,
        ..
    } = &events[0];
    assert_eq!(path.as_str(), "/caf\u{e9}");
    assert_eq!(context.hostname, "www.shop.example");
    assert_eq!(context.source, "Email\tnewsletter\tnewsletter\temail\t\t\t");
    assert_eq!(context.agent, "Firefox\t131\tLinux\tdesktop\t");
    assert_eq!(context.place, "DE\t\t");
    assert_eq!((&*context.language, &*context.screen), ("de-DE", "wide"));
    assert_eq!(context.user_origin, UserOrigin::Edge);
    assert_eq!(user_id.len(), 16);
    edge.stop().await;
}

#[tokio::test]
async fn a_snippet_of_path_and_referrer_has_a_host_a_source_and_visitors() {
    let (edge, broker) = Edge::ready_with(behind_a_proxy()).await;
    let sent = |n, referrer| view(json!({"path": "/a?x", "referrer": referrer, "props": {"n": n}}));
    READER
        .send(&edge, sent(1, "https://www.google.com/"))
        .await
        .is(202);
    READER.send(&edge, sent(2, "")).await.is(202);
    READER
        .send(&edge, sent(3, "https://shop.example/b"))
        .await
        .is(202);
    let events = read(&broker, 3).await;
    let sources: Vec<&str> = events.iter().map(|event| &*event.context.source).collect();
    assert_eq!(
        sources,
        ["Organic Search\tGoogle\t\t\t\t\t", "Direct\t\t\t\t\t\t", ""]
    );
    for event in &events {
        assert_eq!(event.path.as_str(), "/a");
        assert_eq!(event.context.hostname, "shop.example");
        assert_eq!(event.user_id, events[0].user_id);
    }
    edge.stop().await;
}

#[tokio::test]
async fn visitors_are_told_apart_by_site_address_and_agent_for_a_day() {
    let (edge, broker) = Edge::ready_with(behind_a_proxy()).await;
    let at = |n, time: &str| view(json!({"timestamp": time, "props": {"n": n}}));
    let (today, yesterday) = ("2026-01-02T00:00:00Z", "2026-01-01T23:59:59.999Z");
    let other_agent = Browser {
        agent: IPHONE,
        ..READER
    };
    let other_address = Browser {
        address: "203.0.113.8",
        ..READER
    };
    READER.send(&edge, at(0, today)).await.is(202);
    READER
        .send(&edge, at(1, "2026-01-02T23:59:59Z"))
        .await
        .is(202);
    READER.send(&edge, at(2, yesterday)).await.is(202);
    other_agent.send(&edge, at(3, today)).await.is(202);
    other_address.send(&edge, at(4, today)).await.is(202);
    let mut of_another_site = at(5, today);
    of_another_site["site_id"] = json!("blog");
    READER.send(&edge, of_another_site).await.is(202);
    let mut known = at(6, today);
    known["user_id"] = json!("kim");
    READER.send(&edge, known).await.is(202);
    let events = read(&broker, 7).await;
    let users: Vec<&str> = events.iter().map(|event| &*event.user_id).collect();
    assert_eq!(users[0], users[1]);
    for (nth, user) in users[2..6].iter().enumerate() {
        assert!(!users[..nth + 2].contains(user), "{nth}");
    }
    assert_eq!(users[6], "kim");
    assert_eq!(events[6].context.user_origin, UserOrigin::Client);
    edge.stop().await;
}

#[tokio::test]
async fn a_servers_own_agent_and_address_say_nothing_and_no_visitor_is_made() {
    let (edge, broker) = Edge::ready_with(behind_a_proxy()).await;
    let server = Browser {
        agent: "curl/8.5.0",
        origin: None,
        ..READER
    };
    server
        .send(&edge, view(json!({"path": "/a", "props": {"n": 0}})))
        .await
        .is(202);
    let of_a_person = json!({"ip": "203.0.113.9", "user_agent": GOOGLEBOT, "props": {"n": 1}});
    server.send(&edge, view(of_a_person)).await.is(202);
    let in_words = json!({
        "country": "fr", "city": "Paris\t!", "browser": "Lynx", "system": "Plan 9", "language": "fr",
        "utm_source": "x", "props": {"n": 2},
    });
    server.send(&edge, view(in_words)).await.is(202);
    let events = read(&broker, 3).await;
    let mut contexts = events.iter().map(|event| {
        assert_eq!(event.user_id, "");
        event.context.clone()
    });
    assert_eq!(contexts.next().unwrap(), event::Context::default());
    let bot = contexts.next().unwrap();
    assert!(bot.agent.ends_with("\tGooglebot"), "{}", bot.agent);
    let words = contexts.next().unwrap();
    assert_eq!(words.place, "FR\t\tParis !");
    assert_eq!(words.agent, "Lynx\t\tPlan 9\t\t");
    assert_eq!(words.language, "fr");
    assert!(words.source.contains("\tx\t"), "{}", words.source);
    edge.stop().await;
}

#[tokio::test]
async fn only_a_secret_key_lets_an_event_name_a_persons_address_and_agent() {
    let keys = KeysConfig {
        sites: vec![SiteKeys {
            site_id: "shop".parse().unwrap(),
            origins: Vec::new(),
            public_keys: vec![key_hash("wp").into()],
            secret_keys: vec![key_hash("ws")],
        }],
        ..KeysConfig::default()
    };
    let config = ingest::Config {
        keys,
        ..behind_a_proxy()
    };
    let (edge, broker) = Edge::ready_with(config).await;
    for (n, key) in ["wp", "ws"].into_iter().enumerate() {
        let event = view(json!({"user_agent": FIREFOX, "ip": "203.0.113.9", "props": {"n": n}}));
        let request = edge.post("/event", event.to_string()).bearer_auth(key);
        Answer::of(request).await.is(202);
    }
    let agents: Vec<_> = read(&broker, 2)
        .await
        .into_iter()
        .map(|event| event.context.agent)
        .collect();
    assert_eq!(agents, ["", "Firefox\t131\tLinux\tdesktop\t"]);
    edge.stop().await;
}

#[tokio::test]
async fn an_address_is_believed_from_a_trusted_proxy_alone() {
    let config = ingest::Config {
        trusted_proxies: Vec::new(),
        ..behind_a_proxy()
    };
    let (edge, broker) = Edge::ready_with(config).await;
    for (n, address) in ["203.0.113.7", "203.0.113.8"].into_iter().enumerate() {
        let spoofing = Browser { address, ..READER };
        spoofing
            .send(&edge, view(json!({"props": {"n": n}})))
            .await
            .is(202);
    }
    let events = read(&broker, 2).await;
    assert_eq!(events[0].user_id, events[1].user_id);
    edge.stop().await;
}

#[tokio::test]
async fn a_pixel_is_of_a_page_and_its_path_has_the_same_form() {
    let (edge, broker) = Edge::ready_with(behind_a_proxy()).await;
    let image = Browser {
        origin: None,
        ..READER
    };
    for path in ["/caf%25C3%25A9", "/caf%C3%A9"] {
        let request = edge.request(Method::GET, &format!("/pixel.gif?site_id=shop&path={path}"));
        let request = image
            .with_headers(request)
            .header("referer", "https://shop.example/x");
        Answer::of(request).await.is(200);
    }
    for event in read(&broker, 2).await {
        assert_eq!(event.path.as_str(), "/caf\u{e9}");
        assert_eq!(event.context.hostname, "shop.example");
        assert_eq!(event.context.user_origin, UserOrigin::Edge);
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_comes_to_the_trackers_address_is_of_a_page_without_an_origin_too() {
    let (edge, broker) = Edge::ready_with(behind_a_proxy()).await;
    let script = edge.get("/w.js").await;
    let version = script.header("content-location").unwrap();
    let without_origin = Browser {
        origin: None,
        ..READER
    };
    let doors = ["/w.js", &format!("/{version}"), "/event"];
    for (n, door) in doors.into_iter().enumerate() {
        let event = view(json!({"url": "https://shop.example/", "props": {"n": n}}));
        let request = edge.post(door, event.to_string());
        Answer::of(without_origin.with_headers(request))
            .await
            .is(202);
    }
    let events = read(&broker, 3).await;
    let agents: Vec<&str> = events.iter().map(|event| &*event.context.agent).collect();
    let firefox = "Firefox\t131\tLinux\tdesktop\t";
    assert_eq!(agents, [firefox, firefox, ""]);
    assert_eq!(events[0].user_id.len(), 16);
    assert_eq!(events[0].user_id, events[1].user_id);
    assert_eq!(events[2].user_id, "");
    edge.stop().await;
}

#[tokio::test]
async fn a_page_without_a_user_agent_is_a_bots() {
    let (edge, broker) = Edge::ready_with(behind_a_proxy()).await;
    let request = edge.post("/event", view(json!({})).to_string());
    Answer::of(request.header("origin", SHOP)).await.is(202);
    let agent = &read(&broker, 1).await[0].context.agent;
    assert!(!agent.is_empty() && !agent.ends_with('\t'), "{agent:?}");
    edge.stop().await;
}

#[tokio::test]
async fn a_query_makes_a_page_where_that_is_configured() {
    let paths = Paths {
        query: vec!["p".to_owned()],
        ..Paths::default()
    };
    let config = ingest::Config {
        paths,
        ..behind_a_proxy()
    };
    let (edge, broker) = Edge::ready_with(config).await;
    let urls = [
        "https://shop.example/?x=1&p=12",
        "https://shop.example/#/about",
    ];
    for (n, url) in urls.into_iter().enumerate() {
        READER
            .send(&edge, view(json!({"url": url, "props": {"n": n}})))
            .await
            .is(202);
    }
    READER
        .send(&edge, view(json!({"path": "/?p=13", "props": {"n": 2}})))
        .await
        .is(202);
    let paths: Vec<_> = read(&broker, 3)
        .await
        .into_iter()
        .map(|event| event.path.as_str().to_owned())
        .collect();
    assert_eq!(paths, ["/?p=12", "/#/about", "/?p=13"]);
    edge.stop().await;
}

#[tokio::test]
async fn hostile_values_cost_no_event_and_leave_no_tab() {
    let (edge, broker) = Edge::ready_with(behind_a_proxy()).await;
    let long = format!("a\tb{}", "\u{e9}".repeat(5000));
    for (n, name) in [
        "url",
        "hostname",
        "ref",
        "source",
        "utm_source",
        "utm_content",
        "country",
        "city",
        "browser",
        "device",
        "language",
        "screen",
        "ip",
        "user_agent",
        "referrer",
    ]
    .into_iter()
    .enumerate()
    {
        let server = Browser {
            origin: None,
            ..READER
        };
        for browser in [&READER, &server] {
            let event = view(json!({name: long, "props": {"n": n}}));
            browser.send(&edge, event).await.is(202);
        }
    }
    let agent = "Mozilla/5.0 ".repeat(200);
    let hostile = Browser {
        agent: &agent,
        ..READER
    };
    hostile
        .send(&edge, view(json!({"props": {"n": 99}})))
        .await
        .is(202);
    for event in read(&broker, 31).await {
        let context = &event.context;
        for (text, tabs) in [
            (&context.hostname, 0),
            (&context.source, 6),
            (&context.agent, 4),
            (&context.place, 2),
            (&context.language, 0),
            (&context.screen, 0),
        ] {
            let found = text.matches('\t').count();
            assert!(found == tabs || text.is_empty(), "{text:?}");
            assert!(text.split('\t').all(|value| value.len() <= 255), "{text:?}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_edge_that_is_given_a_secret_and_finds_none_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let bind = async |visitors: VisitorsConfig, geo: GeoConfig| {
        let mut config = ingest::Config {
            visitors,
            geo,
            ..ingest::Config::default()
        };
        config.listen.set_port(0);
        config.spool.dir = Some(folder.path().join("spool"));
        let refused = ingest::Service::bind(config, infra::kafka::Config::default()).await;
        format!("{:#}", refused.err().expect("it does not start"))
    };
    let missing = folder.path().join("secret");
    let with_file = VisitorsConfig {
        secret_file: Some(missing.clone()),
        ..VisitorsConfig::default()
    };
    let refused = bind(with_file.clone(), GeoConfig::default()).await;
    assert!(
        refused.contains("secret does not exist")
            || refused.contains(&missing.display().to_string()),
        "{refused}"
    );
    std::fs::write(&missing, "short").unwrap();
    let refused = bind(with_file, GeoConfig::default()).await;
    assert!(refused.contains("fewer than 16"), "{refused}");
    let off = VisitorsConfig {
        period: Period::Off,
        ..VisitorsConfig::default()
    };
    let geo = GeoConfig {
        database: Some(missing),
        ..GeoConfig::default()
    };
    let refused = bind(off, geo).await;
    assert!(refused.contains("no whole database of places"), "{refused}");
}

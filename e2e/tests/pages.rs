//! Pages of other origins, in a browser that reaches the services: what they read and change.
//! Chromium's own guard of local addresses is off, as it is in browsers that have none.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;

use e2e::{Chromium, Door, Process, Weir, eventually, file, free_port};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Every name of the feature since there is one; those that a version does not know do no harm.
const UNGUARDED: &str = "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessForNavigations,\
    LocalNetworkAccessForSubframeNavigations,LocalNetworkAccessForWorkers,\
    BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights,\
    PrivateNetworkAccessForNavigations,PrivateNetworkAccessForWorkers";
/// Names that resolve to this machine, as their owner may have them do.
const RESOLVED: &str = "--host-resolver-rules=MAP *.example 127.0.0.1";

const OPAQUE: &str = "opaque";

/// What a page tries, each way by itself: what it could read of an address, or null.
const TRIES: &str = r#"
const nothing = (make) => new Promise((read) => {
    const late = setTimeout(() => read(null), 5000);
    make((what) => { clearTimeout(late); read(what); });
});
const element = (tag, address, set) => (read) => {
    globalThis.leak = (what) => read(`ran: ${what}`);
    const made = document.createElement(tag);
    made.onload = () => read(`loaded as ${tag}`);
    made.onerror = () => read(null);
    set(made, address);
    document.body.append(made);
};
const text = async (address, options) => {
    const response = await fetch(address, options);
    return response.type === "opaque" ? "opaque" : response.text();
};
const tries = {
    fetch: (address) => text(address),
    "fetch without cors": (address) => text(address, { mode: "no-cors" }),
    "fetch with credentials": (address) => text(address, { credentials: "include" }),
    "fetch with a key": (address) => text(address, { headers: { authorization: "Bearer x" } }),
    "fetch that posts": (address) => text(address, { method: "POST", body: "x" }),
    "XMLHttpRequest": (address) => nothing((read) => {
        const request = new XMLHttpRequest();
        request.onload = () => read(request.responseText);
        request.onerror = () => read(null);
        request.open("GET", address);
        request.send();
    }),
    EventSource: (address) => nothing((read) => {
        const source = new EventSource(address);
        source.onopen = () => { source.close(); read("a stream"); };
        source.onerror = () => { source.close(); read(null); };
    }),
    script: (address) => nothing(element("script", address, (made) => { made.src = address; })),
    module: (address) => nothing(element("script", address, (made) => { made.type = "module"; made.src = address; })),
    style: (address) => nothing(element("link", address, (made) => { made.rel = "stylesheet"; made.href = address; })),
    image: (address) => nothing(element("img", address, (made) => { made.src = address; })),
    frame: (address) => nothing((read) => element("iframe", address, (made) => { made.src = address; })((what) => {
        // A frame that is refused loads, too, as an empty one; the browser's complaint tells them apart.
        let found = null;
        try { found = document.body.lastChild.contentDocument?.body.innerText || null; } catch { found = null; }
        read(what?.startsWith("ran") ? what : found);
    })),
    "posted form": (address) => nothing((read) => {
        const frame = document.createElement("iframe");
        frame.name = `sent${Math.random()}`;
        const form = document.createElement("form");
        Object.assign(form, { method: "POST", enctype: "text/plain", action: address, target: frame.name });
        const field = document.createElement("input");
        Object.assign(field, { name: globalThis.posted ?? "x", value: "'" });
        form.append(field);
        document.body.append(frame, form);
        frame.onload = () => read(null);
        form.submit();
    }),
};
globalThis.tryAll = async (address) => {
    const found = {};
    for (const [name, one] of Object.entries(tries)) {
        found[name] = await one(address).catch(() => null);
        document.body.replaceChildren();
    }
    return found;
};
"#;

/// What a form posts, which adds `=` and a quote.
const POSTED: &str = "CREATE TABLE weir.leaked (a UInt8) ENGINE = Memory COMMENT '";

/// An address that no page elsewhere may read.
struct Closed {
    address: String,
    /// Whether its answers say that they are no part of other pages.
    is_sealed: bool,
}

/// A page of somebody else: an empty one, on a port of this machine.
async fn page_elsewhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        const PAGE: &str = "<!doctype html><title>elsewhere</title>";
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n";
                let answer = format!("{head}content-length: {}\r\n\r\n{PAGE}", PAGE.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

fn browser() -> Option<Chromium> {
    Chromium::start_with(&[UNGUARDED, RESOLVED])
}

/// A weir with one view of a site, which lists an origin.
async fn weir(listed: &str) -> Weir {
    let folder = tempfile::tempdir().unwrap();
    let listing = format!("[query]\ncors_origins = [{listed:?}]\n");
    let _ = file(folder.path(), "weir.toml", listing.as_bytes());
    let weir = Weir::embedded_in(folder);
    let view = json!({"site_id": "shop", "event_type": "view", "path": "/", "user_id": "u"});
    let (status, answer) = weir.post("/event", view.to_string()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    eventually(json!(1), async || {
        weir.stats("site_id=shop").await["total_views"].clone()
    })
    .await;
    weir
}

/// A sink without Kafka and ClickHouse, for what it says of itself.
async fn sink(folder: &std::path::Path) -> (Process, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let settings = vec![
        ("WEIR_SINK__LISTEN", address.clone()),
        ("WEIR_KAFKA__BROKERS", "127.0.0.1:1".to_owned()),
        ("WEIR_CLICKHOUSE__URL", "http://127.0.0.1:1".to_owned()),
    ];
    let address = format!("http://{address}");
    let door = Door::Http(format!("{address}/health"));
    let sink = Process::new("sink", folder, &["sink"], settings, door);
    sink.start();
    sink.ready().await;
    (sink, address)
}

async fn closed(weir: &Weir, sink: &str) -> Vec<Closed> {
    let query = &weir.query;
    let index = reqwest::get(query).await.unwrap().text().await.unwrap();
    let icon = index.split("\"/dashboard/").nth(1).unwrap();
    let version = icon.split('/').next().unwrap();
    let of_services = [
        format!("{query}/stats?site_id=shop"),
        format!("{query}/stats/realtime?site_id=shop"),
        format!("{query}/sites"),
        format!("{query}/"),
        format!("{query}/dashboard/{version}/icon.svg"),
        format!("{query}/dashboard/{version}/format.js"),
        format!("{query}/dashboard/{version}/style.css"),
        format!("{query}/metrics"),
        format!("{query}/openapi.json"),
        format!("{query}/api-docs/swagger-ui-bundle.js"),
        format!("{sink}/ready"),
        format!("{sink}/metrics"),
    ];
    let of_services = of_services.into_iter().map(|address| Closed {
        address,
        is_sealed: true,
    });
    let clickhouse = &weir.clickhouse;
    let leak =
        "SELECT%20concat('leak(',toString(count()),')')%20FROM%20weir.events%20FORMAT%20TSVRaw";
    let of_clickhouse = [
        format!("{clickhouse}/?query={leak}"),
        format!("{clickhouse}/?user=analyst&query={leak}"),
        format!("{clickhouse}/?user=analyst&add_http_cors_header=1&query={leak}"),
        // Where a posted form is the statement.
        format!("{clickhouse}/?database=weir"),
    ];
    let of_clickhouse = of_clickhouse.into_iter().map(|address| Closed {
        address,
        is_sealed: false,
    });
    of_services.chain(of_clickhouse).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_elsewhere_reads_nothing_and_sends_events() {
    let Some(mut browser) = browser() else {
        return;
    };
    let elsewhere = page_elsewhere().await;
    let port = elsewhere.port();
    let listed = format!("http://listed.example:{port}");
    let weir = weir(&listed).await;
    let (_sink, sink) = sink(weir.folder()).await;
    let closed = closed(&weir, &sink).await;

    // Another site, another name of this machine, and the same one on another port.
    let mut sent = 1;
    for page in ["evil.example", "localhost", "127.0.0.1"] {
        browser.open(&format!("http://{page}:{port}/"));
        browser.value(TRIES);
        browser.value(&format!("globalThis.posted = {POSTED:?}"));
        for Closed { address, is_sealed } in &closed {
            browser.complaints();
            let found = browser.value(&format!("tryAll({address:?})"));
            let mut reads = found.as_object().unwrap().clone();
            // Of an opaque answer a page learns nothing; one that is sealed is not even that.
            reads.retain(|_, read| !read.is_null() && (*is_sealed || *read != OPAQUE));
            assert!(reads.is_empty(), "{page} reads {address}: {reads:?}");
            let complaints = browser.complaints().join("\n");
            let refused =
                complaints.contains("frame-ancestors") || complaints.contains("in a frame");
            assert!(
                refused || !is_sealed,
                "{address} in a frame of {page}: {complaints}"
            );
        }
        sent += send_events(&mut browser, &weir.ingest);
        // By its user agent a browser without a window is a bot.
        eventually(json!(sent), async || {
            weir.stats("site_id=shop&bots=include").await["total_views"].clone()
        })
        .await;
    }

    let leaked = weir.clickhouse().text("EXISTS TABLE weir.leaked").await;
    assert_eq!(leaked, "0", "a page made a table");

    // The tries can succeed: the page that is listed reads figures, and nothing else.
    browser.open(&format!("{listed}/"));
    browser.value(TRIES);
    for (path, way, expected) in [
        ("/sites", "fetch", "shop"),
        ("/stats?site_id=shop", "XMLHttpRequest", "total_views"),
        ("/stats/realtime?site_id=shop", "EventSource", "a stream"),
    ] {
        let found = browser.value(&format!("tryAll(\"{}{path}\")", weir.query));
        let read = found[way].as_str().unwrap_or_default();
        assert!(read.contains(expected), "{path} by {way}: {found}");
        for blind in ["fetch without cors", "script", "style", "image"] {
            assert_eq!(found[blind], Value::Null, "{path} by {blind}");
        }
    }
    let found = browser.value(&format!("tryAll(\"{}/metrics\")", weir.query));
    assert_eq!(found["fetch"], Value::Null);
}

/// Sends an event in each way that pages know; returns how many.
fn send_events(browser: &mut Chromium, ingest: &str) -> u32 {
    let event = json!({"site_id": "shop", "event_type": "view", "path": "/", "user_id": "u"});
    let event = json!(event.to_string());
    for way in [
        format!(
            "fetch('{ingest}/event', {{method: 'POST', body: {event}}}).then((answer) => answer.status)"
        ),
        format!(
            "fetch('{ingest}/event', {{method: 'POST', body: {event}, headers: {{'content-type': 'application/json'}}}}).then((answer) => answer.status)"
        ),
        format!(
            "fetch('{ingest}/event', {{method: 'POST', body: {event}, credentials: 'include', keepalive: true}}).then((answer) => answer.status)"
        ),
    ] {
        assert_eq!(browser.value(&way), json!(202), "{way}");
    }
    let beacon = format!("navigator.sendBeacon('{ingest}/events', {event})");
    assert_eq!(browser.value(&beacon), json!(true));
    let pixel = format!(
        "new Promise((read) => {{ const image = new Image(); image.onload = () => read(image.width); image.onerror = () => read(0); image.src = '{ingest}/pixel.gif?site_id=shop&user_id=u'; }})"
    );
    assert_eq!(browser.value(&pixel), json!(1));
    5
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_pointed_here_reads_nothing() {
    let Some(mut browser) = browser() else {
        return;
    };
    let weir = weir("http://listed.example").await;
    let (_sink, sink) = sink(weir.folder()).await;
    // Who points a name here serves the page first, without the policy of what is refused.
    browser.call("Page.setBypassCSP", json!({"enabled": true}));
    for (service, paths) in [
        (
            &weir.query,
            &["/sites", "/stats?site_id=shop", "/metrics", "/"][..],
        ),
        (&sink, &["/metrics", "/ready"]),
    ] {
        let rebound = service.replace("127.0.0.1", "rebound.example");
        browser.open(&format!("{rebound}/health"));
        assert!(
            browser
                .text("body")
                .contains("is not a name of this service")
        );
        for path in paths {
            // It is the page's own origin, so the answer can be read: all there is of it.
            let asked = format!("fetch('{path}').then((answer) => answer.status)");
            assert_eq!(browser.value(&asked), json!(421), "{rebound}{path}");
        }
    }
    // ClickHouse answers a ping by any name, and nothing else: with whatever headers a page adds.
    let rebound = weir.clickhouse.replace("127.0.0.1", "rebound.example");
    browser.open(&format!("{rebound}/ping"));
    assert_eq!(browser.text("body").trim(), "Ok.");
    let read = "/?query=SELECT+count()+FROM+weir.events";
    for (sent, status) in [
        ("{}", 404),
        ("{headers: {authorization: 'Basic ZGVmYXVsdDo='}}", 404),
        (
            "{headers: {'x-clickhouse-user': 'analyst', 'x-clickhouse-key': 'x'}}",
            404,
        ),
        ("{method: 'POST', body: ' '}", 403),
        (
            "{method: 'POST', body: ' ', headers: {authorization: 'Basic ZGVmYXVsdDo='}}",
            403,
        ),
    ] {
        let asked = format!("fetch('{read}', {sent}).then((answer) => answer.status)");
        assert_eq!(browser.value(&asked), json!(status), "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_a_page_elsewhere_leads_to_a_refusal_of_clickhouse() {
    let Some(mut browser) = browser() else {
        return;
    };
    let elsewhere = page_elsewhere().await;
    let weir = weir("http://listed.example").await;
    browser.open(&format!("http://evil.example:{}/", elsewhere.port()));
    let asked = format!("{}/?query=SELECT+1", weir.clickhouse);
    browser.value(&format!("location.href = {asked:?}"));
    browser.until("document.body.textContent.startsWith('Refused: a web page of another origin')");
    let status = "performance.getEntriesByType('navigation')[0].responseStatus";
    assert_eq!(browser.value(status), json!(403));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_the_descriptions_work_under_their_policy() {
    let Some(mut browser) = browser() else {
        return;
    };
    let weir = weir("http://listed.example").await;
    for (service, operation, answered) in [
        (&weir.query, "#operations-sites-get_sites", "shop"),
        (&weir.ingest, "#operations-operations-health", "ingest"),
    ] {
        browser.open(&format!("{service}/api-docs/"));
        browser.click(&format!("{operation} .opblock-summary-control"));
        browser.click(&format!("{operation} button.execute"));
        browser.until(&format!(
            "document.querySelector('{operation} .live-responses-table tbody .response-col_description').textContent.includes('{answered}')"
        ));
        browser.until("document.fonts.status === 'loaded'");
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{service}");
    }
}

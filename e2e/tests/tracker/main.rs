//! The tracker in a browser, on pages of another origin: what it counts, when, and that everything
//! counts once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod build;
mod gate;
mod site;

use std::collections::BTreeMap;

use e2e::{Chromium, Weir, command, eventually, run};
use serde_json::{Value, json};

use gate::{Gate, Passage, Sent};
use site::{Page, Site};

/// Names that resolve to this machine, without a certificate: pages that browsers trust little.
const ARGUMENTS: [&str; 2] = [
    "--host-resolver-rules=MAP *.example 127.0.0.1",
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights",
];
const SHOP: &str = "shop.example";
/// Runs behind the tracker, which has had its chance when this asks.
const MADE: &str = "<script type=\"module\">weir('early'); fetch(`/made?${location.pathname}:${document.prerendering}`)</script>";
const OUTBOUND: &str = "http://other.example/elsewhere?token=1#x";

#[derive(Debug, Clone, Copy)]
enum Way {
    Script,
    Module,
}

impl Way {
    /// The tag of a site, with these options.
    fn tag(self, gate: &Gate, site_id: &str, options: &[(&str, &str)]) -> String {
        match self {
            Self::Script => {
                let options: String = options
                    .iter()
                    .map(|(name, value)| format!(" data-{name}=\"{value}\""))
                    .collect();
                format!(
                    "<script defer src=\"http://{}/w.js\" data-site=\"{site_id}\"{options}></script>",
                    gate.address
                )
            }
            Self::Module => {
                let mut given =
                    json!({"site": site_id, "api": format!("http://{}/event", gate.address)});
                for (name, value) in options {
                    let name = if *name == "404" { "notFound" } else { name };
                    given[name] = if value.is_empty() {
                        json!(true)
                    } else {
                        json!(value)
                    };
                }
                format!(
                    "<script type=\"module\">import {{ start }} from \"/weir.mjs\"; globalThis.weir = start({given})</script>"
                )
            }
        }
    }
}

fn browser() -> Option<Chromium> {
    Chromium::start_with(&ARGUMENTS)
}

fn page(body: &str) -> Page {
    Page {
        body: body.to_owned(),
        ..Page::default()
    }
}

/// Waits until so many requests with an event of this type, at an address that ends so, have come.
async fn until_sent(gate: &Gate, count: usize, event_type: &str, end: &str) {
    let is_meant =
        |sent: &Sent| sent.text("event_type") == event_type && sent.text("url").ends_with(end);
    eventually(count, async || gate.count(is_meant)).await;
}

/// What was sent, by when it happened: requests may overtake each other, and ids begin with the time.
fn in_order(gate: &Gate) -> Vec<Sent> {
    let mut sent = gate.sent();
    sent.sort_by(|one, other| one.text("event_id").cmp(other.text("event_id")));
    sent
}

/// Type and address of every event, each once.
fn events(gate: &Gate) -> Vec<String> {
    let mut sent = in_order(gate);
    sent.dedup_by(|one, other| one.text("event_id") == other.text("event_id"));
    let described = |sent: &Sent| {
        let url = sent.text("url");
        let path = url.splitn(4, '/').nth(3).unwrap_or(url);
        format!("{} /{path}", sent.text("event_type"))
    };
    sent.iter().map(described).collect()
}

/// Every event that was sent is one row, and there is no other; weir audit agrees.
async fn each_counts_once(weir: &Weir, gate: &Gate, site_id: &str) {
    let ids: BTreeMap<String, usize> = gate
        .sent()
        .iter()
        .map(|sent| (sent.text("event_id").to_owned(), 1))
        .collect();
    let rows = format!(
        "SELECT event_id, count() FROM weir.events WHERE site_id = '{site_id}' GROUP BY event_id"
    );
    eventually(ids, async || {
        let rows = weir.clickhouse().text(&rows).await;
        let rows = rows.lines().filter_map(|line| line.split_once('\t'));
        rows.map(|(id, count)| (id.to_owned(), count.parse().unwrap()))
            .collect()
    })
    .await;
    eventually(Some(0), async || {
        let mut audit = command(weir.folder());
        audit
            .arg("audit")
            .env("WEIR_KAFKA__BROKERS", &weir.kafka)
            .env("WEIR_KAFKA__TOPIC", &weir.topics.events)
            .env("WEIR_CLICKHOUSE__URL", &weir.clickhouse);
        run(audit).code
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_counts_every_view_and_event_once() {
    counts_once(Way::Script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_module_counts_every_view_and_event_once() {
    counts_once(Way::Module).await;
}

async fn counts_once(way: Way) {
    let Some(mut browser) = browser() else {
        return;
    };
    let weir = Weir::up();
    let gate = Gate::to(&weir.ingest).await;
    let options = [("outbound", ""), ("downloads", ""), ("user", "u-1")];
    let tag = way.tag(&gate, "shop", &options);
    let links = format!(
        "<button data-weir-event=\"buy\">buy</button><a id=\"out\" href=\"{OUTBOUND}\">out</a><a id=\"file\" href=\"/files/prices.pdf?v=2\">prices</a><a id=\"in\" href=\"/inner\">in</a>"
    );
    let site = Site::with(tag, [("/links", page(&links))]).await;
    let mut expected = Vec::new();

    // A page that loads, and what does and does not change its address.
    browser.open(&site.url(SHOP, "/?utm_source=news#top"));
    until_sent(&gate, 1, "page_view", "/?utm_source=news").await;
    for change in [
        "history.pushState({}, '', '/list')",
        "history.pushState({}, '', '/list')",
        "history.replaceState({page: 1}, '')",
        "history.replaceState({}, '', '/list?page=2')",
        "history.replaceState({}, '', '/list?page=2#row')",
        "location.hash = '#other'",
        "weir('signup', {plan: 'pro', seats: 3})",
        "weir.identify(42); weir('paid')",
        "history.go(-3)",
    ] {
        browser.value(change);
    }
    until_sent(&gate, 2, "page_view", "/?utm_source=news").await;
    expected.extend([
        "page_view /?utm_source=news",
        "page_view /list",
        "page_view /list?page=2",
        "signup /list?page=2",
        "paid /list?page=2",
        "page_view /?utm_source=news",
    ]);
    assert_eq!(events(&gate), expected, "{way:?}");
    let sent = in_order(&gate);
    let fields = |at: usize, names: &[&str]| -> Value {
        names
            .iter()
            .map(|name| sent[at].event[*name].clone())
            .collect()
    };
    assert_eq!(
        fields(0, &["site_id", "user_id", "language", "screen", "referrer"]),
        json!(["shop", "u-1", "en-US", "1440", ""])
    );
    // The page before is what a browser would name, so the view is of the site's own.
    let first = site.url(SHOP, "/?utm_source=news");
    assert_eq!(fields(1, &["referrer"]), json!([first]));
    assert_eq!(
        fields(3, &["user_id", "props"]),
        json!(["u-1", {"plan": "pro", "seats": 3}])
    );
    assert_eq!(fields(4, &["user_id"]), json!(["42"]));
    for sent in &sent {
        let id = sent.text("event_id");
        let is_v7 = id.len() == 36 && &id[14..15] == "7" && &id[19..20] == "8";
        assert!(is_v7, "{id}");
        // No preflight came before it, and it says whose page it is.
        assert!(
            sent.head.contains("content-type: text/plain"),
            "{}",
            sent.head
        );
        let origin = format!("origin: {}", site.url(SHOP, ""));
        assert!(sent.head.contains(&origin), "{}", sent.head);
        assert!(!sent.head.contains("cookie:"), "{}", sent.head);
    }

    // Loaded again, left, and shown again as it was.
    browser.call("Page.reload", json!({}));
    until_sent(&gate, 3, "page_view", "/?utm_source=news").await;
    browser.value("globalThis.kept = 1; 0");
    browser.open(&site.url(SHOP, "/next"));
    until_sent(&gate, 1, "page_view", "/next").await;
    browser.value("history.back(); 0");
    browser.until("document.title === '/' && document.readyState === 'complete'");
    assert_eq!(
        browser.value("globalThis.kept"),
        json!(1),
        "the page was not kept"
    );
    until_sent(&gate, 4, "page_view", "/?utm_source=news").await;
    expected.extend([
        "page_view /?utm_source=news",
        "page_view /next",
        "page_view /?utm_source=news",
    ]);
    assert_eq!(events(&gate), expected, "{way:?}");
    assert_eq!(in_order(&gate).last().unwrap().text("referrer"), first);

    // Busy, broken, an answer lost, offline: the same id again, and one row.
    gate.set(Passage::Refused(503, 2));
    browser.value("history.pushState({}, '', '/busy')");
    until_sent(&gate, 1, "page_view", "/busy").await;
    browser.value("weir('waits')");
    gate.set(Passage::Open);
    until_sent(&gate, 2, "page_view", "/busy").await;
    until_sent(&gate, 1, "waits", "/busy").await;
    expected.extend(["page_view /busy", "waits /busy"]);
    let sent = gate.sent();
    let again: Vec<_> = sent
        .iter()
        .filter(|sent| {
            sent.text("url").ends_with("/busy") && sent.text("event_type") == "page_view"
        })
        .collect();
    assert_eq!(again[0].event, again[1].event);
    let age = |sent: &Sent| -> u64 {
        let age = sent.target.split("age=").nth(1).unwrap().split('&').next();
        age.unwrap().parse().unwrap()
    };
    assert!(age(again[0]) < 1000 && age(again[1]) >= 2000, "{again:?}");
    for (path, passage) in [
        ("/cut", Passage::Cut),
        ("/lost", Passage::AnswerLost),
        ("/failed", Passage::Refused(500, 0)),
    ] {
        gate.set(passage);
        browser.value(&format!("history.pushState({{}}, '', '{path}')"));
        until_sent(&gate, 1, "page_view", path).await;
        gate.set(Passage::Open);
        until_sent(&gate, 2, "page_view", path).await;
    }
    expected.extend(["page_view /cut", "page_view /lost", "page_view /failed"]);
    let offline = |offline: bool| json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
    browser.call("Network.emulateNetworkConditions", offline(true));
    browser.value("history.pushState({}, '', '/offline'); weir('offline')");
    browser.value("history.pushState({}, '', '/back')");
    browser.call("Network.emulateNetworkConditions", offline(false));
    until_sent(&gate, 1, "page_view", "/back").await;
    until_sent(&gate, 1, "offline", "/offline").await;
    until_sent(&gate, 1, "page_view", "/offline").await;

    // Refused for good: said, and not sent again.
    browser.complaints();
    browser.value("weir('x'.repeat(65))");
    eventually(1, async || {
        gate.count(|sent| sent.text("event_type").starts_with("xx"))
    })
    .await;

    // Clicks, of which the last leads away.
    browser.open(&site.url(SHOP, "/links"));
    until_sent(&gate, 1, "page_view", "/links").await;
    browser.click("button");
    until_sent(&gate, 1, "buy", "/links").await;
    browser.value("document.addEventListener('click', (event) => event.preventDefault()); 0");
    browser.click("#file");
    until_sent(&gate, 1, "downloads", "/links").await;
    browser.click("#in");
    // What waits when the page goes goes with it.
    gate.set(Passage::Refused(429, 600));
    browser.click("#out");
    until_sent(&gate, 1, "outbound", "/links").await;
    // The page knows it, too: what is under way when it goes is beyond its reach.
    browser.until(
        "performance.getEntriesByType('resource').some((entry) => entry.responseStatus === 429)",
    );
    gate.set(Passage::Open);
    browser.open(&site.url(SHOP, "/gone"));
    until_sent(&gate, 2, "outbound", "/links").await;
    until_sent(&gate, 1, "page_view", "/gone").await;
    let urls: Vec<_> = gate
        .sent()
        .iter()
        .filter(|sent| !sent.event["props"]["url"].is_null())
        .map(|sent| sent.event["props"]["url"].clone())
        .collect();
    let file = site.url(SHOP, "/files/prices.pdf");
    let out = "http://other.example/elsewhere";
    assert_eq!(urls, [json!(file), json!(out), json!(out)]);

    // Other people.
    for _ in 0..2 {
        let mut other = self::browser().unwrap();
        other.open(&site.url(SHOP, "/profile"));
    }
    until_sent(&gate, 2, "page_view", "/profile").await;

    // All but the one that was refused.
    let refused = |sent: &Sent| sent.text("event_type").starts_with("xx");
    assert_eq!(gate.count(refused), 1);
    gate.forget(refused);
    each_counts_once(&weir, &gate, "shop").await;
}

/// Sites of a gate whose pages have a script with this much more in its tag.
async fn script_site(
    gate: &Gate,
    site_id: &str,
    options: &[(&str, &str)],
    pages: Vec<(&'static str, Page)>,
) -> Site {
    Site::with(Way::Script.tag(gate, site_id, options), pages).await
}

#[tokio::test(flavor = "multi_thread")]
async fn options_do_what_they_say() {
    let Some(mut browser) = browser() else {
        return;
    };
    let weir = Weir::up();
    let gate = Gate::to(&weir.ingest).await;

    // A hash router, whose first page is not there.
    for (way, site_id) in [(Way::Script, "hash"), (Way::Module, "hash-module")] {
        gate.forget(|_| true);
        let tag = way.tag(&gate, site_id, &[("hash", ""), ("404", "")]);
        let site = Site::with(tag, []).await;
        browser.open(&site.url(SHOP, "/app#/missing"));
        until_sent(&gate, 1, "404", "/app#/missing").await;
        browser.value("location.hash = '#/about'");
        until_sent(&gate, 1, "page_view", "/app#/about").await;
        browser.value("history.back(); 0");
        until_sent(&gate, 1, "page_view", "/app#/missing").await;
        let expected = [
            "404 /app#/missing",
            "page_view /app#/about",
            "page_view /app#/missing",
        ];
        assert_eq!(events(&gate), expected, "{way:?}");
        each_counts_once(&weir, &gate, site_id).await;
    }
    gate.forget(|_| true);

    // Do Not Track counts where the site says so; the flag in the browser always does.
    let polite = script_site(&gate, "asked", &[("dnt", "")], Vec::new()).await;
    let plain = script_site(&gate, "asked", &[], Vec::new()).await;
    let asked = "Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})";
    let script = browser.call(
        "Page.addScriptToEvaluateOnNewDocument",
        json!({"source": asked}),
    );
    browser.open(&polite.url(SHOP, "/polite"));
    browser.value("weir('polite')");
    browser.open(&plain.url(SHOP, "/plain"));
    until_sent(&gate, 1, "page_view", "/plain").await;
    browser.call("Page.removeScriptToEvaluateOnNewDocument", script);
    browser.open(&polite.url(SHOP, "/unasked"));
    until_sent(&gate, 1, "page_view", "/unasked").await;
    browser.value("localStorage.weir_ignore = 1; weir('ignored'); 0");
    browser.open(&polite.url(SHOP, "/ignored"));
    browser.value("weir('ignored'); localStorage.removeItem('weir_ignore'); weir('again')");
    until_sent(&gate, 1, "again", "/ignored").await;
    let expected = ["page_view /plain", "page_view /unasked", "again /ignored"];
    assert_eq!(events(&gate), expected);
    // It wrote nothing.
    let written = "JSON.stringify([document.cookie, localStorage.length, sessionStorage.length])";
    assert_eq!(browser.value(written), json!("[\"\",0,0]"));
    each_counts_once(&weir, &gate, "asked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_under_a_policy_in_a_sandbox_and_made_in_advance_count_when_they_are_shown() {
    let Some(mut browser) = browser() else {
        return;
    };
    let weir = Weir::up();
    let gate = Gate::to(&weir.ingest).await;
    let policy = |rest: &str| format!("content-security-policy: default-src 'none'; {rest}\r\n");
    let weir_at = format!("http://{}", gate.address);
    let allowed = Page {
        headers: policy(&format!("script-src {weir_at}; connect-src {weir_at}")),
        ..Page::default()
    };
    let framed = Page {
        tag: Some(String::new()),
        body: "<iframe sandbox=\"allow-scripts\" src=\"/sandboxed\"></iframe>".to_owned(),
        ..Page::default()
    };
    let rules = "<script type=\"speculationrules\">{\"prerender\": [{\"urls\": [\"/shown\", \"/never\"], \"eagerness\": \"immediate\"}]}</script><script>fetch('/go').then(() => { location.href = '/shown' })</script>";
    let pages = vec![
        ("/policy", allowed),
        ("/framed", framed),
        ("/before", page(rules)),
        ("/shown", page(MADE)),
        ("/never", page(MADE)),
    ];
    let site = script_site(&gate, "odd", &[], pages).await;

    browser.complaints();
    browser.open(&site.url(SHOP, "/policy"));
    until_sent(&gate, 1, "page_view", "/policy").await;
    assert_eq!(browser.complaints(), Vec::<String>::new());
    browser.open(&site.url(SHOP, "/framed"));
    until_sent(&gate, 1, "page_view", "/sandboxed").await;
    let opaque = |sent: &Sent| sent.head.contains("origin: null");
    assert_eq!(gate.count(opaque), 1);

    // A prerendered page runs its scripts long before anybody sees it. In a tab that DevTools is not
    // attached to: Chromium prerenders nothing for one that it is.
    let tab = json!({"url": site.url(SHOP, "/before")});
    browser.call("Target.createTarget", tab);
    until_sent(&gate, 1, "page_view", "/before").await;
    for path in ["/shown", "/never"] {
        let made = format!("get /made?{path}:true ");
        eventually(true, async || site.was_asked(&made)).await;
    }
    assert_eq!(events(&gate).len(), 3, "{:?}", events(&gate));
    let shown_at = chrono::Utc::now().timestamp_millis();
    site.let_go();
    until_sent(&gate, 1, "page_view", "/shown").await;
    until_sent(&gate, 1, "early", "/shown").await;
    let expected = [
        "early /shown",
        "page_view /before",
        "page_view /policy",
        "page_view /sandboxed",
        "page_view /shown",
    ];
    let mut sent = events(&gate);
    sent.sort();
    assert_eq!(sent, expected);
    let id = in_order(&gate)
        .last()
        .unwrap()
        .text("event_id")
        .replace('-', "");
    let happened_at = i64::from_str_radix(&id[..12], 16).unwrap();
    assert!(happened_at >= shown_at, "{happened_at}, {shown_at}");
    each_counts_once(&weir, &gate, "odd").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_browsers_are_three_visitors_and_a_headless_one_is_a_bot() {
    const AGENTS: [&str; 3] = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    ];
    let Some(headless) = browser() else {
        return;
    };
    let weir = Weir::up();
    let gate = Gate::to(&weir.ingest).await;
    let site = script_site(&gate, "people", &[], Vec::new()).await;
    let mut browsers = vec![headless];
    for agent in AGENTS {
        let agent = format!("--user-agent={agent}");
        browsers.extend(Chromium::start_with(&[ARGUMENTS[0], ARGUMENTS[1], &agent]));
    }
    for (nth, mut browser) in browsers.into_iter().enumerate() {
        for path in ["/one", "/two"] {
            browser.open(&site.url(SHOP, path));
            until_sent(&gate, nth + 1, "page_view", path).await;
        }
    }
    each_counts_once(&weir, &gate, "people").await;

    let url = format!("{}/stats?site_id=people", weir.query);
    let figures = async |bots: &str| {
        let answer = reqwest::get(format!("{url}&bots={bots}")).await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        (
            answer["total_views"].clone(),
            answer["unique_users"].clone(),
        )
    };
    assert_eq!(figures("exclude").await, (json!(6), json!(3)));
    assert_eq!(figures("only").await, (json!(2), json!(1)));
    let described = "SELECT DISTINCT browser, system, device, bot, hostname, user_origin FROM weir.events WHERE site_id = 'people' ORDER BY ALL";
    let described = weir.clickhouse().text(described).await;
    let expected = [
        "Chrome\tWindows\tdesktop\t\tshop.example\tedge",
        "Chrome Mobile\tAndroid\tmobile\t\tshop.example\tedge",
        "HeadlessChrome\tLinux\tdesktop\tHeadlessChrome\tshop.example\tedge",
        "Safari\tMac OS X\tdesktop\t\tshop.example\tedge",
    ];
    assert_eq!(described.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_whose_clock_is_off_by_days_counts_today() {
    let Some(mut browser) = browser() else {
        return;
    };
    let weir = Weir::up();
    let gate = Gate::to(&weir.ingest).await;
    let site = script_site(&gate, "clock", &[], Vec::new()).await;
    for hours in [-30, 30] {
        let off = format!("{{ const now = Date.now; Date.now = () => now() + {hours} * 36e5 }}");
        let script = browser.call(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({"source": off}),
        );
        gate.set(Passage::Refused(503, 1));
        let path = format!("/{hours}");
        browser.open(&site.url(SHOP, &path));
        until_sent(&gate, 1, "page_view", &path).await;
        gate.set(Passage::Open);
        until_sent(&gate, 2, "page_view", &path).await;
        browser.call("Page.removeScriptToEvaluateOnNewDocument", script);
    }
    each_counts_once(&weir, &gate, "clock").await;
    // The second that it waited is not lost either.
    let late = "SELECT count() FROM weir.events WHERE site_id = 'clock' AND received_at - timestamp BETWEEN 1 AND 60";
    assert_eq!(weir.clickhouse().text(late).await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_same_origin_says_so() {
    let Some(mut browser) = browser() else {
        return;
    };
    let weir = Weir::up();
    let gate = Gate::to(&weir.ingest).await;
    // Any path of ingest is a page, of the origin that the script comes from.
    let own = format!("http://{}", gate.address);
    browser.open(&format!("{own}/health"));
    browser.value("const tag = document.createElement('script'); tag.src = '/w.js'; tag.dataset.site = 'own'; document.head.append(tag); 0");
    until_sent(&gate, 1, "page_view", "/health").await;
    let sent = &gate.sent()[0];
    assert!(
        sent.head.contains(&format!("origin: {own}")),
        "{}",
        sent.head
    );
    each_counts_once(&weir, &gate, "own").await;
}

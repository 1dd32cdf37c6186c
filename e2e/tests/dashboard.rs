//! The dashboard in a browser: what a person sees, clicks, types and sends on.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use e2e::{Chromium, Weir, eventually, file};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const FIRST_LOAD_BYTES_MAX: u64 = 150_000;
const SCRIPT: &str = "/<script>alert(1)</script>";
const WEEK: &str = "site=shop&from=2025-11-10&to=2025-11-16&tz=UTC";

fn view(day: &str, path: &str, user: &str, referrer: &str) -> Value {
    json!({
        "site_id": "shop", "event_type": "page_view", "path": path, "user_id": user,
        "referrer": referrer, "timestamp": format!("{day}T12:00:00Z"), "props": {"plan": "team"},
    })
}

/// 23 views of 8 visitors in the week, 10 of 4 in the one before, two signups.
fn events() -> Vec<Value> {
    let mut events = Vec::new();
    for user in 1..=6 {
        let user = format!("u{user}");
        events.push(view(
            "2025-11-12",
            "/pricing",
            &user,
            "https://news.example/",
        ));
    }
    for user in 1..=4 {
        events.push(view("2025-11-13", "/", &format!("u{user}"), ""));
    }
    events.push(view("2025-11-14", SCRIPT, "u7", ""));
    for page in 1..=12 {
        events.push(view("2025-11-15", &format!("/blog/{page}"), "u8", ""));
    }
    for n in 0..10 {
        events.push(view("2025-11-05", "/", &format!("u{}", n % 4), ""));
    }
    for user in ["u1", "u2"] {
        let mut signup = view("2025-11-13", "/signup", user, "");
        signup["event_type"] = json!("signup");
        events.push(signup);
    }
    events
}

async fn post(weir: &Weir, events: &[Value]) {
    let (status, answer) = weir.post("/events", json!(events).to_string()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
}

/// A weir with these events, and a browser; none where there is no Chromium.
async fn shop() -> Option<(Weir, Chromium)> {
    let browser = Chromium::start()?;
    let weir = Weir::embedded();
    post(&weir, &events()).await;
    eventually((json!(33), json!(2)), async || {
        let views = weir.stats("site_id=shop").await;
        let signups = weir.stats("site_id=shop&event_type=signup").await;
        (views["total_views"].clone(), signups["total_views"].clone())
    })
    .await;
    Some((weir, browser))
}

fn open(weir: &Weir, browser: &mut Chromium, query: &str) {
    browser.open(&format!("{}/?{query}", weir.query));
}

fn figures_are(browser: &mut Chromium, views: &str, visitors: &str) {
    browser.reads("#tile-views .tile-value", views);
    let first = format!(
        "document.querySelector('#tile-visitors .tile-value').firstChild.textContent === '{visitors}'"
    );
    browser.until(&first);
}

fn filters(browser: &mut Chromium) -> Value {
    browser.value("new URLSearchParams(location.search).getAll('filter')")
}

#[tokio::test]
async fn the_page_shows_the_figures_and_complains_of_nothing() {
    let Some((weir, mut browser)) = shop().await else {
        return;
    };
    open(&weir, &mut browser, WEEK);
    figures_are(&mut browser, "23", "8");
    // From 10 to 23.
    browser.until("document.querySelector('#tile-views .delta.up').textContent.includes('130 %')");
    browser.until("document.querySelector('#plot canvas')");
    browser.until("document.querySelectorAll('#pages tbody .row').length === 10");
    let rows = "[...document.querySelectorAll('#pages tbody tr')].slice(0, 2).map((row) => [...row.children].map((cell) => cell.textContent))";
    assert_eq!(
        browser.value(rows),
        json!([["/pricing", "6", "6"], ["/", "4", "4"]])
    );
    assert_eq!(browser.text("#pages .list-total"), "10 of 15");
    browser.until("document.querySelector('#types tbody').textContent.includes('signup')");
    browser.until("document.querySelector('#sources tbody .row')");
    browser.click("#sources [data-property=referrer_host]");
    browser.until("document.querySelector('#sources tbody').textContent.includes('news.example')");
    browser.until("document.querySelector('#tile-now .tile-value').textContent.startsWith('0')");

    // All of the page and the figures, as they came over the wire.
    let bytes = browser.received_bytes("/");
    let files = browser.received_bytes("/dashboard/");
    assert!(files > 20_000, "{files} bytes were seen");
    assert!(bytes < FIRST_LOAD_BYTES_MAX, "{bytes} bytes");

    // More rows, among them one that wants to be a script.
    browser.click("#pages .more");
    browser.until("document.querySelectorAll('#pages tbody .row').length === 15");
    let name = format!(
        "[...document.querySelectorAll('#pages .row-name')].some((name) => name.textContent === {SCRIPT:?})"
    );
    browser.until(&name);
    assert_eq!(browser.value("document.scripts.length"), json!(3));
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // The same list as a file.
    let folder = tempfile::tempdir().unwrap();
    let behaviour = json!({"behavior": "allow", "downloadPath": folder.path()});
    browser.call("Browser.setDownloadBehavior", behaviour);
    browser.click("#pages .save");
    let saved = folder.path().join("shop top pages.csv");
    let lines = async || std::fs::read_to_string(&saved).map_or(0, |text| text.lines().count());
    eventually(16, lines).await;

    // Should the page ever try to make HTML of text, the browser refuses.
    let tried = "(() => { try { document.body.innerHTML = '<b>x</b>'; return 'done' } catch { return 'refused' } })()";
    assert_eq!(browser.value(tried), json!("refused"));
}

#[tokio::test]
async fn a_row_is_a_filter_and_the_address_has_all_of_it() {
    let Some((weir, mut browser)) = shop().await else {
        return;
    };
    open(&weir, &mut browser, WEEK);
    figures_are(&mut browser, "23", "8");
    browser.click("#pages tbody tr:first-child .row");
    figures_are(&mut browser, "6", "6");
    assert_eq!(filters(&mut browser), json!(["path:is:/pricing"]));
    assert_eq!(browser.text("#chips .chip-text"), "Page is /pricing");

    let address = browser_address(&mut browser);
    browser.open(&address);
    figures_are(&mut browser, "6", "6");
    browser.click("#sources [data-property=referrer_host]");
    browser.until(
        "document.querySelector('#sources tbody .row-name')?.textContent === 'news.example'",
    );
    browser.click("#sources tbody tr:first-child .row");
    browser.until("document.querySelectorAll('#chips .chip').length === 2");
    assert_eq!(
        filters(&mut browser),
        json!(["path:is:/pricing", "referrer_host:is:news.example"])
    );

    browser.value("history.back()");
    browser.until("document.querySelectorAll('#chips .chip').length === 1");
    browser.value("history.forward()");
    browser.until("document.querySelectorAll('#chips .chip').length === 2");
    browser.click("#chips .chip:first-child .chip-remove");
    browser.until("document.querySelectorAll('#chips .chip').length === 1");
    browser.click("#chips .chip .chip-remove");
    figures_are(&mut browser, "23", "8");

    // Events of a type are no views, and are not called so.
    open(
        &weir,
        &mut browser,
        &format!("{WEEK}&filter=event_type:is:signup"),
    );
    figures_are(&mut browser, "2", "2");
    assert_eq!(browser.text("#views-name"), "Events");
    // The path of a script is a filter like any other.
    let script = SCRIPT.replace('<', "%3C").replace('>', "%3E");
    open(
        &weir,
        &mut browser,
        &format!("{WEEK}&filter=path:is:{script}&prop=plan"),
    );
    figures_are(&mut browser, "1", "1");
    assert_eq!(browser.text("#chips b"), SCRIPT);
    browser.until("document.querySelector('#properties tbody .row-name').textContent === 'team'");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

fn browser_address(browser: &mut Chromium) -> String {
    browser.value("location.href").as_str().unwrap().to_owned()
}

#[tokio::test]
async fn everything_can_be_reached_and_done_by_keyboard() {
    let Some((weir, mut browser)) = shop().await else {
        return;
    };
    open(&weir, &mut browser, WEEK);
    figures_are(&mut browser, "23", "8");
    let mut reached = Vec::new();
    for _ in 0..24 {
        browser.press("Tab");
        let id = browser.value("document.activeElement.id || document.activeElement.className");
        reached.push(id.as_str().unwrap().to_owned());
        let ring = "getComputedStyle(document.activeElement).outlineStyle !== 'none' || document.activeElement.matches('.row')";
        assert_eq!(
            browser.value(ring),
            json!(true),
            "{reached:?} has no visible focus"
        );
    }
    for id in [
        "skip",
        "site",
        "share",
        "theme",
        "earlier",
        "range",
        "later",
        "compare",
        "bots",
        "zone",
        "add-filter",
        "plot",
        "row",
    ] {
        assert!(
            reached.iter().any(|one| one == id),
            "{id} is not among {reached:?}"
        );
    }

    // The range before this one, from the panel of ranges.
    browser.value("document.querySelector('#range').focus()");
    browser.press("Enter");
    browser.until("document.querySelector('.ranges:popover-open')");
    browser.press("Escape");
    browser.until("document.activeElement.id === 'range'");
    browser.value("document.querySelector('#earlier').focus()");
    browser.press("Enter");
    figures_are(&mut browser, "10", "4");
    browser.value("history.back()");
    figures_are(&mut browser, "23", "8");

    // A zone by typing a part of its name: noon in UTC is the next day in Kiritimati.
    open(
        &weir,
        &mut browser,
        "site=shop&from=2025-11-16&to=2025-11-16&tz=UTC",
    );
    figures_are(&mut browser, "0", "0");
    browser.until("!document.querySelector('#nothing').hidden");
    browser.value("document.querySelector('#zone').focus()");
    browser.press("Enter");
    browser.until("document.activeElement.matches('.picker input')");
    browser.write("kiriti");
    browser.press("Enter");
    figures_are(&mut browser, "12", "1");
    assert!(browser_address(&mut browser).contains("tz=Pacific/Kiritimati"));

    // The chart reads its points, and stands as a table too.
    open(&weir, &mut browser, WEEK);
    figures_are(&mut browser, "23", "8");
    browser.until("document.querySelector('#plot canvas')");
    browser.value("document.querySelector('#plot').focus()");
    browser.press("Home");
    browser.press("ArrowRight");
    browser.press("ArrowRight");
    browser.until(
        "document.querySelector('#point').textContent.includes('Wed, Nov 12, 2025: 6 visitors, 6 views')",
    );
    browser.value("document.querySelector('#as-table summary').focus()");
    browser.press("Enter");
    browser.until("document.querySelectorAll('#plot-table tbody tr').length === 7");
    let row = "[...document.querySelectorAll('#plot-table tbody tr')[5].children].slice(1, 3).map((cell) => cell.textContent)";
    assert_eq!(browser.value(row), json!(["1", "12"]));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn presets_and_comparisons_change_the_days() {
    let Some((weir, mut browser)) = shop().await else {
        return;
    };
    let now = json!({"site_id": "shop", "event_type": "view", "path": "/now", "user_id": "here"});
    post(&weir, &[now]).await;
    eventually(json!(34), async || {
        weir.stats("site_id=shop").await["total_views"].clone()
    })
    .await;
    // Without a word in the address: the busiest site, the browser's zone, the last 28 days.
    browser.open(&weir.query);
    figures_are(&mut browser, "1", "1");
    let address = browser_address(&mut browser);
    assert!(address.contains("site=shop&range=28d&tz="), "{address}");
    browser.until("document.querySelector('#tile-now .tile-value').textContent.startsWith('1')");
    for (n, (range, views)) in [
        ("today", "1"),
        ("yesterday", "0"),
        ("7d", "1"),
        ("28d", "1"),
        ("90d", "1"),
        ("month", "1"),
        ("last-month", "0"),
        ("year", "1"),
        ("all", "34"),
    ]
    .iter()
    .enumerate()
    {
        browser.click("#range");
        browser.until("document.querySelector('.ranges:popover-open')");
        browser.click(&format!(".presets button:nth-child({})", n + 1));
        browser.until(&format!("location.search.includes('range={range}&')"));
        browser.reads("#tile-views .tile-value", views);
        browser.until("document.querySelector('#figures').getAttribute('aria-busy') !== 'true'");
    }
    // A site is found by its name, and has its own figures.
    open(&weir, &mut browser, WEEK);
    browser.until("document.querySelector('#legend').textContent.includes('Nov 3')");
    browser.value("{ const compare = document.querySelector('#compare'); compare.value = 'previous_year'; compare.dispatchEvent(new Event('change')); }");
    browser.until("document.querySelector('#legend').textContent.includes('2024')");
    assert!(browser_address(&mut browser).contains("compare=previous_year"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn it_fits_a_phone_and_the_night() {
    let Some((weir, mut browser)) = shop().await else {
        return;
    };
    let ground = "getComputedStyle(document.body).backgroundColor";
    for (width, height) in [
        (360, 740),
        (390, 844),
        (768, 1024),
        (1440, 900),
        (2560, 1300),
    ] {
        browser.screen(width, height);
        open(
            &weir,
            &mut browser,
            &format!("{WEEK}&filter=path:is_not:{}", "/long".repeat(40)),
        );
        figures_are(&mut browser, "23", "8");
        browser.until("document.querySelector('#plot canvas')");
        let wider = browser
            .value("Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth)");
        assert_eq!(wider, json!(0), "at {width} pixels");
    }
    browser.dark(false);
    let light = browser.value(ground);
    browser.dark(true);
    let dark = browser.value(ground);
    assert_ne!(light, dark);
    // As the system, light, dark: one's own choice stays.
    browser.click("#theme");
    assert_eq!(browser.value(ground), light);
    browser.click("#theme");
    browser.dark(false);
    assert_eq!(browser.value(ground), dark);
    open(&weir, &mut browser, WEEK);
    figures_are(&mut browser, "23", "8");
    assert_eq!(browser.value(ground), dark);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn it_says_that_clickhouse_is_away_and_recovers_by_itself() {
    let Some((weir, mut browser)) = shop().await else {
        return;
    };
    open(&weir, &mut browser, WEEK);
    figures_are(&mut browser, "23", "8");
    weir.stop_engine();
    browser.click("#earlier");
    browser.until("!document.querySelector('#trouble').hidden");
    assert!(
        browser
            .text("#trouble")
            .contains("No figures can be had right now.")
    );
    // What was known stays to be seen.
    assert_eq!(browser.text("#tile-views .tile-value"), "23");
    weir.kill_engine();
    figures_are(&mut browser, "10", "4");
    browser.until("document.querySelector('#trouble').hidden");
    let others: Vec<_> = browser
        .complaints()
        .into_iter()
        .filter(|said| !said.contains("503"))
        .collect();
    assert_eq!(others, Vec::<String>::new());
}

#[tokio::test]
async fn a_site_without_events_shows_how_to_send_one_and_fills_by_itself() {
    let Some(mut browser) = Chromium::start() else {
        return;
    };
    let weir = Weir::embedded();
    browser.open(&weir.query);
    browser.until("!document.querySelector('#waiting').hidden");
    assert!(
        browser
            .text("#waiting")
            .contains(&format!("curl {}/event", weir.ingest))
    );
    open(&weir, &mut browser, "site=garden");
    browser.until("document.querySelector('#waiting').textContent.includes('garden')");
    assert_eq!(
        browser.value("document.querySelector('#tag pre').textContent"),
        json!(format!(
            "<script defer src=\"{}/w.js\" data-site=\"garden\"></script>",
            weir.ingest
        ))
    );
    let event =
        json!({"site_id": "garden", "event_type": "page_view", "path": "/", "user_id": "me"});
    post(&weir, &[event]).await;
    figures_are(&mut browser, "1", "1");
    browser.until("document.querySelector('#waiting').hidden");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn the_tag_has_the_address_that_pages_reach_and_the_sites_public_key() {
    let Some(mut browser) = Chromium::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = b"[ingest]
public_url = 'https://weir.example/in/'
tracker.path = '/s.js'
[[ingest.keys.sites]]
site_id = 'garden'
public_keys = ['wp_for-pages']
";
    let _ = file(folder.path(), "weir.toml", settings);
    let weir = Weir::embedded_in(folder);
    let tag = reqwest::get(format!("{}/tag?site_id=garden", weir.query));
    let tag: Value = tag.await.unwrap().json().await.unwrap();
    let expected = json!({
        "site_id": "garden", "public_key": "wp_for-pages",
        "public_url": "https://weir.example/in", "script": "https://weir.example/in/s.js",
    });
    assert_eq!(tag, expected);

    open(&weir, &mut browser, "site=garden");
    browser.until("document.querySelector('#tag pre').textContent");
    let shown = browser.value("document.querySelector('#tag pre').textContent");
    let script = "<script defer src=\"https://weir.example/in/s.js\" data-site=\"garden\" data-key=\"wp_for-pages\"></script>";
    assert_eq!(shown, json!(script));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_switch_leaves_bots_out_counts_them_too_or_counts_them_alone() {
    const BOT: &str = "Googlebot/2.1 (+http://www.google.com/bot.html)";
    let Some(mut browser) = Chromium::start() else {
        return;
    };
    let weir = Weir::embedded();
    let mut events: Vec<Value> = ["/a", "/b", "/c", "/d", "/robots"]
        .into_iter()
        .map(|path| view("2025-11-12", path, path, ""))
        .collect();
    for event in &mut events[3..] {
        event["user_agent"] = json!(BOT);
    }
    post(&weir, &events).await;
    eventually(json!(5), async || {
        let all = weir.stats_if_any("site_id=shop&bots=include").await;
        all["total_views"].clone()
    })
    .await;
    open(&weir, &mut browser, WEEK);
    figures_are(&mut browser, "3", "3");
    let pages = "document.querySelectorAll('#pages tbody .row').length";
    let choose = |browser: &mut Chromium, bots: &str| {
        browser.value(&format!(
            "(() => {{ const switched = document.querySelector('#bots'); switched.value = '{bots}'; \
             switched.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()"
        ));
    };
    for (bots, figures, rows) in [("include", "5", 5), ("only", "2", 2), ("exclude", "3", 3)] {
        choose(&mut browser, bots);
        figures_are(&mut browser, figures, figures);
        browser.until(&format!("{pages} === {rows}"));
        // The list of bots is there where they are counted.
        let hidden = browser.value("document.querySelector('[data-property=bot]').hidden");
        assert_eq!(hidden, json!(bots == "exclude"), "{bots}");
    }
    // It is part of the address.
    choose(&mut browser, "only");
    figures_are(&mut browser, "2", "2");
    browser.click("[data-property=bot]");
    browser.until("[...document.querySelectorAll('.row-name')].some((name) => name.textContent === 'Googlebot')");
    let address = browser_address(&mut browser);
    assert!(address.contains("bots=only"), "{address}");
    browser.open(&address);
    figures_are(&mut browser, "2", "2");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn figures_behind_a_key_are_shown_to_who_has_it() {
    const KEY: &str = "rk_a-key-that-somebody-was-given";
    let Some(mut browser) = Chromium::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let digest = Sha256::digest(KEY);
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let keys = format!("[[query.keys]]\nsite_id = \"shop\"\nread_keys = [\"{hash}\"]\n");
    let _ = file(folder.path(), "weir.toml", keys.as_bytes());
    let weir = Weir::embedded_in(folder);
    post(&weir, &[view("2025-11-12", "/", "u1", "")]).await;

    open(&weir, &mut browser, WEEK);
    browser.until("document.activeElement.matches('#trouble input')");
    browser.write("another");
    browser.press("Enter");
    browser.until("document.querySelector('#trouble').textContent.includes('does not open')");
    browser.until("document.activeElement.matches('#trouble input')");
    browser.write(KEY);
    browser.press("Enter");
    figures_are(&mut browser, "1", "1");
    browser.until("document.querySelector('#trouble').hidden");
    // It is kept for the tab, and in nothing that is sent on.
    assert!(!browser_address(&mut browser).contains(KEY));
    assert_eq!(
        browser.value("localStorage.getItem('weir.key')"),
        Value::Null
    );
    open(&weir, &mut browser, WEEK);
    figures_are(&mut browser, "1", "1");
    let others: Vec<_> = browser
        .complaints()
        .into_iter()
        .filter(|said| !said.contains("401") && !said.contains("403"))
        .collect();
    assert_eq!(others, Vec::<String>::new());
}

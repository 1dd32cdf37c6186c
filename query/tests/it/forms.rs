//! The forms of an answer: CSV, tags, and what may be kept.

use reqwest::StatusCode;

use crate::world::{EventRow, World, row};

const DAY: [(&str, &str); 2] = [("site_id", "s"), ("date", "2025-11-15")];
const ROUTES: [&str; 5] = [
    "/stats",
    "/stats/timeseries",
    "/stats/breakdown",
    "/stats/realtime",
    "/sites",
];

fn view(path: &str, user: &str) -> EventRow {
    row("s", "view", path, user, "2025-11-15T12:30:00Z")
}

async fn csv(world: &World, route: &str, parameters: &[(&str, &str)]) -> String {
    let accept = [("accept", "text/csv")];
    let response = world.get_with(route, parameters, &accept).await;
    assert_eq!(response.status(), 200, "{route}");
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/csv"), "{kind}");
    response.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_is_the_main_list_for_those_who_ask_for_it() {
    let world = World::new().await;
    world
        .insert(&[view("/a,b", "u"), view("/a,b", "v"), view("/=1+1\"", "u")])
        .await;
    assert_eq!(
        csv(&world, "/stats", &DAY).await,
        "path,views\r\n\"/a,b\",2\r\n\"/=1+1\"\"\",1\r\n"
    );
    assert_eq!(
        csv(&world, "/stats/timeseries", &DAY).await,
        "time,views,unique_users\r\n2025-11-15T00:00:00+00:00,3,2\r\n"
    );
    let by_user = [DAY[0], DAY[1], ("property", "user")];
    assert_eq!(
        csv(&world, "/stats/breakdown", &by_user).await,
        "value,views,unique_users\r\nu,2,1\r\nv,1,1\r\n"
    );
    assert_eq!(
        csv(&world, "/sites", &[]).await,
        "site_id,total_views,first_date,last_date\r\ns,3,2025-11-15,2025-11-15\r\n"
    );
    assert_eq!(
        csv(&world, "/stats/realtime", &DAY).await,
        "minutes,views,visitors\r\n5,0,0\r\n30,0,0\r\n"
    );
    // Faults are JSON for everybody.
    let refused = world
        .get_with("/stats", &[], &[("accept", "text/csv")])
        .await;
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.headers()["content-type"], "application/json");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_spreadsheet_would_compute_is_text_unless_it_is_asked_for_raw() {
    let world = World::new().await;
    let formula = "=HYPERLINK(\"https://evil.example\",1)";
    let view = EventRow {
        site_id: "-site".to_owned(),
        referrer: "@SUM(A1)".to_owned(),
        props: vec![("plan".to_owned(), "\t=1".to_owned())],
        ..row("", "+type", formula, "-1", "2025-11-15T12:30:00Z")
    };
    world.insert(&[view]).await;
    let quoted = "=HYPERLINK(\"\"https://evil.example\"\",1)";
    for (route, property, guarded, raw) in [
        (
            "/stats",
            "",
            format!("\"'{quoted}\""),
            format!("\"{quoted}\""),
        ),
        (
            "/stats/breakdown",
            "path",
            format!("\"'{quoted}\""),
            format!("\"{quoted}\""),
        ),
        (
            "/stats/breakdown",
            "user",
            "'-1".to_owned(),
            "-1".to_owned(),
        ),
        (
            "/stats/breakdown",
            "event_type",
            "'+type".to_owned(),
            "+type".to_owned(),
        ),
        (
            "/stats/breakdown",
            "referrer",
            "'@SUM(A1)".to_owned(),
            "@SUM(A1)".to_owned(),
        ),
        (
            "/stats/breakdown",
            "props.plan",
            "\"'\t=1\"".to_owned(),
            "\"\t=1\"".to_owned(),
        ),
        ("/sites", "", "'-site".to_owned(), "-site".to_owned()),
    ] {
        let asked = [
            ("site_id", "-site"),
            ("event_type", "+type"),
            ("property", property),
        ];
        for (raw_cells, expected) in [("", &guarded), ("false", &guarded), ("true", &raw)] {
            let asked = [&asked[..], &[("raw_cells", raw_cells)]].concat();
            let text = csv(&world, route, &asked).await;
            let line = text.split("\r\n").nth(1).unwrap();
            assert!(
                line.starts_with(&format!("{expected},")),
                "{route} {property}: {line}"
            );
        }
        // In JSON nothing is computed.
        let (_, answer) = world.json(route, &asked).await;
        assert!(!answer.to_string().contains('\''), "{answer}");
    }
    for wrong in [
        &[("raw_cells", "yes")][..],
        &[("raw_cells", "true"), ("raw_cells", "true")],
    ] {
        for route in ROUTES {
            let asked = [&DAY[..], &[("property", "path")], wrong].concat();
            let (status, answer) = world.json(route, &asked).await;
            assert_eq!(status, 400, "{route}");
            assert!(
                answer["errors"][0]
                    .as_str()
                    .unwrap()
                    .starts_with("raw_cells")
            );
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_known_already_is_not_sent_again() {
    let world = World::new().await;
    world.insert(&[view("/", "u")]).await;
    let parameters = [DAY[0], DAY[1], ("property", "path")];
    for route in &ROUTES[..3] {
        let first = world.get(route, &parameters).await;
        let etag = first.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(first.headers()["cache-control"], "private, max-age=60");
        assert!(first.headers().contains_key("vary"));
        for known in [
            etag.as_str(),
            &format!("W/{etag}"),
            &format!("\"x\", {etag}"),
            "*",
        ] {
            let again = world
                .get_with(route, &parameters, &[("if-none-match", known)])
                .await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{route} {known}");
            assert_eq!(again.headers()["etag"].to_str().unwrap(), etag);
            assert!(again.bytes().await.unwrap().is_empty());
        }
        // The other form has a tag of its own.
        let headers = [("if-none-match", etag.as_str()), ("accept", "text/csv")];
        let csv = world.get_with(route, &parameters, &headers).await;
        assert_eq!(csv.status(), 200);
    }
    // A late event changes a day that is over.
    let etag = world.get("/stats", &DAY).await.headers()["etag"].clone();
    let known = [("if-none-match", etag.to_str().unwrap())];
    world.insert(&[view("/", "late")]).await;
    let changed = world.get_with("/stats", &DAY, &known).await;
    assert_eq!(changed.status(), 200);
    assert_ne!(changed.headers()["etag"], etag);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_over_is_asked_again() {
    let world = World::new().await;
    let today = chrono::Utc::now().date_naive().to_string();
    for (route, parameters) in [
        ("/stats", &[("site_id", "s")][..]),
        ("/stats", &[("site_id", "s"), ("date", &today)]),
        ("/stats", &[("site_id", "s"), ("start_date", "2025-01-01")]),
        ("/stats/realtime", &[("site_id", "s")]),
        ("/sites", &[]),
    ] {
        let response = world.get(route, parameters).await;
        let kept = &response.headers()["cache-control"];
        assert_eq!(kept, "private, no-cache", "{route} {parameters:?}");
    }
    world.stop().await;
}

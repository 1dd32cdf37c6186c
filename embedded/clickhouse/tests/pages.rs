//! Web pages: whatever origin they are of and by whatever name they come, they read and change
//! nothing. Programs go on as before.

#[cfg(test)]
mod common;

use common::{Engine, with_table};
use reqwest::{Client, RequestBuilder};
use serde_json::json;

const READ: &str = "SELECT sum(a) FROM weir.t FORMAT TSVRaw";

fn request(engine: &Engine, headers: &[(&str, &str)]) -> RequestBuilder {
    let url = format!("{}/?query=", engine.url);
    let mut request = Client::new().get(url + &READ.replace(' ', "+"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

async fn answer(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.expect("ClickHouse answers");
    let status = response.status().as_u16();
    (status, response.text().await.expect("an answer is text"))
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        // A browser that says no more than this.
        &[("origin", "https://example.com")],
        &[("origin", "null")],
        // A name that has meanwhile come to mean this machine.
        &[("host", "evil.example")],
        &[
            ("host", "evil.example:8123"),
            ("sec-fetch-site", "same-origin"),
        ],
        &[("host", "127.0.0.1.evil.example")],
        &[("host", "localhost.evil.example")],
        &[("host", "evil.example#localhost")],
        &[("host", "user@evil.example")],
        &[("host", "[::1].evil.example")],
        &[("host", "svc.evil.example")],
        // Anybody can register a name below which this one is.
        &[("host", "clickhouse.svc.evil.example")],
        &[("host", "clickhouse.svc.evil-local")],
        &[("host", "evil.example.")],
        // Any credentials are good for a user without a password.
        &[
            ("host", "evil.example"),
            ("authorization", "Basic ZGVmYXVsdDo="),
        ],
        &[
            ("host", "evil.example"),
            ("x-clickhouse-user", "default"),
            ("x-clickhouse-key", "x"),
        ],
    ] {
        let (status, text) = answer(request(&engine, headers)).await;
        assert!(matches!(status, 403 | 404), "{headers:?}: {status} {text}");
        assert!(!text.contains('3'), "{headers:?}: {text}");
    }
    // What a form can send.
    let form = Client::new()
        .post(&engine.url)
        .header("origin", "https://example.com")
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "text/plain")
        .body("DROP TABLE weir.t");
    assert_eq!(answer(form).await.0, 403);
    let preflight = Client::new()
        .request(reqwest::Method::OPTIONS, &engine.url)
        .header("origin", "https://example.com")
        .header("access-control-request-method", "POST")
        .send()
        .await
        .unwrap();
    assert!(!preflight.status().is_success());
    assert!(
        !preflight
            .headers()
            .contains_key("access-control-allow-origin")
    );
    assert_eq!(engine.ask("SELECT count() FROM weir.t").await, "2");
}

#[tokio::test]
async fn programs_and_clickhouses_own_page_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    for headers in [
        &[][..],
        &[("host", "localhost")],
        &[("host", "LOCALHOST:8123")],
        &[("host", "127.0.0.1:1")],
        &[("host", "192.168.1.7:8123")],
        &[("host", "[::1]:8123")],
        &[("host", "clickhouse:8123")],
        &[("host", "clickhouse.weir.svc")],
        &[("host", "clickhouse.weir.svc.cluster.local:8123")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-origin")],
        &[
            ("sec-fetch-site", "same-origin"),
            ("origin", "http://127.0.0.1:8123"),
        ],
    ] {
        let (status, text) = answer(request(&engine, headers)).await;
        assert_eq!((status, text.as_str()), (200, "3\n"), "{headers:?}");
    }
    for (path, wanted) in [("ping", "Ok.\n"), ("replicas_status", "Ok.\n")] {
        let request = Client::new().get(format!("{}/{path}", engine.url));
        assert_eq!(answer(request).await, (200, wanted.to_owned()), "{path}");
    }
    let play = Client::new().get(format!("{}/play", engine.url));
    assert!(answer(play).await.1.contains("<html"));
}

#[tokio::test]
async fn no_answer_is_taken_for_a_script() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let response = request(&engine, &[]).send().await.unwrap();
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let response = request(&engine, &[("sec-fetch-site", "cross-site")]);
    let response = response.send().await.unwrap();
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn a_reader_cannot_open_its_answers_to_pages() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let url = format!(
        "{}/?user=analyst&add_http_cors_header=1&query=SELECT+1",
        engine.url
    );
    let (_, text) = answer(Client::new().get(url)).await;
    assert!(text.contains("Code: 452."), "{text}");
}

#[tokio::test]
async fn a_name_of_ones_own_needs_the_right_password() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"user": "weir", "password": "s", "reader_password": "r"});
    let engine = Engine::start_with(folder.path(), config).unwrap();
    let ask = |password: &str| {
        let request = Client::new().post(&engine.url).body("SELECT 1");
        let request = request.header("host", "clickhouse.example.com");
        answer(request.basic_auth("weir", Some(password)))
    };
    assert_eq!(ask("s").await, (200, "1\n".to_owned()));
    assert_eq!(ask("t").await.0, 403);
    let url = format!("{}/?query=SELECT+1", engine.url);
    let by_headers = Client::new()
        .get(url)
        .header("host", "clickhouse.example.com")
        .header("x-clickhouse-user", "weir")
        .header("x-clickhouse-key", "s");
    assert_eq!(answer(by_headers).await, (200, "1\n".to_owned()));
    let without = Client::new().post(&engine.url).body("SELECT 1");
    let without = without.header("host", "clickhouse.example.com");
    assert_eq!(answer(without).await.0, 404);
}

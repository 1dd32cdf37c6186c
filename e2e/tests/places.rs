//! A file of places that changes while ingest runs.

use std::net::SocketAddr;

use e2e::{Door, Process, eventually, file, free_port};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A file of the MaxMind DB format in which every address has this country.
fn database(country: &str) -> Vec<u8> {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.push(2 << 5 | text.len() as u8);
        out.extend(text.as_bytes());
    }
    // A tree of one node: both its branches lead to the first record.
    let mut out = vec![0, 0, 17, 0, 0, 17];
    out.extend([0; 16]);
    out.push(7 << 5 | 1);
    text(&mut out, "country_code");
    text(&mut out, country);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    out.push(7 << 5 | 9);
    for (key, value) in [
        ("binary_format_major_version", &[5 << 5 | 1, 2][..]),
        ("binary_format_minor_version", &[5 << 5]),
        ("build_epoch", &[1, 9 - 7, 1]),
        ("database_type", b"\x44Test"),
        ("description", &[7 << 5]),
        ("ip_version", &[5 << 5 | 1, 4]),
        ("languages", &[0, 11 - 7]),
        ("node_count", &[6 << 5 | 1, 1]),
        ("record_size", &[5 << 5 | 1, 24]),
    ] {
        text(&mut out, key);
        out.extend(value);
    }
    out
}

#[tokio::test]
async fn a_file_that_is_replaced_is_used_and_one_cut_short_is_logged_and_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "places.mmdb", &database("DE"));
    // As operators do it: another file is moved into its place.
    let replace = |bytes: &[u8]| {
        let aside = file(folder.path(), "aside", bytes);
        std::fs::rename(aside, &path).unwrap();
    };
    let [ingest, query] =
        [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())).to_string());
    let settings = vec![
        ("WEIR_INGEST__LISTEN", ingest.clone()),
        ("WEIR_QUERY__LISTEN", query.clone()),
        ("WEIR_INGEST__GEO__DATABASE", path.display().to_string()),
        ("WEIR_INGEST__GEO__CHECK_EVERY", "50ms".to_owned()),
        ("WEIR_INGEST__TRUSTED_PROXIES", "127.0.0.1".to_owned()),
        ("WEIR_LOG__FORMAT", "json".to_owned()),
    ];
    let door = Door::Http(format!("http://{ingest}/ready"));
    let arguments = ["up", "--data-dir", "data"];
    let weir = Process::new("up", folder.path(), &arguments, settings, door);
    weir.start();
    weir.ready().await;

    let client = reqwest::Client::new();
    let send = async || {
        let view = json!({"site_id": "s", "event_type": "page_view", "url": "https://a.example/"});
        let request = client
            .post(format!("http://{ingest}/event"))
            .header("origin", "https://a.example")
            .header("x-forwarded-for", "81.2.69.142")
            .body(view.to_string());
        assert_eq!(request.send().await.unwrap().status(), StatusCode::ACCEPTED);
    };
    let countries_are = async |expected: &[(&str, u64)]| {
        let url = format!(
            "http://{query}/stats/breakdown?site_id=s&property=country&bots=include&exact=true"
        );
        let expected: Vec<_> = expected.iter().map(|of| json!([of.0, of.1])).collect();
        eventually(expected, async || {
            let answer: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
            let rows = answer["rows"].as_array().cloned().unwrap_or_default();
            rows.iter()
                .map(|row| json!([row["value"], row["views"]]))
                .collect::<Vec<_>>()
        })
        .await;
    };
    let is_logged = async |line: &str| {
        eventually(true, async || weir.log().contains(line)).await;
    };

    send().await;
    countries_are(&[("DE", 1)]).await;
    replace(&database("FR"));
    is_logged(&format!("read {} again", path.display())).await;
    send().await;
    send().await;
    countries_are(&[("FR", 2), ("DE", 1)]).await;

    let whole = database("NO");
    replace(&whole[..whole.len() / 2]);
    is_logged("the places stay as they were").await;
    assert!(weir.log().contains("no whole database of places"));
    send().await;
    countries_are(&[("FR", 3), ("DE", 1)]).await;
}

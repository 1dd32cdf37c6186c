//! `weir key` prints lines which, put into weir.toml as they are, let in the key beside them, and
//! what is refused in a list of keys is not repeated.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use common::weir;

const NOT_A_KEY: &str = "wp_of-somebody-else";

/// What `weir key` prints, and the key in it.
fn key(folder: &Path, arguments: &[&str]) -> (String, String) {
    let made = weir(folder)
        .args(["key", "--site-id", "shop"])
        .args(arguments)
        .output();
    let lines = String::from_utf8(made.unwrap().stdout).unwrap();
    let key = lines.lines().find_map(|line| line.strip_prefix("# w"));
    let key = format!("w{}", key.unwrap());
    (lines, key)
}

/// A service, killed when it is done with.
struct Service {
    child: Child,
    url: String,
}

impl Service {
    fn start(folder: &Path, name: &str) -> Self {
        let listen = format!("WEIR_{}__LISTEN", name.to_uppercase());
        let mut child = weir(folder)
            .arg(name)
            .env(listen, "127.0.0.1:0")
            .env("WEIR_KAFKA__BROKERS", "127.0.0.1:1")
            .env("WEIR_CLICKHOUSE__URL", "http://127.0.0.1:1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = log.find_map(|line| {
            let line = line.unwrap();
            let (_, address) = line.split_once(" listens on ")?;
            Some(format!("http://{}", address.split('"').next()?))
        });
        std::thread::spawn(move || log.for_each(drop));
        let url = url.expect("it says where it listens");
        Self { child, url }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn status(request: reqwest::RequestBuilder, key: Option<&str>) -> u16 {
    let request = match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    request.send().await.unwrap().status().as_u16()
}

/// There is neither Kafka nor ClickHouse, so who is let in gets a 503.
#[tokio::test]
async fn the_lines_that_are_printed_let_the_key_in() {
    let folder = tempfile::tempdir().unwrap();
    let client = reqwest::Client::new();
    for (arguments, service) in [
        (&[][..], "ingest"),
        (&["--public"], "ingest"),
        (&["--secret"], "ingest"),
        (&["--read"], "query"),
    ] {
        let (lines, key) = key(folder.path(), arguments);
        std::fs::write(folder.path().join("weir.toml"), lines).unwrap();
        let service = Service::start(folder.path(), service);
        let ask = || match arguments {
            ["--read"] => client.get(format!("{}/stats?site_id=shop", service.url)),
            _ => client
                .post(format!("{}/event", service.url))
                .body(r#"{"site_id":"shop","event_type":"page_view"}"#),
        };
        assert_eq!(status(ask(), Some(&key)).await, 503, "{arguments:?}");
        assert_eq!(status(ask(), Some(NOT_A_KEY)).await, 403);
        assert_eq!(status(ask(), None).await, 401);
    }
}

#[test]
fn a_secret_key_in_the_configuration_is_refused_without_being_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let (_, secret) = key(folder.path(), &["--secret"]);
    for list in ["secret_keys", "public_keys"] {
        let toml = format!("[[ingest.keys.sites]]\nsite_id = \"shop\"\n{list} = [\"{secret}\"]\n");
        std::fs::write(folder.path().join("weir.toml"), toml).unwrap();
        let refused = weir(folder.path()).arg("config").output().unwrap();
        let printed = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{printed}");
        assert!(printed.contains("ingest.keys.sites"), "{printed}");
        assert!(printed.contains("64 hex digits"), "{printed}");
        assert!(printed.contains("`weir key`"), "{printed}");
        assert!(!printed.contains(&secret), "{printed}");
    }
}

//! The sink's operations and pages in browsers: no page reads them.
#![expect(clippy::unwrap_used, reason = "tests, and the helpers they share")]

use std::net::SocketAddr;

use sink::{Config, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const PATHS: [&str; 4] = ["/health", "/ready", "/metrics", "/nothing"];

/// A sink whose Kafka and ClickHouse are not there, which its operations can tell.
async fn alone(hosts: &[&str]) -> anyhow::Result<Service> {
    let config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        ..Config::default()
    };
    let kafka = infra::kafka::Config {
        brokers: "127.0.0.1:1".to_owned(),
        ..Default::default()
    };
    let clickhouse = infra::clickhouse::Config {
        url: "http://127.0.0.1:1".parse().unwrap(),
        ..Default::default()
    };
    Service::bind(config, kafka, clickhouse).await
}

/// The answer, head and body.
async fn ask(address: SocketAddr, line: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_reads_the_operations() {
    let sink = alone(&["sink.example.com"]).await.unwrap();
    let address = sink.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(sink.run(shutdown.clone()));
    for path in PATHS {
        let get = format!("GET {path}");
        for host in [
            "evil.example:3002",
            "localhost.evil.example",
            "x.sink.example.com",
        ] {
            let answer = ask(address, &get, &format!("Host: {host}\r\n")).await;
            assert_eq!(status(&answer), 421, "{path} {host}");
            assert!(answer.contains("sink.hosts") && answer.contains(r#""success":false"#));
        }
        let both = "Host: localhost\r\nHost: evil.example\r\n";
        assert_eq!(status(&ask(address, &get, both).await), 421, "{path}");
        let absolute = format!("GET http://evil.example{path}");
        let answer = ask(address, &absolute, "Host: localhost\r\n").await;
        assert_eq!(status(&answer), 421, "{path}");
        for host in [
            "localhost:3002",
            "127.0.0.1",
            "sink",
            "sink.weir.svc",
            "Sink.Example.Com",
        ] {
            let host = format!("Host: {host}\r\n");
            let answer = ask(address, &get, &host).await;
            assert!([200, 404, 503].contains(&status(&answer)), "{answer}");
            let page = format!("{host}Origin: http://evil.example\r\n");
            let answer = ask(address, &get, &page).await.to_ascii_lowercase();
            assert!(!answer.contains("access-control-allow-origin"), "{answer}");
            for site in ["cross-site", "same-site"] {
                let other = format!("{host}Sec-Fetch-Site: {site}\r\n");
                assert_eq!(status(&ask(address, &get, &other).await), 403, "{path}");
            }
        }
        for line in [get, format!("POST {path}"), format!("OPTIONS {path}")] {
            for host in ["localhost", "evil.example"] {
                let answer = ask(address, &line, &format!("Host: {host}\r\n")).await;
                for told in [
                    "x-content-type-options: nosniff\r\n",
                    "x-frame-options: DENY\r\n",
                    "content-security-policy: default-src 'none'; ",
                    "frame-ancestors 'none'",
                    "cross-origin-resource-policy: same-origin\r\n",
                ] {
                    assert!(answer.contains(told), "{line} {host}: {answer}");
                }
            }
        }
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_name_that_is_none_stops_the_start() {
    let refused = alone(&["sink.example.com:3002"])
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("sink.hosts"), "{refused}");
}

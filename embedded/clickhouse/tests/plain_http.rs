//! The protocol as curl sees it: statuses, headers, bodies whole and cut.

#[cfg(test)]
mod common;

use std::io::Write as _;

use common::Engine;
use reqwest::{Client, StatusCode};
use serde_json::json;

/// A Native block of one UInt64 column `a`.
fn native(values: &[u64]) -> Vec<u8> {
    let mut block = vec![1, values.len() as u8, 1, b'a', 6];
    block.extend_from_slice(b"UInt64");
    block.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    block
}

/// One uncompressed block in ClickHouse's framing.
fn framed(content: &[u8]) -> Vec<u8> {
    let mut block = vec![0x02];
    block.extend_from_slice(&(content.len() as u32 + 9).to_le_bytes());
    block.extend_from_slice(&(content.len() as u32).to_le_bytes());
    block.extend_from_slice(content);
    let mut framed = cityhash_rs::cityhash_102_128(&block)
        .rotate_left(64)
        .to_le_bytes()
        .to_vec();
    framed.extend_from_slice(&block);
    framed
}

async fn with_table(folder: &tempfile::TempDir) -> Engine {
    let engine = Engine::start(folder.path());
    engine.ask("CREATE DATABASE weir").await;
    engine
        .ask("CREATE TABLE weir.t (a UInt64) ENGINE = MergeTree ORDER BY a")
        .await;
    engine
}

#[tokio::test]
async fn statuses_and_headers_are_clickhouses() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let client = Client::new();
    let ping = client
        .get(format!("{}/ping", engine.url))
        .send()
        .await
        .unwrap();
    assert_eq!(ping.text().await.unwrap(), "Ok.\n");

    let url = format!(
        "{}/?query=SELECT+1+AS+one+FORMAT+JSONEachRow&query_id=mine",
        engine.url
    );
    let response = client.get(&url).send().await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-clickhouse-query-id"), "mine");
    assert_eq!(header("x-clickhouse-format"), "JSONEachRow");
    assert_eq!(header("x-clickhouse-timezone"), "UTC");
    assert!(header("x-clickhouse-summary").contains("\"read_rows\""));
    assert_eq!(response.text().await.unwrap(), "{\"one\":1}\n");

    for (sql, status, code) in [
        ("SELECT * FROM weir.nothing", 404, "60"),
        ("SELEC 1", 400, "62"),
        ("SELECT nothing", 404, "47"),
        ("SELECT throwIf(1)", 500, "395"),
    ] {
        let response = client.post(&engine.url).body(sql).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{sql}");
        assert_eq!(
            response.headers()["x-clickhouse-exception-code"],
            code,
            "{sql}"
        );
        let text = response.text().await.unwrap();
        assert!(
            text.starts_with(&format!("Code: {code}. DB::Exception: ")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn get_reads_only() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let url = format!("{}/?query=INSERT+INTO+weir.t+VALUES+(1)", engine.url);
    let response = Client::new().get(url).send().await.unwrap();
    assert_eq!(response.headers()["x-clickhouse-exception-code"], "164");
    assert_eq!(engine.ask("SELECT count() FROM weir.t").await, "0");
    let response = Client::new().delete(&engine.url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
}

#[tokio::test]
async fn a_body_cut_at_any_byte_inserts_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let client = Client::new();
    let plain = native(&[1, 2, 3]);
    // Two blocks: the first one alone would be a whole one.
    let framed = [framed(&native(&[1])), framed(&native(&[2]))].concat();
    for (body, more) in [(plain, ""), (framed, "&decompress=1")] {
        let url = format!(
            "{}/?query=INSERT+INTO+weir.t+FORMAT+Native{more}",
            engine.url
        );
        for end in 1..body.len() {
            // What ends between two frames is whole as far as anyone can tell.
            if !more.is_empty() && end == body.len() / 2 {
                continue;
            }
            let response = client
                .post(&url)
                .body(body[..end].to_vec())
                .send()
                .await
                .unwrap();
            assert!(!response.status().is_success(), "cut at {end}{more}");
        }
        assert_eq!(engine.ask("SELECT count() FROM weir.t").await, "0");
        let response = client.post(&url).body(body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        engine.ask("TRUNCATE TABLE weir.t").await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_body_inserts_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let address = engine.url.strip_prefix("http://").unwrap();
    for head in [
        "Content-Length: 1000\r\n\r\n1\n2\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\n1\n2\n\r\n",
    ] {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /?query=INSERT+INTO+weir.t+FORMAT+CSV HTTP/1.1\r\nHost: x\r\n{head}"
        )
        .unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // The server closes once it has given the request up.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
    assert_eq!(engine.ask("SELECT count() FROM weir.t").await, "0");
}

#[tokio::test]
async fn bodies_come_in_gzip_lz4_and_forms() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_table(&folder).await;
    let client = Client::new();
    let url = format!("{}/?query=INSERT+INTO+weir.t+FORMAT+CSV", engine.url);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"1\n2\n").unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(b"3\n").unwrap();
    for (encoding, body) in [
        ("gzip", gzip.finish().unwrap()),
        ("lz4", lz4.finish().unwrap()),
    ] {
        let post = |body| {
            client
                .post(&url)
                .header("content-encoding", encoding)
                .body(body)
                .send()
        };
        assert_eq!(post(body).await.unwrap().status(), 200, "{encoding}");
    }
    assert_eq!(
        engine
            .ask("SELECT groupArray(a) FROM (SELECT a FROM weir.t ORDER BY a)")
            .await,
        "[1,2,3]"
    );

    let form = "--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {x:String}\r\n--b\r\nContent-Disposition: form-data; name=\"param_x\"\r\n\r\none two\r\n--b--\r\n";
    let response = client
        .post(&engine.url)
        .header("content-type", "multipart/form-data; boundary=b")
        .body(form)
        .send()
        .await
        .unwrap();
    assert_eq!(response.text().await.unwrap(), "one two\n");
}

#[tokio::test]
async fn settings_last_for_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    let client = Client::new();
    let url = format!("{}/?max_block_size=1234", engine.url);
    let asked = "SELECT getSetting('max_block_size'), getSetting('max_execution_time')";
    let with = client
        .post(url)
        .body(asked)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(with, "1234\t600\n");
    engine
        .ask("SET max_block_size = 77, max_execution_time = 1")
        .await;
    for _ in 0..3 {
        assert_eq!(engine.ask(asked).await, "65409\t600");
    }
    let unknown = client
        .post(format!("{}/?nothing=1", engine.url))
        .body("SELECT 1")
        .send()
        .await
        .unwrap();
    assert_eq!(unknown.headers()["x-clickhouse-exception-code"], "115");
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_ask() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    let url = format!("{}/?enable_http_compression=1", engine.url);
    let answer = Client::new()
        .post(url)
        .header("accept-encoding", "gzip")
        .body("SELECT number FROM numbers(1000)")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let mut text = String::new();
    let body = answer.bytes().await.unwrap();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&body[..]), &mut text).unwrap();
    assert_eq!(text.lines().count(), 1000);
}

#[tokio::test]
async fn one_statement_of_the_service_too_many_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start_with(folder.path(), json!({"queries_max": 2})).unwrap();
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let url = engine.url.clone();
        answers.spawn(async move {
            let request = Client::new().post(url).body("SELECT sleep(3)");
            request.send().await.unwrap().text().await.unwrap()
        });
    }
    let answers = answers.join_all().await;
    let refused = answers.iter().filter(|text| text.contains("Code: 202."));
    assert_eq!(refused.count(), 4, "{answers:?}");
}

#[tokio::test]
async fn sessions_temporary_tables_and_external_data_are_the_services() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path());
    let url = format!("{}/?session_id=mine", engine.url);
    let ask = async |sql: &str| {
        let request = Client::new().post(&url).body(sql.to_owned());
        request.send().await.unwrap().text().await.unwrap()
    };
    assert_eq!(ask("CREATE TEMPORARY TABLE t (a UInt64)").await, "");
    assert_eq!(ask("INSERT INTO t VALUES (1), (2)").await, "");
    assert_eq!(ask("SELECT sum(a) FROM t").await, "3\n");
    let form = "--b\r\nContent-Disposition: form-data; name=\"ext\"; filename=\"ext\"\r\n\r\n5\n6\n\r\n--b--\r\n";
    for user in ["default", "analyst"] {
        let url = format!(
            "{}/?user={user}&query=SELECT+sum(a)+FROM+ext&ext_structure=a+UInt64",
            engine.url
        );
        engine.ask("CREATE DATABASE IF NOT EXISTS weir").await;
        let request = Client::new()
            .post(url)
            .header("content-type", "multipart/form-data; boundary=b")
            .body(form);
        let answer = request.send().await.unwrap().text().await.unwrap();
        assert_eq!(answer, "11\n", "{user}");
    }
}

#[tokio::test]
async fn a_statement_can_be_killed_by_its_query_id() {
    let folder = tempfile::tempdir().unwrap();
    let engine = common::with_table(&folder).await;
    for user in ["default", "analyst"] {
        let url = format!("{}/?user={user}&query_id=long-{user}", engine.url);
        let sql = "SELECT sleepEachRow(1) FROM numbers(50) SETTINGS max_block_size = 1";
        let long = tokio::spawn(async move {
            let request = Client::new().post(url).body(sql);
            request.send().await.unwrap().text().await.unwrap()
        });
        let running =
            format!("SELECT count() FROM system.processes WHERE query_id = 'long-{user}'");
        common::wait_until(&engine, &running, "1").await;
        let kill = format!("KILL QUERY WHERE query_id = 'long-{user}'");
        let (status, text) = engine.post_as(user, &kill).await;
        assert_eq!(status, 200, "{user}: {text}");
        assert!(long.await.unwrap().contains("Code: 394."), "{user}");
    }
}

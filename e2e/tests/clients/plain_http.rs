//! Plain HTTP, as curl and clients written by hand send it.

use e2e::{Weir, eventually};
use reqwest::{Client, Response};

use crate::matrix::{self, Row};

const LONG: &str = "SELECT sleepEachRow(1) FROM numbers(50) SETTINGS max_block_size = 1";

#[tokio::test]
async fn plain_http_finds_what_a_server_offers() {
    let weir = matrix::weir().await;
    let mut rows = Vec::new();
    for user in ["default", "analyst"] {
        let http = Http { weir: &weir, user };
        http.compress(&mut rows).await;
        http.keep_a_session(&mut rows).await;
        http.set(&mut rows).await;
        http.kill(&mut rows).await;
        http.read_files(&mut rows).await;
    }
    matrix::print("plain HTTP", &rows);
    matrix::check("plain HTTP", &rows);
}

struct Http<'a> {
    weir: &'a Weir,
    user: &'static str,
}

impl Http<'_> {
    fn row(&self, rows: &mut Vec<Row>, operation: &str, expected: &str, found: String) {
        rows.push(Row {
            operation: operation.to_owned(),
            user: self.user.to_owned(),
            expected: expected.to_owned(),
            found,
        });
    }

    /// What the analyst is refused.
    fn only_default(&self, result: &'static str) -> &'static str {
        if self.user == "default" {
            result
        } else {
            "refused: 497"
        }
    }

    async fn send(&self, parameters: &[(&str, &str)], encoding: &str, sql: &str) -> Response {
        let request = Client::new()
            .post(&self.weir.clickhouse)
            .query(parameters)
            .header("x-clickhouse-user", self.user)
            .header("accept-encoding", encoding)
            .body(sql.to_owned());
        request.send().await.unwrap()
    }

    /// The answer, or ClickHouse's code.
    async fn ask(&self, parameters: &[(&str, &str)], sql: &str) -> String {
        let response = self.send(parameters, "identity", sql).await;
        if let Some(code) = response.headers().get("x-clickhouse-exception-code") {
            return format!("refused: {}", code.to_str().unwrap());
        }
        response.text().await.unwrap().trim().to_owned()
    }

    async fn compress(&self, rows: &mut Vec<Row>) {
        let sql = "SELECT number FROM numbers(10000)";
        for (encoding, magic) in [
            ("gzip", &[0x1f, 0x8b][..]),
            ("deflate", &[0x78]),
            ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]),
            ("lz4", &[0x04, 0x22, 0x4d, 0x18]),
            ("xz", &[0xfd, b'7', b'z']),
            // It has no bytes to know it by.
            ("br", &[]),
        ] {
            let asked = [("enable_http_compression", "1")];
            let response = self.send(&asked, encoding, sql).await;
            let named = response.headers().get("content-encoding").cloned();
            let body = response.bytes().await.unwrap();
            let is_packed = named.as_ref().is_some_and(|named| named == encoding)
                && body.starts_with(magic)
                && body.len() < 40_000;
            let found = if is_packed {
                "packed".to_owned()
            } else {
                format!("{named:?}, {} bytes", body.len())
            };
            self.row(rows, &format!("answer in {encoding}"), "packed", found);
        }
        // Native blocks in ClickHouse's own frames, LZ4: a checksum of 16 bytes, then the method.
        let asked = [("compress", "1"), ("default_format", "Native")];
        let body = self.send(&asked, "identity", sql).await.bytes().await;
        let method = format!("{:#x}", body.unwrap()[16]);
        self.row(rows, "compress=1", "0x82", method);
    }

    async fn keep_a_session(&self, rows: &mut Vec<Row>) {
        let id = format!("http-{}", self.user);
        let session = [("session_id", id.as_str()), ("session_timeout", "60")];
        let in_session = async |sql: &str| self.ask(&session, sql).await;
        in_session("SET max_threads = 3").await;
        let found = in_session("SELECT getSetting('max_threads')").await;
        self.row(rows, "session: a setting", "3", found);
        let created = in_session("CREATE TEMPORARY TABLE t AS SELECT 7 AS a").await;
        let found = if created.is_empty() {
            in_session("SELECT a FROM t").await
        } else {
            created
        };
        let expected = self.only_default("7");
        self.row(rows, "session: a temporary table", expected, found);
        let other = [("session_id", "http-other"), ("session_check", "1")];
        let found = self.ask(&other, "SELECT 1").await;
        self.row(
            rows,
            "session: one that is not there",
            "refused: 372",
            found,
        );
    }

    /// What `readonly = 2` leaves to analysts: settings within their limits.
    async fn set(&self, rows: &mut Vec<Row>) {
        for (operation, parameters, sql, expected) in [
            (
                "a setting in the URL",
                &[("max_threads", "2")][..],
                "SELECT getSetting('max_threads')",
                "2",
            ),
            (
                "a setting in the statement",
                &[],
                "SELECT getSetting('max_result_rows') SETTINGS max_result_rows = 5",
                "5",
            ),
            (
                "a filter in the URL",
                &[(
                    "additional_table_filters",
                    "{'weir.events': 'path = \\'/a\\''}",
                )],
                "SELECT count() FROM weir.events",
                "5",
            ),
            (
                "a limit and an offset in the URL",
                &[("limit", "2"), ("offset", "1")],
                "SELECT DISTINCT path FROM weir.events ORDER BY path FORMAT CSV",
                "\"/b\"\n\"/c\"",
            ),
        ] {
            let found = self.ask(parameters, sql).await;
            self.row(rows, operation, expected, found);
        }
        let insert = "INSERT INTO weir.removed_repeats SELECT * FROM weir.removed_repeats";
        let found = self.ask(&[], insert).await;
        let done = if found.is_empty() {
            "done".to_owned()
        } else {
            found
        };
        self.row(rows, "insert", self.only_default("done"), done);
        if self.user == "analyst" {
            for (operation, parameters, sql) in [
                (
                    "lift a limit in the URL",
                    &[("max_execution_time", "0")][..],
                    "SELECT 1",
                ),
                (
                    "lift a limit in the statement",
                    &[],
                    "SELECT 1 SETTINGS max_memory_usage = 0",
                ),
            ] {
                let found = self.ask(parameters, sql).await;
                self.row(rows, operation, "refused: 452", found);
            }
        }
    }

    /// Analysts kill their own statements, the service kills everybody's.
    async fn kill(&self, rows: &mut Vec<Row>) {
        let other = Http {
            weir: self.weir,
            user: if self.user == "default" {
                "analyst"
            } else {
                "default"
            },
        };
        let service = self.weir.clickhouse();
        let id = format!("http-of-{}", other.user);
        let asked = Client::new()
            .post(&other.weir.clickhouse)
            .query(&[("query_id", &id)])
            .header("x-clickhouse-user", other.user)
            .body(LONG);
        let long = tokio::spawn(asked.send());
        let running = format!("SELECT count() FROM system.processes WHERE query_id = '{id}'");
        eventually("1".to_owned(), async || service.text(&running).await).await;
        let kill = format!("KILL QUERY WHERE query_id = '{id}' SYNC");
        let found = self.ask(&[], &kill).await;
        let killed = found.split('\t').next().unwrap().to_owned();
        let is_running = service.text(&running).await == "1";
        let (expected, found) = match (self.user, is_running) {
            ("default", false) => ("finished", killed),
            ("analyst", true) if killed.is_empty() => {
                ("it is not seen", "it is not seen".to_owned())
            }
            _ => ("otherwise", format!("{killed}, runs: {is_running}")),
        };
        self.row(rows, "KILL another user's statement", expected, found);
        service.text(&kill).await;
        long.await.unwrap().unwrap();
    }

    async fn read_files(&self, rows: &mut Vec<Row>) {
        let sql = "SELECT path, count() AS views FROM weir.events GROUP BY path";
        for (format, magic) in [
            ("Parquet", &b"PAR1"[..]),
            ("Arrow", b"ARROW1"),
            ("ORC", b"ORC"),
            ("Avro", b"Obj\x01"),
        ] {
            let asked = [("default_format", format)];
            let body = self.send(&asked, "identity", sql).await.bytes().await;
            let is_one = body.unwrap().starts_with(magic);
            self.row(
                rows,
                &format!("answer as {format}"),
                "true",
                is_one.to_string(),
            );
        }
    }
}

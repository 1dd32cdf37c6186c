//! What the tests ask of its services.

use reqwest::StatusCode;
use serde_json::Value;

use super::Weir;

impl Weir {
    /// Posts a body to ingest; status and answer.
    ///
    /// # Panics
    /// If there is no answer, or it is not JSON.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let url = format!("{}{path}", self.ingest);
        let response = reqwest::Client::new()
            .post(url)
            .body(body)
            .send()
            .await
            .expect("ingest answers");
        let status = response.status();
        (
            status,
            response.json().await.expect("ingest answers with JSON"),
        )
    }

    /// `/stats` with this query string, which must be answered with success.
    ///
    /// # Panics
    /// If it is not.
    pub async fn stats(&self, query: &str) -> Value {
        let url = format!("{}/stats?{query}", self.query);
        let response = reqwest::get(url).await.expect("query answers");
        assert_eq!(response.status(), StatusCode::OK, "/stats?{query}");
        response.json().await.expect("query answers with JSON")
    }

    /// The same while ClickHouse may be away: null where there is no answer to be had.
    ///
    /// # Panics
    /// If query itself does not answer.
    pub async fn stats_if_any(&self, query: &str) -> Value {
        let url = format!("{}/stats?{query}", self.query);
        let response = reqwest::get(url).await.expect("query answers");
        match response.status() {
            StatusCode::SERVICE_UNAVAILABLE => Value::Null,
            StatusCode::OK => response.json().await.expect("query answers with JSON"),
            other => panic!("/stats?{query} answers {other}"),
        }
    }
}

//! ClickHouse as curl sees it.

use reqwest::StatusCode;

/// An HTTP endpoint and a user.
#[derive(Debug, Clone)]
pub struct ClickHouse {
    pub url: String,
    pub user: &'static str,
}

impl ClickHouse {
    /// The answer to a statement, trimmed: its text, or the status and text of a refusal.
    ///
    /// # Errors
    /// Whatever ClickHouse refuses.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn ask(&self, sql: &str) -> Result<String, (StatusCode, String)> {
        let response = reqwest::Client::new()
            .post(&self.url)
            .header("X-ClickHouse-User", self.user)
            .body(sql.to_owned())
            .send()
            .await
            .expect("ClickHouse answers");
        let status = response.status();
        let text = response.text().await.expect("ClickHouse answers with text");
        let text = text.trim().to_owned();
        if status.is_success() {
            Ok(text)
        } else {
            Err((status, text))
        }
    }

    /// The answer to a statement that must succeed.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn text(&self, sql: &str) -> String {
        self.ask(sql)
            .await
            .unwrap_or_else(|refusal| panic!("{sql}: {refusal:?}"))
    }
}

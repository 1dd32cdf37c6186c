//! A website: any path is a page with the tracker's tag, and some have more.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::gate;

const MODULE: &str = include_str!("../../../sdk/js/dist/weir.mjs");

/// A page's own headers and what stands behind its tag.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    pub(crate) tag: Option<String>,
    pub(crate) headers: String,
    pub(crate) body: String,
}

type Asked = Arc<Mutex<Vec<String>>>;

pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    /// The heads of all requests, in small letters.
    asked: Asked,
    go: Arc<Notify>,
}

impl Site {
    pub(crate) async fn with(
        tag: String,
        pages: impl IntoIterator<Item = (&'static str, Page)>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages: HashMap<_, _> = pages.into_iter().collect();
        let pages = Arc::new(pages);
        let asked = Asked::default();
        let go = Arc::new(Notify::new());
        let site = Self {
            address,
            asked: asked.clone(),
            go: go.clone(),
        };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (tag, pages, asked, go) =
                    (tag.clone(), pages.clone(), asked.clone(), go.clone());
                tokio::spawn(async move {
                    let Some((head, _)) = gate::request(&mut stream).await else {
                        return;
                    };
                    asked.lock().unwrap().push(head.to_ascii_lowercase());
                    let target = head.split(' ').nth(1).unwrap_or_default();
                    let path = target.split('?').next().unwrap_or_default();
                    if path == "/go" {
                        go.notified().await;
                    }
                    let answer = answer(path, &tag, &pages);
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        site
    }

    /// The address of a page on a name of this site.
    pub(crate) fn url(&self, name: &str, path: &str) -> String {
        format!("http://{name}:{}{path}", self.address.port())
    }

    /// Answers a page that waits for `/go`.
    pub(crate) fn let_go(&self) {
        self.go.notify_one();
    }

    /// Whether a request came whose head has this text, in small letters.
    pub(crate) fn was_asked(&self, text: &str) -> bool {
        let asked = self.asked.lock().unwrap();
        asked.iter().any(|head| head.contains(text))
    }
}

fn answer(path: &str, tag: &str, pages: &HashMap<&str, Page>) -> String {
    if path == "/weir.mjs" {
        return written("text/javascript", "", MODULE);
    }
    let page = pages.get(path).cloned().unwrap_or_default();
    let tag = page.tag.as_deref().unwrap_or(tag);
    let html = format!(
        "<!doctype html><title>{path}</title>{tag}<body>{}",
        page.body
    );
    written("text/html; charset=utf-8", &page.headers, &html)
}

fn written(kind: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

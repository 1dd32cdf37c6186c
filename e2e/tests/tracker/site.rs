//! A website: any path is a page with the tracker's tag, and some have more.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::gate;

const MODULE: &str = include_str!("../../../sdk/js/dist/weir.mjs");

/// A page's own headers and what stands behind its tag.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    pub(crate) tag: Option<String>,
    pub(crate) headers: String,
    pub(crate) body: String,
}

pub(crate) struct Site {
    pub(crate) address: SocketAddr,
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
        let site = Self { address };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (tag, pages) = (tag.clone(), pages.clone());
                tokio::spawn(async move {
                    let Some((head, _)) = gate::request(&mut stream).await else {
                        return;
                    };
                    let target = head.split(' ').nth(1).unwrap_or_default();
                    let path = target.split('?').next().unwrap_or_default();
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

//! The dashboard's files: embedded, hashed and packed once.

use std::io::Write;

use axum::body::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// What stands for the version in the page.
const VERSION: &str = "{{version}}";
const VERSION_BYTES: usize = 8;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! sources {
    ($($name:literal: $kind:expr,)*) => {
        &[$(($name, $kind, include_bytes!(concat!("../../dashboard/", $name)))),*]
    };
}

const INDEX: &str = include_str!("../../dashboard/index.html");
const SOURCES: &[(&str, &str, &[u8])] = sources! {
    "api.js": JS,
    "app.js": JS,
    "breakdown.js": JS,
    "chart.js": JS,
    "days.js": JS,
    "dom.js": JS,
    "empty.js": JS,
    "filters.js": JS,
    "format.js": JS,
    "icon.svg": SVG,
    "live.js": JS,
    "picker.js": JS,
    "popover.js": JS,
    "range.js": JS,
    "state.js": JS,
    "style.css": CSS,
    "theme.js": JS,
    "totals.js": JS,
    "trouble.js": JS,
    "vendor/uPlot.LICENSE": "text/plain; charset=utf-8",
    "vendor/uPlot.iife.min.js": JS,
    "vendor/uPlot.min.css": CSS,
};

/// A file as it is sent.
pub(super) struct File {
    name: &'static str,
    pub(super) kind: &'static str,
    pub(super) etag: String,
    pub(super) plain: Bytes,
    pub(super) gzip: Bytes,
}

/// All of them.
pub(super) struct Files {
    /// A hash over the content of all: modules import each other by relative names, so they change
    /// their addresses together.
    pub(super) version: String,
    pub(super) index: File,
    assets: Vec<File>,
}

impl Files {
    pub(super) fn prepare() -> Self {
        let mut hash = Sha256::new();
        for (name, _, content) in SOURCES {
            hash.update(name);
            hash.update(content);
        }
        let version = hex(&hash.finalize());
        let index = INDEX.replace(VERSION, &version);
        let assets = SOURCES
            .iter()
            .map(|(name, kind, content)| File::new(name, kind, sent(name, kind, content)));
        Self {
            index: File::new("index.html", HTML, Bytes::from(index)),
            assets: assets.collect(),
            version,
        }
    }

    pub(super) fn find(&self, version: &str, name: &str) -> Option<&File> {
        if version != self.version {
            return None;
        }
        self.assets.iter().find(|file| file.name == name)
    }
}

impl File {
    fn new(name: &'static str, kind: &'static str, plain: Bytes) -> Self {
        Self {
            name,
            kind,
            etag: format!("\"{}\"", hex(&Sha256::digest(&plain))),
            gzip: packed(&plain),
            plain,
        }
    }
}

/// Modules and styles without their comments and indentation, which are for those who read them
/// here. It is no minifier: lines stay lines, and none of them is inside a literal.
fn sent(name: &str, kind: &str, content: &'static [u8]) -> Bytes {
    if name.starts_with("vendor/") || !(kind == JS || kind == CSS) {
        return Bytes::from_static(content);
    }
    let text = std::str::from_utf8(content).expect("a module is UTF-8");
    let is_comment = |line: &str| line.starts_with("//") || line.starts_with("* ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.filter(|line| !is_comment(line)).collect();
    let text = lines.join("\n");
    if kind == JS {
        return text.into();
    }
    // None of these stands inside a string of the styles.
    let tighter = [
        (" { ", "{"),
        ("; }", "}"),
        (" }", "}"),
        (": ", ":"),
        ("; ", ";"),
        (", ", ","),
    ];
    let text = tighter
        .iter()
        .fold(text, |text, (wide, tight)| text.replace(wide, tight));
    text.into()
}

fn packed(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("memory takes bytes");
    encoder.finish().expect("memory takes bytes").into()
}

fn hex(digest: &[u8]) -> String {
    let bytes = digest.iter().take(VERSION_BYTES);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_the_page_names_is_there() {
        let files = Files::prepare();
        let page = std::str::from_utf8(&files.index.plain).unwrap();
        assert!(!page.contains(VERSION));
        let base = format!("\"/dashboard/{}/", files.version);
        let mut named = 0;
        for rest in page.split(&base).skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(files.find(&files.version, name).is_some(), "{name}");
            named += 1;
        }
        assert!(named > 10, "the page names what it needs at once: {named}");
    }

    #[test]
    fn every_module_is_loaded_at_once_and_not_one_after_the_other() {
        for (name, kind, content) in SOURCES {
            if *kind != JS || name.contains("vendor/") {
                continue;
            }
            let content = std::str::from_utf8(content).unwrap();
            let imports = content.split(" from \"./").skip(1);
            for import in imports.filter_map(|rest| rest.split('"').next()) {
                let preload =
                    format!("rel=\"modulepreload\" href=\"/dashboard/{VERSION}/{import}\"");
                assert!(INDEX.contains(&preload), "{name} imports {import}");
            }
        }
    }

    #[test]
    fn no_file_makes_html_of_text_or_loads_from_elsewhere() {
        for (name, kind, content) in SOURCES {
            if *kind != JS && *kind != CSS || name.contains("vendor/") {
                continue;
            }
            let content = std::str::from_utf8(content).unwrap();
            for banned in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "@import",
            ] {
                assert!(!content.contains(banned), "{name} has {banned}");
            }
        }
    }

    #[test]
    fn a_first_load_stays_small() {
        let files = Files::prepare();
        let loaded = |file: &&File| !file.name.ends_with("LICENSE");
        let all = || files.assets.iter().filter(loaded).chain([&files.index]);
        let plain: usize = all().map(|file| file.plain.len()).sum();
        let gzip: usize = all().map(|file| file.gzip.len()).sum();
        assert!(
            plain < 160_000 && gzip < 65_000,
            "{plain} bytes, {gzip} packed"
        );
    }
}

//! `weir import`: a web server's access log becomes page views, sent through the front door.
//!
//! The same file twice changes nothing: a line's event_id comes from the site, its text and all
//! lines before it, so a log that has grown since brings in only what is new.

mod combined;
mod identity;

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use context::visitor::{self, Visitors};
use event::ReferrerPart;
use indicatif::{ProgressBar, ProgressStyle};
use infra::config::Secret;
use serde::{Deserialize, Serialize};

use combined::Request;
use identity::LineIds;

use crate::sender::{Rejected, Sender};

/// The `import` section.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The secret behind visitors (`WEIR_IMPORT__VISITOR_KEY`). Without it, it is that of
    /// `ingest.visitors`: its file, or the one that an edge keeps in its data directory.
    pub(crate) visitor_key: Option<Secret>,
    /// A secret write key of the site, where keys are listed; `--key` goes before it
    /// (`WEIR_IMPORT__KEY`).
    pub(crate) key: Option<Secret>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How the file's lines are written.
    #[arg(long, value_enum)]
    format: Format,
    /// Whose traffic it is.
    #[arg(long, value_parser = parse_site_id)]
    site_id: event::SiteId,
    /// The host of the site, which a log does not say. With it, a referrer of the site's own pages
    /// is no source of visits.
    #[arg(long, value_parser = parse_hostname, value_name = "NAME")]
    hostname: Option<String>,
    /// The ingest service to send to.
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    url: String,
    /// A secret write key of the site, where keys are listed. Other users of this machine can see
    /// arguments: WEIR_IMPORT__KEY hides it from them.
    #[arg(long, value_name = "KEY")]
    key: Option<Secret>,
    /// The data directory of `weir up`, where the visitors' secret is kept [default: that of
    /// ingest.visitors, else ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Seconds to go on trying while ingest cannot be reached or has no room.
    #[arg(long, default_value_t = 60)]
    retry_for: u64,
    /// The access log.
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Apache's and nginx's `combined`.
    Combined,
}

pub(crate) fn parse_site_id(text: &str) -> Result<event::SiteId, String> {
    text.parse()
        .map_err(|fault: event::Fault| fault.to_string())
}

fn parse_hostname(text: &str) -> Result<String, &'static str> {
    let is_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '.' | '_');
    let is_host = !text.is_empty() && text.len() <= HOSTNAME_BYTES_MAX && text.chars().all(is_name);
    match is_host {
        true => Ok(text.to_owned()),
        false => Err("a host's name alone is wanted, such as www.my-site.example"),
    }
}

const HOSTNAME_BYTES_MAX: usize = 253;
/// A longer line is malformed; its rest is read past, not kept.
const LINE_BYTES_MAX: usize = 64 * 1024;
const MALFORMED_SHOWN_MAX: usize = 5;

/// Visitors and referrers are what they are at the edge that `ingest` configures.
pub(crate) async fn run(
    config: Config,
    ingest: ingest::Config,
    options: Options,
) -> anyhow::Result<()> {
    let Format::Combined = options.format;
    let referrer = ingest.referrer;
    let key = options.key.clone().or_else(|| config.key.clone());
    let visitors = visitors(config, ingest.visitors, &options)?;
    let file = open(&options.file)?;
    let mut lines = Lines::new(file.reader);
    let mut ids = LineIds::new();
    let mut sender = Sender::new(
        &options.url,
        key.as_ref(),
        Duration::from_secs(options.retry_for),
        "run the same import again, nothing is counted twice",
    )?;
    let mut tally = Tally::default();

    while let Some(line) = lines
        .next()
        .with_context(|| format!("read {}", file.path.display()))?
    {
        file.progress.set_position(file.consumed.get());
        let event_id = ids.next(line);
        tally.lines += 1;
        match combined::parse(line) {
            Err(reason) => tally.malformed(reason),
            Ok(request) if !request.is_page_view() => tally.other += 1,
            Ok(request) => {
                tally.views += 1;
                let view = page_view(&options, &request, event_id, &visitors, referrer);
                sender.send(&view, tally.lines).await?;
            }
        }
    }
    let rejected = sender.finish().await?;
    file.progress.finish_and_clear();
    tally.print(&rejected);
    ensure!(tally.lines > 0, "{} is empty", options.file.display());
    ensure!(
        tally.views > 0 || tally.other > 0,
        "no line of {} is in the combined format",
        options.file.display()
    );
    Ok(())
}

/// The same visitors as at the edge, from the same secret.
fn visitors(config: Config, edge: visitor::Config, options: &Options) -> anyhow::Result<Visitors> {
    let secret = match (config.visitor_key, &options.data_dir) {
        (Some(key), _) => visitor::Secret::new(key.expose().as_bytes()),
        (None, Some(dir)) if edge.secret_file.is_none() => visitor::Secret::kept_in(dir),
        (None, _) => edge.secret(),
    };
    Ok(Visitors::new(secret?, edge.period))
}

/// A page view as `/events` takes it.
#[derive(Debug, Serialize)]
struct PageView<'v> {
    site_id: &'v str,
    event_type: &'static str,
    /// With its query, which the edge cuts as it does a page's.
    path: &'v str,
    url: Cow<'v, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    timestamp: String,
    event_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<Cow<'v, str>>,
    /// Empty where the line has none, and then a bot's: every browser sends one.
    user_agent: &'v str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<&'v str>,
}

fn page_view<'v>(
    options: &'v Options,
    request: &'v Request<'_>,
    event_id: String,
    visitors: &Visitors,
    referrer: ReferrerPart,
) -> PageView<'v> {
    PageView {
        site_id: options.site_id.as_str(),
        event_type: "page_view",
        path: request.path_and_query(),
        url: request.url(options.hostname.as_deref()),
        user_id: visitors.id(
            options.site_id.as_str(),
            &*request.address,
            request.user_agent(),
            request.time.to_utc(),
        ),
        timestamp: request.time.to_rfc3339(),
        event_id,
        referrer: request.referrer().map(|text| referrer.of(text)),
        user_agent: request.user_agent(),
        ip: request.ip(),
    }
}

/// What the file held.
#[derive(Default)]
struct Tally {
    lines: u64,
    views: u64,
    /// Well-formed, but no page view: an image, a POST, an error.
    other: u64,
    malformed: u64,
    malformed_shown: Vec<(u64, &'static str)>,
}

impl Tally {
    fn malformed(&mut self, reason: &'static str) {
        self.malformed += 1;
        if self.malformed_shown.len() < MALFORMED_SHOWN_MAX {
            self.malformed_shown.push((self.lines, reason));
        }
    }

    #[expect(clippy::print_stdout, reason = "the command's answer")]
    fn print(&self, rejected: &Rejected) {
        println!(
            "{} lines: {} page views, {} other requests, {} malformed",
            self.lines, self.views, self.other, self.malformed
        );
        for (line, reason) in &self.malformed_shown {
            println!("  line {line}: {reason}");
        }
        if self.malformed > MALFORMED_SHOWN_MAX as u64 {
            println!(
                "  ... and {} more",
                self.malformed - MALFORMED_SHOWN_MAX as u64
            );
        }
        if rejected.count > 0 {
            println!("{} page views were refused by ingest", rejected.count);
            for (line, reason) in &rejected.shown {
                println!("  line {line}: {reason}");
            }
        }
    }
}

struct Input {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    consumed: std::rc::Rc<std::cell::Cell<u64>>,
    progress: ProgressBar,
}

/// Opens a log, plain or gzip as rotation leaves it.
fn open(path: &Path) -> anyhow::Result<Input> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let metadata = file
        .metadata()
        .with_context(|| format!("open {}", path.display()))?;
    ensure!(metadata.is_file(), "{} is not a file", path.display());
    let progress = ProgressBar::new(metadata.len()).with_style(
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}")
            .expect("the template is a constant"),
    );
    let consumed = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = Counted {
        inner: file,
        consumed: consumed.clone(),
    };
    let mut buffered = BufReader::with_capacity(256 * 1024, counted);
    let head = buffered
        .fill_buf()
        .with_context(|| format!("read {}", path.display()))?;
    let reader: Box<dyn BufRead> = if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(
            buffered,
        )))
    } else {
        Box::new(buffered)
    };
    Ok(Input {
        path: path.to_owned(),
        reader,
        consumed,
        progress,
    })
}

/// Counts the file's bytes as they are read, for the progress bar.
struct Counted {
    inner: File,
    consumed: std::rc::Rc<std::cell::Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.consumed.set(self.consumed.get() + read as u64);
        Ok(read)
    }
}

/// Lines of any bytes, each without its line ending, cut at [`LINE_BYTES_MAX`].
struct Lines {
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
}

impl Lines {
    fn new(reader: Box<dyn BufRead>) -> Self {
        Self {
            reader,
            line: Vec::new(),
        }
    }

    fn next(&mut self) -> std::io::Result<Option<&[u8]>> {
        self.line.clear();
        // One byte more than allowed, so that a line that is too long is noticed.
        let bytes_max = LINE_BYTES_MAX as u64 + 1;
        if (&mut self.reader)
            .take(bytes_max)
            .read_until(b'\n', &mut self.line)?
            == 0
        {
            return Ok(None);
        }
        if self.line.ends_with(b"\n") {
            self.line.pop();
        } else if self.line.len() > LINE_BYTES_MAX {
            self.reader.skip_until(b'\n')?;
        }
        if self.line.ends_with(b"\r") {
            self.line.pop();
        }
        Ok(Some(&self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(bytes: &'static [u8]) -> Vec<Vec<u8>> {
        let mut lines = Lines::new(Box::new(bytes));
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(line.to_vec());
        }
        all
    }

    #[test]
    fn lines_end_with_lf_or_crlf_or_the_file() {
        assert_eq!(
            lines_of(b"a\r\n\nb"),
            [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]
        );
    }

    fn options() -> Options {
        Options {
            format: Format::Combined,
            site_id: "s".parse().unwrap(),
            hostname: None,
            url: String::new(),
            key: None,
            data_dir: None,
            retry_for: 0,
            file: PathBuf::new(),
        }
    }

    #[test]
    fn a_hostname_is_a_name_alone() {
        for name in [
            "my-site.example",
            "www.my-site.example",
            "localhost",
            "bücher.example",
        ] {
            assert_eq!(parse_hostname(name).as_deref(), Ok(name));
        }
        for other in [
            "",
            "https://my-site.example",
            "my-site.example/",
            "a:80",
            "a b",
            &"a".repeat(254),
        ] {
            assert!(parse_hostname(other).is_err(), "{other}");
        }
    }

    fn some_visitors() -> Visitors {
        let secret = visitor::Secret::new(b"0123456789abcdef").unwrap();
        Visitors::new(secret, visitor::Period::Day)
    }

    #[test]
    fn a_visitor_is_the_one_that_the_edge_makes_of_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let edge = visitor::Config {
            dir: Some(folder.path().to_owned()),
            ..visitor::Config::default()
        };
        let of_a_page = Visitors::new(edge.secret().unwrap(), edge.period);
        let line =
            br#"192.0.2.7 - - [17/May/2015:10:05:03 +0200] "GET /a HTTP/1.1" 200 1 "-" "agent""#;
        let request = combined::parse(line).unwrap();
        let mut options = options();
        for data_dir in [None, Some(folder.path().to_owned())] {
            options.data_dir = data_dir;
            let visitors = visitors(Config::default(), edge.clone(), &options).unwrap();
            let part = ReferrerPart::Path;
            let view = page_view(&options, &request, String::new(), &visitors, part);
            let address: std::net::IpAddr = "192.0.2.7".parse().unwrap();
            let site = options.site_id.as_str();
            let page = of_a_page.id(site, address, "agent", request.time.to_utc());
            assert_eq!(view.user_id, page);
        }
    }

    #[test]
    fn a_view_brings_what_the_edge_labels_it_by() {
        let line = br#"192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /a?utm_source=letter&ref=x HTTP/1.1" 200 1 "https://www.google.com/search?q=weir" "Googlebot/2.1""#;
        let request = combined::parse(line).unwrap();
        let visitors = some_visitors();
        let options = options();
        let view = page_view(
            &options,
            &request,
            "id".to_owned(),
            &visitors,
            ReferrerPart::Path,
        );
        let sent = serde_json::to_value(view).unwrap();
        assert_eq!(sent["url"], "/a?utm_source=letter&ref=x");
        assert_eq!(sent["ip"], "192.0.2.7");
        assert_eq!(sent["user_agent"], "Googlebot/2.1");
        assert_eq!(sent["referrer"], "https://www.google.com/search");

        let json = sent.to_string();
        let event: event::EventRequest<'_> = serde_json::from_str(&json).unwrap();
        let received_at = chrono::Utc::now();
        let event = event::parse(&event, received_at, uuid::Uuid::now_v7).unwrap();
        assert_eq!(event.path.as_str(), "/a");
    }

    #[test]
    fn a_view_without_an_agent_says_so_and_is_the_visitor_that_the_edge_makes() {
        let visitors = some_visitors();
        let options = options();
        for agent in ["-", ""] {
            let line = format!(
                r#"192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 1 "-" "{agent}""#
            );
            let request = combined::parse(line.as_bytes()).unwrap();
            let part = ReferrerPart::Path;
            let view = page_view(&options, &request, String::new(), &visitors, part);
            let address: std::net::IpAddr = "192.0.2.7".parse().unwrap();
            let of_a_page = visitors.id("s", address, "", request.time.to_utc());
            assert_eq!(view.user_id, of_a_page, "{agent:?}");

            let sent = serde_json::to_string(&view).unwrap();
            let event: event::EventRequest<'_> = serde_json::from_str(&sent).unwrap();
            let agent = event.detail(event::Detail::UserAgent).unwrap();
            let described = context::agent::Agents::default().describe(agent);
            assert!(described.ends_with(context::agent::NO_AGENT), "{sent}");
        }
    }

    #[test]
    fn a_referrer_is_cut_before_it_is_sent() {
        let line = br#"10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 1 "https://u:pw@r.example/p?token=1#f" "agent""#;
        let request = combined::parse(line).unwrap();
        let visitors = some_visitors();
        let options = options();
        let sent = |part| {
            let view = page_view(&options, &request, String::new(), &visitors, part);
            serde_json::to_value(view).unwrap()["referrer"].clone()
        };
        assert_eq!(sent(ReferrerPart::Path), "https://r.example/p");
        assert_eq!(sent(ReferrerPart::Host), "https://r.example");
        assert_eq!(sent(ReferrerPart::Full), "https://r.example/p?token=1#f");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        let text: &'static [u8] = [vec![b'x'; LINE_BYTES_MAX * 3], b"\nnext\n".to_vec()]
            .concat()
            .leak();
        let lines = lines_of(text);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), LINE_BYTES_MAX + 1);
        assert_eq!(lines[1], b"next");
    }
}

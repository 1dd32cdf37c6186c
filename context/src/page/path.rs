//! The path of a page in one form, whatever door it came through.

use std::borrow::Cow;

use event::limits::PATH_BYTES_MAX;
use serde::{Deserialize, Deserializer, Serialize};

use super::address::{Address, split_scheme};
use super::text::{Decoding, cut, decode, is_plain};

/// Which addresses are one page.
///
/// Whatever is set, a path begins with `/`, has no host, and is decoded and composed where that
/// leaves its meaning, so that `/caf%C3%A9` and `/café` are one page. The route of a hash router
/// (`/app#/about`, `/#!/about`) is part of it, another fragment is not.
///
/// ```
/// let paths = context::page::Paths::default();
/// assert_eq!(paths.form("https://shop.example/caf%c3%a9?utm_source=x#top"), "/café");
/// assert_eq!(paths.form("/#/about"), "/#/about");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// Whether `/about/` is another page than `/about` (`keep`), or the same (`strip`). The root
    /// keeps its slash (`WEIR_INGEST__PATHS__TRAILING_SLASH=strip`).
    pub trailing_slash: TrailingSlash,
    /// Whether `/About` is the same page as `/about` (`WEIR_INGEST__PATHS__LOWER_CASE=true`).
    pub lower_case: bool,
    /// Parameters of the query that are part of the path, in this order: with `p`, `/?p=12` is a
    /// page. Without any, a query is no part of a path. They should hold nothing that names a
    /// person (`WEIR_INGEST__PATHS__QUERY=p,id`).
    #[serde(deserialize_with = "list")]
    pub query: Vec<String>,
}

/// What is done with a `/` at the end of a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrailingSlash {
    /// Servers may answer differently with and without it, and paths from before have it.
    #[default]
    Keep,
    Strip,
}

/// Signs of an address: decoded, they would end the path or begin an escape.
const SIGNS_OF_PATH: &[char] = &['/', '?', '#', '%'];
const SIGNS_OF_QUERY: &[char] = &['/', '?', '#', '%', '&', '+'];

impl Paths {
    /// The form of a path, or of a URL that was sent as one. Empty where nothing was sent. At most
    /// [`PATH_BYTES_MAX`] bytes: a longer one is cut. The form of a form is itself.
    #[must_use]
    pub fn form<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if text.is_empty() || self.is_form(text) {
            return Cow::Borrowed(text);
        }
        let is_url = split_scheme(text.trim_start()).is_some() || text.starts_with("//");
        let address = if is_url { Address::of(text) } else { None };
        self.of(&address.unwrap_or_else(|| Address::without_authority(text)))
    }

    pub(super) fn of<'t>(&self, address: &Address<'t>) -> Cow<'t, str> {
        let Address {
            path,
            query,
            fragment,
            ..
        } = *address;
        if fragment.is_empty() && (query.is_empty() || self.query.is_empty()) && self.is_form(path)
        {
            return Cow::Borrowed(path);
        }
        let mut form = self.decoded(path);
        let (with_query, route) = (self.query_of(query), self.route_of(fragment));
        for rest in [with_query, route].into_iter().flatten() {
            if form.len() + rest.len() <= PATH_BYTES_MAX {
                form.push_str(&rest);
            }
        }
        Cow::Owned(form)
    }

    /// Whether a text is a path and its own form, as nearly all are.
    fn is_form(&self, text: &str) -> bool {
        let is_sign = |byte| matches!(byte, b'%' | b'?' | b'#');
        let ends_well =
            self.trailing_slash == TrailingSlash::Keep || !text.ends_with('/') || text.len() == 1;
        text.starts_with('/')
            && !text.starts_with("//")
            && text.len() <= PATH_BYTES_MAX
            && ends_well
            && is_plain(text, |byte| {
                is_sign(byte) | (self.lower_case & byte.is_ascii_uppercase())
            })
    }

    fn decoded(&self, path: &str) -> String {
        // A form begins with one slash only: with two it would be a host.
        let path = path.trim_start_matches('/');
        let mut form = self.decoded_part(path);
        form.insert(0, '/');
        if form.len() > PATH_BYTES_MAX {
            let whole = cut(&form, PATH_BYTES_MAX).len();
            form.truncate(whole);
            // Not a part of an escape, which the rest of the path could not complete.
            if let Some(percent) = form.rfind('%')
                && percent + 3 > form.len()
            {
                form.truncate(percent);
            }
        }
        self.end(&mut form);
        if form.is_empty() {
            form.push('/');
        }
        form
    }

    fn decoded_part(&self, part: &str) -> String {
        let how = Decoding {
            keep: SIGNS_OF_PATH,
            plus_is_blank: false,
            lower_case: self.lower_case,
        };
        decode(part, how)
    }

    fn end(&self, form: &mut String) {
        if self.trailing_slash == TrailingSlash::Strip {
            form.truncate(form.trim_end_matches('/').len());
        }
    }

    fn query_of(&self, query: &str) -> Option<String> {
        if query.is_empty() {
            return None;
        }
        let how = Decoding {
            keep: SIGNS_OF_QUERY,
            plus_is_blank: true,
            lower_case: false,
        };
        let mut form = String::new();
        for name in &self.query {
            let of_name = |pair: &str| {
                let (of, value) = pair.split_once('=')?;
                (of == name && !value.is_empty()).then(|| decode(value, how))
            };
            if let Some(value) = query.split('&').find_map(of_name) {
                form.push(if form.is_empty() { '?' } else { '&' });
                form.push_str(name);
                form.push('=');
                form.push_str(&value);
            }
        }
        (!form.is_empty()).then_some(form)
    }

    /// The route of a hash router. Its root is the page without a route.
    fn route_of(&self, fragment: &str) -> Option<String> {
        let is_route = fragment.starts_with('/') || fragment.starts_with("!/");
        let end = fragment.find(['?', '#']).unwrap_or(fragment.len());
        let route = &fragment[..end];
        if !is_route || route.trim_matches(['!', '/']).is_empty() {
            return None;
        }
        let mut form = self.decoded_part(route);
        form.insert(0, '#');
        self.end(&mut form);
        Some(form)
    }
}

/// A list, or one text with commas, as an environment variable has to write it.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list of strings, or one string with commas")]
    enum List {
        Text(String),
        Items(Vec<String>),
    }

    Ok(match List::deserialize(deserializer)? {
        List::Items(items) => items,
        List::Text(text) => {
            let items = text.split(',').map(str::trim);
            items
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect()
        }
    })
}

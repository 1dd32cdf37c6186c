//! Where a visitor came from, by a table of known hosts and names.

use std::sync::LazyLock;

use hashbrown::HashMap;

use super::address::without_www;

/// A source of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) category: Category,
}

/// What kind of site it is, which decides about its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    Search,
    Assistant,
    Social,
    Video,
    Shopping,
    Email,
    Other,
}

/// The source with this host, which is in lower case.
pub(super) fn of_host(host: &str) -> Option<Known> {
    TABLE.of_host(host)
}

/// The source that a campaign or a link names: by its name, an abbreviation of it, or its host.
pub(super) fn of_name(name: &str) -> Option<Known> {
    let mut buffer = [0; NAME_BYTES_MAX];
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name.as_bytes());
    lower.make_ascii_lowercase();
    let lower = std::str::from_utf8(lower).ok()?;
    let by_name = TABLE.names.get(lower).copied();
    by_name.or_else(|| lower.contains('.').then(|| of_host(lower)).flatten())
}

const NAME_BYTES_MAX: usize = 64;

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("sources.txt")));

#[derive(Default)]
struct Table {
    hosts: HashMap<&'static str, Host>,
    /// Hosts without the country they end with.
    of_any_country: HashMap<&'static str, Host>,
    names: HashMap<String, Known>,
}

#[derive(Clone, Copy)]
struct Host {
    known: Known,
    /// Whether hosts below it are of the same source.
    has_below: bool,
}

impl Table {
    fn read(text: &'static str) -> Self {
        let mut table = Self::default();
        for line in text.lines() {
            let is_entry = !line.is_empty() && !line.starts_with('#');
            let mut parts = line.split(" | ");
            if let (true, Some(name), Some(category), Some(keys)) =
                (is_entry, parts.next(), parts.next(), parts.next())
                && let Some(category) = Category::named(category)
            {
                let known = Known { name, category };
                table.names.insert(name.to_lowercase(), known);
                keys.split(' ').for_each(|key| table.insert(key, known));
            }
        }
        table
    }

    fn insert(&mut self, key: &'static str, known: Known) {
        if !key.contains('.') {
            self.names.insert(key.replace('_', " "), known);
            self.names.insert(key.to_owned(), known);
            return;
        }
        let below = key.strip_prefix('.');
        let (host, has_below) = (below.unwrap_or(key), below.is_some());
        let host_of = Host { known, has_below };
        match host.strip_suffix(".*") {
            Some(host) => self.of_any_country.insert(host, host_of),
            None => self.hosts.insert(host, host_of),
        };
    }

    fn of_host(&self, host: &str) -> Option<Known> {
        let host = without_www(host);
        let host = host.strip_prefix("m.").unwrap_or(host);
        let country = country_of(host);
        let mut above = host;
        loop {
            let of_country = above.strip_suffix(country);
            let found = self.hosts.get(above).or_else(|| {
                let name = of_country.filter(|_| !country.is_empty())?;
                self.of_any_country.get(name)
            });
            if let Some(found) = found
                && (found.has_below || above.len() == host.len())
            {
                return Some(found.known);
            }
            above = above.split_once('.')?.1;
        }
    }
}

/// The end of a host that a country or one general domain gives: `.de`, `.com`, `.co.uk`. Short
/// rules are enough here, for only names of the table are looked up before it.
fn country_of(host: &str) -> &str {
    let Some(dot) = host.rfind('.') else {
        return "";
    };
    let length = host.len() - dot - 1;
    if !(2..=3).contains(&length) {
        return "";
    }
    let before = &host[..dot];
    let second = [".com", ".co"];
    let second = second.iter().find(|second| before.ends_with(**second));
    match second {
        Some(second) if length == 2 => &host[dot - second.len()..],
        _ => &host[dot..],
    }
}

impl Category {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "search" => Self::Search,
            "assistant" => Self::Assistant,
            "social" => Self::Social,
            "video" => Self::Video,
            "shopping" => Self::Shopping,
            "email" => Self::Email,
            "other" => Self::Other,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_line_of_the_table_is_an_entry_and_no_key_has_two() {
        let mut seen = HashMap::new();
        for line in include_str!("sources.txt").lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parts: Vec<_> = line.split(" | ").collect();
            assert_eq!(parts.len(), 3, "{line}");
            assert!(Category::named(parts[1]).is_some(), "{line}");
            assert!(parts[0].len() <= NAME_BYTES_MAX, "{line}");
            for key in parts[2].split(' ') {
                assert!(!key.is_empty() && !key.contains('/'), "{line}");
                let key = key.trim_start_matches('.');
                let before = seen.insert(key, parts[0]);
                assert_eq!(before, None, "{key} is of {} too", parts[0]);
            }
        }
        assert!(seen.len() > 600, "{} keys", seen.len());
    }

    #[test]
    fn a_host_is_found_with_what_stands_before_and_behind_it() {
        for (host, name) in [
            ("google.com", "Google"),
            ("www.google.co.uk", "Google"),
            ("www.google.com.hk", "Google"),
            ("google.ba", "Google"),
            ("m.baidu.com", "Baidu"),
            ("l.facebook.com", "Facebook"),
            ("old.reddit.com", "Reddit"),
            ("de.pinterest.com", "Pinterest"),
            ("smile.amazon.co.uk", "Amazon"),
            ("mail.google.com", "Gmail"),
            ("yandex.com.tr", "Yandex"),
            ("uk.search.yahoo.com", "Yahoo!"),
            ("r.duckduckgo.com", "DuckDuckGo"),
            ("t.co", "Twitter"),
            ("x.com", "Twitter"),
            ("blogspot.com", "Blogger"),
            ("en.m.wikipedia.org", "Wikipedia"),
        ] {
            let found = of_host(host).map(|known| known.name);
            assert_eq!(found, Some(name), "{host}");
        }
    }

    #[test]
    fn a_host_that_only_looks_like_a_known_one_is_not_known() {
        for host in [
            "google.evil.example",
            "notgoogle.com",
            "google.com.evil.example",
            "cloud.google.com",
            "my.blogspot.com",
            "somebody.github.io",
            "google",
            "com",
            "co.uk",
            ".co",
            "",
        ] {
            assert_eq!(of_host(host), None, "{host}");
        }
    }

    #[test]
    fn a_name_is_found_whatever_its_case_and_by_its_host_too() {
        for (name, source) in [
            ("google", "Google"),
            ("GOOGLE", "Google"),
            ("www.google.de", "Google"),
            ("fb", "Facebook"),
            ("ig", "Instagram"),
            ("chatgpt.com", "ChatGPT"),
            ("Hacker News", "Hacker News"),
            ("hackernews", "Hacker News"),
            ("x", "Twitter"),
        ] {
            let found = of_name(name).map(|known| known.name);
            assert_eq!(found, Some(source), "{name}");
        }
        assert_eq!(of_name("newsletter"), None);
        assert_eq!(of_name(&"google".repeat(100)), None);
    }
}

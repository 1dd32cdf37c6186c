//! Which agents are of programs, and what those are called.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::Regex;

/// Any of these at the start of an agent, and it is a browser's, or calls itself one. What begins
/// otherwise and names no system is a library or a tool: `curl/8.5.0`, `Go-http-client/2.0`.
pub(super) const BROWSERS_BEGIN_WITH: &[&str] = &[
    "Mozilla/", "Opera/", "Lynx/", "Links ", "ELinks", "w3m/", "Dillo/", "NetSurf/", "UCWEB",
    "Dalvik/",
];
/// Telephones and apps whose agents begin with their own names, and do not always say the system.
pub(super) const TELEPHONES: &[&str] = &[
    "Browser",
    "MIDP",
    "DoCoMo",
    "NetFront",
    "SymbianOS",
    "BlackBerry",
    "Nokia",
    "SonyEricsson",
    "SAMSUNG",
    "Samsung",
    "samsung",
    "HTC",
    "LG-",
    "MOT-",
    "FBAN/",
];

/// The bot's name, or an empty text for a person. `browser` and `system` are those found in `agent`.
pub(super) fn of<'a>(agent: &'a str, browser: &str, system: &str) -> &'a str {
    let word = BotWord::find(agent);
    if let Some(name) = word.as_ref().and_then(BotWord::name) {
        return name;
    }
    if let Some(name) = LIST.find(agent) {
        return name;
    }
    if let Some(name) = word.and_then(|word| word.with_the_one_before(agent)) {
        return name;
    }
    let begins = |starts: &[&str]| starts.iter().any(|start| agent.starts_with(start));
    let is_a_tool = system.is_empty()
        && agent.starts_with(char::is_alphanumeric)
        && !begins(BROWSERS_BEGIN_WITH)
        && !TELEPHONES.iter().any(|word| agent.contains(word));
    // Crawlers give the address of a page about themselves, with a plus before it. Browsers do not.
    let has_a_page = agent.contains("+http");
    let is_unknown = agent.contains(COMPATIBLE) && browser.is_empty() && system.is_empty();
    if is_a_tool || has_a_page || is_unknown {
        return product(agent);
    }
    ""
}

/// A word that ends in "bot", or has "crawl" or "spider" in it: `Googlebot-Image`, `YandexBot`.
/// Cubot makes telephones.
struct BotWord<'a> {
    start: usize,
    word: &'a str,
    is_of_an_address: bool,
}

impl<'a> BotWord<'a> {
    fn find(agent: &'a str) -> Option<Self> {
        static WORD: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"(?i)[a-z0-9_.!-]*(?:bots?\b|bots?[_-]|crawl|spider)[a-z0-9_-]*")
                .expect("the pattern is a constant")
        });
        let is_of_cubot =
            |word: &str| word.len() >= 5 && word.as_bytes()[..5].eq_ignore_ascii_case(b"cubot");
        let found = WORD
            .find_iter(agent)
            .find(|found| !is_of_cubot(found.as_str()))?;
        Some(Self {
            start: found.start(),
            word: found
                .as_str()
                .trim_matches(|character: char| !character.is_alphanumeric()),
            is_of_an_address: agent[..found.start()].ends_with(['/', '@', '=', '?']),
        })
    }

    /// The word, if it is a name and no part of an address.
    fn name(&self) -> Option<&'a str> {
        const OF_ALL: &[&str] = &[
            "bot",
            "bots",
            "robot",
            "robots",
            "crawl",
            "crawler",
            "spider",
            "webcrawler",
            "web-crawler",
        ];
        let is_of_all = OF_ALL
            .iter()
            .any(|word| self.word.eq_ignore_ascii_case(word));
        (!is_of_all && !self.is_of_an_address).then_some(self.word)
    }

    /// `Xing Bot` of `... rv:15.0) Xing Bot`, or else the product.
    fn with_the_one_before(&self, agent: &'a str) -> Option<&'a str> {
        let before = agent[..self.start].trim_end();
        let is_of_a_name = |character: char| character.is_alphanumeric() || character == '.';
        let start = before.trim_end_matches(is_of_a_name).len();
        if before.len() == start || before.len() == self.start || self.is_of_an_address {
            return Some(product(agent));
        }
        Some(&agent[start..self.start + self.word.len()])
    }
}

/// Programs that the list of others lacks: a crawler's other spelling, and readers of feeds.
pub(super) const OWN: &[&str] = &[
    "Akregator",
    "Daumoa",
    "Digg Feed Fetcher",
    "FeedDemon",
    "Google favicon",
    "Liferea",
    "NetNewsWire",
    "Newsboat",
    "RSSOwl",
    "newsbeuter",
];

/// The list of `data/bots.txt`.
struct List {
    texts: AhoCorasick,
    patterns: Regex,
}

static LIST: LazyLock<List> = LazyLock::new(|| {
    let (texts, patterns): (Vec<_>, Vec<_>) = include_str!("../../data/bots.txt")
        .lines()
        .chain(OWN.iter().copied())
        .map(|pattern| plain(pattern).ok_or(pattern))
        .partition(Result::is_ok);
    let patterns: Vec<String> = patterns
        .into_iter()
        .filter_map(Result::err)
        .map(|pattern| format!("(?:{pattern})"))
        .collect();
    List {
        texts: AhoCorasick::new(texts.into_iter().flatten())
            .expect("the list is part of the program"),
        patterns: Regex::new(&patterns.join("|")).expect("the list is part of the program"),
    }
});

impl List {
    /// The name by which the list knows `agent`.
    fn find<'a>(&self, agent: &'a str) -> Option<&'a str> {
        let starts_a_word =
            |start: usize| !agent[..start].ends_with(|before: char| before.is_alphanumeric());
        let text = self
            .texts
            .find_overlapping_iter(agent)
            .filter(|found| agent.is_char_boundary(found.start()) && starts_a_word(found.start()))
            .max_by_key(|found| found.len())
            .map(|found| found.range());
        let range = text.or_else(|| self.patterns.find(agent).map(|found| found.range()))?;
        let name = agent[range].trim_matches(|character: char| !character.is_alphanumeric());
        // The list knows some by a part of an address.
        Some(if name.contains('/') {
            product(agent)
        } else {
            name
        })
    }
}

/// The text that a pattern stands for, if it stands for one only.
fn plain(pattern: &str) -> Option<String> {
    let mut text = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next().filter(|next| !next.is_alphanumeric())?),
            '^' | '$' | '.' | '*' | '+' | '?' | '|' | '(' | ')' | '[' | ']' | '{' | '}' => {
                return None;
            }
            character => text.push(character),
        }
    }
    Some(text)
}

const COMPATIBLE: &str = "compatible; ";

/// What the agent is called by its own first words: `Ezooms` of `Mozilla/5.0 (compatible; Ezooms/1.0;
/// ...)`, `Chef Client` of `Chef Client/10.18.2 (...)`.
fn product(agent: &str) -> &str {
    let of_itself = agent
        .find(COMPATIBLE)
        .map(|at| &agent[at + COMPATIBLE.len()..])
        .or_else(|| (!agent.starts_with("Mozilla")).then_some(agent));
    // A browser's agent with an address in it is called by the address's host.
    let of_its_page = || {
        let address = agent[agent.find("://")? + 3..].trim_start_matches("www.");
        address.split(['/', ')', ';', ',', ' ']).next()
    };
    let name = of_itself.or_else(of_its_page).unwrap_or("");
    let name = name
        .split(['/', '(', ')', ';', ',', '+', '<', '[', '|'])
        .next()
        .unwrap_or("");
    // "Feedbin - 1 subscribers", "Xenu Link Sleuth 1.1".
    let name = name.split(" - ").next().unwrap_or(name);
    let version = name
        .rfind(' ')
        .filter(|&at| name[at + 1..].starts_with(|first: char| first.is_ascii_digit()));
    match name[..version.unwrap_or(name.len())].trim() {
        "" => "Unknown",
        name => name,
    }
}

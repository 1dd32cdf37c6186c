//! How much of a referrer is kept: what comes after a page's path is often meant for nobody else.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The part of a referrer that is kept. Credentials are part of none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReferrerPart {
    /// Scheme, host and path.
    #[default]
    Path,
    /// Scheme and host.
    Host,
    /// All of it, query and fragment too.
    Full,
}

impl ReferrerPart {
    /// The part of a referrer. Any text is one: what is no URL is cut at the same characters.
    ///
    /// ```
    /// let part = event::ReferrerPart::Path;
    /// assert_eq!(part.of("https://u:pw@r.example/p?token=1#f"), "https://r.example/p");
    /// ```
    #[must_use]
    pub fn of(self, referrer: &str) -> Cow<'_, str> {
        if self != Self::Host && has_only_a_path(referrer) {
            return Cow::Borrowed(referrer);
        }
        let query = referrer.find(['?', '#']).unwrap_or(referrer.len());
        let before_query = &referrer[..query];
        let authority = authority_of(before_query);
        let end = match self {
            Self::Path => query,
            Self::Host => authority.end,
            Self::Full => referrer.len(),
        };
        let scheme = &referrer[..authority.start];
        let host = authority.start + user_bytes(&referrer[authority]);
        match &scheme[user_bytes(scheme)..] {
            "" => Cow::Borrowed(&referrer[host..end]),
            own if own.len() == host => Cow::Borrowed(&referrer[..end]),
            own => Cow::Owned(format!("{own}{}", &referrer[host..end])),
        }
    }
}

/// Nearly all are: browsers leave out the rest towards other sites. Looks at every byte, which is
/// done many at a time.
fn has_only_a_path(referrer: &str) -> bool {
    let bytes = referrer.bytes();
    !bytes.fold(false, |found, byte| {
        found | matches!(byte, b'?' | b'#' | b'@')
    })
}

/// Where user and host stand: after the first slashes, if there are two or a scheme before them, or
/// else before the first one. Browsers take `\` for `/`, any number of them, and do not see tabs
/// and ends of lines between them.
fn authority_of(text: &str) -> Range<usize> {
    const SLASHES: [char; 2] = ['/', '\\'];
    let end_from = |start: usize| {
        let length = text[start..].find(SLASHES);
        length.map_or(text.len(), |length| start + length)
    };
    let slash = end_from(0);
    let after = text[slash..].trim_start_matches(['/', '\\', '\t', '\n', '\r']);
    let run = text[slash..text.len() - after.len()].trim_end();
    let start = slash + run.len();
    let slashes = run.matches(SLASHES).count();
    if slashes > 1 || slashes > 0 && text[..slash].trim_end().ends_with(':') {
        start..end_from(start)
    } else {
        0..slash
    }
}

/// The bytes up to the last `@`, which stands behind a user.
fn user_bytes(text: &str) -> usize {
    text.rfind('@').map_or(0, |at| at + 1)
}

//! The channel of an event: the kind of way that led to the page.
//!
//! By the rules of Google Analytics 4's default channel group for manually tagged traffic, in their
//! order and without regard to case (<https://support.google.com/analytics/answer/9756891>). Four
//! things differ, because Analytics knows other things:
//!
//! - Google's and Microsoft's advertisements are known by the click id in the address (`gclid`,
//!   `msclkid`), not by an account.
//! - A source that the link itself named by `ref` or `source` refers, as one that the browser named.
//! - A referrer that is a site for mail is `Email`; Analytics takes it for any other.
//! - `AI Assistant` goes by the table of sources, of which Analytics names only a few.

use super::campaign::Click;
use super::source::Category;

/// What is known of the way to a page. Texts are empty where they are unknown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Way<'t> {
    pub(super) source: &'t str,
    pub(super) category: Option<Category>,
    pub(super) medium: &'t str,
    pub(super) campaign: &'t str,
    pub(super) click: Option<Click>,
    /// The source is a site with a link to the page, not the name that a campaign was given.
    pub(super) is_referred: bool,
}

pub(super) fn channel_of(way: &Way<'_>) -> &'static str {
    let has_medium = |names: &[&str]| is_any(way.medium, names);
    let is_of = |category| way.category == Some(category);
    let is_unset = has_medium(&["", "(none)", "(not set)"]);
    if is_unset && is_any(way.source, &["", "(direct)"]) {
        return "Direct";
    }

    let is_for_shopping = is_of(Category::Shopping) || is_campaign_of_a_shop(way.campaign);
    let is_paid = is_paid(way.medium);
    if contains(way.campaign, "cross-network") {
        "Cross-network"
    } else if is_paid && is_for_shopping {
        "Paid Shopping"
    } else if is_of(Category::Search) && (is_paid || is_unset && way.click.is_some()) {
        "Paid Search"
    } else if is_paid && is_of(Category::Social) {
        "Paid Social"
    } else if is_paid && is_of(Category::Video) {
        "Paid Video"
    } else if has_medium(&["display", "banner", "expandable", "interstitial", "cpm"]) {
        "Display"
    } else if is_paid {
        "Paid Other"
    } else if is_of(Category::Assistant) || has_medium(&["ai-assistant"]) {
        "AI Assistant"
    } else if is_for_shopping {
        "Organic Shopping"
    } else if is_of(Category::Social) || has_medium(&SOCIAL) {
        "Organic Social"
    } else if is_of(Category::Video) || contains(way.medium, "video") {
        "Organic Video"
    } else if is_of(Category::Search) || has_medium(&["organic"]) {
        "Organic Search"
    } else if has_medium(&["referral", "app", "link"]) {
        "Referral"
    } else if is_of(Category::Email) || has_medium(&EMAIL) || is_any(way.source, &EMAIL) {
        "Email"
    } else if has_medium(&["affiliate"]) {
        "Affiliates"
    } else if has_medium(&["audio"]) {
        "Audio"
    } else if has_medium(&["sms"]) || is_any(way.source, &["sms"]) {
        "SMS"
    } else if is_push(way.medium) || is_any(way.source, &["firebase"]) {
        "Mobile Push Notifications"
    } else if is_unset && way.is_referred {
        "Referral"
    } else {
        "Unassigned"
    }
}

const EMAIL: [&str; 4] = ["email", "e-mail", "e_mail", "e mail"];

const SOCIAL: [&str; 6] = [
    "social",
    "social-network",
    "social-media",
    "sm",
    "social network",
    "social media",
];

/// `^(.*cp.*|ppc|retargeting|paid.*)$`
fn is_paid(medium: &str) -> bool {
    let starts = medium.as_bytes().get(..4);
    contains(medium, "cp")
        || is_any(medium, &["ppc", "retargeting"])
        || starts.is_some_and(|start| start.eq_ignore_ascii_case(b"paid"))
}

/// `push$`, or one of two words anywhere.
fn is_push(medium: &str) -> bool {
    let bytes = medium.as_bytes();
    let end = bytes.last_chunk::<4>();
    end.is_some_and(|end| end.eq_ignore_ascii_case(b"push"))
        || contains(medium, "mobile")
        || contains(medium, "notification")
}

/// `^(.*(([^a-df-z]|^)shop|shopping).*)$`: a `shop` that begins a word or follows an `e`.
fn is_campaign_of_a_shop(campaign: &str) -> bool {
    let bytes = campaign.as_bytes();
    let starts_word = |at: usize| {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        before.is_none_or(|before| !before.is_ascii_alphabetic() || matches!(before, b'e' | b'E'))
    };
    let shops = bytes.windows(4).enumerate();
    shops
        .filter(|(_, word)| word.eq_ignore_ascii_case(b"shop"))
        .any(|(at, _)| starts_word(at))
        || contains(campaign, "shopping")
}

fn is_any(text: &str, names: &[&str]) -> bool {
    names.iter().any(|name| text.eq_ignore_ascii_case(name))
}

fn contains(text: &str, part: &str) -> bool {
    let mut windows = text.as_bytes().windows(part.len());
    windows.any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

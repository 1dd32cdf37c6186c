//! What is kept of a referrer.

use event::ReferrerPart::{self, Full, Host, Path};
use event::{Event, EventRequest};
use proptest::prelude::*;
use serde_json::json;

use crate::support::{EDGE_ID, received_at};

/// What is sent, and what is kept of it as path, as host and in full.
const TABLE: [[&str; 4]; 50] = [
    ["", "", "", ""],
    [
        "https://r.example",
        "https://r.example",
        "https://r.example",
        "https://r.example",
    ],
    [
        "https://r.example/",
        "https://r.example/",
        "https://r.example",
        "https://r.example/",
    ],
    [
        "https://u:pw@r.example:8443/p/q?token=SECRET#frag",
        "https://r.example:8443/p/q",
        "https://r.example:8443",
        "https://r.example:8443/p/q?token=SECRET#frag",
    ],
    [
        "https://u@r.example?a",
        "https://r.example",
        "https://r.example",
        "https://r.example?a",
    ],
    [
        "https://r.example#a?b",
        "https://r.example",
        "https://r.example",
        "https://r.example#a?b",
    ],
    [
        "https://@r.example/",
        "https://r.example/",
        "https://r.example",
        "https://r.example/",
    ],
    [
        "https://a@b@r.example/",
        "https://r.example/",
        "https://r.example",
        "https://r.example/",
    ],
    [
        "https://a%40b:c@r.example/",
        "https://r.example/",
        "https://r.example",
        "https://r.example/",
    ],
    [
        "HTTPS://U:P@R.Example/P?Q",
        "HTTPS://R.Example/P",
        "HTTPS://R.Example",
        "HTTPS://R.Example/P?Q",
    ],
    [
        "http://[::1]:80/p?q",
        "http://[::1]:80/p",
        "http://[::1]:80",
        "http://[::1]:80/p?q",
    ],
    [
        "http://u:p@[2001:db8::1]/",
        "http://[2001:db8::1]/",
        "http://[2001:db8::1]",
        "http://[2001:db8::1]/",
    ],
    // An @ in a path or a query belongs to nobody.
    [
        "https://m.example/@user/post",
        "https://m.example/@user/post",
        "https://m.example",
        "https://m.example/@user/post",
    ],
    [
        "https://r.example/?to=a@b",
        "https://r.example/",
        "https://r.example",
        "https://r.example/?to=a@b",
    ],
    [
        "https://r.example?x=//u:p@h",
        "https://r.example",
        "https://r.example",
        "https://r.example?x=//u:p@h",
    ],
    [
        "android-app://com.google/x?y",
        "android-app://com.google/x",
        "android-app://com.google",
        "android-app://com.google/x?y",
    ],
    [
        "android-app://com.google",
        "android-app://com.google",
        "android-app://com.google",
        "android-app://com.google",
    ],
    // Without a scheme.
    [
        "example.com/page?x=1",
        "example.com/page",
        "example.com",
        "example.com/page?x=1",
    ],
    [
        "u:p@example.com/page?x=1",
        "example.com/page",
        "example.com",
        "example.com/page?x=1",
    ],
    [
        "example.com:8080/page",
        "example.com:8080/page",
        "example.com:8080",
        "example.com:8080/page",
    ],
    [
        "someone@example.com",
        "example.com",
        "example.com",
        "example.com",
    ],
    ["//host/path?x", "//host/path", "//host", "//host/path?x"],
    [
        "//u:p@host/path?x",
        "//host/path",
        "//host",
        "//host/path?x",
    ],
    ["/path/@only?x", "/path/@only", "", "/path/@only?x"],
    ["/", "/", "", "/"],
    ["?x=1", "", "", "?x=1"],
    ["#x", "", "", "#x"],
    ["@", "", "", ""],
    // No host at all.
    [
        "about:client",
        "about:client",
        "about:client",
        "about:client",
    ],
    [
        "about:blank?x",
        "about:blank",
        "about:blank",
        "about:blank?x",
    ],
    [
        "data:text/html,a?b#c",
        "data:text/html,a",
        "data:text",
        "data:text/html,a?b#c",
    ],
    [
        "mailto:someone@example.com",
        "example.com",
        "example.com",
        "example.com",
    ],
    ["(direct)", "(direct)", "(direct)", "(direct)"],
    [
        "Some words, and more",
        "Some words, and more",
        "Some words, and more",
        "Some words, and more",
    ],
    ["\0", "\0", "\0", "\0"],
    ["://", "://", "://", "://"],
    // Percent signs stand for characters of a path, not for where it ends.
    [
        "https://r.example/a%3Fb%23c%40d",
        "https://r.example/a%3Fb%23c%40d",
        "https://r.example",
        "https://r.example/a%3Fb%23c%40d",
    ],
    [
        "https://r\u{e9}.example/\u{fc}?\u{df}",
        "https://r\u{e9}.example/\u{fc}",
        "https://r\u{e9}.example",
        "https://r\u{e9}.example/\u{fc}?\u{df}",
    ],
    [
        "https://\u{fc}:\u{df}@r.example/\u{fc}",
        "https://r.example/\u{fc}",
        "https://r.example",
        "https://r.example/\u{fc}",
    ],
    // As browsers read them.
    [
        "  https://u:p@r.example/ ?x",
        "  https://r.example/ ",
        "  https://r.example",
        "  https://r.example/ ?x",
    ],
    [
        "https:/u:p@r.example/p",
        "https:/r.example/p",
        "https:/r.example",
        "https:/r.example/p",
    ],
    [
        "https:u:p@r.example/p",
        "r.example/p",
        "r.example",
        "r.example/p",
    ],
    [
        "https:////u:p@r.example/p",
        "https:////r.example/p",
        "https:////r.example",
        "https:////r.example/p",
    ],
    [
        "https:\\\\u:p@r.example\\p@q",
        "https:\\\\r.example\\p@q",
        "https:\\\\r.example",
        "https:\\\\r.example\\p@q",
    ],
    [
        "https:/\t/u:p@r.example/p",
        "https:/\t/r.example/p",
        "https:/\t/r.example",
        "https:/\t/r.example/p",
    ],
    [
        "ht\ntps:\r/u:p@r.example",
        "ht\ntps:\r/r.example",
        "ht\ntps:\r/r.example",
        "ht\ntps:\r/r.example",
    ],
    [
        "https://u:\np@r.example/",
        "https://r.example/",
        "https://r.example",
        "https://r.example/",
    ],
    [
        "view-source:https://u:p@r.example/x?y",
        "view-source:https://r.example/x",
        "view-source:https://r.example",
        "view-source:https://r.example/x?y",
    ],
    [
        "u@x://v:w@r.example/",
        "x://r.example/",
        "x://r.example",
        "x://r.example/",
    ],
    ["https://u:p@", "https://", "https://", "https://"],
];

#[test]
fn scheme_host_and_path_are_kept_and_credentials_never() {
    for [sent, path, host, full] in TABLE {
        assert_eq!(Path.of(sent), path, "the path of {sent:?}");
        assert_eq!(Host.of(sent), host, "the host of {sent:?}");
        assert_eq!(Full.of(sent), full, "all of {sent:?}");
    }
}

fn sent(referrer: &str, part: ReferrerPart) -> Event {
    let body = json!({
        "site_id": "shop", "event_type": "click", "event_id": "key", "referrer": referrer,
    });
    let body = body.to_string();
    let mut request = EventRequest::from_json(&body).unwrap();
    request.cut_referrer(part);
    event::parse(&request, received_at(), || EDGE_ID).unwrap()
}

#[test]
fn a_request_is_cut_as_a_text_is_and_counted_after_that() {
    for [referrer, path, host, full] in TABLE {
        for (part, kept) in [(Path, path), (Host, host), (Full, full)] {
            let event = sent(referrer, part);
            assert_eq!(event.referrer, kept, "{referrer:?}");
            // A retry is the same event.
            assert_eq!(event, sent(referrer, part));
        }
    }
    let long = format!("https://r.example/?{}", "q".repeat(10_000));
    assert_eq!(sent(&long, Path).referrer, "https://r.example/");
}

#[test]
fn the_setting_is_one_of_three_words() {
    for (word, part) in [("path", Path), ("host", Host), ("full", Full)] {
        assert_eq!(
            serde_json::from_value::<ReferrerPart>(json!(word)).unwrap(),
            part
        );
    }
    assert_eq!(ReferrerPart::default(), Path);
    assert!(serde_json::from_value::<ReferrerPart>(json!("query")).is_err());
}

/// Texts of the characters that matter.
fn odd() -> impl Strategy<Value = String> {
    prop_oneof!["[a:/@?#\\\\ \t\n%\u{e9}\\[\\].]{0,16}", "\\PC{0,40}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_url_loses_its_user_its_query_and_its_fragment(
        scheme in "[a-zA-Z][a-zA-Z0-9+.-]{0,8}",
        user in prop::option::of("[^/?#\\\\]{0,12}"),
        host in "([a-z0-9.-]{1,12}|\\[[0-9a-f:]{2,8}\\])(:[0-9]{1,5})?",
        path in "(/[^?#]{0,20})?",
        query in "(\\?[^#]{0,20})?",
        fragment in "(#.{0,20})?",
    ) {
        let at = user.map(|user| format!("{user}@")).unwrap_or_default();
        let url = format!("{scheme}://{at}{host}{path}{query}{fragment}");
        prop_assert_eq!(Path.of(&url), format!("{scheme}://{host}{path}"));
        prop_assert_eq!(Host.of(&url), format!("{scheme}://{host}"));
        prop_assert_eq!(Full.of(&url), format!("{scheme}://{host}{path}{query}{fragment}"));
    }

    #[test]
    fn any_text_is_cut_once_and_for_all(text in odd()) {
        for part in [Path, Host, Full] {
            let kept = part.of(&text).into_owned();
            prop_assert!(kept.len() <= text.len());
            prop_assert_eq!(&part.of(&kept), &kept, "{:?} twice", part);
        }
        let path = Path.of(&text);
        prop_assert!(!path.contains(['?', '#']));
        prop_assert!(path.starts_with(&*Host.of(&text)));
        prop_assert!(Full.of(&text).starts_with(&*path));
        prop_assert!(!Host.of(&text).contains('@'));
    }
}

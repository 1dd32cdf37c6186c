use proptest::prelude::*;

use super::address::{HOSTNAME_BYTES_MAX, host_of_either};
use super::text::{VALUE_BYTES_MAX, spoils_a_line};
use super::*;

const KEEP: Paths = Paths {
    trailing_slash: TrailingSlash::Keep,
    lower_case: false,
    query: Vec::new(),
};

fn strict() -> Paths {
    Paths {
        trailing_slash: TrailingSlash::Strip,
        lower_case: true,
        query: vec!["p".to_owned(), "id".to_owned()],
    }
}

fn assert_forms(paths: &Paths, forms: &[(&str, &str)]) {
    for (text, form) in forms {
        assert_eq!(paths.form(text), *form, "of {text:?}");
    }
}

/// The seven texts of an event, joined by `|`.
fn packed(url: Option<&str>, given: &Given<'_>, referrer: &str) -> String {
    let mut packed = "what was there before".to_owned();
    read(url, given, referrer, &KEEP, &mut packed);
    packed.replace('\t', "|")
}

fn of_visit(url: &str, referrer: &str) -> String {
    packed(Some(url), &Given::default(), referrer)
}

fn channel_and_source(url: &str, referrer: &str) -> String {
    let texts = of_visit(url, referrer);
    let mut texts = texts.split('|');
    let [channel, source] = [texts.next(), texts.next()].map(Option::unwrap_or_default);
    format!("{channel}: {source}")
}

fn hostname_of(url: &str) -> String {
    let page = read(Some(url), &Given::default(), "", &KEEP, &mut String::new());
    page.hostname.into_owned()
}

#[test]
fn one_page_has_one_path_whatever_its_encoding() {
    assert_forms(
        &KEEP,
        &[
            ("/caf%C3%A9", "/café"),
            ("/caf%c3%a9", "/café"),
            ("/café", "/café"),
            ("/cafe\u{301}", "/café"),
            ("/cafe%CC%81", "/café"),
            ("/a%20b", "/a b"),
            ("/%7Euser", "/~user"),
            ("/%E4%B8%AD%E6%96%87/", "/中文/"),
        ],
    );
}

#[test]
fn what_decoding_would_change_the_meaning_of_stays_encoded_in_upper_case() {
    assert_forms(
        &KEEP,
        &[
            ("/a%2fb%3fc%23d%25e", "/a%2Fb%3Fc%23d%25e"),
            ("/%AC\u{301}a\u{301}", "/%AC\u{301}á"),
            ("/%253F", "/%253F"),
            ("/%09%0a%7f%c2%85", "/%09%0A%7F%C2%85"),
            ("/a\tb\nc", "/a%09b%0Ac"),
            ("/%e2%80%ae\u{202e}", "/%E2%80%AE%E2%80%AE"),
            ("/%e9t%e9", "/%E9t%E9"),
            ("/%c3%28%ff", "/%C3(%FF"),
            ("/%ed%a0%80", "/%ED%A0%80"),
        ],
    );
}

#[test]
fn a_percent_that_begins_no_escape_stays_unless_it_would_become_one() {
    assert_forms(
        &KEEP,
        &[
            ("/100%", "/100%"),
            ("/100%zz%4", "/100%zz%4"),
            ("/%%34%31", "/%2541"),
            ("/%4%31", "/%2541"),
            ("/%\t", "/%25%09"),
        ],
    );
}

#[test]
fn a_path_loses_its_host_query_and_fragment() {
    assert_forms(
        &KEEP,
        &[
            ("https://shop.example/p?q#f", "/p"),
            ("https://shop.example", "/"),
            ("https://shop.example?q", "/"),
            ("HTTP://u:pw@shop.example:8080/p", "/p"),
            ("//shop.example/p", "/p"),
            ("https://shop.example//a//b", "/a//b"),
            ("////a", "/a"),
            ("about", "/about"),
            ("?q", "/"),
            ("/login?next=https://x.example/", "/login"),
            ("/a/../b/./c", "/a/../b/./c"),
            ("/", "/"),
            ("", ""),
        ],
    );
}

#[test]
fn a_route_of_a_hash_router_is_part_of_the_path() {
    assert_forms(
        &KEEP,
        &[
            ("/#/about", "/#/about"),
            ("https://x.example/app#!/caf%c3%a9?tab=1", "/app#!/café"),
            ("/?utm_source=x#/about", "/#/about"),
            ("/#/a#b", "/#/a"),
            ("/#/", "/"),
            ("/#!/", "/"),
            ("/#top", "/"),
            ("/p#:~:text=word", "/p"),
        ],
    );
    assert_forms(&strict(), &[("/App/#/About/", "/app#/about")]);
}

#[test]
fn an_end_slash_and_case_are_kept_unless_the_setting_says_otherwise() {
    assert_forms(&KEEP, &[("/About/", "/About/"), ("/About", "/About")]);
    assert_forms(
        &strict(),
        &[
            ("/About/", "/about"),
            ("/about", "/about"),
            ("/about//", "/about"),
            ("/", "/"),
            ("//h/", "/"),
            ("/ÜBER%2f", "/über%2F"),
        ],
    );
}

#[test]
fn parameters_of_the_setting_make_a_page_in_its_order() {
    assert_forms(
        &strict(),
        &[
            ("/?p=12", "/?p=12"),
            ("/?id=Ab&utm_source=x&p=12#top", "/?p=12&id=Ab"),
            ("/blog/?p=1&p=2", "/blog?p=1"),
            ("/?p=caf%c3%a9+au%20lait", "/?p=café au lait"),
            ("/?p=a%26b%3dc%2b%23", "/?p=a%26b=c%2B%23"),
            ("/?p=", "/"),
            ("/?p", "/"),
            ("/?xp=1", "/"),
            ("/?p=1#/r", "/?p=1#/r"),
        ],
    );
    assert_forms(&KEEP, &[("/?p=12", "/")]);
}

#[test]
fn a_long_path_is_cut_in_whole_characters_and_escapes() {
    const MAX: usize = event::limits::PATH_BYTES_MAX;
    let of_length = |length: usize, end: &str| format!("/{}{end}", "a".repeat(length - 1));
    assert_eq!(KEEP.form(&of_length(MAX, "")).len(), MAX);
    assert_eq!(KEEP.form(&of_length(MAX + 1, "")).len(), MAX);
    assert_eq!(KEEP.form(&of_length(MAX - 1, "é")).len(), MAX - 1);
    assert_eq!(KEEP.form(&of_length(MAX - 2, "%2F")).len(), MAX - 2);
    assert_eq!(KEEP.form(&of_length(MAX - 3, "%2F")).len(), MAX);
    assert_eq!(
        KEEP.form(&format!("/{}", "%C3%A9".repeat(1_000))).len(),
        2_001
    );
    assert_eq!(strict().form(&of_length(MAX, "?p=1")).len(), MAX);
}

#[test]
fn an_event_takes_the_form_of_a_path_whole() {
    let long = format!("/{}", "a".repeat(3_000));
    for text in ["/#/about", "/?p=12", &long] {
        let paths = strict();
        let form = paths.form(text);
        let path = event::Path::normal(&form).unwrap();
        assert_eq!(path.as_str(), form);
    }
    let too_long = "a".repeat(event::limits::PATH_BYTES_MAX + 1);
    assert_eq!(event::Path::normal(&too_long), Err(event::Fault::Path));
}

#[test]
fn an_ordinary_path_is_borrowed() {
    for text in ["/", "/pricing", "/a/b-c_d.html", "/a b"] {
        assert!(matches!(KEEP.form(text), Cow::Borrowed(_)), "{text}");
        let url = format!("https://shop.example{text}");
        let page = read(Some(&url), &Given::default(), "", &KEEP, &mut String::new());
        assert!(matches!(page.path, Some(Cow::Borrowed(path)) if path == text));
        assert!(matches!(page.hostname, Cow::Borrowed("shop.example")));
    }
}

#[test]
fn settings_of_paths_are_read_as_a_file_and_as_variables_write_them() {
    let read = |json: &str| serde_json::from_str::<Paths>(json);
    assert_eq!(read("{}").unwrap(), KEEP);
    let file = r#"{"trailing_slash":"strip","lower_case":true,"query":["p","id"]}"#;
    let variables = r#"{"trailing_slash":"strip","lower_case":true,"query":"p, id"}"#;
    assert_eq!(read(file).unwrap(), strict());
    assert_eq!(read(variables).unwrap(), strict());
    assert!(read(r#"{"lowercase":true}"#).is_err());
    assert!(read(r#"{"trailing_slash":"drop"}"#).is_err());
}

#[test]
fn a_hostname_is_in_lower_case_and_unicode_without_user_and_port() {
    for (url, hostname) in [
        ("https://shop.example/p", "shop.example"),
        ("https://WWW.Shop.Example:8443/p", "www.shop.example"),
        ("https://u:p@w@shop.example/p", "shop.example"),
        ("//shop.example/p", "shop.example"),
        ("https://shop.example./", "shop.example"),
        ("https://xn--mnchen-3ya.example/", "münchen.example"),
        ("https://XN--MNCHEN-3YA.example/", "münchen.example"),
        ("https://münchen.example/", "münchen.example"),
        ("https://MÜNCHEN.example/", "münchen.example"),
        ("https://xn--e1afmkfd.xn--p1ai/", "пример.рф"),
        ("http://127.0.0.1:8080/", "127.0.0.1"),
        ("http://[2001:DB8::1]:8080/", "[2001:db8::1]"),
        ("http://localhost:3000/", "localhost"),
        ("https://my_site.example", "my_site.example"),
    ] {
        assert_eq!(hostname_of(url), hostname, "of {url}");
    }
}

#[test]
fn what_is_no_address_gives_nothing() {
    let long = format!("https://{}.example/", "a".repeat(260));
    for url in [
        "",
        " ",
        "garbage",
        "https:/x",
        "https://",
        "https:///p",
        "https://a..b/",
        "https://.a/",
        "https://a b/",
        "https://a%20b/",
        "https://a\tb/",
        "https://<script>/",
        "https://a:port/",
        "https://[::zz]/",
        "https://[::1/",
        "https://[::1]x/",
        "https://xn--zzzzzz-999999999/",
        "https://a\u{202e}b.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "about:blank",
        "file://server/share",
        &long,
    ] {
        assert_eq!(hostname_of(url), "", "of {url}");
    }
    let of_file = read(
        Some("file:///C:/Users/Anna/page.html"),
        &Given::default(),
        "",
        &KEEP,
        &mut String::new(),
    );
    assert_eq!(of_file.path, None);
}

#[test]
fn a_referrer_is_the_source_by_the_name_of_the_table_or_its_host() {
    for (referrer, found) in [
        ("https://www.google.de/", "Organic Search: Google"),
        (
            "https://www.google.co.uk/search?q=x",
            "Organic Search: Google",
        ),
        ("https://encrypted.google.com/", "Organic Search: Google"),
        ("android-app://com.google.android.gm/", "Email: Gmail"),
        (
            "android-app://com.google.android.googlequicksearchbox/",
            "Organic Search: Google",
        ),
        ("android-app://com.Slack/", "Organic Social: Slack"),
        ("android-app://com.acme.app/x", "Referral: com.acme.app"),
        ("https://t.co/abc", "Organic Social: Twitter"),
        (
            "https://l.facebook.com/l.php?u=x",
            "Organic Social: Facebook",
        ),
        ("https://lm.facebook.com/", "Organic Social: Facebook"),
        ("https://out.reddit.com/", "Organic Social: Reddit"),
        (
            "https://news.ycombinator.com/item?id=1",
            "Organic Social: Hacker News",
        ),
        ("https://duckduckgo.com/", "Organic Search: DuckDuckGo"),
        ("https://www.bing.com/", "Organic Search: Bing"),
        ("https://image.baidu.com/", "Organic Search: Baidu"),
        ("https://yandex.ru/", "Organic Search: Yandex"),
        ("https://www.ecosia.org/", "Organic Search: Ecosia"),
        ("https://chatgpt.com/", "AI Assistant: ChatGPT"),
        ("https://www.perplexity.ai/", "AI Assistant: Perplexity"),
        ("https://m.youtube.com/", "Organic Video: YouTube"),
        ("https://www.amazon.com.au/", "Organic Shopping: Amazon"),
        ("https://en.wikipedia.org/wiki/X", "Referral: Wikipedia"),
        ("https://www.blog.example:8080/p", "Referral: blog.example"),
        ("blog.example/p", "Referral: blog.example"),
        (
            "https://xn--mnchen-3ya.example/",
            "Referral: münchen.example",
        ),
    ] {
        let url = "https://shop.example/";
        assert_eq!(channel_and_source(url, referrer), found, "of {referrer}");
    }
}

#[test]
fn a_page_without_a_source_is_direct() {
    for referrer in ["", "-", "about:blank", "garbage", "/p", "https://a b/"] {
        let texts = of_visit("https://shop.example/", referrer);
        assert_eq!(texts, "Direct||||||", "of {referrer}");
    }
}

#[test]
fn a_view_inside_the_site_has_neither_source_nor_channel() {
    for (host, referrer) in [
        ("shop.example", "https://shop.example/p"),
        ("shop.example", "https://www.shop.example/p"),
        ("www.shop.example", "http://SHOP.example:8080/"),
        ("xn--mnchen-3ya.example", "https://münchen.example/"),
    ] {
        let url = format!("https://{host}/next");
        assert_eq!(of_visit(&url, referrer), "", "{referrer} to {host}");
    }
    let of_server = Given {
        hostname: "Shop.example:443",
        ..Given::default()
    };
    assert_eq!(packed(None, &of_server, "https://shop.example/"), "");
    // The site says itself that a campaign led there.
    assert_eq!(
        of_visit(
            "https://shop.example/?utm_source=y&utm_medium=banner",
            "https://shop.example/"
        ),
        "Display|y|y|banner|||",
    );
    assert_eq!(
        of_visit(
            "https://shop.example/?utm_campaign=c",
            "https://shop.example/"
        ),
        "||||c||",
    );
    let sister = channel_and_source("https://shop.example/", "https://blog.shop.example/");
    assert_eq!(sister, "Referral: blog.shop.example");
}

#[test]
fn an_event_of_which_nothing_is_known_packs_nothing() {
    assert_eq!(packed(None, &Given::default(), ""), "");
    assert_eq!(packed(None, &Given::default(), "-"), "");
    assert_eq!(packed(Some("garbage"), &Given::default(), ""), "");
    let page = read(None, &Given::default(), "", &KEEP, &mut String::new());
    assert_eq!((page.hostname.as_ref(), page.path), ("", None));
    assert_eq!(
        packed(None, &Given::default(), "https://www.google.com/"),
        "Organic Search|Google|||||",
    );
}

#[test]
fn campaign_values_are_decoded_and_the_first_of_two_counts() {
    let url = "https://shop.example/?utm_source=News%20Letter&utm_source=second\
        &utm_medium=e%2Dmail&utm_campaign=caf%C3%A9+%zz%4&utm_term=&utm_term=a%09b%0Ac\
        &utm_content=%FFx&utm_unknown=1&flag";
    assert_eq!(
        of_visit(url, "https://www.google.com/"),
        "Email|News Letter|News Letter|e-mail|café %zz%4|a b c|\u{fffd}x",
    );
    let of_route = "https://shop.example/#/p?utm_source=y&utm_medium=sms";
    assert_eq!(of_visit(of_route, ""), "SMS|y|y|sms|||");
}

#[test]
fn a_long_value_is_cut_in_whole_characters() {
    for (sent, bytes) in [
        ("a".repeat(5_000), 255),
        ("é".repeat(5_000), 254),
        ("%C3%A9".repeat(5_000), 254),
        ("%00".repeat(5_000), 0),
        ("a%20".repeat(5_000), 255),
    ] {
        let url = format!("https://shop.example/?utm_campaign={sent}");
        let texts = of_visit(&url, "");
        let value = texts.split('|').nth(4).unwrap_or_default();
        assert_eq!(value.len(), bytes, "of {}", &sent[..6]);
    }
}

#[test]
fn a_link_that_names_its_site_wins_over_the_referrer() {
    for (query, found) in [
        ("ref=producthunt", "Organic Social: Product Hunt"),
        ("ref=some-list", "Referral: some-list"),
        (
            "source=other.example&ref=some-list",
            "Referral: other.example",
        ),
        (
            "ref=https%3A%2F%2Fwww.blog.example%2Fp",
            "Referral: blog.example",
        ),
        ("utm_source=google&ref=some-list", "Organic Search: Google"),
        ("utm_source=www.google.de", "Organic Search: Google"),
        ("utm_source=chatgpt.com", "AI Assistant: ChatGPT"),
        ("utm_source=Spring", "Unassigned: Spring"),
    ] {
        let url = format!("https://shop.example/?{query}");
        let texts = channel_and_source(&url, "https://www.bing.com/");
        assert_eq!(texts, found, "of {query}");
    }
}

#[test]
fn what_the_client_names_wins_over_the_address() {
    let url = "https://shop.example/?utm_source=bing&utm_medium=cpc&ref=list";
    let given = Given {
        hostname: "other.example",
        utm_source: "fb",
        utm_campaign: "a\tb",
        ..Given::default()
    };
    assert_eq!(
        packed(Some(url), &given, ""),
        "Paid Social|Facebook|fb|cpc|a b||"
    );
    let page = read(Some(url), &given, "", &KEEP, &mut String::new());
    assert_eq!(page.hostname, "other.example");

    let by_reference = Given {
        reference: "hackernews",
        ..Given::default()
    };
    let texts = "Paid Social|Hacker News|bing|cpc|||";
    assert_eq!(packed(Some(url), &by_reference, ""), texts);
    let by_source = Given {
        source: "Radio",
        ..by_reference
    };
    assert_eq!(packed(None, &by_source, ""), "Referral|Radio|||||");
}

#[test]
fn channels_are_those_of_analytics() {
    for (query, channel) in [
        ("utm_source=(direct)&utm_medium=(none)", "Direct"),
        (
            "utm_source=y&utm_campaign=q1-Cross-Network",
            "Cross-network",
        ),
        ("utm_source=ebay&utm_medium=cpc", "Paid Shopping"),
        (
            "utm_source=y&utm_medium=ppc&utm_campaign=eshop",
            "Paid Shopping",
        ),
        (
            "utm_source=y&utm_medium=ppc&utm_campaign=bishop",
            "Paid Other",
        ),
        ("utm_source=google&utm_medium=cpc", "Paid Search"),
        ("utm_source=google&utm_medium=cpm", "Paid Search"),
        ("utm_source=facebook&utm_medium=Paid-Social", "Paid Social"),
        ("utm_source=facebook&utm_medium=unpaid", "Organic Social"),
        ("utm_source=youtube&utm_medium=retargeting", "Paid Video"),
        ("utm_source=y&utm_medium=cpm", "Display"),
        ("utm_source=y&utm_medium=banner", "Display"),
        ("utm_source=y&utm_medium=cpa", "Paid Other"),
        ("utm_source=etsy", "Organic Shopping"),
        ("utm_source=y&utm_campaign=summer-shop", "Organic Shopping"),
        ("utm_source=y&utm_medium=shopping", "Unassigned"),
        ("utm_source=linkedin", "Organic Social"),
        ("utm_source=y&utm_medium=SM", "Organic Social"),
        ("utm_source=vimeo", "Organic Video"),
        ("utm_source=y&utm_medium=in-video", "Organic Video"),
        ("utm_source=bing", "Organic Search"),
        ("utm_source=y&utm_medium=organic", "Organic Search"),
        ("utm_source=y&utm_medium=ai-assistant", "AI Assistant"),
        ("utm_source=y&utm_medium=link", "Referral"),
        ("utm_source=e-mail", "Email"),
        ("utm_source=y&utm_medium=Email", "Email"),
        ("utm_source=y&utm_medium=affiliate", "Affiliates"),
        ("utm_source=y&utm_medium=audio", "Audio"),
        ("utm_source=sms", "SMS"),
        (
            "utm_source=y&utm_medium=webpush",
            "Mobile Push Notifications",
        ),
        ("utm_source=firebase", "Mobile Push Notifications"),
        (
            "utm_source=y&utm_medium=mobile-app",
            "Mobile Push Notifications",
        ),
        ("utm_source=y", "Unassigned"),
        ("utm_medium=unheard-of", "Unassigned"),
        ("utm_campaign=only", "Direct"),
    ] {
        let texts = channel_and_source(&format!("https://shop.example/?{query}"), "");
        assert_eq!(texts.split(": ").next(), Some(channel), "of {query}");
    }
}

#[test]
fn the_id_of_a_click_makes_a_search_a_paid_one() {
    for (query, referrer, found) in [
        ("gclid=x", "https://www.google.com/", "Paid Search: Google"),
        ("gclid=x", "", "Paid Search: Google"),
        ("gbraid=x", "", "Paid Search: Google"),
        ("msclkid=x", "https://www.bing.com/", "Paid Search: Bing"),
        ("gclid=x", "https://www.bing.com/", "Organic Search: Bing"),
        ("gclid=x", "https://blog.example/", "Referral: blog.example"),
        (
            "fbclid=x",
            "https://l.facebook.com/",
            "Organic Social: Facebook",
        ),
        ("gclid=x", "https://shop.example/", ": "),
    ] {
        let url = format!("https://shop.example/?{query}");
        assert_eq!(
            channel_and_source(&url, referrer),
            found,
            "{query}, {referrer}"
        );
    }
}

/// Texts that are likely to be read wrongly, beside any other.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("%".to_owned()),
        Just("/".to_owned()),
        Just("//".to_owned()),
        Just("\\".to_owned()),
        Just("#".to_owned()),
        Just("#/".to_owned()),
        Just("#!/".to_owned()),
        Just("?p=".to_owned()),
        Just("&id=".to_owned()),
        Just("?utm_source=".to_owned()),
        Just("&utm_campaign=".to_owned()),
        Just("&ref=".to_owned()),
        Just("gclid=1".to_owned()),
        Just("https://".to_owned()),
        Just("android-app://".to_owned()),
        Just("xn--".to_owned()),
        Just("www.".to_owned()),
        Just("google.".to_owned()),
        Just("\u{301}".to_owned()),
        Just("\u{338}".to_owned()),
        Just("\u{307}".to_owned()),
        Just("\u{212a}\u{130}ẞΣ".to_owned()),
        Just("=<>".to_owned()),
        Just("\t".to_owned()),
        Just("\u{85}".to_owned()),
        Just("\u{202e}".to_owned()),
        Just("a".repeat(1_000)),
        Just("é".repeat(600)),
        "[0-9A-Fa-f]{1,2}",
        "%[0-9A-Fa-f]{2}",
        "(%[89A-Fa-f][0-9a-f]){1,4}",
        "[A-Za-z0-9.:@+ -]{0,8}",
        ".{0,4}",
    ];
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn is_shown(text: &str) -> bool {
    !text.chars().any(spoils_a_line)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_form_of_a_form_is_itself_whatever_was_sent(text in hostile(), slash: bool, lower: bool) {
        let paths = Paths {
            trailing_slash: if slash { TrailingSlash::Strip } else { TrailingSlash::Keep },
            lower_case: lower,
            query: strict().query,
        };
        for paths in [&KEEP, &paths] {
            let form = paths.form(&text);
            prop_assert_eq!(paths.form(&form), form.as_ref());
            prop_assert!(form.len() <= event::limits::PATH_BYTES_MAX);
            prop_assert!(is_shown(&form));
            prop_assert_eq!(form.is_empty(), text.is_empty());
            prop_assert!(form.is_empty() || form.starts_with('/') && !form.starts_with("//"));
        }
    }

    #[test]
    fn whatever_is_sent_is_read_within_the_limits(
        url in hostile(),
        referrer in hostile(),
        name in hostile(),
    ) {
        let given = Given { source: &name, utm_medium: &name, hostname: &name, ..Given::default() };
        for given in [Given::default(), given] {
            for url in [url.clone(), format!("https://shop.example/{url}")] {
                let mut packed = String::new();
                let page = read(Some(&url), &given, &referrer, &strict(), &mut packed);
                prop_assert!(page.hostname.len() <= HOSTNAME_BYTES_MAX && is_shown(&page.hostname));
                prop_assert_eq!(
                    host_of_either(&page.hostname).unwrap_or_default(),
                    page.hostname.as_ref()
                );
                let path = page.path.unwrap_or_default();
                prop_assert_eq!(strict().form(&path), path.as_ref());
                prop_assert!(packed.is_empty() || packed.matches('\t').count() == 6);
                for text in packed.split('\t') {
                    prop_assert!(text.len() <= VALUE_BYTES_MAX && is_shown(text), "{:?}", text);
                    prop_assert_eq!(value(text), text);
                }
            }
        }
    }
}

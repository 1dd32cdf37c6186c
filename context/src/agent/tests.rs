use super::*;

fn fields(agent: &str) -> [String; 5] {
    let described = Agents::default().describe(agent);
    let fields: Vec<String> = described.split('\t').map(str::to_owned).collect();
    fields.try_into().unwrap()
}

fn bot(agent: &str) -> String {
    let [.., bot] = fields(agent);
    bot
}

/// Agent, then browser, version, system and device.
const PEOPLE: &[(&str, [&str; 4])] = &[
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        ["Chrome", "131", "Windows", "desktop"],
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.2903.86",
        ["Edge", "131", "Windows", "desktop"],
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0",
        ["Firefox", "133", "Windows", "desktop"],
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 OPR/116.0.0.0",
        ["Opera", "116", "Windows", "desktop"],
    ),
    (
        "Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; WOW64; Trident/5.0; Tablet PC 2.0)",
        ["IE", "9", "Windows", "desktop"],
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
        ["IE", "11", "Windows", "desktop"],
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1.1 Safari/605.1.15",
        ["Safari", "18", "Mac OS X", "desktop"],
    ),
    (
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        ["Chrome", "131", "Linux", "desktop"],
    ),
    (
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
        ["Firefox", "133", "Ubuntu", "desktop"],
    ),
    (
        "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        ["Chrome", "131", "Chrome OS", "desktop"],
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) coc_coc_browser/50.0.125 Chrome/44.0.2403.125 Safari/537.36",
        ["Coc Coc", "50", "Windows", "desktop"],
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1.1 Mobile/15E148 Safari/604.1",
        ["Mobile Safari", "18", "iOS", "mobile"],
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1",
        ["Chrome Mobile iOS", "131", "iOS", "mobile"],
    ),
    (
        "Mozilla/5.0 (iPad; CPU OS 12_5_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1.2 Mobile/15E148 Safari/604.1",
        ["Mobile Safari", "12", "iOS", "tablet"],
    ),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
        ["Chrome Mobile", "131", "Android", "mobile"],
    ),
    (
        "Mozilla/5.0 (Linux; Android 13; SM-X200) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        ["Chrome", "131", "Android", "tablet"],
    ),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36",
        ["Samsung Internet", "27", "Android", "mobile"],
    ),
    (
        "Mozilla/5.0 (Android 14; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0",
        ["Firefox Mobile", "133", "Android", "mobile"],
    ),
    (
        "Mozilla/5.0 (Linux; Android 9; CUBOT_X18_Plus Build/PPR1.180610.011) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96.0.4664.45 Mobile Safari/537.36",
        ["Chrome Mobile", "96", "Android", "mobile"],
    ),
    (
        "Mozilla/5.0 (Linux; Android 7.0; CUBOT) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96.0.4664.45 Mobile Safari/537.36",
        ["Chrome Mobile", "96", "Android", "mobile"],
    ),
    (
        "Mozilla/5.0 (Linux; U; Android 4.1.1; zh-CN; HTC J Butterfly Build/JRO03C) AppleWebKit/534.31 (KHTML, like Gecko) UCBrowser/9.3.0.321 U3/0.8.0 Mobile Safari/534.31",
        ["UC Browser", "9", "Android", "mobile"],
    ),
    (
        "Mozilla/5.0 (Linux; Android 15; CPH2557 Build/AP3A.240617.008; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/142.0.7444.142 Mobile Safari/537.36 Instagram 406.0.0.58.159 Android (35/15; 480dpi; 1080x2400; OPPO)",
        ["Instagram", "406", "Android", "mobile"],
    ),
    (
        "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/AP1A.240405.002; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/123.0.6312.80 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/458.0.0.54.108;]",
        ["Facebook", "458", "Android", "mobile"],
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 Instagram 325.0.3.34.90 (iPhone14,5; iOS 17_4_1; de_DE; scale=3.00)",
        ["Instagram", "325", "iOS", "mobile"],
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [LinkedInApp]/9.29.8962",
        ["Mobile Safari UI/WKWebView", "", "iOS", "mobile"],
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.48(0x1800302d) NetType/WIFI Language/zh_CN",
        ["Mobile Safari UI/WKWebView", "", "iOS", "mobile"],
    ),
    (
        "Opera/9.80 (Android; Opera Mini/36.2.2254/191.283; U; en) Presto/2.12.423 Version/12.16",
        ["Opera Mini", "36", "Android", "mobile"],
    ),
    (
        "Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
        ["Firefox Mobile", "48", "KaiOS", "mobile"],
    ),
    (
        "Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) 76.0.3809.146/6.0 TV Safari/537.36",
        ["Safari", "", "Tizen", "tv"],
    ),
    (
        "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/94.0.4606.128 Safari/537.36 WebAppManager",
        ["Chrome", "94", "Web0S", "tv"],
    ),
    (
        "Mozilla/5.0 (Linux; Android 9; AFTMM Build/PS7233; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/70.0.3538.110 Mobile Safari/537.36",
        ["Chrome Mobile WebView", "70", "Android", "tv"],
    ),
    (
        "Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.0 Safari/605.1.15",
        ["Safari", "13", "", "console"],
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/48.0.2564.82 Safari/537.36 Edge/20.02",
        ["Edge", "20", "Windows", "console"],
    ),
    (
        "Mozilla/5.0 (X11; Linux x86_64; Quest 3) AppleWebKit/537.36 (KHTML, like Gecko) OculusBrowser/35.4.0.2.51 Chrome/126.0.6478.122 VR Safari/537.36",
        ["Chrome", "126", "Android", "wearable"],
    ),
    (
        "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; TeomaBar 2.01; .NET CLR 1.1.4322; Embedded Web Browser from: http://bsalsa.com/)",
        ["IE", "6", "Windows", "desktop"],
    ),
];

#[test]
fn browsers_of_people_are_named_with_their_systems_and_devices_and_are_no_bots() {
    let mut wrong = Vec::new();
    for (agent, expected) in PEOPLE {
        let found = fields(agent);
        if found[..4] != expected[..] || !found[4].is_empty() {
            wrong.push(format!("{agent}\n  {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn programs_are_bots_and_have_names() {
    let agents = [
        (
            "Googlebot",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        ),
        (
            "Googlebot",
            "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.6778.69 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        ),
        ("Googlebot-Image", "Googlebot-Image/1.0"),
        (
            "AdsBot-Google",
            "AdsBot-Google (+http://www.google.com/adsbot.html)",
        ),
        (
            "Google-InspectionTool",
            "Mozilla/5.0 (compatible; Google-InspectionTool/1.0;)",
        ),
        (
            "bingbot",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0.1938.76 Safari/537.36",
        ),
        (
            "YandexBot",
            "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
        ),
        (
            "YandexMetrika",
            "Mozilla/5.0 (compatible; YandexMetrika/2.0; +http://yandex.com/bots)",
        ),
        (
            "Baiduspider",
            "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
        ),
        (
            "Slurp",
            "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
        ),
        (
            "Applebot",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.1.1 Safari/605.1.15 (Applebot/0.1; +http://www.apple.com/go/applebot)",
        ),
        (
            "AhrefsBot",
            "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
        ),
        (
            "PetalBot",
            "Mozilla/5.0 (compatible;PetalBot;+https://webmaster.petalsearch.com/site/petalbot)",
        ),
        (
            "GPTBot",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.2; +https://openai.com/gptbot",
        ),
        (
            "ChatGPT-User",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot",
        ),
        (
            "OAI-SearchBot",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; OAI-SearchBot/1.0; +https://openai.com/searchbot",
        ),
        (
            "ClaudeBot",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
        ),
        (
            "Claude-User",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Claude-User/1.0; +Claude-User@anthropic.com)",
        ),
        (
            "PerplexityBot",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; PerplexityBot/1.0; +https://perplexity.ai/perplexitybot)",
        ),
        (
            "Bytespider",
            "Mozilla/5.0 (Linux; Android 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36 (compatible; Bytespider; https://zhanzhang.toutiao.com/)",
        ),
        ("CCBot", "CCBot/2.0 (https://commoncrawl.org/faq/)"),
        (
            "meta-externalagent",
            "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
        ),
        (
            "facebookexternalhit",
            "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        ),
        ("Twitterbot", "Twitterbot/1.0"),
        (
            "Slackbot-LinkExpanding",
            "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        ),
        ("WhatsApp", "WhatsApp/2.23.20.0"),
        (
            "HeadlessChrome",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/131.0.0.0 Safari/537.36",
        ),
        (
            "Chrome-Lighthouse",
            "Mozilla/5.0 (Linux; Android 11; moto g power (2022)) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/109.0.0.0 Mobile Safari/537.36 Chrome-Lighthouse",
        ),
        (
            "PhantomJS",
            "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1",
        ),
        ("curl", "curl/8.5.0"),
        ("Wget", "Wget/1.21.4"),
        ("python-requests", "python-requests/2.32.3"),
        ("Python-urllib", "Python-urllib/3.12"),
        ("aiohttp", "Python/3.11 aiohttp/3.9.1"),
        ("Go-http-client", "Go-http-client/2.0"),
        ("Java", "Java/17.0.9"),
        ("okhttp", "okhttp/4.12.0"),
        ("axios", "axios/1.7.9"),
        ("node", "node"),
        ("Ruby", "Ruby"),
        ("PostmanRuntime", "PostmanRuntime/7.43.0"),
        ("kube-probe", "kube-probe/1.29"),
        (
            "UptimeRobot",
            "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
        ),
        (
            "Pingdom.com_bot_version_1",
            "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
        ),
        (
            "StatusCake",
            "Mozilla/5.0 (Windows NT 6.2; WOW64) AppleWebKit/537.4 (KHTML, like Gecko) Chrome/98 Safari/537.4 (StatusCake)",
        ),
        (
            "Feedly",
            "Feedly/1.0 (+http://www.feedly.com/fetcher.html; like FeedFetcher-Google)",
        ),
        ("Feedbin", "Feedbin - 1 subscribers"),
        ("Tiny Tiny RSS", "Tiny Tiny RSS/1.11 (http://tt-rss.org/)"),
        (
            "UniversalFeedParser",
            "UniversalFeedParser/4.2-pre-314-svn +http://feedparser.org/",
        ),
        (
            "Liferea",
            "Liferea/1.8.15 (Linux; en_US.UTF-8; http://liferea.sf.net/)",
        ),
        (
            "Digg Feed Fetcher",
            "Digg Feed Fetcher 1.0 (Mozilla/5.0 (Macintosh; Intel Mac OS X 10_7_1) AppleWebKit/534.48.3 (KHTML, like Gecko) Version/5.1 Safari/534.48.3)",
        ),
        (
            "Ezooms",
            "Mozilla/5.0 (compatible; Ezooms/1.0; help@moz.com)",
        ),
        (
            "Xing Bot",
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:15.0) Xing Bot",
        ),
        (
            "spinn3r.com",
            "Mozilla/5.0 (X11; U; Linux x86_64; en-US; rv:1.9.0.19; aggregator:Spinn3r (Spinn3r 3.1); http://spinn3r.com/robot) Gecko/2010040121 Firefox/3.0.19",
        ),
        (
            "Chef Client",
            "Chef Client/10.18.2 (ruby-1.9.3-p327; ohai-6.16.0; x86_64; +http://opscode.com)",
        ),
        ("ExampleCrawler", "ExampleCrawler"),
    ];
    let mut wrong = Vec::new();
    for (name, agent) in agents {
        let found = bot(agent);
        if found != name {
            wrong.push(format!("{found:?} and not {name:?}: {agent}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_request_without_an_agent_is_a_bots() {
    for agent in ["", "-", "  "] {
        assert_eq!(fields(agent), ["", "", "", "", NO_AGENT], "{agent:?}");
    }
}

#[test]
fn what_is_neither_known_nor_a_program_is_of_a_person() {
    assert_eq!(fields("Mozilla/4.0 (compatible;)"), ["", "", "", "", ""]);
}

#[test]
fn an_answer_is_five_short_texts_whatever_the_agent() {
    let long = "x".repeat(10_000);
    let wide = "ä".repeat(5_000);
    let agents = [
        long.as_str(),
        &wide,
        "a\tb\tc\td\te\tf\tg/1 crawl\u{7f}",
        "Mozilla/5.0 (compatible; \u{0}\u{9}\u{1b}[31m; +http://x)",
        "Chrome/99999999999999999999 Mozilla/5.0 Firefox/00000000000000000000",
        "\u{202e}bot",
        "bot",
        "\u{e4}bot\u{e4}",
        "://",
        "compatible; ",
    ];
    for agent in agents {
        let found = fields(agent);
        for field in found {
            assert!(field.len() <= NAME_BYTES_MAX, "{field}");
            assert!(!field.contains(char::is_control), "{field:?}");
        }
    }
}

#[test]
fn an_agent_is_looked_at_to_its_limit_only() {
    let filler = "x".repeat(AGENT_BYTES_MAX - "Mozilla/5.0 ()".len());
    let agents = Agents::default();
    let one = agents.describe(&format!("Mozilla/5.0 ({filler}) Googlebot"));
    let other = agents.describe(&format!("Mozilla/5.0 ({filler}) Firefox/133.0"));
    assert!(Arc::ptr_eq(&one, &other));
}

#[test]
fn an_agent_is_described_once() {
    let agents = Agents::default();
    let first = agents.describe("curl/8.5.0");
    assert!(Arc::ptr_eq(&first, &agents.describe("curl/8.5.0")));
}

#[test]
fn the_answers_kept_do_not_grow_without_end() {
    let agents = Agents::default();
    for number in 0..CACHED_MAX + 1000 {
        // By the cache's own door: to describe each would test the patterns' speed.
        let agent = format!("agent {number}");
        agents.cache.insert(agent.into(), "".into());
    }
    assert!(agents.cache.len() <= CACHED_MAX);
}

#[test]
fn the_page_about_access_logs_and_its_count_know_every_word() {
    let page = include_str!("../../../docs/access-logs.md").replace('␣', " ");
    let count = include_str!("../../../docs/access-logs/count.py").replace('\\', "");
    let lists = [
        bot::BROWSERS_BEGIN_WITH,
        bot::TELEPHONES,
        bot::OWN,
        device::CONSOLES,
        device::WEARABLES,
        device::TV,
        device::TABLETS,
        device::MOBILES,
    ];
    for word in lists.into_iter().flatten() {
        assert!(page.contains(&format!("`{word}`")), "{word:?} in the page");
        assert!(count.contains(word), "{word:?} in the script");
    }
    for system in device::DESKTOP_SYSTEMS {
        assert!(count.contains(&format!("\"{system}\"")), "{system}");
    }
}

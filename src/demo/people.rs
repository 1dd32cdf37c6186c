//! Who visits: what they use, where they are, which language they read; and crawlers.

use rand::RngExt;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;

use super::sites::Site;

/// A browser, as it names itself, and the screens it is seen on.
pub(super) struct Agent {
    pub(super) user_agent: &'static str,
    screens: &'static [&'static str],
    weight: f64,
}

const DESKTOPS: &[&str] = &[
    "1920x1080",
    "1536x864",
    "2560x1440",
    "1366x768",
    "1920x1200",
];
const MACS: &[&str] = &["1440x900", "1512x982", "1728x1117", "2560x1440"];
const IPHONES: &[&str] = &["393x852", "390x844", "430x932", "375x812"];
const ANDROIDS: &[&str] = &["412x915", "360x800", "384x854", "393x873"];
const IPADS: &[&str] = &["820x1180", "834x1194", "768x1024"];
const TABLETS: &[&str] = &["800x1280", "753x1205"];
const TELEVISIONS: &[&str] = &["1920x1080"];

const fn agent(weight: f64, screens: &'static [&'static str], user_agent: &'static str) -> Agent {
    Agent {
        user_agent,
        screens,
        weight,
    }
}

const AGENTS: [Agent; 27] = [
    agent(
        13.0,
        DESKTOPS,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    agent(
        5.0,
        DESKTOPS,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    ),
    agent(
        1.2,
        DESKTOPS,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/109.0.0.0 Safari/537.36",
    ),
    agent(
        5.5,
        DESKTOPS,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
    ),
    agent(
        3.6,
        DESKTOPS,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
    ),
    agent(
        0.8,
        DESKTOPS,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ),
    agent(
        1.1,
        DESKTOPS,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 OPR/125.0.0.0",
    ),
    agent(
        5.2,
        MACS,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
    ),
    agent(
        2.6,
        MACS,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15",
    ),
    agent(
        4.8,
        MACS,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    agent(
        1.4,
        MACS,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0",
    ),
    agent(
        1.8,
        DESKTOPS,
        "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    ),
    agent(
        1.7,
        DESKTOPS,
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    agent(
        0.7,
        &["1366x768"],
        "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    ),
    agent(
        11.5,
        IPHONES,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
    ),
    agent(
        5.5,
        IPHONES,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1",
    ),
    agent(
        2.3,
        IPHONES,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
    ),
    agent(
        1.6,
        IPHONES,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/142.0.7444.46 Mobile/15E148 Safari/604.1",
    ),
    agent(
        0.5,
        IPHONES,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/145.0 Mobile/15E148 Safari/605.1.15",
    ),
    agent(
        15.5,
        ANDROIDS,
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    ),
    agent(
        6.0,
        ANDROIDS,
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
    ),
    agent(
        3.2,
        ANDROIDS,
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
    ),
    agent(
        1.1,
        ANDROIDS,
        "Mozilla/5.0 (Android 15; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0",
    ),
    agent(
        0.6,
        ANDROIDS,
        "Mozilla/5.0 (Linux; Android 14; SM-A546B Build/UP1A.231005.007; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/141.0.7390.122 Mobile Safari/537.36",
    ),
    agent(
        2.0,
        IPADS,
        "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
    ),
    agent(
        0.8,
        TABLETS,
        "Mozilla/5.0 (Linux; Android 15; SM-X710) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    ),
    agent(
        0.2,
        TELEVISIONS,
        "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.6099.270 Safari/537.36 WebAppManager",
    ),
];

/// Crawlers and programs, and how many visits each makes against the others.
const BOTS: [(f64, &str); 13] = [
    (
        24.0,
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    ),
    (
        9.0,
        "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.7444.59 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    ),
    (
        15.0,
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0.1938.76 Safari/537.36",
    ),
    (
        11.0,
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    ),
    (
        8.0,
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
    ),
    (
        8.0,
        "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    ),
    (
        6.0,
        "Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)",
    ),
    (
        4.0,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15 (Applebot/0.1; +http://www.apple.com/go/applebot)",
    ),
    (
        3.0,
        "DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)",
    ),
    (
        3.0,
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    ),
    (
        5.0,
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/141.0.0.0 Safari/537.36",
    ),
    (2.0, "curl/8.14.1"),
    (2.0, "python-requests/2.32.5"),
];

/// Somewhere that people live.
pub(super) struct Place {
    pub(super) country: &'static str,
    /// As ISO 3166-2 has it.
    pub(super) region: &'static str,
    pub(super) city: &'static str,
    language: &'static str,
    /// Against the other places of its country.
    weight: f64,
}

const fn place(
    weight: f64,
    country: &'static str,
    region: &'static str,
    city: &'static str,
    language: &'static str,
) -> Place {
    Place {
        country,
        region,
        city,
        language,
        weight,
    }
}

const PLACES: [Place; 60] = [
    place(4.0, "DE", "DE-BE", "Berlin", "de-DE"),
    place(2.4, "DE", "DE-BY", "Munich", "de-DE"),
    place(2.2, "DE", "DE-HH", "Hamburg", "de-DE"),
    place(1.8, "DE", "DE-NW", "Cologne", "de-DE"),
    place(1.5, "DE", "DE-HE", "Frankfurt am Main", "de-DE"),
    place(1.2, "DE", "DE-BW", "Stuttgart", "de-DE"),
    place(1.0, "DE", "DE-SN", "Leipzig", "de-DE"),
    place(2.5, "AT", "AT-9", "Vienna", "de-AT"),
    place(0.8, "AT", "AT-6", "Graz", "de-AT"),
    place(2.0, "CH", "CH-ZH", "Zurich", "de-CH"),
    place(0.9, "CH", "CH-GE", "Geneva", "fr-CH"),
    place(2.0, "NL", "NL-NH", "Amsterdam", "nl-NL"),
    place(1.0, "NL", "NL-ZH", "Rotterdam", "nl-NL"),
    place(3.0, "FR", "FR-IDF", "Paris", "fr-FR"),
    place(1.0, "FR", "FR-ARA", "Lyon", "fr-FR"),
    place(3.5, "GB", "GB-ENG", "London", "en-GB"),
    place(1.0, "GB", "GB-ENG", "Manchester", "en-GB"),
    place(0.8, "GB", "GB-SCT", "Edinburgh", "en-GB"),
    place(1.0, "IE", "IE-L", "Dublin", "en-IE"),
    place(1.5, "PL", "PL-14", "Warsaw", "pl-PL"),
    place(0.7, "PL", "PL-12", "Krakow", "pl-PL"),
    place(1.2, "IT", "IT-25", "Milan", "it-IT"),
    place(1.0, "IT", "IT-62", "Rome", "it-IT"),
    place(1.4, "ES", "ES-MD", "Madrid", "es-ES"),
    place(1.2, "ES", "ES-CT", "Barcelona", "es-ES"),
    place(1.0, "SE", "SE-AB", "Stockholm", "sv-SE"),
    place(1.0, "DK", "DK-84", "Copenhagen", "da-DK"),
    place(1.0, "CZ", "CZ-10", "Prague", "cs-CZ"),
    place(1.0, "PT", "PT-11", "Lisbon", "pt-PT"),
    place(1.0, "UA", "UA-30", "Kyiv", "uk-UA"),
    place(4.0, "US", "US-NY", "New York", "en-US"),
    place(2.2, "US", "US-CA", "San Francisco", "en-US"),
    place(2.2, "US", "US-CA", "Los Angeles", "en-US"),
    place(1.6, "US", "US-WA", "Seattle", "en-US"),
    place(1.5, "US", "US-TX", "Austin", "en-US"),
    place(1.5, "US", "US-IL", "Chicago", "en-US"),
    place(1.3, "US", "US-MA", "Boston", "en-US"),
    place(1.0, "US", "US-FL", "Miami", "es-US"),
    place(1.8, "CA", "CA-ON", "Toronto", "en-CA"),
    place(1.0, "CA", "CA-QC", "Montreal", "fr-CA"),
    place(0.9, "CA", "CA-BC", "Vancouver", "en-CA"),
    place(1.3, "AU", "AU-NSW", "Sydney", "en-AU"),
    place(1.1, "AU", "AU-VIC", "Melbourne", "en-AU"),
    place(1.0, "NZ", "NZ-AUK", "Auckland", "en-NZ"),
    place(2.0, "BR", "BR-SP", "São Paulo", "pt-BR"),
    place(1.0, "BR", "BR-RJ", "Rio de Janeiro", "pt-BR"),
    place(1.0, "MX", "MX-CMX", "Mexico City", "es-MX"),
    place(1.0, "AR", "AR-C", "Buenos Aires", "es-AR"),
    place(3.2, "IN", "IN-KA", "Bengaluru", "en-IN"),
    place(2.0, "IN", "IN-MH", "Mumbai", "en-IN"),
    place(1.6, "IN", "IN-DL", "Delhi", "hi-IN"),
    place(1.3, "IN", "IN-TG", "Hyderabad", "en-IN"),
    place(1.1, "IN", "IN-MH", "Pune", "en-IN"),
    place(1.0, "IN", "IN-TN", "Chennai", "ta-IN"),
    place(1.0, "SG", "", "Singapore", "en-SG"),
    place(1.8, "JP", "JP-13", "Tokyo", "ja-JP"),
    place(1.0, "KR", "KR-11", "Seoul", "ko-KR"),
    place(1.0, "TR", "TR-34", "Istanbul", "tr-TR"),
    place(1.0, "NG", "NG-LA", "Lagos", "en-NG"),
    place(1.0, "ZA", "ZA-WC", "Cape Town", "en-ZA"),
];
/// Of a country that a site says nothing of, against its others.
const ELSEWHERE: f64 = 0.5;
/// So many read a site in English whose own language is another one.
const ENGLISH: f64 = 0.14;

/// Where crawlers are.
const DATA_CENTRES: [&str; 4] = ["US", "US", "US", "IE"];

/// What one visitor always has.
pub(super) struct Person {
    pub(super) agent: &'static Agent,
    pub(super) screen: &'static str,
    pub(super) place: &'static Place,
    pub(super) language: &'static str,
}

/// What one crawler has.
pub(super) struct Bot {
    pub(super) number: usize,
    pub(super) user_agent: &'static str,
    pub(super) country: &'static str,
}

/// The people of one site.
pub(super) struct People {
    agents: WeightedIndex<f64>,
    places: WeightedIndex<f64>,
    bots: WeightedIndex<f64>,
}

impl People {
    pub(super) fn of(site: &Site) -> Self {
        let of_country = |country: &str| {
            let places = PLACES.iter().filter(|place| place.country == country);
            places.map(|place| place.weight).sum::<f64>()
        };
        let places = PLACES.iter().map(|place| {
            let wanted = site.countries.iter().find(|of| of.0 == place.country);
            wanted.map_or(ELSEWHERE, |of| of.1) * place.weight / of_country(place.country)
        });
        Self {
            agents: super::traffic::weighted(AGENTS.iter().map(|agent| agent.weight)),
            places: super::traffic::weighted(places),
            bots: super::traffic::weighted(BOTS.iter().map(|bot| bot.0)),
        }
    }

    /// The person of these dice: thrown alike, the same one.
    pub(super) fn person(&self, dice: &mut StdRng) -> Person {
        let agent = &AGENTS[self.agents.sample(dice)];
        let place = &PLACES[self.places.sample(dice)];
        let reads_english = dice.random_bool(ENGLISH);
        Person {
            agent,
            screen: agent.screens[dice.random_range(0..agent.screens.len())],
            place,
            language: if reads_english {
                "en-US"
            } else {
                place.language
            },
        }
    }

    pub(super) fn bot(&self, dice: &mut StdRng) -> Bot {
        let number = self.bots.sample(dice);
        Bot {
            number,
            user_agent: BOTS[number].1,
            country: DATA_CENTRES[number % DATA_CENTRES.len()],
        }
    }
}

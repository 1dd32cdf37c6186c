//! Whole HTTP requests, written before the load begins: page views as sites send them, the same
//! ones at every run.

use std::fmt::Write;

use uuid::Uuid;

/// Different events of single requests; and at least as many over all batches.
const EVENTS: usize = 2048;
const BATCHES_MIN: usize = 16;
/// The same where what they become in tables counts too: some seventy megabytes.
pub(crate) const VARIED_EVENTS: usize = 200_000;
const SEED: u64 = 0x0077_6569_7221;

/// Where a UUID goes that is written at sending.
const ID_PLACE: &str = "00000000-0000-0000-0000-000000000000";

/// Requests to send one after the other, again and again.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) events_per_request: usize,
    all: Vec<Request>,
}

/// A request's bytes, head and body.
#[derive(Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    /// Of its events' JSON, together.
    event_bytes: usize,
    /// Where its events' ids go, if they bring their own.
    id_places: Vec<usize>,
}

impl Requests {
    /// Requests of `events_per_request` events. `client_ids`: each event brings an id of its own,
    /// as those of the tracker always do.
    pub(crate) fn prepare(events_per_request: usize, client_ids: bool, shape: Shape) -> Self {
        let kind = Kind {
            events: events_per_request,
            client_ids,
            shape,
            pick: Random::below,
        };
        Self::of(kind, EVENTS)
    }

    /// The same, of so many different events that neither tables nor rollups live on repetition;
    /// few sites, pages and visitors have most of them.
    pub(crate) fn prepare_varied(events_per_request: usize, client_ids: bool) -> Self {
        let kind = Kind {
            events: events_per_request,
            client_ids,
            shape: Shape::Full,
            pick: Random::skewed,
        };
        Self::of(kind, VARIED_EVENTS)
    }

    fn of(kind: Kind, events: usize) -> Self {
        let mut random = Random(SEED);
        let count = events.div_ceil(kind.events).max(BATCHES_MIN);
        let all = (0..count)
            .map(|_| Request::prepare(&mut random, kind))
            .collect();
        Self {
            events_per_request: kind.events,
            all,
        }
    }

    /// How long an event is, on average.
    pub(crate) fn event_bytes(&self) -> usize {
        let bytes: usize = self.all.iter().map(|request| request.event_bytes).sum();
        bytes / (self.all.len() * self.events_per_request)
    }

    /// The request sent as the `number`th.
    pub(crate) fn get(&self, number: u64) -> &Request {
        let index = number % self.all.len() as u64;
        &self.all[usize::try_from(index).expect("an index")]
    }
}

/// What the events of a request are like.
#[derive(Debug, Clone, Copy)]
struct Kind {
    events: usize,
    client_ids: bool,
    shape: Shape,
    /// Which of so many sites, pages and visitors.
    pick: fn(&mut Random, usize) -> usize,
}

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// With referrer and props, as servers send them.
    Full,
    /// With neither.
    Small,
    /// As the tracker sends it from a page, under one of [`AGENTS`] user agents.
    Tracker,
}

/// Different user agents of the tracker's requests.
const AGENTS: usize = 500;

impl Request {
    fn prepare(random: &mut Random, kind: Kind) -> Self {
        let event = match kind.shape {
            Shape::Tracker => view_of_a_page,
            Shape::Full | Shape::Small => page_view,
        };
        let events: Vec<String> = (0..kind.events).map(|_| event(random, kind)).collect();
        let event_bytes = events.iter().map(String::len).sum();
        let (path, body) = match events.as_slice() {
            [event] => ("/event", event.clone()),
            events => ("/events", format!("[{}]", events.join(","))),
        };
        let head = match kind.shape {
            Shape::Tracker => head_of_a_page(random),
            Shape::Full | Shape::Small => "content-type: application/json\r\n".to_owned(),
        };
        let text = format!(
            "POST {path} HTTP/1.1\r\nhost: weir\r\n{head}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let id_places = text.match_indices(ID_PLACE).map(|(at, _)| at).collect();
        Self {
            bytes: text.into_bytes(),
            event_bytes,
            id_places,
        }
    }

    /// What to send. `ids` makes the next id; `scratch` is for a copy that holds ids.
    pub(crate) fn bytes<'r>(
        &'r self,
        scratch: &'r mut Vec<u8>,
        mut ids: impl FnMut() -> Uuid,
    ) -> &'r [u8] {
        if self.id_places.is_empty() {
            return &self.bytes;
        }
        scratch.clear();
        scratch.extend_from_slice(&self.bytes);
        for at in &self.id_places {
            let place = &mut scratch[*at..*at + ID_PLACE.len()];
            ids().hyphenated().encode_lower(place);
        }
        scratch
    }
}

/// Ids that no other run and no other source of this run makes.
#[derive(Debug)]
pub(crate) struct Ids(Random, u64);

impl Ids {
    pub(crate) fn new() -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        Self(Random(low), high)
    }

    pub(crate) fn next(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(Uuid::from_u64_pair(self.1, self.0.next()).into_bytes())
            .into_uuid()
    }
}

/// What a browser sends with the tracker's events, and matters.
fn head_of_a_page(random: &mut Random) -> String {
    const LANGUAGES: [&str; 4] = ["en-US,en;q=0.9", "de-DE,de;q=0.9", "fr-FR", "pt-BR,pt"];
    let agent = random.below(AGENTS);
    let version = 100 + agent / 4;
    let agent = match agent % 4 {
        0 => format!(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"
        ),
        1 => format!(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{version}.6 Mobile/15E148 Safari/604.1"
        ),
        2 => format!(
            "Mozilla/5.0 (X11; Linux x86_64; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"
        ),
        _ => format!(
            "Mozilla/5.0 (Linux; Android 14; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Mobile Safari/537.36"
        ),
    };
    format!(
        "user-agent: {agent}\r\naccept: */*\r\naccept-language: {}\r\norigin: https://www.shop-{}.example\r\ncontent-type: text/plain;charset=UTF-8\r\n",
        LANGUAGES[random.below(LANGUAGES.len())],
        random.below(50)
    )
}

fn view_of_a_page(random: &mut Random, kind: Kind) -> String {
    const REFERRERS: [&str; 5] = [
        "",
        "https://www.google.com/",
        "https://www.shop.example/articles/17",
        "https://t.co/3jXbQ9v0aF",
        "https://news.example/today",
    ];
    const CAMPAIGNS: [&str; 4] = [
        "",
        "",
        "",
        "?utm_source=newsletter&utm_medium=email&utm_campaign=spring",
    ];
    let (pick, site) = (kind.pick, random.below(50));
    format!(
        r#"{{"site_id":"site-{site}","event_type":"page_view","event_id":"{ID_PLACE}","url":"https://www.shop-{site}.example/articles/{page}{campaign}","referrer":"{referrer}","language":"en-US","screen":"{width}"}}"#,
        page = pick(random, 2000),
        campaign = CAMPAIGNS[random.below(CAMPAIGNS.len())],
        referrer = REFERRERS[random.below(REFERRERS.len())],
        width = 360 + 40 * random.below(40),
    )
}

fn page_view(random: &mut Random, kind: Kind) -> String {
    let pick = kind.pick;
    const SECTIONS: [&str; 6] = ["articles", "products", "docs", "blog", "help", "category"];
    const REFERRERS: [&str; 5] = [
        "https://www.google.com/",
        "https://news.ycombinator.com/item?id=40212345",
        "https://www.example.com/articles/how-to-measure-a-river",
        "https://duckduckgo.com/",
        "https://t.co/3jXbQ9v0aF",
    ];
    const BROWSERS: [&str; 4] = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Mobile Safari/537.36",
    ];
    const LANGUAGES: [&str; 4] = ["en-US", "de-DE", "fr-FR", "pt-BR"];
    let mut json = String::with_capacity(512);
    let written = write!(
        json,
        r#"{{"site_id":"site-{site}","event_type":"{event_type}","path":"/{section}/{page}","user_id":"visitor-{visitor:08x}""#,
        site = pick(random, 50),
        event_type = if random.below(10) < 8 {
            "page_view"
        } else {
            "click"
        },
        section = SECTIONS[random.below(SECTIONS.len())],
        page = pick(random, 2000),
        visitor = pick(random, 200_000),
    );
    written.expect("a String takes what is written");
    if kind.shape == Shape::Full {
        let written = write!(
            json,
            r#","referrer":"{referrer}","props":{{"user_agent":"{agent}","language":"{language}","screen":"{width}x{height}","logged_in":{logged_in}}}"#,
            referrer = REFERRERS[random.below(REFERRERS.len())],
            agent = BROWSERS[random.below(BROWSERS.len())],
            language = LANGUAGES[random.below(LANGUAGES.len())],
            width = 360 + 40 * random.below(40),
            height = 640 + 40 * random.below(20),
            logged_in = random.below(3) == 0,
        );
        written.expect("a String takes what is written");
    }
    if kind.client_ids {
        json.push_str(r#","event_id":""#);
        json.push_str(ID_PLACE);
        json.push('"');
    }
    json.push('}');
    json
}

/// SplitMix64, by Steele, Lea and Flood: small, and the same numbers everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    /// The first eighth comes up in half of all cases.
    fn skewed(&mut self, bound: usize) -> usize {
        let even = self.next() as f64 / 2f64.powi(64);
        ((even.powi(3) * bound as f64) as usize).min(bound - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use event::EventRequest;

    use super::*;

    fn body(bytes: &[u8]) -> &str {
        let text = std::str::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
        body
    }

    fn judge(request: &EventRequest<'_>) -> event::Event {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        event::parse(request, now, Uuid::nil).unwrap()
    }

    #[test]
    fn single_requests_hold_one_good_event_of_the_size_asked_for() {
        for (shape, bytes) in [
            (Shape::Full, 250..700),
            (Shape::Small, 80..130),
            (Shape::Tracker, 170..400),
        ] {
            let requests = Requests::prepare(1, false, shape);
            assert!(bytes.contains(&requests.event_bytes()));
            for request in &requests.all {
                let body = body(&request.bytes);
                assert!(bytes.contains(&body.len()), "{body}");
                judge(&serde_json::from_str(body).unwrap());
            }
        }
    }

    #[test]
    fn batches_hold_as_many_good_events_as_asked_for() {
        let requests = Requests::prepare(7, false, Shape::Full);
        for request in &requests.all {
            let events: Vec<EventRequest<'_>> = serde_json::from_str(body(&request.bytes)).unwrap();
            assert_eq!(events.len(), 7);
            events.iter().for_each(|event| {
                judge(event);
            });
        }
    }

    #[test]
    fn no_two_events_share_a_clients_id_and_the_length_stays() {
        let requests = Requests::prepare(3, true, Shape::Full);
        let (mut ids, mut scratch, mut seen) = (Ids::new(), Vec::new(), HashSet::new());
        for number in 0..2000 {
            let sent = requests.get(number).bytes(&mut scratch, || ids.next());
            let events: Vec<EventRequest<'_>> = serde_json::from_str(body(sent)).unwrap();
            for event in &events {
                let id = judge(event).id;
                assert_eq!(id.origin, event::IdOrigin::Client);
                assert!(seen.insert(id.uuid));
            }
        }
        assert_eq!(seen.len(), 6000);
    }

    #[test]
    fn varied_events_are_good_and_few_of_their_pages_have_most_of_them() {
        let requests = Requests::prepare_varied(100, false);
        assert_eq!(requests.all.len() * 100, VARIED_EVENTS);
        let (mut all, mut first_pages) = (HashSet::new(), 0);
        for request in &requests.all[..200] {
            let events: Vec<&serde_json::value::RawValue> =
                serde_json::from_str(body(&request.bytes)).unwrap();
            for event in events {
                let judged = judge(&serde_json::from_str(event.get()).unwrap());
                let page: u32 = judged
                    .path
                    .as_str()
                    .rsplit('/')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap();
                first_pages += u32::from(page < 250);
                all.insert(event.get());
            }
        }
        assert!(all.len() > 19_900, "{}", all.len());
        assert!((9_500..10_500).contains(&first_pages), "{first_pages}");
    }

    #[test]
    fn every_run_sends_the_same() {
        let prepare = || Requests::prepare(1, false, Shape::Full);
        let (one, other) = (prepare(), prepare());
        assert!(
            one.all
                .iter()
                .zip(&other.all)
                .all(|(a, b)| a.bytes == b.bytes)
        );
    }
}

//! From an event and its sender to what is known of both.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use event::{Context, Detail, EventRef, EventRequest, Path, UserOrigin};

use crate::agent::Agents;
use crate::locale;
use crate::page::{self, Given, Paths};
use crate::place::{Places, of_headers};
use crate::text::one_line;
use crate::visitor::Visitors;

/// Of a value that a client gave itself.
const VALUE_BYTES_MAX: usize = 255;

/// Makes the context of events. One of these serves a whole process.
#[derive(Debug, Default)]
pub struct Describer {
    pub paths: Paths,
    pub agents: Agents,
    pub places: Places,
    /// None: no visitor is made.
    pub visitors: Option<Visitors>,
}

/// Who sent an event, as far as the request that brought it shows. Nothing of it is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sender<'t> {
    /// Whether a page sent it: what follows is then of the person before it.
    pub is_page: bool,
    pub address: Option<IpAddr>,
    pub user_agent: Option<&'t str>,
    /// `Accept-Language`, or empty.
    pub languages: &'t str,
    /// The page, or its origin, as a browser names it; or empty.
    pub page: &'t str,
    /// Where the address is, as a proxy says it.
    pub country: Option<&'t str>,
    pub region: Option<&'t str>,
    pub city: Option<&'t str>,
    /// Whether `ip` and `user_agent` of the event are believed: its sender may say who the person is.
    pub is_trusted: bool,
}

/// Buffers that are used again for each event.
#[derive(Debug, Default)]
pub struct Room {
    source: String,
    language: String,
}

/// What is known of an event.
#[derive(Debug)]
pub struct Described<'t> {
    path: Option<Cow<'t, str>>,
    hostname: Cow<'t, str>,
    source: &'t str,
    agent: Option<Text>,
    place: Option<Text>,
    language: &'t str,
    screen: &'static str,
    visitor: Option<String>,
}

/// One that others share, or one of this event alone.
type Text = Arc<str>;

impl Describer {
    /// What is known of an event that was judged, by the request that it came in.
    pub fn describe<'t>(
        &self,
        event: &EventRef<'_>,
        request: &'t EventRequest<'_>,
        sender: &Sender<'t>,
        room: &'t mut Room,
    ) -> Described<'t> {
        let Room { source, language } = room;
        let detail = |detail| request.detail(detail).unwrap_or_default();
        let given = Given {
            hostname: detail(Detail::Hostname),
            reference: detail(Detail::Ref),
            source: detail(Detail::Source),
            utm_source: detail(Detail::UtmSource),
            utm_medium: detail(Detail::UtmMedium),
            utm_campaign: detail(Detail::UtmCampaign),
            utm_term: detail(Detail::UtmTerm),
            utm_content: detail(Detail::UtmContent),
        };
        let sent_url = request.detail(Detail::Url);
        let url = sent_url.or(Some(sender.page).filter(|page| !page.is_empty()));
        let page = page::read(url, &given, event.referrer, &self.paths, source);
        let path = match request.path() {
            Some(path) => Some(self.paths.form(path)),
            // A browser may name no more of a page than its origin.
            None => page.path.filter(|_| sent_url.is_some()),
        };

        let person = Person::of(request, sender);
        let visitor = person
            .address
            .filter(|_| sender.is_page && event.user_id.is_empty())
            .and_then(|address| {
                let agent = person.user_agent.unwrap_or_default();
                let site = event.site_id.as_str();
                let visitors = self.visitors.as_ref()?;
                visitors.id(site, address, agent, event.timestamp)
            });
        let languages = match request.detail(Detail::Language) {
            Some(given) => given,
            None => sender.languages,
        };
        locale::language(languages, language);
        Described {
            path,
            hostname: page.hostname,
            source,
            agent: self.agent(request, &person),
            place: self.place(request, sender, &person),
            language,
            screen: locale::screen(detail(Detail::Screen)),
            visitor,
        }
    }

    fn agent(&self, request: &EventRequest<'_>, person: &Person<'_>) -> Option<Text> {
        let known = person.user_agent.map(|agent| self.agents.describe(agent));
        let given = [
            Detail::Browser,
            Detail::BrowserVersion,
            Detail::System,
            Detail::Device,
        ];
        with_given(known, request, &given, 1)
    }

    fn place(
        &self,
        request: &EventRequest<'_>,
        sender: &Sender<'_>,
        person: &Person<'_>,
    ) -> Option<Text> {
        let known = match sender.country {
            Some(_) => {
                let place = of_headers(sender.country, sender.region, sender.city);
                Some(place.into())
            }
            None => person.address.map(|address| self.places.of(address)),
        };
        let given = [Detail::Country, Detail::Region, Detail::City];
        with_given(known, request, &given, 0)
    }
}

/// Puts what the client gave in place of the values that are known; `more` values follow those that
/// can be given.
fn with_given(
    known: Option<Text>,
    request: &EventRequest<'_>,
    given: &[Detail],
    more: usize,
) -> Option<Text> {
    let is_given = |detail: &Detail| request.detail(*detail).is_some_and(|text| !text.is_empty());
    if !request.has_details() || !given.iter().any(is_given) {
        return known;
    }
    let known = known.unwrap_or_default();
    let mut known = known.split('\t');
    let mut packed = String::new();
    for (nth, detail) in given.iter().enumerate() {
        let known = known.next().unwrap_or_default();
        let value = match request.detail(*detail) {
            Some(text) if !text.is_empty() => one_line(text, VALUE_BYTES_MAX),
            _ => known.into(),
        };
        if nth > 0 {
            packed.push('\t');
        }
        match detail {
            Detail::Country => packed.push_str(&value.to_ascii_uppercase()),
            _ => packed.push_str(&value),
        }
    }
    for _ in 0..more {
        packed.push('\t');
        packed.push_str(known.next().unwrap_or_default());
    }
    Some(packed.into())
}

/// The person before the page.
struct Person<'t> {
    address: Option<IpAddr>,
    user_agent: Option<&'t str>,
}

impl<'t> Person<'t> {
    fn of(request: &'t EventRequest<'_>, sender: &Sender<'t>) -> Self {
        if sender.is_page {
            return Self {
                address: sender.address,
                user_agent: sender.user_agent,
            };
        }
        let said = |detail| request.detail(detail).filter(|_| sender.is_trusted);
        Self {
            address: said(Detail::Ip).and_then(|text| text.trim().parse().ok()),
            user_agent: said(Detail::UserAgent),
        }
    }
}

impl Described<'_> {
    /// The event with what is known of it.
    #[must_use]
    pub fn of<'e>(&'e self, mut event: EventRef<'e>) -> EventRef<'e> {
        let path = self
            .path
            .as_deref()
            .and_then(|path| Path::normal(path).ok());
        if let Some(path) = path {
            event.path = path.or_root_of(event.event_type);
        }
        if let Some(visitor) = &self.visitor {
            event.user_id = visitor;
        }
        event.context = Context {
            hostname: &self.hostname,
            source: self.source,
            agent: self.agent.as_deref().unwrap_or_default(),
            place: self.place.as_deref().unwrap_or_default(),
            language: self.language,
            screen: self.screen,
            user_origin: match self.visitor {
                Some(_) => UserOrigin::Edge,
                None => UserOrigin::Client,
            },
        };
        event
    }
}

//! The page of an event: its path in one form, its host, and the source of the visit.
//!
//! All of it is read from texts that a stranger wrote. What is not what it should be gives nothing;
//! it is never a fault, for a view counts whatever its address looks like.

mod address;
mod campaign;
mod channel;
mod path;
mod source;
mod text;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use self::path::{Paths, TrailingSlash};

use self::address::{Address, ends_authority, host_of, host_of_either, without_www};
use self::campaign::{Campaign, Click};
use self::channel::{Way, channel_of};
use self::source::{Category, Known, of_host, of_name};
use self::text::{value, value_of_parameter};

/// What a client said of a page beside its URL; empty where it said nothing. Each wins over what
/// the URL has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'t> {
    pub hostname: &'t str,
    /// The field `ref`.
    pub reference: &'t str,
    pub source: &'t str,
    pub utm_source: &'t str,
    pub utm_medium: &'t str,
    pub utm_campaign: &'t str,
    pub utm_term: &'t str,
    pub utm_content: &'t str,
}

/// Of an event: the page it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<'t> {
    /// In lower case and Unicode, with its `www.` and without a port. Empty where it is unknown. At
    /// most 253 bytes.
    pub hostname: Cow<'t, str>,
    /// The path of the URL in the form of [`Paths::form`]; none where there is no URL.
    pub path: Option<Cow<'t, str>>,
}

/// How a visitor came to a page. Texts are empty where they are unknown; each has at most 255
/// bytes, and no control character.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source<'t> {
    pub channel: &'static str,
    pub source: Cow<'t, str>,
    pub utm_source: Cow<'t, str>,
    pub utm_medium: Cow<'t, str>,
    pub utm_campaign: Cow<'t, str>,
    pub utm_term: Cow<'t, str>,
    pub utm_content: Cow<'t, str>,
}

impl Source<'_> {
    /// Writes the seven texts, joined by TAB, in place of what a buffer has. Where all are empty
    /// the buffer is.
    pub fn pack(&self, packed: &mut String) {
        packed.clear();
        let texts = [
            &self.source,
            &self.utm_source,
            &self.utm_medium,
            &self.utm_campaign,
            &self.utm_term,
            &self.utm_content,
        ];
        let bytes: usize = texts.iter().map(|text| text.len() + 1).sum();
        packed.reserve(self.channel.len() + bytes);
        packed.push_str(self.channel);
        for text in texts {
            packed.push('\t');
            packed.push_str(text);
        }
        if packed.len() == texts.len() {
            packed.clear();
        }
    }
}

/// Reads a page's URL and referrer, and packs its source ([`Source::pack`]) into a buffer.
///
/// The buffer is empty where nothing is known of how a visitor came: an event of a server without
/// any of it, and a view inside the site, whose referrer is a page of the same host. Such a view has
/// no source of its own: as every view is counted, not only the first of a visit, taking it for
/// `Direct` would make that the largest channel of every site. A page's event without a source has
/// the channel `Direct`.
///
/// ```
/// use context::page::{Given, Paths, read};
///
/// let url = "https://shop.example/p?utm_source=newsletter&utm_medium=email";
/// let mut packed = String::new();
/// let page = read(Some(url), &Given::default(), "", &Paths::default(), &mut packed);
/// assert_eq!(page.hostname, "shop.example");
/// assert_eq!(page.path.as_deref(), Some("/p"));
/// assert_eq!(packed, "Email\tnewsletter\tnewsletter\temail\t\t\t");
/// ```
pub fn read<'t>(
    url: Option<&'t str>,
    given: &Given<'t>,
    referrer: &str,
    paths: &Paths,
    packed: &mut String,
) -> Page<'t> {
    // A file's path is its reader's own, and may name them.
    let address = url
        .and_then(Address::of)
        .filter(|address| !address.is_of_a_file());
    let of_url = address.and_then(|address| host_of(address.authority));
    let hostname = host_of_either(given.hostname)
        .or(of_url)
        .unwrap_or_default();

    source(address.as_ref(), given, referrer, &hostname).pack(packed);
    Page {
        hostname,
        path: address.map(|address| paths.of(&address)),
    }
}

fn source<'t>(
    page: Option<&Address<'t>>,
    given: &Given<'t>,
    referrer: &'t str,
    hostname: &str,
) -> Source<'t> {
    let campaign = page.map_or_else(Campaign::default, Campaign::of);
    let either = |given: &'t str, of_url: &'t str| {
        let given = value(given);
        if given.is_empty() {
            value_of_parameter(of_url)
        } else {
            given
        }
    };
    let mut source = Source {
        channel: "",
        source: Cow::Borrowed(""),
        utm_source: either(given.utm_source, campaign.source),
        utm_medium: either(given.utm_medium, campaign.medium),
        utm_campaign: either(given.utm_campaign, campaign.campaign),
        utm_term: either(given.utm_term, campaign.term),
        utm_content: either(given.utm_content, campaign.content),
    };

    let origin = Origin::named(given, &campaign, &source.utm_source)
        .unwrap_or_else(|| Origin::of_referrer(referrer, hostname))
        .or_of_click(campaign.click);
    let channel = channel_of(&Way {
        source: &origin.name,
        category: origin.category,
        medium: &source.utm_medium,
        campaign: &source.utm_campaign,
        click: campaign
            .click
            .filter(|click| origin.name == click.network()),
        is_referred: origin.by == By::Site,
    });
    let is_direct = match origin.by {
        By::Campaign | By::Site => true,
        By::Nobody => page.is_some(),
        By::Inside => false,
    };
    if is_direct || channel != "Direct" {
        source.channel = channel;
    }
    source.source = origin.name;
    source
}

/// Who sent the visitor.
#[derive(Default)]
struct Origin<'t> {
    name: Cow<'t, str>,
    category: Option<Category>,
    by: By,
}

#[derive(Default, PartialEq)]
enum By {
    /// The name that a campaign was given.
    Campaign,
    /// A site that has a link to the page.
    Site,
    /// The site itself.
    Inside,
    #[default]
    Nobody,
}

impl<'t> Origin<'t> {
    /// The one that the client named, or else the one that the link does.
    fn named(
        given: &Given<'t>,
        campaign: &Campaign<'t>,
        utm_source: &Cow<'t, str>,
    ) -> Option<Self> {
        let has_given = !value(given.utm_source).is_empty();
        let first_set = |names: [(By, Cow<'t, str>); 3]| {
            let mut names = names.into_iter();
            names.find(|(_, name)| !name.is_empty())
        };
        let by_client = [
            (By::Site, value(given.source)),
            (
                By::Campaign,
                if has_given {
                    utm_source.clone()
                } else {
                    Cow::default()
                },
            ),
            (By::Site, value(given.reference)),
        ];
        let by_link = || {
            [
                (By::Campaign, utm_source.clone()),
                (By::Site, value_of_parameter(campaign.site)),
                (By::Site, value_of_parameter(campaign.reference)),
            ]
        };
        let (by, name) = first_set(by_client).or_else(|| first_set(by_link()))?;
        Some(match (of_name(&name), host_of_url(&name)) {
            (Some(known), _) => Self::known(known, by),
            (None, Some(host)) => Self::of_site(Cow::Owned(host.into_owned()), by),
            (None, None) => Self {
                name,
                category: None,
                by,
            },
        })
    }

    fn of_referrer(referrer: &'t str, hostname: &str) -> Self {
        let Some(host) = host_of_referrer(referrer) else {
            return Self::default();
        };
        if without_www(&host) == without_www(hostname) {
            return Self {
                by: By::Inside,
                ..Self::default()
            };
        }
        Self::of_site(host, By::Site)
    }

    /// Apps open a link without a referrer, but leave the id of the click.
    fn or_of_click(self, click: Option<Click>) -> Self {
        let network = click.filter(|_| self.by == By::Nobody);
        let known = network.and_then(|click| of_name(click.network()));
        known.map_or(self, |known| Self::known(known, By::Campaign))
    }

    fn of_site(host: Cow<'t, str>, by: By) -> Self {
        if let Some(known) = of_host(&host) {
            return Self::known(known, by);
        }
        let name = match host {
            Cow::Borrowed(host) => Cow::Borrowed(without_www(host)),
            Cow::Owned(host) => Cow::Owned(without_www(&host).to_owned()),
        };
        Self {
            name,
            category: None,
            by,
        }
    }

    fn known(known: Known, by: By) -> Self {
        Self {
            name: Cow::Borrowed(known.name),
            category: Some(known.category),
            by,
        }
    }
}

/// The host of a referrer, which some clients send without its scheme. That of an app is its
/// package.
fn host_of_referrer(referrer: &str) -> Option<Cow<'_, str>> {
    let referrer = referrer.trim();
    if let Some(address) = Address::of(referrer) {
        return host_of(address.authority);
    }
    let end = referrer.bytes().position(ends_authority);
    let host = host_of(&referrer[..end.unwrap_or(referrer.len())])?;
    host.contains('.').then_some(host)
}

fn host_of_url(text: &str) -> Option<Cow<'_, str>> {
    let address = text.contains("://").then(|| Address::of(text)).flatten()?;
    host_of(address.authority)
}

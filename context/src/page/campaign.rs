//! What the query of a page's address says of how its visitor came.

use super::address::Address;

/// The parameters of a query that are known here, still percent-encoded; empty where they are not
/// set. Of one that is set twice the first counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Campaign<'t> {
    pub(super) source: &'t str,
    pub(super) medium: &'t str,
    pub(super) campaign: &'t str,
    pub(super) term: &'t str,
    pub(super) content: &'t str,
    /// `source` and `ref`, by which sites name themselves in their links.
    pub(super) site: &'t str,
    pub(super) reference: &'t str,
    pub(super) click: Option<Click>,
}

/// Whose advertisement was clicked, by the id that the network adds to the address. Networks whose
/// id also comes with links that nobody paid for (`fbclid`) are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Click {
    Google,
    Bing,
}

impl Click {
    /// The name of its source.
    pub(super) fn network(self) -> &'static str {
        match self {
            Self::Google => "Google",
            Self::Bing => "Bing",
        }
    }
}

impl<'t> Campaign<'t> {
    /// Of a page's query, and of the one that its hash router has.
    pub(super) fn of(page: &Address<'t>) -> Self {
        let of_route = page.fragment.split_once('?').map_or("", |(_, query)| query);
        let mut campaign = Self::default();
        for query in [page.query, of_route] {
            if !query.is_empty() {
                query.split('&').for_each(|pair| campaign.read(pair));
            }
        }
        campaign
    }

    fn read(&mut self, pair: &'t str) {
        let Some((name, value)) = pair.split_once('=') else {
            return;
        };
        let place = match name {
            "utm_source" => &mut self.source,
            "utm_medium" => &mut self.medium,
            "utm_campaign" => &mut self.campaign,
            "utm_term" => &mut self.term,
            "utm_content" => &mut self.content,
            "source" => &mut self.site,
            "ref" => &mut self.reference,
            "gclid" | "gbraid" | "wbraid" => return self.click(Click::Google),
            "msclkid" => return self.click(Click::Bing),
            _ => return,
        };
        if place.is_empty() {
            *place = value;
        }
    }

    fn click(&mut self, click: Click) {
        self.click = self.click.or(Some(click));
    }
}

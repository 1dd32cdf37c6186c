//! What one request may send and what it owes, from its head to its last event.

use event::Event;

use crate::limits::SiteCounts;

/// Made from a request's head; asked for each of its events.
#[derive(Default)]
pub(crate) struct Admission {
    /// Only where sites have a limit.
    pub(crate) site_counts: Option<SiteCounts>,
}

impl Admission {
    /// Notes an event that is good.
    pub(crate) fn count(&mut self, event: &Event) {
        if let Some(counts) = &mut self.site_counts {
            counts.add(&event.site_id);
        }
    }
}

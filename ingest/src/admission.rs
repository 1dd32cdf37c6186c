//! What one request may send and what it owes, from its head to its last event.

use event::SiteId;

use crate::head::Head;
use crate::keys::{Caller, Denied, Grant};
use crate::limits::SiteCounts;

/// Made from a request's head; asked for each of its events.
#[derive(Default)]
pub(crate) struct Admission {
    pub(crate) head: Head,
    /// Only where keys are asked for.
    pub(crate) caller: Option<Caller>,
    /// Only where sites have a limit.
    pub(crate) site_counts: Option<SiteCounts>,
    /// Events refused for their key, and the first reason among theirs.
    pub(crate) denied_count: usize,
    pub(crate) denied: Option<Denied>,
}

impl Admission {
    /// Whether a good event of this site may be sent, and by which grant; notes it if so.
    pub(crate) fn admit(&mut self, site_id: SiteId<&str>) -> Result<Grant, Denied> {
        let granted = match &self.caller {
            Some(caller) => caller.may_send(site_id),
            None => Ok(Grant::Open),
        };
        match granted {
            Ok(_) => {
                if let Some(counts) = &mut self.site_counts {
                    counts.add(site_id);
                }
            }
            Err(denied) => {
                self.denied_count += 1;
                self.denied = Some(self.denied.map_or(denied, |known| known.min(denied)));
            }
        }
        granted
    }
}

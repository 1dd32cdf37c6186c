//! An accepted event.

use chrono::{DateTime, Utc};

use crate::fields::{EventId, EventType, Path, SiteId};

/// An event that obeys every rule of the contract. Times are whole milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    pub site_id: SiteId,
    pub event_type: EventType,
    pub path: Path,
    /// At most 256 bytes; empty where the client sent none.
    pub user_id: String,
    /// When it happened, by the client's clock.
    pub timestamp: DateTime<Utc>,
    /// When the edge took it in.
    pub received_at: DateTime<Utc>,
    /// At most 2048 bytes; empty where the client sent none.
    pub referrer: String,
    /// At most 30 pairs, each key once, in the order sent. Numbers and booleans stand as JSON
    /// writes them; a key whose value was null is left out.
    pub props: Vec<(String, String)>,
}

//! The contract every part of weir shares: what an event is ([`Event`]), which rules it obeys
//! ([`judge()`]), and how it is written into Kafka ([`wire`]).
//!
//! Pure: no I/O, no clock, no randomness. What depends on time or chance is an argument, so every
//! rule can be tested and a record decodes to the same events wherever and whenever it is read.

mod fault;
mod fields;
mod judge;
mod model;
mod referrer;
mod request;
pub mod wire;

pub use fault::{Fault, InvalidEvent};
pub use fields::{EventId, EventType, IdOrigin, Path, SiteId};
pub use judge::{judge, parse};
pub use model::{Context, Event, EventRef, UserOrigin};
pub use referrer::ReferrerPart;
pub use request::{Detail, EventRequest};

/// Event types that count as views unless configured otherwise.
pub const VIEW_TYPES: [&str; 3] = ["page_view", "pageview", "view"];

/// The rules' figures, in one place; the API's documentation and its tests read them from here.
pub mod limits {
    use chrono::{DateTime, TimeDelta, Utc};

    pub const SITE_ID_BYTES_MAX: usize = 128;
    pub const EVENT_TYPE_BYTES_MAX: usize = 64;
    pub const PATH_BYTES_MAX: usize = 2048;
    pub const USER_ID_BYTES_MAX: usize = 256;
    pub const EVENT_ID_BYTES_MAX: usize = 128;
    pub const REFERRER_BYTES_MAX: usize = 2048;
    /// One text of an event's context: seven values of 255 bytes with a tab between.
    pub const CONTEXT_BYTES_MAX: usize = 7 * 255 + 6;
    pub const PROPS_KEYS_MAX: usize = 30;
    /// Keys and values together, as they are stored.
    pub const PROPS_BYTES_MAX: usize = 64 * 1024;
    /// A client's clock may run ahead by this much; the event then takes the time of receipt.
    pub const CLOCK_SKEW_MAX: TimeDelta = TimeDelta::hours(24);
    /// 2000-01-01T00:00:00Z, the oldest timestamp taken.
    pub const TIMESTAMP_MIN: DateTime<Utc> =
        DateTime::from_timestamp_nanos(946_684_800_000_000_000);
    /// 2106-01-01T00:00:00Z: a record beyond it was not written by an edge, and the quarters of an
    /// hour that events are counted by end soon after, with the 32 bits of ClickHouse's `DateTime`.
    pub const TIMESTAMP_MAX: DateTime<Utc> =
        DateTime::from_timestamp_nanos(4_291_747_200_000_000_000);
}

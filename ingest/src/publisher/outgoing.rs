//! Encoded events of one request, on their way into records.

use std::ops::Range;

use event::{EventRef, IdOrigin, wire};
use uuid::Uuid;

/// Events in their order, written as they will stand in a record, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    frames: Vec<u8>,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    /// Where its frame ends, which is where the next one begins.
    end: usize,
    /// The client's own id decides the partition, so that its retry lands beside it.
    client_id: Option<Uuid>,
}

/// Where an event's frame stands, and the client's id if it has one.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) range: Range<usize>,
    pub(super) client_id: Option<Uuid>,
}

/// A request may be larger; it then grows as it must.
const CAPACITY_MAX: usize = 64 << 10;

impl Outgoing {
    /// For events that came in a body of so many bytes: what is kept of it is seldom more.
    pub(crate) fn with_capacity(body_bytes: usize) -> Self {
        Self {
            frames: Vec::with_capacity(body_bytes.min(CAPACITY_MAX)),
            places: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, event: &EventRef<'_>) {
        wire::encode_frame(event, &mut self.frames);
        self.places.push(Place {
            end: self.frames.len(),
            client_id: match event.id.origin {
                IdOrigin::Edge => None,
                IdOrigin::Client => Some(event.id.uuid),
            },
        });
    }

    pub(crate) fn events(&self) -> usize {
        self.places.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.frames.len()
    }

    /// The frames that stand in `range`.
    pub(super) fn frames_in(&self, range: Range<usize>) -> &[u8] {
        &self.frames[range]
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = Frame> {
        let mut begin = 0;
        self.places.iter().map(move |place| Frame {
            range: std::mem::replace(&mut begin, place.end)..place.end,
            client_id: place.client_id,
        })
    }
}

#[cfg(test)]
impl Outgoing {
    /// Frames of so many bytes and of whatever content.
    pub(super) fn of_bytes(bytes: &[usize], client_id: Option<Uuid>) -> Self {
        let mut outgoing = Self::default();
        for bytes in bytes {
            let end = outgoing.frames.len() + bytes;
            outgoing.frames.resize(end, 0);
            outgoing.places.push(Place { end, client_id });
        }
        outgoing
    }
}

//! From what a client sent to its promise: the one way of events, whichever door they came in by.

use std::sync::Arc;

use axum::extract::Request;
use chrono::{DateTime, Duration, SubsecRound, Utc};
use context::{Describer, Room};
use event::{EventRequest, InvalidEvent, ReferrerPart, judge};
use uuid::Uuid;

use super::{Edge, Failure, Refusal, count};
use crate::admission::Admission;
use crate::body;
use crate::edge_ids::EdgeIds;
use crate::head::{Door, Head};
use crate::keys::Caller;
use crate::publisher::Outgoing;

/// What is made of an event beside judging it.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) referrer: ReferrerPart,
    pub(super) describer: Arc<Describer>,
}

/// The events of one request that are good, ready to go.
pub(super) struct Intake {
    received_at: DateTime<Utc>,
    ids: EdgeIds,
    reading: Arc<Reading>,
    room: Room,
    pub(super) admission: Admission,
    /// How long ago the events happened, where the request says it.
    pub(super) age: Option<Duration>,
    outgoing: Outgoing,
}

impl Intake {
    /// For the events of a body that is there, and has so many bytes.
    pub(super) fn new(reading: Arc<Reading>, admission: Admission, body_bytes: usize) -> Self {
        let received_at = Utc::now().trunc_subsecs(3);
        Self {
            received_at,
            ids: EdgeIds::of(received_at),
            reading,
            room: Room::default(),
            admission,
            age: None,
            outgoing: Outgoing::with_capacity(body_bytes),
        }
    }

    /// Takes the event in, if it obeys the rules and may be sent; returns its id.
    pub(super) fn accept(&mut self, request: &mut EventRequest<'_>) -> Result<Uuid, Refusal> {
        request.cut_referrer(self.reading.referrer);
        let mut event = judge(request, self.received_at, || self.ids.next())
            .map_err(|invalid| Refusal::Invalid(sentences(&invalid)))?;
        if let Some(age) = self.age {
            event.timestamp = self.received_at - age;
        }
        let grant = self.admission.admit(event.site_id);
        let sender = self.admission.head.sender(grant.map_err(Refusal::Denied)?);
        let described = self
            .reading
            .describer
            .describe(&event, request, &sender, &mut self.room);
        self.outgoing.push(&described.of(event));
        Ok(event.id.uuid)
    }

    /// How many events it took in.
    pub(super) fn accepted(&self) -> usize {
        self.outgoing.events()
    }
}

impl Edge {
    /// Charges the client for the request, and sees which key it brings.
    pub(super) fn admit(&self, request: &Request, door: Door) -> Result<Admission, Failure> {
        let mut admission = Admission {
            head: Head::of(request, door, &self.proxies, &self.place_headers),
            caller: self
                .keys
                .as_ref()
                .map(|keys| Caller::new(keys, request, door)),
            ..Admission::default()
        };
        if let Some(limits) = &self.limits {
            admission.site_counts = limits.admit(request).map_err(|limited| {
                count("limited", 1);
                Failure::Limited(limited)
            })?;
        }
        Ok(admission)
    }

    /// The same for a request with a body: if it is refused, its body is read past.
    pub(super) async fn admit_or_skip(
        &self,
        request: Request,
        door: Door,
    ) -> Result<(Admission, Request), Failure> {
        match self.admit(&request, door) {
            Ok(admission) => Ok((admission, request)),
            Err(limited) => {
                body::skip(request).await;
                Err(limited)
            }
        }
    }

    /// Charges the sites and publishes: returns once all of the intake is safe, or none of it is
    /// taken.
    pub(super) async fn keep(&self, intake: Intake) -> Result<(), Failure> {
        let accepted = intake.accepted();
        if let (Some(limits), Some(counts)) = (&self.limits, &intake.admission.site_counts) {
            limits.charge(counts).map_err(|limited| {
                count("limited", accepted);
                Failure::Limited(limited)
            })?;
        }
        self.publisher
            .publish(intake.outgoing)
            .await
            .map_err(|unpublished| {
                count("unavailable", accepted);
                Failure::Unpublished(unpublished)
            })?;
        self.accepted.increment(accepted as u64);
        Ok(())
    }
}

fn sentences(invalid: &InvalidEvent) -> Vec<String> {
    invalid.faults.iter().map(ToString::to_string).collect()
}

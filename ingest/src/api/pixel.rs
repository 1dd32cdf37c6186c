//! `GET /pixel.gif`: an event from a page that runs no script.

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use event::EventRequest;
use uuid::Uuid;

use super::intake::Intake;
use super::{Edge, Failure, Refusal};
use crate::head::Door;
use crate::query_string::{self, NotText};

/// One transparent point.
const GIF: &[u8] = &[
    b'G', b'I', b'F', b'8', b'9', b'a', // the format
    1, 0, 1, 0, 0x80, 0, 0, // a screen of one point and two colours
    0, 0, 0, 0xff, 0xff, 0xff, // black and white
    0x21, 0xf9, 4, 1, 0, 0, 0, 0, // the first of them is transparent
    0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, // an image of one point
    2, 2, 0x44, 1, 0,    // which has that colour
    0x3b, // the end
];

/// What a pixel is of when it does not say.
const EVENT_TYPE: &str = "page_view";

/// Take one event and answer with an image
///
/// For pages without scripts, as an `<img>`. The image is answered once the event is safe, as 202
/// is elsewhere. Unknown parameters are ignored, one without a value is the same as
/// one left out, and none may be given twice.
#[utoipa::path(
    get,
    path = "/pixel.gif",
    tag = "events",
    params(crate::openapi::PixelQuery, crate::openapi::ContextFields, crate::openapi::KeyParameter),
    security((), ("write_key" = [])),
    responses(
        (status = 200, description = "Accepted: the event is safe. A transparent GIF of one point", content_type = "image/gif", body = [u8]),
        (status = 400, description = "Refused, with every fault", body = infra::http::ErrorBody),
        (status = 401, description = "A write key is required", body = infra::http::ErrorBody),
        (status = 403, description = "The write key is not one of this site, or not good from this origin", body = infra::http::ErrorBody),
        (status = 429, description = "Too much of this address, or of this site: try again after `Retry-After` seconds", body = infra::http::ErrorBody,
            headers(("Retry-After" = u32, description = "Seconds"))),
        (status = 503, description = "Neither Kafka nor the spool can take it now: try again after `Retry-After` seconds", body = infra::http::ErrorBody,
            headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub(crate) async fn get_pixel(
    State(edge): State<Arc<Edge>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let taken = take(&edge, query.as_deref().unwrap_or_default(), request).await;
    taken.map_or_else(IntoResponse::into_response, |()| image())
}

async fn take(edge: &Edge, query: &str, request: Request) -> Result<(), Failure> {
    let admission = edge.admit(&request, Door::Pixel)?;
    let mut intake = Intake::new(edge.reading.clone(), admission, query.len());
    judge(query, &mut intake)?;
    edge.keep(intake).await
}

/// A look at the headers is no view: nothing is judged and nothing counts.
pub(crate) async fn head_pixel() -> Response {
    image()
}

fn judge(query: &str, intake: &mut Intake) -> Result<Uuid, Refusal> {
    let mut pairs = query_string::pairs(query)
        .collect::<Result<Vec<_>, NotText>>()
        .map_err(|fault| Refusal::sentence(fault.to_string()))?;
    match pairs.iter_mut().find(|(name, _)| name == "event_type") {
        Some((_, value)) if value.is_empty() => *value = EVENT_TYPE.into(),
        Some(_) => {}
        None => pairs.push(("event_type".into(), EVENT_TYPE.into())),
    }
    let mut request =
        EventRequest::from_pairs(pairs).map_err(|fault| Refusal::sentence(fault.to_string()))?;
    intake.accept(&mut request)
}

fn image() -> Response {
    let headers = [(CONTENT_TYPE, "image/gif"), (CACHE_CONTROL, "no-store")];
    (headers, GIF).into_response()
}

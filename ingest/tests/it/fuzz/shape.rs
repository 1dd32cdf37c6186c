//! What an answer must look like, by what was asked.

use serde_json::Value;

use super::cases::Case;
use super::client::Answer;

type Judged = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Judged {
    if holds { Ok(()) } else { Err(what()) }
}

pub(super) fn check(case: &Case, answer: &Answer) -> Judged {
    let status = answer.status;
    let (method, path) = (case.method.as_str(), case.path());
    // CORS answers every preflight before anybody asks what there is.
    if method == "OPTIONS" {
        return ensure(status == 200 && answer.body.is_empty(), || {
            format!("a preflight is answered {status}")
        });
    }
    let known: &[u16] = match (method, path) {
        ("POST", "/event" | "/events") => &[202, 400, 401, 403, 408, 413, 415, 429],
        ("GET", "/pixel.gif") => &[200, 400, 401, 403, 429],
        ("GET" | "HEAD", "/pixel.gif" | "/health" | "/ready" | "/metrics" | "/openapi.json") => {
            &[200]
        }
        ("GET" | "HEAD", "/api-docs") => &[303],
        (_, "/event" | "/events" | "/pixel.gif" | "/health" | "/ready" | "/metrics") => &[405],
        (_, "/openapi.json" | "/api-docs") => &[405],
        (_, path) if path.starts_with("/api-docs/") => &[200, 404, 405],
        _ => &[404, 400],
    };
    ensure(known.contains(&status), || {
        format!("{method} {path} is answered {status}")
    })?;
    if case.has("origin") && matches!(path, "/event" | "/events" | "/pixel.gif") {
        ensure(
            answer.header("access-control-allow-origin").is_some(),
            || "a page could not read the answer".to_owned(),
        )?;
    }
    if status == 429 {
        let seconds = answer.header("retry-after").unwrap_or_default();
        ensure(
            seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0),
            || format!("a 429 with {seconds:?} to wait"),
        )?;
    }
    if method == "HEAD" || path.starts_with("/api-docs") {
        return Ok(());
    }
    match (status, path) {
        (202, "/event") => accepted(answer),
        (202, _) => batch_accepted(answer),
        (200, "/pixel.gif") => ensure(
            answer.body.len() == 43 && answer.header("content-type") == Some("image/gif"),
            || "not the image".to_owned(),
        ),
        (200, _) => Ok(()),
        _ => refused(answer),
    }
}

/// hyper itself answers what is no request, without a body; what became one by chance is answered
/// like any other.
pub(super) fn check_garbage(answers: &[Answer]) -> Judged {
    for answer in answers {
        ensure(answer.status < 500, || {
            format!("garbage is answered {}", answer.status)
        })?;
    }
    Ok(())
}

fn json(answer: &Answer) -> Result<Value, String> {
    ensure(
        answer.header("content-type") == Some("application/json"),
        || format!("{} is not JSON", answer.status),
    )?;
    serde_json::from_slice(&answer.body).map_err(|error| format!("not JSON: {error}"))
}

fn keys(json: &Value) -> Vec<&str> {
    let keys = json.as_object().into_iter().flat_map(serde_json::Map::keys);
    keys.map(String::as_str).collect()
}

fn accepted(answer: &Answer) -> Judged {
    let json = json(answer)?;
    let id = json["event_id"].as_str().unwrap_or_default();
    let holds = keys(&json) == ["event_id", "message", "status", "success"]
        && json["success"] == true
        && json["status"] == "accepted"
        && uuid::Uuid::parse_str(id).is_ok();
    ensure(holds, || format!("a 202 of its own kind: {json}"))
}

fn batch_accepted(answer: &Answer) -> Judged {
    let json = json(answer)?;
    let holds = keys(&json) == ["accepted", "rejected", "status", "success"]
        && json["success"] == true
        && json["status"] == "accepted"
        && json["accepted"]
            .as_u64()
            .is_some_and(|accepted| accepted > 0);
    ensure(holds, || format!("a 202 of its own kind: {json}"))?;
    rejected(&json)
}

fn refused(answer: &Answer) -> Judged {
    let json = json(answer)?;
    let keys = keys(&json);
    let holds = (keys == ["errors", "status", "success"]
        || keys == ["errors", "rejected", "status", "success"])
        && json["success"] == false
        && json["status"] == "error"
        && sentences(&json["errors"]);
    ensure(holds, || format!("an error of its own kind: {json}"))?;
    rejected(&json)
}

fn rejected(json: &Value) -> Judged {
    let mut last = None;
    for one in json["rejected"].as_array().into_iter().flatten() {
        let index = one["index"].as_u64();
        let holds = keys(one) == ["errors", "index"] && index > last && sentences(&one["errors"]);
        ensure(holds, || format!("a rejection of its own kind: {one}"))?;
        last = index;
    }
    Ok(())
}

/// None is empty, and none carries a body back.
fn sentences(errors: &Value) -> bool {
    let Some(errors) = errors.as_array() else {
        return false;
    };
    let is_sentence = |error: &Value| {
        error
            .as_str()
            .is_some_and(|error| !error.is_empty() && error.len() < 1_000)
    };
    !errors.is_empty() && errors.iter().all(is_sentence)
}

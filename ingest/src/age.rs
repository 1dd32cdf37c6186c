//! `age`: how long ago an event happened when its request was sent. For pages, whose clock may be
//! off by days while it counts milliseconds as well as any.

use axum::extract::Request;
use chrono::Duration;

use crate::query_string;

/// Longer than any page is open. More is a clock that was set meanwhile.
const AGE_MAX_MS: i64 = 366 * 24 * 60 * 60 * 1000;

/// An age that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("age must be a whole number of milliseconds, at most {AGE_MAX_MS}")]
pub(crate) struct NoAge;

/// The age that a request says its event has, if it says one. Less than nothing is nothing: the
/// clock was put back meanwhile.
pub(crate) fn of(request: &Request) -> Result<Option<Duration>, NoAge> {
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = query_string::pairs(query).filter_map(Result::ok);
    let Some((_, age)) = pairs.find(|(name, value)| name == "age" && !value.is_empty()) else {
        return Ok(None);
    };
    let age: i64 = age.parse().map_err(|_| NoAge)?;
    if age > AGE_MAX_MS {
        return Err(NoAge);
    }
    Ok(Some(Duration::milliseconds(age.max(0))))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn an_age_is_a_whole_number_of_milliseconds() {
        let age = |query: &str| {
            let request = Request::post(format!("/event?{query}"));
            of(&request.body(Body::empty()).unwrap())
        };
        let some = |milliseconds| Ok(Some(Duration::milliseconds(milliseconds)));
        for query in ["", "age", "age=", "key=1"] {
            assert_eq!(age(query), Ok(None), "{query}");
        }
        assert_eq!(age("age=0&key="), some(0));
        assert_eq!(age("key=x&age=1500"), some(1500));
        assert_eq!(age("age=-20"), some(0));
        assert_eq!(age(&format!("age={AGE_MAX_MS}")), some(AGE_MAX_MS));
        assert_eq!(age(&format!("age={}", AGE_MAX_MS + 1)), Err(NoAge));
        for query in ["age=1.5", "age=NaN", "age=1e3", "age=99999999999999999999"] {
            assert_eq!(age(query), Err(NoAge), "{query}");
        }
    }
}

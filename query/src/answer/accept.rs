//! What a client takes, by its `Accept`.

use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderValue};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    Json,
    Csv {
        /// Whether what clients sent stands as it is, though a spreadsheet would compute it.
        raw_cells: bool,
    },
}

impl Format {
    /// CSV for those who name it and like nothing better; JSON for all others, also for those who
    /// say that they take neither.
    pub(crate) fn of(headers: &HeaderMap, raw_cells: bool) -> Self {
        let csv = liking(headers, &["text/csv"]);
        let json = liking(headers, &["application/json", "application/*", "*/*"]);
        if csv > 0.0 && csv >= json {
            Self::Csv { raw_cells }
        } else {
            Self::Json
        }
    }

    pub(super) fn content_type(self) -> HeaderValue {
        match self {
            Self::Json => HeaderValue::from_static("application/json"),
            Self::Csv { .. } => HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
        }
    }
}

/// Whether a client asks for server-sent events.
pub(crate) fn wants_events(headers: &HeaderMap) -> bool {
    liking(headers, &["text/event-stream"]) > 0.0
}

/// How much the best of `types` is liked, from 0 to 1. A range counts as less than a type that
/// is named.
fn liking(headers: &HeaderMap, types: &[&str]) -> f32 {
    let lists = headers.get_all(ACCEPT).into_iter();
    let entries = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    let mut best = 0.0_f32;
    for entry in entries {
        let mut parts = entry.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        if !types.contains(&kind.as_str()) {
            continue;
        }
        let quality = parts
            .filter_map(|part| part.strip_prefix("q="))
            .find_map(|quality| quality.parse::<f32>().ok())
            .unwrap_or(1.0)
            .clamp(0.0, 1.0);
        let worth = if kind.ends_with('*') {
            quality * 0.9
        } else {
            quality
        };
        best = best.max(worth);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Format = Format::Csv { raw_cells: false };

    fn format(accept: &str) -> Format {
        let value = HeaderValue::from_str(accept).unwrap();
        Format::of(&HeaderMap::from_iter([(ACCEPT, value)]), false)
    }

    #[test]
    fn csv_is_for_those_who_name_it() {
        for accept in [
            "text/csv",
            "text/csv, */*",
            "Text/CSV;q=0.9, application/json;q=0.5",
            "text/html, text/csv;charset=utf-8",
        ] {
            assert_eq!(format(accept), CSV, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/*",
            "application/json",
            "text/csv;q=0",
            "text/csv;q=0.1, application/json",
            "text/html",
            "text/csvx",
        ] {
            assert_eq!(format(accept), Format::Json, "{accept}");
        }
        assert_eq!(Format::of(&HeaderMap::new(), true), Format::Json);
    }
}

//! The figures of a report, each by its path: `scenarios[64 connections].weir.failed`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What is no figure of the run.
const NOT_FIGURES: [&str; 7] = [
    "kind",
    "date",
    "versions",
    "machine",
    "options",
    "conditions",
    "comparison",
];

/// What tells the elements of a list apart, so that a figure is found again in a list that is
/// longer or in another order.
const NAMES: [&str; 10] = [
    "name",
    "table",
    "site",
    "range",
    "zone",
    "mix",
    "process",
    "connections",
    "events_per_request",
    "offered_events_per_second",
];
/// Tells kinds of load apart that share all of those.
const LAST_NAME: &str = "event_bytes";

/// Every number of a report that is neither a condition nor a name.
pub(super) fn figures(report: &Value) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    if let Value::Object(fields) = report {
        for (key, value) in fields {
            if !NOT_FIGURES.contains(&key.as_str()) {
                walk(key.clone(), value, &mut found);
            }
        }
    }
    found
}

fn walk(path: String, value: &Value, found: &mut BTreeMap<String, f64>) {
    match value {
        Value::Number(number) => {
            if let Some(figure) = number.as_f64() {
                found.insert(path, figure);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                walk(format!("{path}.{key}"), value, found);
            }
        }
        Value::Array(elements) => {
            for (label, element) in labels(elements).into_iter().zip(elements) {
                let path = format!("{path}[{label}]");
                match element {
                    Value::Object(fields) => {
                        let named = |key: &&String| {
                            let key = key.as_str();
                            NAMES.contains(&key) || key == LAST_NAME
                        };
                        for (key, value) in fields.iter().filter(|(key, _)| !named(key)) {
                            walk(format!("{path}.{key}"), value, found);
                        }
                    }
                    other => walk(path, other, found),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// What each element calls itself; where two call themselves the same, the later ones are counted.
fn labels(elements: &[Value]) -> Vec<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    elements
        .iter()
        .enumerate()
        .map(|(nth, element)| {
            let label = match element.as_object().map(label) {
                Some(label) if !label.is_empty() => label,
                _ => return nth.to_string(),
            };
            let times = seen.entry(label.clone()).or_default();
            *times += 1;
            match *times {
                1 => label,
                times => format!("{label}, {times}"),
            }
        })
        .collect()
}

fn label(fields: &Map<String, Value>) -> String {
    let names = NAMES.iter().chain([&LAST_NAME]);
    let named = names.filter_map(|name| match fields.get(*name)? {
        Value::String(text) => Some(text.clone()),
        // A bare number says nothing; which one it is does.
        Value::Number(number) => Some(format!("{name}={}", number.as_f64()?)),
        _ => None,
    });
    named.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(report: &Value) -> Vec<String> {
        figures(report).into_keys().collect()
    }

    #[test]
    fn only_numbers_of_the_run_are_figures() {
        let report = json!({
            "kind": "query", "machine": {"cpus": 2}, "options": {"rows": 5},
            "conditions": {"rows": 5}, "comparison": {"only_old": 0},
            "disk": {"bytes": 7, "kept": true, "none": null, "name": "x"},
            "seconds": 1.5
        });
        assert_eq!(paths(&report), ["disk.bytes", "seconds"]);
    }

    #[test]
    fn elements_of_a_list_are_called_by_their_names() {
        let report = json!({
            "questions": [
                {"site": "largest", "range": "day", "zone": "UTC", "alone": {"p50_ms": 1}},
                {"site": "small", "range": "day", "zone": "UTC", "alone": {"p50_ms": 2}}
            ],
            "scenarios": [
                {"connections": 16, "events_per_request": 100, "event_bytes": 334, "found": 3},
                {"connections": 16, "events_per_request": 100, "event_bytes": 95, "found": 4}
            ],
            "plain": [5, 6]
        });
        assert_eq!(
            paths(&report),
            [
                "plain[0]",
                "plain[1]",
                "questions[largest day UTC].alone.p50_ms",
                "questions[small day UTC].alone.p50_ms",
                "scenarios[connections=16 events_per_request=100 event_bytes=334].found",
                "scenarios[connections=16 events_per_request=100 event_bytes=95].found",
            ]
        );
    }

    #[test]
    fn a_figure_is_found_again_in_another_order_and_in_a_longer_list() {
        let one = |rate: u64| json!({"offered_events_per_second": rate, "p99_ms": rate + 1});
        let (old, new) = (
            json!({"rates": [one(10), one(20)]}),
            json!({"rates": [one(20)]}),
        );
        assert_eq!(
            figures(&new).into_iter().next(),
            figures(&old).into_iter().nth(1)
        );
    }

    #[test]
    fn elements_that_share_their_names_are_counted() {
        let one = json!({"offered_events_per_second": 10, "p99_ms": 1});
        let found = paths(&json!({"rates": [one, one]}));
        assert_eq!(
            found,
            [
                "rates[offered_events_per_second=10, 2].p99_ms",
                "rates[offered_events_per_second=10].p99_ms",
            ]
        );
    }
}

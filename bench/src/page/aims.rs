//! What is aimed at, and where in the reports the figure stands that says whether it was reached.

use serde_json::Value;

use super::section::Section;

/// What one run should reach.
pub(super) struct Aim {
    /// Whose reports say how far it is.
    pub(super) sections: &'static [Section],
    pub(super) what: &'static str,
    pub(super) bound: Bound,
    unit: Unit,
    reached: fn(&Value) -> Vec<Reached>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Ratio,
    Count,
    Milliseconds,
    Seconds,
    Bytes,
    Megabytes,
}

/// A figure, and which one of several it is.
struct Reached {
    of: Option<String>,
    figure: f64,
}

/// An aim and a figure beside it, as they are told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) what: String,
    pub(super) aim: String,
    pub(super) reached: String,
    pub(super) is_met: bool,
}

const MEGA: f64 = 1e6;
/// "The same" at few and at many rows, of medians that are a few milliseconds.
const SAME: f64 = 1.25;

pub(super) const AIMS: [Aim; 25] = [
    Aim {
        sections: &[Section::Ingest],
        what: "one event a request, 64 connections: requests per CPU-second, by those of a bare handler",
        bound: Bound::AtLeast(0.8),
        unit: Unit::Ratio,
        reached: |report| single_events(report, 64),
    },
    Aim {
        sections: &[Section::Ingest],
        what: "the same at 16 connections",
        bound: Bound::AtLeast(0.6),
        unit: Unit::Ratio,
        reached: |report| single_events(report, 16),
    },
    Aim {
        sections: &[Section::Ingest],
        what: "100 events a request: events per CPU-second of ingest",
        bound: Bound::AtLeast(1.5e6),
        unit: Unit::Count,
        reached: batches,
    },
    Aim {
        sections: &[Section::Ingest],
        what: "memory of ingest, alone",
        bound: Bound::AtMost(256.0),
        unit: Unit::Megabytes,
        reached: |report| {
            let each = elements(report, "scenarios");
            worst(each.filter_map(|scenario| at(scenario, "/weir/rss_bytes_max")))
        },
    },
    Aim {
        sections: &[Section::Sink],
        what: "events per CPU-second of the sink",
        bound: Bound::AtLeast(8e5),
        unit: Unit::Count,
        reached: |report| one(at(report, "/events_per_sink_cpu_second/median")),
    },
    Aim {
        sections: &[Section::Sink],
        what: "events a second drained, by those that ClickHouse itself inserts",
        bound: Bound::AtLeast(0.9),
        unit: Unit::Ratio,
        reached: |report| {
            let ceiling = at(report, "/ceiling_events_per_second/median");
            let drained = at(report, "/events_per_second/median");
            one(drained
                .zip(ceiling)
                .map(|(drained, ceiling)| drained / ceiling))
        },
    },
    Aim {
        sections: &[Section::Sink],
        what: "memory of the sink, alone",
        bound: Bound::AtMost(512.0),
        unit: Unit::Megabytes,
        reached: |report| one(at(report, "/sink_rss_bytes_max")),
    },
    Aim {
        sections: &[Section::Query],
        what: "`/stats` of a day: p99, the worst of three sites and two time zones",
        bound: Bound::AtMost(10.0),
        unit: Unit::Milliseconds,
        reached: |report| worst(questions(report, "day", "/alone/p99_ms")),
    },
    Aim {
        sections: &[Section::Query],
        what: "the same, asked again",
        bound: Bound::AtMost(10.0),
        unit: Unit::Milliseconds,
        reached: |report| worst(questions(report, "day", "/again/p99_ms")),
    },
    Aim {
        sections: &[Section::Query],
        what: "`/stats` of a year: p99, the worst of the same",
        bound: Bound::AtMost(30.0),
        unit: Unit::Milliseconds,
        reached: |report| worst(questions(report, "year", "/alone/p99_ms")),
    },
    Aim {
        sections: &[Section::Query],
        what: "the same, asked again",
        bound: Bound::AtMost(30.0),
        unit: Unit::Milliseconds,
        reached: |report| worst(questions(report, "year", "/again/p99_ms")),
    },
    Aim {
        sections: &[Section::Query],
        what: "16 connections, 500 requests a second: p99",
        bound: Bound::AtMost(100.0),
        unit: Unit::Milliseconds,
        reached: |report| {
            let loads = elements(report, "loads")
                .filter(|load| at(load, "/rate") == Some(500.0) && load["connections"] == 16);
            let of = |load: &Value| Some((load["mix"].as_str()?.to_owned(), at(load, "/p99_ms")?));
            let reached = loads.filter_map(of).map(|(mix, figure)| Reached {
                of: Some(mix),
                figure,
            });
            reached.collect()
        },
    },
    Aim {
        sections: &[Section::Query],
        what: "`/stats` of a day or a year: p50 over many events, by that over few, the worst",
        bound: Bound::AtMost(SAME),
        unit: Unit::Ratio,
        reached: |report| {
            let each =
                elements(report, "questions").filter(|asked| is_range(asked, &["day", "year"]));
            worst(each.filter_map(|asked| {
                Some(at(asked, "/alone/p50_ms")? / at(asked, "/beside/p50_ms")?)
            }))
        },
    },
    Aim {
        sections: &[Section::Query],
        what: "bytes an event on disk, rollups included, over two years",
        bound: Bound::AtMost(30.0),
        unit: Unit::Bytes,
        reached: |report| one(at(report, "/disk/bytes_per_event")),
    },
    Aim {
        sections: &[Section::E2e, Section::E2eSingle],
        what: "event to `/stats` at 70 % of the highest rate that held: p99",
        bound: Bound::AtMost(2000.0),
        unit: Unit::Milliseconds,
        reached: |report| one(at(report, "/at_share/visible/p99_ms")),
    },
    Aim {
        sections: &[Section::E2e],
        what: "bytes an event on disk, rollups included, merged, of one day",
        bound: Bound::AtMost(30.0),
        unit: Unit::Bytes,
        reached: |report| one(at(report, "/disk/after_merges/bytes_per_event")),
    },
    Aim {
        sections: &[Section::E2e],
        what: "memory of ingest",
        bound: Bound::AtMost(256.0),
        unit: Unit::Megabytes,
        reached: |report| one(at(report, "/rss_bytes_max/ingest")),
    },
    Aim {
        sections: &[Section::E2e],
        what: "memory of the sink",
        bound: Bound::AtMost(512.0),
        unit: Unit::Megabytes,
        reached: |report| one(at(report, "/rss_bytes_max/sink")),
    },
    Aim {
        sections: &[Section::E2e, Section::E2eSingle],
        what: "memory of all, at one time",
        bound: Bound::AtMost(1500.0),
        unit: Unit::Megabytes,
        reached: |report| one(at(report, "/rss_bytes_all_max")),
    },
    Aim {
        sections: &[Section::E2e],
        what: "`weir up` to `ready`, engine on disk",
        bound: Bound::AtMost(3.0),
        unit: Unit::Seconds,
        reached: |report| one(at(report, "/up_ready_seconds/median")),
    },
    Aim {
        sections: &[Section::E2e, Section::E2eSingle],
        what: "accepted events that are not stored, or stored twice",
        bound: Bound::AtMost(0.0),
        unit: Unit::Count,
        reached: |report| {
            let unpromised = at(report, "/check/unpromised").unwrap_or_default();
            let stored = at(report, "/check/stored").zip(at(report, "/check/accepted"));
            one(stored.map(|(stored, accepted)| {
                let (missing, surplus) = (accepted - stored, stored - accepted - unpromised);
                missing.max(surplus).max(0.0)
            }))
        },
    },
    Aim {
        sections: &[Section::Baseline],
        what: "one event a request: events per CPU-second of all who keep them, by the Node design's",
        bound: Bound::AtLeast(20.0),
        unit: Unit::Ratio,
        reached: |report| accepting(report, 1),
    },
    Aim {
        sections: &[Section::Baseline],
        what: "100 events a request: the same",
        bound: Bound::AtLeast(400.0),
        unit: Unit::Ratio,
        reached: |report| accepting(report, 100),
    },
    Aim {
        sections: &[Section::Baseline],
        what: "events stored per CPU-second of all who store them, by the Node design's",
        bound: Bound::AtLeast(60.0),
        unit: Unit::Ratio,
        reached: |report| one(at(report, "/storing/ratios/events_per_cpu_second")),
    },
    Aim {
        sections: &[Section::Baseline],
        what: "`/stats`: processor time of the Node design, by weir's",
        bound: Bound::AtLeast(100.0),
        unit: Unit::Ratio,
        reached: |report| {
            let rows = at(report, "/conditions/rows").map(grouped);
            let rows = rows.map_or_else(String::new, |rows| format!(", {rows} events"));
            let each = elements(report, "stats").filter_map(|asked| {
                let (site, range) = (asked["site"].as_str()?, asked["range"].as_str()?);
                Some(Reached {
                    of: Some(format!("{site} site, {}{rows}", range.replace('_', " "))),
                    figure: at(asked, "/ratios/cpu")?,
                })
            });
            each.collect()
        },
    },
];

impl Aim {
    /// One line for each figure that the report has of it.
    pub(super) fn lines(&self, report: &Value) -> Vec<Line> {
        let scale = match self.unit {
            Unit::Megabytes => MEGA,
            _ => 1.0,
        };
        (self.reached)(report)
            .into_iter()
            .map(|reached| {
                let figure = reached.figure / scale;
                let (sign, bound, is_met) = match self.bound {
                    Bound::AtLeast(bound) => ("≥", bound, figure >= bound),
                    Bound::AtMost(bound) => ("≤", bound, figure <= bound),
                };
                Line {
                    what: match reached.of {
                        Some(of) => format!("{} ({of})", self.what),
                        None => self.what.to_owned(),
                    },
                    aim: format!("{sign} {}", self.unit.told(bound)),
                    reached: self.unit.told(figure),
                    is_met,
                }
            })
            .collect()
    }
}

impl Unit {
    fn told(self, figure: f64) -> String {
        match self {
            Self::Ratio => format!("{figure:.2}"),
            Self::Count => grouped(figure),
            Self::Milliseconds if figure < 100.0 => format!("{figure:.1} ms"),
            Self::Milliseconds => format!("{} ms", grouped(figure)),
            Self::Seconds => format!("{figure:.2} s"),
            Self::Bytes => format!("{figure:.1}"),
            Self::Megabytes => format!("{} MB", grouped(figure)),
        }
    }
}

/// 1,609,000
fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn at(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer)?.as_f64()
}

fn elements<'r>(report: &'r Value, list: &str) -> impl Iterator<Item = &'r Value> {
    report[list].as_array().into_iter().flatten()
}

fn one(figure: Option<f64>) -> Vec<Reached> {
    let reached = figure.map(|figure| Reached { of: None, figure });
    reached.into_iter().collect()
}

/// The largest: of all that is measured here several times, more is worse.
fn worst(figures: impl Iterator<Item = f64>) -> Vec<Reached> {
    one(figures.reduce(f64::max))
}

fn single_events(report: &Value, connections: u64) -> Vec<Reached> {
    let scenario = elements(report, "scenarios").find(|scenario| {
        scenario["connections"] == connections && scenario["events_per_request"] == 1
    });
    one(scenario.and_then(|scenario| at(scenario, "/ratios/requests_per_cpu_second")))
}

fn batches(report: &Value) -> Vec<Reached> {
    elements(report, "scenarios")
        .filter(|scenario| scenario["events_per_request"] == 100)
        .filter_map(|scenario| {
            let figure = at(scenario, "/weir/saturation/events_per_cpu_second/median")?;
            let of = Some(format!("of {} bytes", scenario["event_bytes"]));
            Some(Reached { of, figure })
        })
        .collect()
}

fn accepting(report: &Value, events_per_request: u64) -> Vec<Reached> {
    let load =
        elements(report, "accepting").find(|load| load["events_per_request"] == events_per_request);
    one(load.and_then(|load| at(load, "/ratios/events_per_cpu_second")))
}

fn questions(
    report: &Value,
    range: &'static str,
    figure: &'static str,
) -> impl Iterator<Item = f64> {
    elements(report, "questions")
        .filter(move |asked| is_range(asked, &[range]))
        .filter_map(move |asked| at(asked, figure))
}

fn is_range(asked: &Value, ranges: &[&str]) -> bool {
    asked["range"]
        .as_str()
        .is_some_and(|range| ranges.contains(&range))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(report: &Value) -> Vec<Line> {
        AIMS.iter().flat_map(|aim| aim.lines(report)).collect()
    }

    #[test]
    fn a_figure_on_the_bound_meets_the_aim_and_one_beyond_it_does_not() {
        let of = |median: f64| {
            let report = json!({"events_per_sink_cpu_second": {"median": median}});
            lines(&report).remove(0)
        };
        assert!(of(800_000.0).is_met);
        assert!(!of(799_999.0).is_met);
        assert_eq!(of(799_999.0).aim, "≥ 800,000");
        assert_eq!(of(1_234_567.0).reached, "1,234,567");
        let of = |p99: f64| lines(&json!({"at_share": {"visible": {"p99_ms": p99}}})).remove(0);
        assert!(of(2000.0).is_met);
        assert!(!of(2001.0).is_met);
        assert_eq!(
            (of(850.0).aim.as_str(), of(850.0).reached.as_str()),
            ("≤ 2,000 ms", "850 ms")
        );
    }

    #[test]
    fn the_worst_of_several_answers_decides() {
        let asked = |range, p99: f64| json!({"range": range, "alone": {"p99_ms": p99}});
        let report =
            json!({"questions": [asked("day", 4.0), asked("day", 12.0), asked("all_time", 99.0)]});
        let lines = lines(&report);
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (lines[0].reached.as_str(), lines[0].is_met),
            ("12.0 ms", false)
        );
    }

    #[test]
    fn batches_of_each_size_have_a_line_of_their_own() {
        let scenario = |bytes: u64, events: f64| {
            json!({
                "connections": 16, "events_per_request": 100, "event_bytes": bytes,
                "weir": {"saturation": {"events_per_cpu_second": {"median": events}}}
            })
        };
        let report = json!({"scenarios": [scenario(334, 9.78e5), scenario(95, 1.609e6)]});
        let lines = lines(&report);
        let met: Vec<bool> = lines.iter().map(|line| line.is_met).collect();
        assert_eq!(met, [false, true]);
        assert!(lines[0].what.ends_with("(of 334 bytes)"), "{:?}", lines[0]);
    }

    #[test]
    fn lost_and_doubled_events_are_both_counted() {
        let of = |accepted: u64, unpromised: u64, stored: u64| {
            let check = json!({"accepted": accepted, "unpromised": unpromised, "stored": stored});
            lines(&json!({"check": check})).remove(0).reached
        };
        assert_eq!(of(10, 0, 10), "0");
        assert_eq!(of(10, 0, 8), "2");
        assert_eq!(of(10, 0, 11), "1");
        assert_eq!(of(10, 3, 13), "0");
    }

    #[test]
    fn the_node_design_is_told_apart_by_kind_of_load_and_by_question() {
        let load = |events: u64, ratio: f64| json!({"events_per_request": events, "ratios": {"events_per_cpu_second": ratio}});
        let asked = |range, ratio: f64| json!({"site": "largest", "range": range, "ratios": {"cpu": ratio}});
        let report = json!({
            "accepting": [load(1, 21.0), load(100, 399.0)],
            "storing": {"ratios": {"events_per_cpu_second": 60.0}},
            "stats": [asked("day", 101.0), asked("all_time", 99.0)],
            "conditions": {"rows": 1_000_000}
        });
        let lines = lines(&report);
        let met: Vec<bool> = lines.iter().map(|line| line.is_met).collect();
        assert_eq!(met, [true, false, true, true, false]);
        assert!(
            lines[4]
                .what
                .ends_with("(largest site, all time, 1,000,000 events)"),
            "{:?}",
            lines[4]
        );
    }

    #[test]
    fn what_was_not_measured_has_no_line() {
        assert_eq!(lines(&json!({"scenarios": [], "questions": []})), []);
    }
}

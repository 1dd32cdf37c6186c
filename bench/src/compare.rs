//! Figures of two runs of one benchmark, held against each other: only where both were made the
//! same way, on the same machine.

mod figures;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use figures::figures;

/// Parts of a report in which two runs must not differ.
const ASKED_FOR: [&str; 2] = ["machine", "options"];
/// The one of them that is known only after the run.
const CONDITIONS: &str = "conditions";
const DIFFERENCES_TOLD: usize = 8;

/// An earlier report, of the same kind and asked for in the same way.
pub(crate) struct Old {
    file: PathBuf,
    report: Value,
}

/// Every figure that both reports have.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub old_date: String,
    pub old_weir: String,
    pub ratios: Vec<Ratio>,
    /// Figures that one of the two has alone.
    pub only_old: usize,
    pub only_new: usize,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Where the figure stands in the report.
    pub path: String,
    pub old: f64,
    pub new: f64,
    /// New by old; `None` where old is nothing.
    pub ratio: Option<f64>,
}

impl Old {
    /// Reads a report that one with this heading can be held against. Called before the run: an
    /// hour of measuring should not end with a refusal.
    ///
    /// # Errors
    /// If it cannot be read, or is of another kind, another machine or other options.
    pub(crate) fn read(file: &Path, heading: &impl Serialize) -> anyhow::Result<Self> {
        let name = file.display();
        let text = std::fs::read(file).with_context(|| format!("read {name}"))?;
        let report: Value =
            serde_json::from_slice(&text).with_context(|| format!("{name} is no JSON document"))?;
        let new = serde_json::to_value(heading).context("write the heading as JSON")?;
        match (report["kind"].as_str(), new["kind"].as_str()) {
            (Some(old), Some(new)) => ensure!(
                old == new,
                "{name} is a report of weir bench {old} and cannot be compared with one of weir bench {new}"
            ),
            _ => bail!("{name} is no report of weir bench: it does not say of which kind it is"),
        }
        let old = Self {
            file: file.to_owned(),
            report,
        };
        for part in ASKED_FOR {
            old.ensure_same(&new, part)?;
        }
        Ok(old)
    }

    /// Holds a new report against it.
    ///
    /// # Errors
    /// If it was made under other conditions.
    pub(crate) fn compare(&self, new: &Value) -> anyhow::Result<Comparison> {
        self.ensure_same(new, CONDITIONS)?;
        let (old_figures, new_figures) = (figures(&self.report), figures(new));
        let ratios: Vec<Ratio> = new_figures
            .iter()
            .filter_map(|(path, new)| {
                let old = *old_figures.get(path)?;
                Some(Ratio {
                    path: path.clone(),
                    old,
                    new: *new,
                    ratio: (old != 0.0).then(|| new / old),
                })
            })
            .collect();
        let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
        Ok(Comparison {
            old_date: text(&self.report["date"]),
            old_weir: text(&self.report["versions"]["weir"]),
            only_old: old_figures.len() - ratios.len(),
            only_new: new_figures.len() - ratios.len(),
            ratios,
        })
    }

    fn ensure_same(&self, new: &Value, part: &str) -> anyhow::Result<()> {
        let mut differences = Vec::new();
        differ(part, &self.report[part], &new[part], &mut differences);
        let more = differences.len().saturating_sub(DIFFERENCES_TOLD);
        differences.truncate(DIFFERENCES_TOLD);
        let more = match more {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        ensure!(
            differences.is_empty(),
            "{} was made under other conditions and cannot be compared: {}{more}",
            self.file.display(),
            differences.join("; ")
        );
        Ok(())
    }
}

fn differ(path: &str, old: &Value, new: &Value, differences: &mut Vec<String>) {
    if old == new {
        return;
    }
    let (Value::Object(olds), Value::Object(news)) = (old, new) else {
        differences.push(format!("{path} was {old} and is {new}"));
        return;
    };
    let keys = olds
        .keys()
        .chain(news.keys().filter(|key| !olds.contains_key(*key)));
    for key in keys {
        let path = format!("{path}.{key}");
        // One that is missing and one that is null say the same.
        let of =
            |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or_default();
        differ(&path, &of(olds), &of(news), differences);
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "against the report of {}, by weir {}; new by old",
            self.old_date, self.old_weir
        )?;
        let paths = self.ratios.iter().map(|ratio| ratio.path.chars().count());
        let width = paths.max().unwrap_or_default();
        for Ratio {
            path,
            old,
            new,
            ratio,
        } in &self.ratios
        {
            let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
            writeln!(
                f,
                "{path:<width$} {:>14} {:>14} {ratio:>8}",
                short(*old),
                short(*new)
            )?;
        }
        if self.only_old + self.only_new > 0 {
            writeln!(
                f,
                "figures without a counterpart: {} of the old report, {} of this one",
                self.only_old, self.only_new
            )?;
        }
        Ok(())
    }
}

/// As many digits as mean something.
fn short(figure: f64) -> String {
    if figure == 0.0 || figure.abs() >= 1000.0 {
        format!("{figure:.0}")
    } else if figure.abs() >= 1.0 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.4}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        json!({
            "kind": "sink",
            "date": "2026-01-01T00:00:00Z",
            "versions": {"weir": "0.1.0", "clickhouse": "26.7"},
            "machine": {"cpu": "Some CPU", "cpus": 2, "memory_gb": 25},
            "options": {"events": 1000, "rounds": 3},
            "conditions": {"filesystem": "ext4", "optimised": true},
            "rates": {"median": 200.0, "min": 0.0},
            "whole": true
        })
    }

    fn read(old: &Value, new: &Value) -> anyhow::Result<Old> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("old.json");
        std::fs::write(&file, old.to_string()).unwrap();
        Old::read(&file, new)
    }

    fn refusal(old: &Value, new: &Value) -> String {
        let compared = read(old, new).and_then(|old| old.compare(new));
        format!("{:#}", compared.expect_err("it should be refused"))
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut report = report();
        *report.pointer_mut(pointer).unwrap() = value;
        report
    }

    #[test]
    fn every_figure_of_both_has_its_ratio() {
        let new = with("/rates/median", json!(300));
        let compared = read(&report(), &new).unwrap().compare(&new).unwrap();
        let [median, min] = compared.ratios.as_slice() else {
            panic!("{compared:?}");
        };
        assert_eq!(median.path, "rates.median");
        assert_eq!(median.ratio, Some(1.5));
        assert_eq!((min.old, min.new, min.ratio), (0.0, 0.0, None));
        let text = compared.to_string();
        assert!(text.contains("1.500"), "{text}");
        assert!(
            text.contains("2026-01-01T00:00:00Z, by weir 0.1.0"),
            "{text}"
        );
    }

    #[test]
    fn figures_of_one_report_alone_are_counted_and_not_compared() {
        let mut new = report();
        new["more"] = json!([1, 2]);
        let compared = read(&report(), &new).unwrap().compare(&new).unwrap();
        assert_eq!((compared.only_old, compared.only_new), (0, 2));
        assert_eq!(compared.ratios.len(), 2);
    }

    #[test]
    fn another_version_on_another_day_is_what_comparing_is_for() {
        let mut new = with("/versions", json!({"weir": "0.2.0", "clickhouse": "27.1"}));
        new["date"] = json!("2027-01-01T00:00:00Z");
        assert!(read(&report(), &new).unwrap().compare(&new).is_ok());
    }

    #[test]
    fn a_report_of_another_kind_is_refused_by_both_names() {
        let refused = refusal(&report(), &with("/kind", json!("query")));
        assert!(refused.contains("weir bench sink"), "{refused}");
        assert!(refused.contains("weir bench query"), "{refused}");
        let mut nothing = report();
        nothing.as_object_mut().unwrap().remove("kind");
        let refused = refusal(&nothing, &report());
        assert!(refused.contains("no report of weir bench"), "{refused}");
    }

    #[test]
    fn other_conditions_are_refused_and_named() {
        for (pointer, value, told) in [
            ("/machine/cpus", json!(4), "machine.cpus was 2 and is 4"),
            (
                "/options/events",
                json!(5),
                "options.events was 1000 and is 5",
            ),
            (
                "/conditions/optimised",
                json!(false),
                "conditions.optimised was true and is false",
            ),
            (
                "/conditions",
                json!({}),
                "conditions.filesystem was \"ext4\" and is null",
            ),
        ] {
            let refused = refusal(&report(), &with(pointer, value));
            assert!(refused.contains(told), "{refused}");
        }
    }

    #[test]
    fn an_option_that_is_not_set_equals_one_that_is_not_there() {
        let new = with(
            "/options",
            json!({"events": 1000, "rounds": 3, "rate": null}),
        );
        assert!(read(&report(), &new).is_ok());
    }

    #[test]
    fn what_is_no_json_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("old.json");
        let missing = Old::read(&file, &report()).map(|_| ()).unwrap_err();
        assert!(format!("{missing:#}").contains("read "), "{missing:#}");
        std::fs::write(&file, "a table").unwrap();
        let refused = Old::read(&file, &report()).map(|_| ()).unwrap_err();
        assert!(format!("{refused:#}").contains("no JSON"), "{refused:#}");
    }
}

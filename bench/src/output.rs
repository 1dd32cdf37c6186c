//! What becomes of a report, whichever benchmark made it: printed as tables or as JSON, kept in a
//! file, held against an earlier one.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::Value;

use crate::compare::{Comparison, Old};
use crate::conditions::{Document, Heading, Measured};

/// Options that every benchmark has. They say nothing of how figures are made.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Output {
    /// One JSON document instead of tables.
    #[arg(long)]
    json: bool,
    /// Write the JSON document to this file, whatever is printed.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Print the ratio of each figure to that of an earlier run, kept by --save or --json; refused
    /// unless kind, machine, options and conditions are the same.
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
}

/// A report written down, and what was wrong.
pub struct Told {
    /// What was asked for: tables or JSON.
    pub answer: String,
    pub(crate) tables: String,
    pub(crate) document: Value,
    /// To be said after the answer was printed: a run that took an hour is not to be lost.
    pub outcome: anyhow::Result<()>,
}

impl Output {
    /// Runs a benchmark and writes down what it found.
    ///
    /// # Errors
    /// If it cannot be compared as asked for, or the benchmark fails.
    pub async fn tell<R: Measured>(
        &self,
        options: &impl Serialize,
        run: impl Future<Output = anyhow::Result<R>>,
    ) -> anyhow::Result<Told> {
        let mut heading = Heading::now(R::KIND, options)?;
        let old = match &self.compare {
            Some(file) => Some(Old::read(file, &heading)?),
            None => None,
        };
        let report = run.await?;
        heading.versions.clickhouse = report.clickhouse().map(str::to_owned);
        self.written(&heading, &report, old.as_ref())
    }

    fn written<R: Measured>(
        &self,
        heading: &Heading,
        report: &R,
        old: Option<&Old>,
    ) -> anyhow::Result<Told> {
        let mut document = serde_json::to_value(Document { heading, report })
            .context("write the report as JSON")?;
        let mut outcome = match report.fault() {
            Some(fault) => Err(anyhow::anyhow!(fault)),
            None => Ok(()),
        };
        let mut tables = report.to_string();
        match old.map(|old| old.compare(&document)) {
            None => {}
            Some(Ok(comparison)) => add(&mut document, &mut tables, &comparison)?,
            Some(Err(refused)) => outcome = outcome.and(Err(refused)),
        }
        let mut json =
            serde_json::to_string_pretty(&document).context("write the report as JSON")?;
        json.push('\n');
        if let Some(file) = &self.save {
            let saved = std::fs::write(file, &json);
            outcome = outcome.and(saved.with_context(|| format!("write {}", file.display())));
        }
        Ok(Told {
            answer: if self.json { json } else { tables.clone() },
            tables,
            document,
            outcome,
        })
    }
}

fn add(document: &mut Value, tables: &mut String, comparison: &Comparison) -> anyhow::Result<()> {
    let Value::Object(fields) = document else {
        bail!("a report is an object");
    };
    let compared = serde_json::to_value(comparison).context("write the comparison as JSON")?;
    fields.insert("comparison".to_owned(), compared);
    tables.push_str(&format!("\n{comparison}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        output: Output,
    }

    #[derive(Serialize)]
    struct Report {
        figure: f64,
        #[serde(skip)]
        fault: Option<&'static str>,
    }

    impl fmt::Display for Report {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            writeln!(f, "the figure is {}", self.figure)
        }
    }

    impl Measured for Report {
        const KIND: &'static str = "example";

        fn clickhouse(&self) -> Option<&str> {
            Some("26.7")
        }

        fn fault(&self) -> Option<&'static str> {
            self.fault
        }
    }

    async fn tell(arguments: &[&str], figure: f64, rounds: u64) -> anyhow::Result<Told> {
        let line = ["example"].iter().chain(arguments);
        let output = Line::try_parse_from(line)?.output;
        let report = Report {
            figure,
            fault: None,
        };
        let run = async { Ok(report) };
        output.tell(&json!({"rounds": rounds}), run).await
    }

    #[tokio::test]
    async fn a_saved_report_can_be_compared_with_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("old.json");
        let file = file.to_str().unwrap();
        let first = tell(&["--save", file], 4.0, 1).await.unwrap();
        assert_eq!(first.answer, "the figure is 4\n");
        let next = tell(&["--compare", file], 6.0, 1).await.unwrap();
        assert!(
            next.answer.starts_with("the figure is 6\n\nagainst"),
            "{}",
            next.answer
        );
        assert!(next.answer.contains("1.500"), "{}", next.answer);

        let both = tell(&["--compare", file, "--json"], 6.0, 1).await.unwrap();
        let json: Value = serde_json::from_str(&both.answer).unwrap();
        assert_eq!(json["comparison"]["ratios"][0]["path"], "figure");
        assert_eq!(json["versions"]["clickhouse"], "26.7");
    }

    #[tokio::test]
    async fn what_cannot_be_compared_is_refused_before_anything_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("old.json");
        let file = file.to_str().unwrap();
        tell(&["--save", file], 4.0, 1).await.unwrap();
        let output = Output {
            compare: Some(file.into()),
            ..Output::default()
        };
        let run = async { panic!("it must not be measured") };
        let refused = output.tell::<Report>(&json!({"rounds": 2}), run).await;
        let refused = format!("{:#}", refused.map(|_| ()).unwrap_err());
        assert!(
            refused.contains("options.rounds was 1 and is 2"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn a_fault_is_told_with_the_report_and_not_instead_of_it() {
        let report = Report {
            figure: 1.0,
            fault: Some("events are missing"),
        };
        let run = async { Ok(report) };
        let told = Output::default().tell(&json!({}), run).await.unwrap();
        assert_eq!(told.answer, "the figure is 1\n");
        assert_eq!(told.outcome.unwrap_err().to_string(), "events are missing");
    }
}

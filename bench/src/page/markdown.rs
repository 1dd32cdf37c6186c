//! The page itself: a function of what was found.

use std::fmt::Write;

use serde_json::Value;

use super::aims::AIMS;
use super::section::Section;

/// What became of one benchmark.
pub(super) struct Measurement {
    pub(super) section: Section,
    pub(super) found: Result<Found, Unmeasured>,
}

pub(super) struct Unmeasured {
    pub(super) why: String,
    /// Otherwise something is missing here that weir does not bring.
    pub(super) is_fault: bool,
}

pub(super) struct Found {
    pub(super) tables: String,
    pub(super) document: Value,
    /// Of the processors' time, 0 to 1, by the host of a virtual machine.
    pub(super) stolen: f64,
    /// What is wrong with what was measured.
    pub(super) fault: Option<String>,
}

/// Markdown, with each aim beside the figure reached.
pub(super) fn page(measurements: &[Measurement], quick: bool) -> String {
    let mut page = String::from("# Benchmarks\n\n");
    let flag = if quick { " --quick" } else { "" };
    add(
        &mut page,
        &format!(
            "Written by `weir bench report{flag}`, which measures all of this in one run; do not edit it, run it again. Everything but the clients runs as it would on a laptop: embedded broker, embedded ClickHouse, every 202 after an fsync. Load, servers and database share one machine, so read ratios and what is per CPU-second first; what is per second is the whole machine's.\n\n",
        ),
    );
    machine(&mut page, measurements);
    warnings(&mut page, measurements, quick);
    aims(&mut page, measurements);
    for measurement in measurements {
        section(&mut page, measurement, quick);
    }
    page
}

fn add(page: &mut String, text: &str) {
    page.push_str(text);
}

fn documents(measurements: &[Measurement]) -> impl Iterator<Item = (&Measurement, &Value)> {
    measurements.iter().filter_map(|measurement| {
        let found = measurement.found.as_ref().ok()?;
        Some((measurement, &found.document))
    })
}

fn machine(page: &mut String, measurements: &[Measurement]) {
    let all = || documents(measurements).map(|(_, document)| document);
    let first = |pointer: &str| {
        let found =
            all().find_map(|document| document.pointer(pointer).filter(|value| !value.is_null()));
        found.map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        })
    };
    let unknown = || "unknown".to_owned();
    let dates: Vec<&str> = all()
        .filter_map(|document| document["date"].as_str())
        .collect();
    let date = match (dates.iter().min(), dates.iter().max()) {
        (Some(from), Some(to)) if from != to => format!("{from} to {to}"),
        (Some(at), _) => (*at).to_owned(),
        _ => unknown(),
    };
    let optimised = first("/conditions/optimised");
    let build = match optimised.as_deref() {
        Some("true") => ", built with optimisations",
        Some(_) => ", built WITHOUT optimisations",
        None => "",
    };
    let lines = [
        ("processor", first("/machine/cpu").unwrap_or_else(unknown)),
        ("processors", first("/machine/cpus").unwrap_or_else(unknown)),
        (
            "memory",
            first("/machine/memory_gb").map_or_else(unknown, |gb| format!("{gb} GB")),
        ),
        (
            "file system",
            first("/conditions/filesystem").unwrap_or_else(unknown),
        ),
        (
            "weir",
            first("/versions/weir").map_or_else(unknown, |version| format!("{version}{build}")),
        ),
        (
            "ClickHouse",
            first("/versions/clickhouse").unwrap_or_else(unknown),
        ),
        ("begun", date),
    ];
    add(page, "| | |\n|---|---|\n");
    for (name, value) in lines {
        add(page, &format!("| {name} | {} |\n", cell(&value)));
    }
    add(page, "\n");
}

fn warnings(page: &mut String, measurements: &[Measurement], quick: bool) {
    let mut warnings = Vec::new();
    if quick {
        warnings.push("This is a quick run of small sizes: it shows that everything works, and its figures mean nothing.".to_owned());
    }
    let is_slow =
        |document: &Value| document.pointer("/conditions/optimised") == Some(&Value::Bool(false));
    if documents(measurements).any(|(_, document)| is_slow(document)) {
        warnings.push("weir was built without optimisations: its figures mean nothing.".to_owned());
    }
    for Measurement { section, found } in measurements {
        let name = section.name();
        match found {
            Err(Unmeasured {
                why,
                is_fault: true,
            }) => warnings.push(format!("{name} could not be measured: {}", cell(why))),
            Ok(Found {
                fault: Some(fault), ..
            }) => warnings.push(format!("{name}: {}", cell(fault))),
            Ok(_) | Err(_) => {}
        }
    }
    for warning in warnings {
        add(page, &format!("**{warning}**\n\n"));
    }
}

fn aims(page: &mut String, measurements: &[Measurement]) {
    add(
        page,
        "## Aims\n\n| what | aim | reached | | from |\n|---|---|---|---|---|\n",
    );
    let (mut met, mut all) = (0, 0);
    for aim in &AIMS {
        let of_kind = documents(measurements)
            .filter(|(measured, _)| aim.sections.contains(&measured.section));
        for (measurement, document) in of_kind {
            for line in aim.lines(document) {
                all += 1;
                met += usize::from(line.is_met);
                add(
                    page,
                    &format!(
                        "| {} | {} | {} | {} | {} |\n",
                        line.what,
                        line.aim,
                        line.reached,
                        if line.is_met { "met" } else { "**missed**" },
                        measurement.section.name()
                    ),
                );
            }
        }
    }
    add(page, &format!("\n{met} of {all} met.\n\n"));
    let missing: Vec<&str> = Section::ALL
        .into_iter()
        .filter(|section| documents(measurements).all(|(measured, _)| measured.section != *section))
        .map(Section::name)
        .collect();
    if !missing.is_empty() {
        add(
            page,
            &format!("Not measured in this run: {}.\n\n", missing.join(", ")),
        );
    }
}

fn section(page: &mut String, Measurement { section, found }: &Measurement, quick: bool) {
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "## {}\n\n`weir bench {}`\n\n{}\n\n",
        section.title(),
        section.arguments(quick),
        section.how_to_read()
    );
    match found {
        Ok(Found {
            tables,
            stolen,
            fault,
            ..
        }) => {
            let percent = stolen * 100.0;
            add(
                page,
                &format!(
                    "Meanwhile {percent:.1} % of the processors' time was stolen, which is what the host of a virtual machine gives to others.\n\n"
                ),
            );
            add(page, &format!("```text\n{}\n```\n\n", tables.trim_end()));
            if let Some(fault) = fault {
                add(page, &format!("**{fault}**\n\n"));
            }
        }
        Err(Unmeasured { why, .. }) => add(page, &format!("Not measured: {why}\n\n")),
    }
    // One newline ends the file.
    page.truncate(page.trim_end().len());
    add(page, "\n\n");
}

/// A table's cell ends at a bar.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(section: Section, mut report: Value, fault: Option<&str>) -> Measurement {
        let heading = json!({
            "date": "2026-01-01T00:00:00Z",
            "versions": {"weir": "0.1.0", "clickhouse": "26.7"},
            "machine": {"cpu": "Some | CPU", "cpus": 2, "memory_gb": 25},
            "conditions": {"optimised": true, "filesystem": "ext4"},
        });
        for (key, value) in heading.as_object().unwrap() {
            report[key] = value.clone();
        }
        Measurement {
            section,
            found: Ok(Found {
                tables: "a table\n".to_owned(),
                document: report,
                stolen: 0.043,
                fault: fault.map(str::to_owned),
            }),
        }
    }

    fn sink(per_cpu: f64) -> Measurement {
        let report = json!({"kind": "sink", "events_per_sink_cpu_second": {"median": per_cpu}});
        found(Section::Sink, report, None)
    }

    #[test]
    fn machine_versions_and_date_stand_above_all_figures() {
        let page = page(&[sink(9e5)], false);
        for line in [
            "| processor | Some \\| CPU |",
            "| processors | 2 |",
            "| memory | 25 GB |",
            "| file system | ext4 |",
            "| weir | 0.1.0, built with optimisations |",
            "| ClickHouse | 26.7 |",
            "| begun | 2026-01-01T00:00:00Z |",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    #[test]
    fn each_aim_stands_beside_what_was_reached() {
        let page = page(&[sink(9e5), sink(7e5)], false);
        let what = "| events per CPU-second of the sink | ≥ 800,000 |";
        assert!(
            page.contains(&format!("{what} 900,000 | met | sink |")),
            "{page}"
        );
        assert!(
            page.contains(&format!("{what} 700,000 | **missed** | sink |")),
            "{page}"
        );
        assert!(page.contains("1 of 2 met."), "{page}");
        assert!(
            page.contains("Not measured in this run: ingest, query, e2e, e2e-single, baseline."),
            "{page}"
        );
    }

    #[test]
    fn each_table_stands_below_its_command_and_how_to_read_it() {
        let page = page(&[sink(9e5)], false);
        let command = page.find("`weir bench sink --events 2000000`").unwrap();
        let reading = page.find("which no sink can beat").unwrap();
        let stolen = page.find("Meanwhile 4.3 % of").unwrap();
        let table = page.find("```text\na table\n```").unwrap();
        assert!(
            command < reading && reading < stolen && stolen < table,
            "{page}"
        );
        assert!(
            page.ends_with("```\n\n") || page.ends_with("```\n"),
            "{page:?}"
        );
    }

    #[test]
    fn what_went_wrong_is_said_at_the_top_and_in_its_place() {
        let failed = Measurement {
            section: Section::Query,
            found: Err(Unmeasured {
                why: "start clickhouse: no engine".to_owned(),
                is_fault: true,
            }),
        };
        let missing = Measurement {
            section: Section::Baseline,
            found: Err(Unmeasured {
                why: "there is no redis-server".to_owned(),
                is_fault: false,
            }),
        };
        let report = json!({"kind": "e2e"});
        let page = page(
            &[
                failed,
                missing,
                found(Section::E2e, report, Some("an event is lost")),
            ],
            true,
        );
        let (top, below) = page.split_once("## Aims").unwrap();
        for told in [
            "quick run",
            "query could not be measured: start clickhouse: no engine",
            "e2e: an event is lost",
        ] {
            assert!(top.contains(told), "{told}\n{top}");
        }
        assert!(below.contains("Not measured: start clickhouse"), "{below}");
        assert!(below.contains("**an event is lost**"), "{below}");
        assert!(!top.contains("redis-server"), "{top}");
        assert!(
            below.contains("Not measured: there is no redis-server"),
            "{below}"
        );
    }
}

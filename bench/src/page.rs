//! `weir bench report`: every benchmark in turn, and one page of Markdown that says what was
//! measured on what, what was aimed at, and how to read it.

mod aims;
mod markdown;
mod section;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tracing::{info, warn};

use crate::output::Told;
use crate::process::stolen_cpu_time;
use markdown::{Found, Measurement, Unmeasured, page};
pub use section::Section;

/// What to measure, and where to write it.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where the page goes.
    #[arg(long, default_value = "BENCHMARKS.md", value_name = "FILE")]
    out: PathBuf,
    /// Keep each report in this folder as JSON, for --compare.
    #[arg(long, value_name = "DIR")]
    json: Option<PathBuf>,
    /// Only these, in this order.
    #[arg(long, value_delimiter = ',', value_name = "NAME,..")]
    only: Vec<Section>,
    /// Small sizes, some seconds each: whether everything works.
    #[arg(long)]
    quick: bool,
    /// Where the temporary folders are made; their file system decides what an fsync costs
    /// [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Measures one after the other and writes the page, also where one of them failed.
///
/// # Errors
/// If the page cannot be written, something could not be measured, or what was measured is wrong.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let out = std::path::absolute(&options.out)
        .with_context(|| format!("find the folder of {}", options.out.display()))?;
    // Better known before than after.
    let folder = out.parent().context("--out must name a file")?;
    ensure!(folder.is_dir(), "there is no folder {}", folder.display());
    if let Some(folder) = &options.json {
        let making = || format!("make the folder {}", folder.display());
        std::fs::create_dir_all(folder).with_context(making)?;
    }
    let interrupted = infra::shutdown::on_signal()?;
    let sections = if options.only.is_empty() {
        Section::ALL.to_vec()
    } else {
        options.only.clone()
    };
    // All of them before the first is measured, which takes minutes.
    let missing: Vec<_> = sections.iter().map(|section| section.missing()).collect();
    for (section, why) in sections.iter().zip(&missing) {
        if let Some(why) = why {
            warn!("{} will be left out: {why}", section.name());
        }
    }
    let mut measurements = Vec::new();
    for (section, missing) in sections.into_iter().zip(missing) {
        if let Some(why) = missing {
            let found = Err(Unmeasured {
                why,
                is_fault: false,
            });
            measurements.push(Measurement { section, found });
            continue;
        }
        info!("weir bench {}", section.arguments(options.quick));
        let watch = Watch::start()?;
        let told = section
            .measure(options.quick, &options.passed_on(section))
            .await;
        let stolen = watch.stolen()?;
        if interrupted.is_cancelled() {
            bail!("interrupted; what was started is ended, and no page was written");
        }
        measurements.push(measurement(section, told, stolen));
    }
    std::fs::write(&out, page(&measurements, options.quick))
        .with_context(|| format!("write {}", out.display()))?;
    info!("wrote {}", out.display());
    outcome(&measurements)
}

impl Options {
    /// What says nothing of what is measured.
    fn passed_on(&self, section: Section) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |option: &str, path: &Path| {
            arguments.push(format!("--{option}={}", path.display()));
        };
        if let Some(folder) = &self.dir {
            add("dir", folder);
        }
        if let Some(folder) = &self.json {
            add("save", &folder.join(format!("{}.json", section.name())));
        }
        arguments
    }
}

/// How much of the processors the host of a virtual machine takes while something is measured.
struct Watch {
    begin: Instant,
    before: Duration,
}

impl Watch {
    fn start() -> anyhow::Result<Self> {
        Ok(Self {
            begin: Instant::now(),
            before: stolen_cpu_time()?,
        })
    }

    /// A share of all processors' time, 0 to 1.
    fn stolen(&self) -> anyhow::Result<f64> {
        let stolen = stolen_cpu_time()?.saturating_sub(self.before);
        let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
        let all = self.begin.elapsed().as_secs_f64() * cpus as f64;
        Ok(stolen.as_secs_f64() / all)
    }
}

fn measurement(section: Section, told: anyhow::Result<Told>, stolen: f64) -> Measurement {
    let found = match told {
        Ok(Told {
            tables,
            document,
            outcome,
            ..
        }) => Ok(Found {
            tables,
            document,
            stolen,
            fault: outcome.err().map(|fault| format!("{fault:#}")),
        }),
        Err(error) => {
            warn!("{} could not be measured: {error:#}", section.name());
            Err(Unmeasured {
                why: format!("{error:#}"),
                is_fault: true,
            })
        }
    };
    Measurement { section, found }
}

fn outcome(measurements: &[Measurement]) -> anyhow::Result<()> {
    let is_wrong = |measured: &&Measurement| match &measured.found {
        Ok(found) => found.fault.is_some(),
        Err(unmeasured) => unmeasured.is_fault,
    };
    let wrong = measurements.iter().filter(is_wrong);
    let wrong: Vec<&str> = wrong.map(|measured| measured.section.name()).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("the page says what is wrong with {}", wrong.join(", "))
}

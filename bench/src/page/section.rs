//! What stands on the page: each benchmark with its sizes, and how its table is to be read.

use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::output::Told;
use crate::{baseline, e2e, ingest, query, sink};

/// One benchmark on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Section {
    Ingest,
    Sink,
    Query,
    E2e,
    /// The same with one event a request.
    E2eSingle,
    Baseline,
}

impl Section {
    pub(super) const ALL: [Self; 6] = [
        Self::Ingest,
        Self::Sink,
        Self::Query,
        Self::E2e,
        Self::E2eSingle,
        Self::Baseline,
    ];

    /// Also the name of its file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Sink => "sink",
            Self::Query => "query",
            Self::E2e => "e2e",
            Self::E2eSingle => "e2e-single",
            Self::Baseline => "baseline",
        }
    }

    /// What to measure, as one would type it.
    pub(super) fn arguments(self, quick: bool) -> &'static str {
        match (self, quick) {
            (Self::Ingest, false) => "ingest",
            (Self::Ingest, true) => {
                "ingest --connections 16 --events-per-request 100 --seconds 0.5 --rounds 1"
            }
            (Self::Sink, false) => "sink --events 2000000",
            // More than two cuts can hold: of one cut alone nothing can be measured.
            (Self::Sink, true) => "sink --events 700000 --rounds 1",
            (Self::Query, false) => "query --rows 10000000 --beside 1000000",
            (Self::Query, true) => {
                "query --rows 100000 --beside 10000 --requests 4 --rate 20 --seconds 1"
            }
            (Self::E2e, false) => "e2e",
            (Self::E2e, true) => "e2e --rates 2000 --seconds 2",
            (Self::E2eSingle, false) => "e2e --events-per-request 1 --from 2000",
            (Self::E2eSingle, true) => "e2e --events-per-request 1 --rates 500 --seconds 2",
            (Self::Baseline, false) => "baseline --rows 1000000",
            (Self::Baseline, true) => "baseline --rows 20000 --seconds 0.5",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Ingest => "What a durable 202 costs",
            Self::Sink => "From Kafka into ClickHouse",
            Self::Query => "How fast `/stats` is",
            Self::E2e => "The whole, under rising load",
            Self::E2eSingle => "The whole, one event a request",
            Self::Baseline => "Beside Express, BullMQ and PostgreSQL",
        }
    }

    pub(super) fn how_to_read(self) -> &'static str {
        match self {
            Self::Ingest => {
                "*bare* is an HTTP handler on the same runtime that parses the same bodies with serde and keeps nothing; *weir* answers 202 once Kafka's log is fsynced. Both are measured in turns, first as fast as they answer, then at a constant rate, where a latency counts from when the request was due, so that a stall is not left out. Read the ratios, and what is per CPU-second of the server: load, broker and server share the machine, so requests a second are bound by all of them together. In the end Kafka is read back, and every accepted event has to be there."
            }
            Self::Sink => {
                "The same events stand in Kafka and are drained by a sink; beside it ClickHouse alone takes the very same rows, with the same rollups, from blocks prepared in memory, which no sink can beat. The sink's speed counts from the end of its first cut to that of its last; ClickHouse's processor time has the merges in it that an INSERT leaves behind. Events a second are bound by ClickHouse and the sink sharing the processors; per CPU-second of the sink is what the sink itself costs."
            }
            Self::Query => {
                "Ranges of a large, a middle and a small site of fifty over two years, on one connection: wall time of each answer, and ClickHouse's processor time, which is the steadier figure. All of that is counted anew for each answer (`query.kept_bytes_max=0`). *inserting* is the same while events come in; *again* is a service as it comes, asked for the same eight variants over and over, which looks whether its answers still hold and gives them again; *few* the same questions over a tenth of the events, *raw rows* what ClickHouse takes to count the answer from the raw table. Every answer compared has to equal that count. At a constant rate latencies count from when a request was due: a rate beyond what the processors give shows as latencies as long as the run."
            }
            Self::E2e => {
                "All of weir, each part in a process of its own, under an open loop: requests are sent when they are due, whatever the servers do. *visible* is what a person would see: from when a single event was due to the end of the first answer of `/stats` that counts it, each answer counted anew; a cut's age, half a second, is in all of them. A rate holds if ingest takes it in its time and the backlog at the sink does not grow. Load generator, probes and all servers share the machine, so the highest rate is that of the whole machine; CPU-seconds per million events say where it goes, from the first request until everything was stored, without the probes' questions, which are counted apart and taken off at what one costs; at low rates a cut's fixed cost is most of it. Memory is of five processes; `weir up` has four of them in one. Rows on disk are of one day, as the run left them, and merged into one part a table; 200,000 different events are sent again and again, most of them of few sites, pages and visitors. In the end every accepted event has to be stored once, by count and by `weir audit`."
            }
            Self::E2eSingle => {
                "As above, but each event comes alone, as POST /event: the edge's own cost, and what group commit makes of it, decide."
            }
            Self::Baseline => {
                "The design that many begin with, complete and fairly set up (`bench/baseline`): an API in Express that answers 202 once BullMQ has the event in Redis, a worker that makes one INSERT of each into PostgreSQL, `/stats` counted from the rows with the usual indexes. Both get the same events in turns, store what they accepted and answer the same questions about the same rows; every accepted event has to be one row, and the answers have to agree. Read what is per CPU-second: of all processes that take part, so that one more of them is no advantage. The promises differ: weir's 202 stands for an fsync, Redis's does so once a second."
            }
        }
    }

    /// Why it cannot be measured here, which is nobody's fault.
    pub(super) fn missing(self) -> Option<String> {
        match self {
            Self::Baseline => baseline::missing(),
            Self::Ingest | Self::Sink | Self::Query | Self::E2e | Self::E2eSingle => None,
        }
    }

    /// Runs it. `more` arguments are those that say nothing of what is measured.
    ///
    /// # Errors
    /// If it cannot be measured.
    pub(super) async fn measure(self, quick: bool, more: &[String]) -> anyhow::Result<Told> {
        let arguments = self.arguments(quick);
        match self {
            Self::Ingest => {
                let options: ingest::Options = parse(arguments, more)?;
                options.output.tell(&options, ingest::run(&options)).await
            }
            Self::Sink => {
                let options: sink::Options = parse(arguments, more)?;
                options.output.tell(&options, sink::run(&options)).await
            }
            Self::Query => {
                let options: query::Options = parse(arguments, more)?;
                options.output.tell(&options, query::run(&options)).await
            }
            Self::E2e | Self::E2eSingle => {
                let options: e2e::Options = parse(arguments, more)?;
                options.output.tell(&options, e2e::run(&options)).await
            }
            Self::Baseline => {
                let options: baseline::Options = parse(arguments, more)?;
                options.output.tell(&options, baseline::run(&options)).await
            }
        }
    }
}

/// Options as the command line would give them, so that what the page says was run can be typed.
fn parse<O: Args + FromArgMatches>(arguments: &str, more: &[String]) -> anyhow::Result<O> {
    let command = O::augment_args(Command::new("weir bench"));
    let words = arguments
        .split_whitespace()
        .chain(more.iter().map(String::as_str));
    let matches: ArgMatches = command.try_get_matches_from(words)?;
    Ok(O::from_arg_matches(&matches)?)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_command_line_on_the_page_is_one_that_can_be_typed() {
        for section in Section::ALL {
            for quick in [false, true] {
                let arguments = section.arguments(quick);
                match section {
                    Section::Ingest => drop(parse::<ingest::Options>(arguments, &[]).unwrap()),
                    Section::Sink => drop(parse::<sink::Options>(arguments, &[]).unwrap()),
                    Section::Query => drop(parse::<query::Options>(arguments, &[]).unwrap()),
                    Section::E2e | Section::E2eSingle => {
                        drop(parse::<e2e::Options>(arguments, &[]).unwrap());
                    }
                    Section::Baseline => {
                        drop(parse::<baseline::Options>(arguments, &[]).unwrap());
                    }
                }
            }
        }
    }

    #[test]
    fn every_section_is_asked_for_by_its_name() {
        assert_eq!(Section::ALL, Section::value_variants());
        for section in Section::ALL {
            assert_eq!(Section::from_str(section.name(), false), Ok(section));
        }
    }
}

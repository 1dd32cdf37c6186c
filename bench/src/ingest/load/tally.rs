//! What became of the requests of one load.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;

use super::connection::Answer;

const LATENCY_MICROS_MAX: u64 = 120_000_000;
/// Figures are right to a thousandth.
const DIGITS: u8 = 3;

/// Counts of one load; those of the measured window say so.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Requests answered with 202 inside the window, and the events they took.
    pub(crate) measured_requests: u64,
    pub(crate) measured_events: u64,
    /// Requests answered with 202 at any time, and the events they took.
    pub(crate) accepted_requests: u64,
    pub(crate) accepted_events: u64,
    /// Other answers, by status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub(crate) failed: u64,
    /// Microseconds from when a request of the window was due to the end of its answer; whatever
    /// the answer, and also where there was none.
    pub(crate) latencies: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, DIGITS);
        Ok(Self {
            measured_requests: 0,
            measured_events: 0,
            accepted_requests: 0,
            accepted_events: 0,
            refused: BTreeMap::new(),
            failed: 0,
            latencies: latencies.context("make a histogram")?,
        })
    }

    /// Counts one request of `events` events. `latency`: since it was due, if it is in the window.
    pub(crate) fn answer(
        &mut self,
        answer: Option<Answer>,
        events: u64,
        latency: Option<Duration>,
    ) {
        if let Some(latency) = latency {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(micros.max(1));
        }
        match answer {
            None => self.failed += 1,
            Some(Answer {
                status: 202,
                accepted,
            }) => {
                let events = accepted.unwrap_or(events);
                self.accepted_requests += 1;
                self.accepted_events += events;
                if latency.is_some() {
                    self.measured_requests += 1;
                    self.measured_events += events;
                }
            }
            Some(Answer { status, .. }) => *self.refused.entry(status).or_default() += 1,
        }
    }

    /// # Errors
    /// If the histograms do not fit, which they do.
    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.measured_requests += other.measured_requests;
        self.measured_events += other.measured_events;
        self.accepted_requests += other.accepted_requests;
        self.accepted_events += other.accepted_events;
        for (status, count) in &other.refused {
            *self.refused.entry(*status).or_default() += count;
        }
        self.failed += other.failed;
        self.latencies
            .add(&other.latencies)
            .context("add a histogram")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK_ONE: Option<Answer> = Some(Answer {
        status: 202,
        accepted: None,
    });

    #[test]
    fn what_lies_outside_the_window_is_accepted_and_not_measured() {
        let mut tally = Tally::new().unwrap();
        tally.answer(TOOK_ONE, 1, None);
        tally.answer(TOOK_ONE, 1, Some(Duration::from_millis(2)));
        assert_eq!((tally.accepted_requests, tally.accepted_events), (2, 2));
        assert_eq!((tally.measured_requests, tally.measured_events), (1, 1));
        assert_eq!(tally.latencies.len(), 1);
    }

    #[test]
    fn only_what_a_batch_says_to_have_taken_counts_as_accepted() {
        let mut tally = Tally::new().unwrap();
        let answer = Answer {
            status: 202,
            accepted: Some(98),
        };
        tally.answer(Some(answer), 100, Some(Duration::ZERO));
        assert_eq!((tally.accepted_events, tally.measured_events), (98, 98));
    }

    #[test]
    fn refusals_and_failures_are_no_throughput_but_they_have_latencies() {
        let mut tally = Tally::new().unwrap();
        let busy = Answer {
            status: 503,
            accepted: None,
        };
        tally.answer(Some(busy), 1, Some(Duration::from_millis(1)));
        tally.answer(None, 1, Some(Duration::from_secs(1000)));
        assert_eq!((tally.measured_requests, tally.accepted_events), (0, 0));
        assert_eq!((tally.refused[&503], tally.failed), (1, 1));
        assert_eq!(tally.latencies.len(), 2);
        assert!(tally.latencies.max() >= LATENCY_MICROS_MAX);
    }

    #[test]
    fn sums_hold_all_counts_and_all_latencies() {
        let (mut sum, mut one) = (Tally::new().unwrap(), Tally::new().unwrap());
        one.answer(TOOK_ONE, 1, Some(Duration::from_millis(1)));
        one.answer(None, 1, Some(Duration::from_millis(1)));
        sum.add(&one).unwrap();
        sum.add(&one).unwrap();
        assert_eq!((sum.accepted_requests, sum.failed), (2, 2));
        assert_eq!(sum.latencies.len(), 4);
    }
}

//! Which rate is tried next: doubled from the first up to one that does not hold, then between the
//! two until they are close. A rate that was missed by little is tried once more, because a
//! machine's bad moment is no limit.

/// How a rate went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Held,
    /// Not far from it.
    Nearly,
    Missed,
}

/// Closer than this need not be told apart.
const CLOSE: f64 = 1.2;
/// Slower than this is no load.
const RATE_MIN: f64 = 100.0;

/// The highest rate that held and the lowest that did not, so far.
#[derive(Debug)]
pub(super) struct Search {
    next: Option<f64>,
    held: Option<f64>,
    missed: Option<f64>,
    tried_before: bool,
}

impl Search {
    pub(super) fn from(first: f64) -> Self {
        Self {
            next: Some(first),
            held: None,
            missed: None,
            tried_before: false,
        }
    }

    /// The events a second to try; `None` once the limit is known.
    pub(super) fn next(&self) -> Option<f64> {
        self.next
    }

    /// How the rate that was next went.
    pub(super) fn found(&mut self, outcome: Outcome) {
        let Some(rate) = self.next else { return };
        if outcome == Outcome::Nearly && !self.tried_before {
            self.tried_before = true;
            return;
        }
        self.tried_before = false;
        if outcome == Outcome::Held {
            self.held = Some(rate);
        } else {
            self.missed = Some(rate);
        }
        self.next = match (self.held, self.missed) {
            (Some(held), None) => Some(2.0 * held),
            (None, Some(missed)) => Some(missed / 2.0).filter(|rate| *rate >= RATE_MIN),
            (Some(held), Some(missed)) if missed / held > CLOSE => {
                Some(rounded((held * missed).sqrt()))
            }
            _ => None,
        };
    }
}

/// To two digits: rates are to be read, and to be the same in the next run.
fn rounded(rate: f64) -> f64 {
    let step = 10f64.powf(rate.log10().floor() - 1.0);
    (rate / step).round() * step
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All rates tried where those up to `limit` hold.
    fn tried(first: f64, limit: f64, otherwise: Outcome) -> Vec<f64> {
        let mut search = Search::from(first);
        let mut tried = Vec::new();
        while let Some(rate) = search.next() {
            tried.push(rate);
            search.found(if rate <= limit {
                Outcome::Held
            } else {
                otherwise
            });
        }
        tried
    }

    #[test]
    fn rates_double_up_to_one_that_does_not_hold_and_then_come_closer() {
        let rates = tried(1e4, 5e4, Outcome::Missed);
        assert_eq!(rates, [1e4, 2e4, 4e4, 8e4, 5.7e4, 4.8e4]);
    }

    #[test]
    fn a_first_rate_that_does_not_hold_is_halved() {
        let rates = tried(1e4, 3e3, Outcome::Missed);
        assert_eq!(rates, [1e4, 5e3, 2.5e3, 3.5e3, 3e3]);
    }

    #[test]
    fn where_nothing_holds_the_search_ends() {
        assert_eq!(tried(500.0, 0.0, Outcome::Missed), [500.0, 250.0, 125.0]);
    }

    #[test]
    fn a_rate_that_was_missed_by_little_is_tried_once_more() {
        let rates = tried(1e4, 1e4, Outcome::Nearly);
        assert_eq!(rates, [1e4, 2e4, 2e4, 1.4e4, 1.4e4, 1.2e4, 1.2e4]);
        let mut search = Search::from(1e4);
        search.found(Outcome::Nearly);
        search.found(Outcome::Held);
        assert_eq!(search.next(), Some(2e4));
    }
}

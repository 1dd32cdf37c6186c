//! The same question, asked again while it is being answered, is answered once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

/// Answers that are under way, by question. There are never more than those who wait for them;
/// when the last one leaves, the answer is given up.
pub(crate) struct Flights<Q, A: Clone>(Arc<Mutex<Open<Q, A>>>);

struct Open<Q, A: Clone> {
    flights: HashMap<Q, Flight<A>>,
    started: u64,
}

struct Flight<A: Clone> {
    number: u64,
    seats: usize,
    answer: Shared<BoxFuture<'static, A>>,
}

impl<Q, A: Clone> Clone for Flights<Q, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Q, A: Clone> Default for Flights<Q, A> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Open {
            flights: HashMap::new(),
            started: 0,
        })))
    }
}

impl<Q: Clone + Eq + Hash, A: Clone> Flights<Q, A> {
    /// Joins the flight of this question, or starts it.
    pub(crate) async fn answer(
        &self,
        question: Q,
        start: impl FnOnce() -> BoxFuture<'static, A>,
    ) -> A {
        let (_seat, answer) = self.board(question, start);
        answer.await
    }

    fn board(
        &self,
        question: Q,
        start: impl FnOnce() -> BoxFuture<'static, A>,
    ) -> (Seat<Q, A>, Shared<BoxFuture<'static, A>>) {
        let mut open = lock(&self.0);
        // One that has landed saw the tables before this question was asked.
        let flying = open
            .flights
            .get_mut(&question)
            .filter(|flight| flight.answer.peek().is_none());
        let (number, answer) = if let Some(flight) = flying {
            flight.seats += 1;
            (flight.number, flight.answer.clone())
        } else {
            open.started += 1;
            let number = open.started;
            let answer = start().shared();
            let flight = Flight {
                number,
                seats: 1,
                answer: answer.clone(),
            };
            open.flights.insert(question.clone(), flight);
            (number, answer)
        };
        let seat = Seat {
            flights: self.clone(),
            question,
            number,
        };
        (seat, answer)
    }
}

/// Somebody who waits.
struct Seat<Q: Eq + Hash, A: Clone> {
    flights: Flights<Q, A>,
    question: Q,
    number: u64,
}

impl<Q: Eq + Hash, A: Clone> Drop for Seat<Q, A> {
    fn drop(&mut self) {
        let mut open = lock(&self.flights.0);
        // A later flight of the same question is not this one's affair.
        if let Some(flight) = open.flights.get_mut(&self.question)
            && flight.number == self.number
        {
            flight.seats -= 1;
            if flight.seats == 0 {
                open.flights.remove(&self.question);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is changed under it is changed in one step, so a poisoned one is still right.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_the_same_at_once_are_answered_by_one_flight() {
        let flights: Flights<&str, usize> = Flights::default();
        let started = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let ask = |question| {
            let (started, gate) = (started.clone(), gate.clone());
            flights.answer(question, move || {
                let nth = started.fetch_add(1, Ordering::Relaxed) + 1;
                async move {
                    gate.acquire().await.unwrap().forget();
                    nth
                }
                .boxed()
            })
        };
        let both = async {
            tokio::join!(ask("a"), ask("a"), ask("b"), async {
                gate.add_permits(2);
            })
        };
        let (first, second, other, ()) = both.await;
        assert_eq!((first, second, other), (1, 1, 2));
        gate.add_permits(1);
        assert_eq!(ask("a").await, 3, "what has landed is not handed on");
        assert!(lock(&flights.0).flights.is_empty());
    }

    #[tokio::test]
    async fn a_flight_goes_on_without_the_one_who_started_it_and_ends_without_all() {
        let flights: Flights<u8, u8> = Flights::default();
        let gate = Arc::new(Semaphore::new(0));
        let start = || {
            let gate = gate.clone();
            move || {
                async move {
                    gate.acquire().await.unwrap().forget();
                    7
                }
                .boxed()
            }
        };
        let mut first = Box::pin(flights.answer(1, start()));
        let mut second = Box::pin(flights.answer(1, start()));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        gate.add_permits(1);
        assert_eq!(second.await, 7);

        let mut alone = Box::pin(flights.answer(1, start()));
        assert!((&mut alone).now_or_never().is_none());
        drop(alone);
        assert_eq!(Arc::strong_count(&gate), 1, "nobody waits for an answer");
        assert!(lock(&flights.0).flights.is_empty());
    }
}

//! When requests are due in the open loop: at a constant rate, whatever the server does. A request
//! that finds every connection busy is late, and its latency counts from when it was due; a
//! generator that waited instead would leave out just the requests that had to wait.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Every `step`th request of a constant rate, from the `first` on.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    begin: Instant,
    end: Instant,
    /// Requests a second, of all steps together.
    rate: f64,
    next: u64,
    step: u64,
}

/// What a schedule says at some time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A request that was due then, and is now taken off the schedule.
    At(Instant),
    NotYet,
    /// No request will be due any more.
    Over,
}

impl Schedule {
    pub(crate) fn new(begin: Instant, end: Instant, rate: f64, first: u64, step: u64) -> Self {
        Self {
            begin,
            end,
            rate,
            next: first,
            step,
        }
    }

    /// Takes the next request if it is due at `now`.
    pub(crate) fn take_due(&mut self, now: Instant) -> Due {
        match self.peek() {
            None => Due::Over,
            Some(due) if due > now => Due::NotYet,
            Some(due) => {
                self.next += self.step;
                Due::At(due)
            }
        }
    }

    fn peek(&self) -> Option<Instant> {
        let due = self.begin + Duration::from_secs_f64(self.next as f64 / self.rate);
        (due < self.end).then_some(due)
    }
}

impl Iterator for Schedule {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        let due = self.peek()?;
        self.next += self.step;
        Some(due)
    }
}

/// Wakes at an instant to within some microseconds. Tokio's own timer knows milliseconds only, which
/// is as much as the latencies to be measured.
pub(crate) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// To be made inside a runtime.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("make a timer")?;
        #[expect(
            deprecated,
            reason = "unsound for descriptors that may be closed or exchanged; an OwnedFd is neither"
        )]
        let timer = AsyncFd::new(timer).context("wait for a timer")?;
        Ok(Self(timer))
    }

    /// Returns at `due`, never before.
    pub(crate) async fn wait_until(&self, due: Instant) -> anyhow::Result<()> {
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Ok(());
            }
            let never = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let once = Itimerspec {
                it_interval: never,
                it_value: Timespec {
                    tv_sec: wait.as_secs().try_into().context("a time")?,
                    tv_nsec: wait.subsec_nanos().into(),
                },
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)
                .context("set a timer")?;
            let mut ready = self.0.readable().await.context("wait for a timer")?;
            match rustix::io::read(self.0.get_ref(), &mut [0; 8]) {
                Ok(_) | Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error).context("read a timer"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TICK: Duration = Duration::from_nanos(1);

    #[test]
    fn requests_are_due_at_equal_distances_up_to_the_end() {
        let begin = Instant::now();
        let schedule = Schedule::new(begin, begin + SECOND, 4.0, 0, 1);
        let due: Vec<Duration> = schedule.map(|due| due - begin).collect();
        assert_eq!(due, [0, 250, 500, 750].map(Duration::from_millis));
    }

    #[test]
    fn a_request_is_taken_from_the_moment_it_is_due() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(begin, begin + SECOND, 2.0, 1, 1);
        let due = begin + SECOND / 2;
        assert_eq!(schedule.take_due(due - TICK), Due::NotYet);
        assert_eq!(schedule.take_due(due), Due::At(due));
        assert_eq!(schedule.take_due(due), Due::Over);
    }

    #[test]
    fn a_late_taker_gets_the_time_at_which_it_was_due() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(begin, begin + SECOND, 2.0, 0, 1);
        assert_eq!(schedule.take_due(begin + 10 * SECOND), Due::At(begin));
        assert_eq!(
            schedule.take_due(begin + 10 * SECOND),
            Due::At(begin + SECOND / 2)
        );
        assert_eq!(schedule.take_due(begin + 10 * SECOND), Due::Over);
    }

    #[test]
    fn threads_share_a_rate_without_sharing_a_request() {
        let begin = Instant::now();
        let of = |first, step| Schedule::new(begin, begin + SECOND, 100.0, first, step);
        let mut shared: Vec<Instant> = of(0, 3).chain(of(1, 3)).chain(of(2, 3)).collect();
        shared.sort();
        assert_eq!(shared, of(0, 1).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_alarm_wakes_at_its_time_and_at_once_for_a_past_one() {
        let alarm = Alarm::new().unwrap();
        for wait in [3, 1, 0].map(Duration::from_millis) {
            let due = Instant::now() + wait;
            alarm.wait_until(due).await.unwrap();
            assert!(Instant::now() >= due);
        }
        alarm.wait_until(Instant::now() - TICK).await.unwrap();
    }
}

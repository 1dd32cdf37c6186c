//! Load with a known truth, and faults by a schedule; both are functions of a seed.

mod generator;
mod load;
mod random;
mod schedule;
mod steady;
mod strike;
mod truth;

pub use generator::{Event, Generator};
pub use load::{Journal, Load, Sent};
pub use random::Random;
pub use schedule::{Fault, Kind, Target, schedule};
pub use steady::{Answers, Steady};
pub use strike::{Tally, strike};
pub use truth::Truth;

//! Load with a known truth, and faults by a schedule; both are functions of a seed.

mod faults;
mod generator;
mod load;
mod random;
mod truth;

pub use faults::{Fault, Kind, Tally, Target, schedule, strike};
pub use generator::{Event, Generator};
pub use load::{Journal, Load, Sent};
pub use random::Random;
pub use truth::Truth;

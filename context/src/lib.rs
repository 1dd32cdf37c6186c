//! What is known of an event beside what its client says: the page it is of, where its visitor came
//! from, what they use and where they are.

pub mod agent;
mod describe;
pub mod locale;
pub mod page;
pub mod place;
mod text;
pub mod visitor;

pub use describe::{Described, Describer, Room, Sender};

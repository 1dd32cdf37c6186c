//! A partition on disk: segments of record batches, exactly as producers sent them.

pub(crate) mod batch;
mod damage;
#[cfg(test)]
mod damage_tests;
mod index;
mod partition;
mod producers;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;

pub(crate) use partition::{Appended, Partition};
pub(crate) use recovery::open;

//! The whole, measured: ratios of two ways in one run, never a figure by itself.

pub mod baseline;
pub mod fill;
pub mod ingest;
mod process;
pub mod query;
mod schedule;
pub mod sink;

//! The whole, measured: ratios of two ways in one run, never a figure by itself.

pub mod e2e;
pub mod fill;
pub mod ingest;
mod process;
pub mod query;
mod schedule;
pub mod sink;

//! The whole, measured: ratios of two ways in one run, never a figure by itself.

pub mod baseline;
pub mod compare;
pub mod conditions;
pub mod e2e;
pub mod fill;
pub mod ingest;
pub mod merges;
pub mod output;
pub mod page;
pub mod process;
pub mod query;
mod schedule;
pub mod sink;

//! The edge from outside: HTTP in front, the embedded broker behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod answers;
mod batches;
mod bodies;
mod connections;
mod context;
mod fuzz;
mod kafka;
mod keys;
mod limits;
mod odd_json;
mod operations;
mod pixel;
mod spool;
mod support;
mod tracker;

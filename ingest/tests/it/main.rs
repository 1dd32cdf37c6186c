//! The edge from outside: HTTP in front, the embedded broker behind.

mod answers;
mod batches;
mod bodies;
mod kafka;
mod operations;
mod support;

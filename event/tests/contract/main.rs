//! The contract from outside: every rule on both sides of its boundary, the encoding, and
//! `event.proto`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod fuzz;
mod proto;
mod referrer;
mod rules;
mod support;
mod wire;

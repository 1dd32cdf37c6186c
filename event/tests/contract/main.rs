//! The contract from outside: every rule on both sides of its boundary, the encoding, and
//! `event.proto`.

mod proto;
mod rules;
mod support;
mod wire;

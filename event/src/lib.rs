//! The contract: an event, its rules and its encoding; no I/O, no clock.

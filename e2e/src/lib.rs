//! The whole, tested from outside.

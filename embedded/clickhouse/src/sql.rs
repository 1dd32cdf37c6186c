//! SQL as text: tokens, and the two cuts the protocol needs (an INSERT from its data, a statement
//! from its FORMAT). What a statement *means* is asked of the engine's own parser.

pub(crate) mod format;
pub(crate) mod insert;
pub(crate) mod token;

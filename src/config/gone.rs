//! Settings of earlier versions: whoever still has one is told at the start what to set now.

use infra::config::Gone;

pub(crate) const GONE: &[Gone] = &[];

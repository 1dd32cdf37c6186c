//! Visitors without cookies: a keyed hash of site, address and user agent.

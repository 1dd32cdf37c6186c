//! The page of an event: its path in one form, its host, and the source of the visit.

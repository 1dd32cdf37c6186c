//! ClickHouse's HTTP protocol: requests in, answers out. Knows SQL only as text to hand on.

pub(crate) mod blocks;
pub(crate) mod body;
pub(crate) mod multipart;
pub(crate) mod request;
pub(crate) mod response;

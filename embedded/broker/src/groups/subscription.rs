//! The little a coordinator reads of what consumers tell their leader: the topics they want.

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};

/// Whether two subscriptions ask for the same topics. Without topics to be read, equal bytes count.
pub(super) fn same_topics(one: &Bytes, other: &Bytes) -> bool {
    match (topics(one), topics(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Version, then an array of names; what follows differs between versions.
fn topics(subscription: &[u8]) -> Option<BTreeSet<&[u8]>> {
    let mut bytes = subscription;
    let _version = bytes.try_get_i16().ok()?;
    let count = bytes.try_get_i32().ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        let len = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        topics.insert(bytes.get(..len)?);
        bytes.advance(len);
    }
    Some(topics)
}

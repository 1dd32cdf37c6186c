//! Ids of events that brought none.

use chrono::{DateTime, Utc};
use uuid::{Builder, Uuid};

/// Makes the ids of one request's events: UUIDs of version 7, whose time is that of receipt.
pub(crate) struct EdgeIds {
    millis: u64,
}

impl EdgeIds {
    pub(crate) fn of(received_at: DateTime<Utc>) -> Self {
        // The clock of a machine that stands before 1970 is not worth more.
        let millis = u64::try_from(received_at.timestamp_millis()).unwrap_or_default();
        Self { millis }
    }

    /// In no order within the millisecond: for that, all requests would have to share a count.
    pub(crate) fn next(&self) -> Uuid {
        let random = Uuid::new_v4().into_bytes();
        let [_, _, _, _, _, _, tail @ ..] = random;
        // Version and variant stand in the same places, and everything else of the tail is random.
        Builder::from_unix_timestamp_millis(self.millis, &tail).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_is_of_version_7_and_of_the_time_of_receipt() {
        let received_at = DateTime::from_timestamp_millis(1_763_200_800_123).unwrap();
        let id = EdgeIds::of(received_at).next();
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(id.as_u64_pair().0 >> 16, 1_763_200_800_123);
    }

    #[test]
    fn no_two_ids_are_the_same_and_every_free_bit_is_used() {
        let ids = EdgeIds::of(Utc::now());
        let mut seen = HashSet::new();
        let (mut ones, mut zeros) = (0_u128, 0_u128);
        for _ in 0..10_000 {
            let id = ids.next();
            assert!(seen.insert(id));
            ones |= id.as_u128();
            zeros |= !id.as_u128();
        }
        assert_eq!((ones & zeros).count_ones(), 74);
    }
}

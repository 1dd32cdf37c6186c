//! Who holds a listener's connections, so that an address in all places gives way to others. Touched
//! when a connection begins and when it ends, never by a request.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use tokio::task::{AbortHandle, Id};

use super::activity::{Activity, Phase};

/// What counts as one client: an IPv4 address, or an IPv6 network of 64 bits, which is the least that
/// one customer is given.
#[must_use]
pub fn bucket_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[derive(Default)]
pub(super) struct Places {
    taken: HashMap<Id, Place>,
    by_client: HashMap<IpAddr, usize>,
}

struct Place {
    client: IpAddr,
    activity: Activity,
    task: AbortHandle,
}

impl Places {
    pub(super) fn take(&mut self, peer: IpAddr, activity: Activity, task: AbortHandle) {
        let client = bucket_of(peer.to_canonical());
        *self.by_client.entry(client).or_default() += 1;
        let place = Place {
            client,
            activity,
            task,
        };
        self.taken.insert(place.task.id(), place);
    }

    /// Of a connection that has ended, or was made to.
    pub(super) fn leave(&mut self, id: Id) {
        let Some(place) = self.taken.remove(&id) else {
            return;
        };
        if let Some(count) = self.by_client.get_mut(&place.client) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&place.client);
            }
        }
    }

    /// Ends a connection of the client that holds most, if that holds more than `newcomer` would: one
    /// that waits for its client before one that is at work, and each the longest at it.
    pub(super) fn make_room(&mut self, newcomer: IpAddr) -> bool {
        let newcomer = bucket_of(newcomer.to_canonical());
        let fair = self.by_client.get(&newcomer).map_or(1, |count| count + 1);
        let most = self.by_client.iter().max_by_key(|(_, count)| **count);
        let Some((&greedy, _)) = most.filter(|(_, count)| **count > fair) else {
            return false;
        };
        let places = self.taken.values().filter(|place| place.client == greedy);
        let gives_way = places.min_by_key(|place| {
            let (phase, since) = place.activity.noted();
            (phase == Phase::Answer, since)
        });
        let Some(place) = gives_way else {
            return false;
        };
        place.task.abort();
        let id = place.task.id();
        self.leave(id);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::JoinSet;

    use super::*;

    #[test]
    fn ipv6_shares_a_bucket_by_64_bits() {
        let bucket = |text: &str| bucket_of(text.parse().unwrap());
        assert_eq!(bucket("2001:db8:1:2:3::4"), bucket("2001:db8:1:2:ffff::"));
        assert_ne!(bucket("2001:db8:1:2::"), bucket("2001:db8:1:3::"));
        assert_ne!(bucket("1.1.1.1"), bucket("1.1.1.2"));
    }

    #[tokio::test]
    async fn the_client_with_most_gives_way_idle_ones_first_and_never_to_its_own() {
        let mut tasks = JoinSet::new();
        let mut places = Places::default();
        let [greedy, other]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|it| it.parse().unwrap());
        let mut ids = Vec::new();
        for phase in [Phase::Answer, Phase::Client, Phase::Answer] {
            let activity = Activity::new();
            activity.enter(phase);
            let task = tasks.spawn(pending::<()>());
            ids.push(task.id());
            places.take(greedy, activity, task);
        }
        assert!(!places.make_room(greedy));
        for expected in [ids[1], ids[0]] {
            let ended = if places.make_room(other) {
                tasks.join_next_with_id().await.unwrap().unwrap_err().id()
            } else {
                panic!("nobody gives way");
            };
            assert_eq!(ended, expected);
        }
        // It holds one now, and the other's would be one.
        assert!(!places.make_room(other));
    }
}

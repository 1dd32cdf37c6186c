//! The memory that all open bodies share, and who gives way when it is full. A body that comes in one
//! piece, as nearly all do, costs two atomic additions; only the others are listed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use tokio_util::sync::CancellationToken;

use crate::limits::{Proxies, bucket_of};

/// What one event can take at most, as JSON with all its properties.
pub(super) const SMALL_BYTES: usize = 128 << 10;
/// This part of the memory is for small bodies alone, so that large ones cannot stop single events.
const KEPT_FOR_SMALL: usize = 8;

/// What a budget must be, so that a body of `bytes` fits beside what is kept for small ones.
pub(crate) const fn budget_for(bytes: usize) -> usize {
    bytes + bytes.div_ceil(KEPT_FOR_SMALL - 1)
}

/// There is not enough for this body: it has to be refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

pub(super) struct Room {
    used: AtomicUsize,
    bytes_max: usize,
    proxies: Proxies,
    listed: Mutex<Listed>,
}

/// Bodies that did not come in one piece, or are packed.
#[derive(Default)]
struct Listed {
    numbered: u64,
    by_client: HashMap<IpAddr, Client>,
}

#[derive(Default)]
struct Client {
    bytes: usize,
    bodies: HashMap<u64, Entry>,
}

struct Entry {
    bytes: usize,
    /// A body that is whole is soon done with, and is left alone.
    is_whole: bool,
    gives_way: CancellationToken,
}

impl Room {
    pub(super) fn new(bytes_max: usize, proxies: Proxies) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            bytes_max,
            proxies,
            listed: Mutex::default(),
        })
    }

    /// A body's share, nothing at first.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share {
            room: self.clone(),
            bytes: 0,
            listed: None,
        }
    }

    /// Whose body it is. Requests without a peer are tests'.
    pub(super) fn client(&self, head: &Parts) -> IpAddr {
        let peer = head.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(peer)| peer.ip());
        bucket_of(self.proxies.client(peer, &head.headers))
    }

    /// Takes `bytes` more for a body that has `own`.
    fn try_take(&self, own: usize, bytes: usize) -> bool {
        let max = if own + bytes <= SMALL_BYTES {
            self.bytes_max
        } else {
            self.bytes_max - self.bytes_max / KEPT_FOR_SMALL
        };
        let used = self.used.fetch_add(bytes, Relaxed);
        let fits = used + bytes <= max;
        if !fits {
            self.used.fetch_sub(bytes, Relaxed);
        }
        fits
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        // Sums are whole at every step.
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes bodies of other clients give way, from the one that holds most, until `bytes` fit for
    /// `client`, which holds `held` in all. Nobody gives way to a client that would then hold more.
    fn take_of_others(
        &self,
        listed: &mut Listed,
        (client, held): (IpAddr, usize),
        (own, bytes): (usize, usize),
    ) -> Result<(), Full> {
        while !self.try_take(own, bytes) {
            let others = listed.by_client.iter_mut();
            let greedy = others
                .filter(|(address, other)| **address != client && other.bytes > held + bytes)
                .filter(|(_, other)| other.bodies.values().any(|entry| !entry.is_whole))
                .max_by_key(|(_, other)| other.bytes);
            let (_, greedy) = greedy.ok_or(Full)?;
            self.used.fetch_sub(greedy.give_way(), Relaxed);
        }
        Ok(())
    }
}

impl Client {
    /// Its largest body that is still coming gives way; returns what that had.
    fn give_way(&mut self) -> usize {
        let coming = self.bodies.iter().filter(|(_, entry)| !entry.is_whole);
        let largest = coming.max_by_key(|(_, entry)| entry.bytes);
        let Some(number) = largest.map(|(number, _)| *number) else {
            return 0;
        };
        let Some(entry) = self.bodies.remove(&number) else {
            return 0;
        };
        entry.gives_way.cancel();
        self.bytes -= entry.bytes;
        entry.bytes
    }
}

/// What one body holds, given back with it.
pub(super) struct Share {
    room: Arc<Room>,
    /// All it has ever taken; of a listed body the entry has what counts.
    bytes: usize,
    listed: Option<Listing>,
}

#[derive(Clone)]
struct Listing {
    client: IpAddr,
    number: u64,
    gives_way: CancellationToken,
}

impl Share {
    /// Takes what is missing to `bytes`; `client` is asked for if there is a choice to be made.
    pub(super) fn grow_to(
        &mut self,
        bytes: usize,
        client: impl FnOnce() -> IpAddr,
    ) -> Result<(), Full> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let Some(listing) = &self.listed else {
            if !self.room.try_take(self.bytes, more) {
                let client = client();
                let mut listed = self.room.listed();
                let held = listed.by_client.get(&client).map_or(0, |held| held.bytes);
                let held = (client, held + self.bytes);
                self.room
                    .take_of_others(&mut listed, held, (self.bytes, more))?;
            }
            self.bytes = bytes;
            return Ok(());
        };
        let mut listed = self.room.listed();
        let held = match listed.by_client.get(&listing.client) {
            Some(client) if client.bodies.contains_key(&listing.number) => client.bytes,
            _ => return Err(Full),
        };
        let held = (listing.client, held);
        self.room
            .take_of_others(&mut listed, held, (self.bytes, more))?;
        if let Some(client) = listed.by_client.get_mut(&listing.client)
            && let Some(entry) = client.bodies.get_mut(&listing.number)
        {
            client.bytes += more;
            entry.bytes += more;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Lists the body as one that is still coming, so that it may have to give way.
    pub(super) fn list(&mut self, client: impl FnOnce() -> IpAddr) {
        if self.listed.is_some() {
            return;
        }
        let client = client();
        let mut listed = self.room.listed();
        let number = listed.numbered;
        listed.numbered += 1;
        let gives_way = CancellationToken::new();
        let entry = Entry {
            bytes: self.bytes,
            is_whole: false,
            gives_way: gives_way.clone(),
        };
        let held = listed.by_client.entry(client).or_default();
        held.bytes += self.bytes;
        held.bodies.insert(number, entry);
        self.listed = Some(Listing {
            client,
            number,
            gives_way,
        });
    }

    /// Resolves once the body has to give way.
    pub(super) fn gives_way(&self) -> impl Future<Output = ()> + use<> {
        let token = self
            .listed
            .as_ref()
            .map(|listing| listing.gives_way.clone());
        async move {
            match token {
                Some(token) => token.cancelled_owned().await,
                None => std::future::pending().await,
            }
        }
    }

    /// The body is whole and takes no more.
    pub(super) fn is_whole(&mut self) -> Result<(), Full> {
        let Some(listing) = &self.listed else {
            return Ok(());
        };
        let mut listed = self.room.listed();
        let client = listed.by_client.get_mut(&listing.client);
        let entry = client.and_then(|client| client.bodies.get_mut(&listing.number));
        entry.ok_or(Full)?.is_whole = true;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(listing) = &self.listed else {
            self.room.used.fetch_sub(self.bytes, Relaxed);
            return;
        };
        let mut listed = self.room.listed();
        let Some(client) = listed.by_client.get_mut(&listing.client) else {
            return;
        };
        // One that has given way has nothing left to give back.
        if let Some(entry) = client.bodies.remove(&listing.number) {
            client.bytes -= entry.bytes;
            self.room.used.fetch_sub(entry.bytes, Relaxed);
        }
        if client.bodies.is_empty() {
            listed.by_client.remove(&listing.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ForwardedHeader;

    const MAX: usize = 8 << 20;
    const FOR_LARGE: usize = MAX - MAX / KEPT_FOR_SMALL;

    fn room() -> Arc<Room> {
        let proxies = Proxies::new(&[], ForwardedHeader::default()).unwrap();
        Room::new(MAX, proxies)
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    /// A body of this client that is still coming.
    fn coming(room: &Arc<Room>, client: u8, bytes: usize) -> Result<Share, Full> {
        let mut share = room.share();
        share.list(|| address(client));
        share.grow_to(bytes, || address(client)).map(|()| share)
    }

    fn has_given_way(share: &Share) -> bool {
        share.listed.as_ref().unwrap().gives_way.is_cancelled()
    }

    #[test]
    fn large_bodies_leave_room_for_small_ones() {
        let room = room();
        let _large = coming(&room, 1, FOR_LARGE).unwrap();
        assert!(coming(&room, 1, SMALL_BYTES + 1).is_err());
        let small: Vec<_> = (0..MAX / KEPT_FOR_SMALL / SMALL_BYTES)
            .map(|_| coming(&room, 1, SMALL_BYTES).unwrap())
            .collect();
        assert!(coming(&room, 1, 1).is_err());
        drop(small);
        assert!(coming(&room, 1, SMALL_BYTES).is_ok());
    }

    #[test]
    fn the_client_that_holds_most_gives_way_to_others_and_not_to_itself() {
        let room = room();
        let greedy: Vec<_> = (0..7).map(|_| coming(&room, 1, 1 << 20).unwrap()).collect();
        assert!(coming(&room, 1, 1 << 20).is_err());
        let other = coming(&room, 2, 2 << 20).unwrap();
        let left = greedy.iter().filter(|share| has_given_way(share)).count();
        assert_eq!(left, 2);
        assert!(!has_given_way(&other));
        // Three each would be fair; the fourth of the second client is not.
        let more = coming(&room, 2, 1 << 20);
        assert!(more.is_ok());
        assert!(coming(&room, 2, 2 << 20).is_err());
    }

    #[test]
    fn a_body_that_is_whole_does_not_give_way() {
        let room = room();
        let mut whole = coming(&room, 1, FOR_LARGE).unwrap();
        whole.is_whole().unwrap();
        assert!(coming(&room, 2, 1 << 20).is_err());
        drop(whole);
        assert!(coming(&room, 2, 1 << 20).is_ok());
    }

    #[test]
    fn all_that_was_taken_comes_back_also_from_who_gave_way() {
        let room = room();
        let greedy = coming(&room, 1, FOR_LARGE).unwrap();
        let other = coming(&room, 2, 1 << 20).unwrap();
        let mut in_one_piece = room.share();
        in_one_piece.grow_to(1000, || unreachable!()).unwrap();
        drop((greedy, other, in_one_piece));
        assert_eq!(room.used.load(Relaxed), 0);
        assert!(room.listed().by_client.is_empty());
    }

    #[tokio::test]
    async fn who_has_to_give_way_is_woken() {
        let room = room();
        let greedy = coming(&room, 1, FOR_LARGE).unwrap();
        let waiting = greedy.gives_way();
        let _other = coming(&room, 2, 1 << 20).unwrap();
        waiting.await;
    }
}

//! The connections there are: what each does and holds, and which gives way when there are too many
//! or when memory runs out. Decisions are functions of what is seen; nothing here reads or writes.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

/// A client of whose request or answer less than [`MOVED_BYTES`] passed in this time is slow: it may
/// go on for as long as nobody else needs what it holds.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(1);
const MOVED_BYTES: usize = 64 << 10;

/// All connections of the broker.
pub(crate) struct Places {
    open: Mutex<Open>,
    max: usize,
}

#[derive(Default)]
struct Open {
    numbered: u64,
    places: HashMap<u64, Arc<Place>>,
}

/// One connection's entry. It counts as open until this is dropped.
pub(super) struct Taken {
    pub(super) place: Arc<Place>,
    number: u64,
    places: Arc<Places>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.places.open().places.remove(&self.number);
    }
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            max,
        })
    }

    /// A place for a client from `peer`; where all are taken, another connection gives way, or there
    /// is none.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Taken> {
        let (address, now) = (client_of(peer), Instant::now());
        let mut open = self.open();
        if open.places.len() >= self.max {
            let seen = seen(&open, |doing| doing.seen_idle(now));
            let number = gives_way_to_newcomer(&seen, address, now)?;
            if let Some(place) = open.places.remove(&number) {
                place.gives_way.cancel();
            }
        }
        let number = open.numbered;
        open.numbered += 1;
        let place = Arc::new(Place {
            address,
            doing: Mutex::new(Doing::new(now)),
            gives_way: CancellationToken::new(),
        });
        open.places.insert(number, place.clone());
        Some(Taken {
            place,
            number,
            places: self.clone(),
        })
    }

    /// Closes a connection that holds memory of this kind which `place` needs. `waited`: whether it
    /// has waited for what comes free by itself.
    pub(super) fn make_room(&self, place: &Arc<Place>, kind: Kind, waited: bool) {
        let now = Instant::now();
        let begun_at = place.doing().begun_at(kind);
        let mut open = self.open();
        let seen = seen(&open, |doing| doing.seen_holding(kind, now));
        let own = open
            .places
            .iter()
            .find_map(|(number, other)| Arc::ptr_eq(place, other).then_some(*number));
        let need = Need {
            own,
            address: place.address,
            begun_at,
            waited,
        };
        let number = gives_memory_back(&seen, &need);
        if let Some(place) = number.and_then(|number| open.places.remove(&number)) {
            place.gives_way.cancel();
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory is counted apart for requests and for answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Requests = 0,
    Answers = 1,
}

/// What one connection does, noted by its reader and its writer.
pub(super) struct Place {
    address: IpAddr,
    doing: Mutex<Doing>,
    gives_way: CancellationToken,
}

#[derive(Debug, Clone)]
struct Doing {
    /// Whole requests so far.
    requests: u64,
    /// Requests whose answers the client does not have yet.
    owed: usize,
    receiving: Option<Transfer>,
    sending: Option<Transfer>,
    /// Since when there is nothing to do.
    idle_since: Instant,
    held: [usize; 2],
}

/// Bytes on their way.
#[derive(Debug, Clone, Copy)]
struct Transfer {
    begun_at: Instant,
    /// When [`MOVED_BYTES`] had last passed.
    moved_at: Instant,
    since_then: usize,
}

impl Transfer {
    fn new(now: Instant) -> Self {
        Self {
            begun_at: now,
            moved_at: now,
            since_then: 0,
        }
    }

    fn moved(&mut self, bytes: usize, now: Instant) {
        self.since_then += bytes;
        if self.since_then >= MOVED_BYTES {
            (self.moved_at, self.since_then) = (now, 0);
        }
    }

    fn is_slow(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.moved_at) >= SLOW_AFTER
    }
}

impl Place {
    /// Resolves when the connection has to end for the sake of others.
    pub(super) async fn gives_way(&self) {
        self.gives_way.cancelled().await;
    }

    pub(super) fn receives(&self) {
        self.doing().receiving = Some(Transfer::new(Instant::now()));
    }

    pub(super) fn received(&self, bytes: usize) {
        if let Some(receiving) = &mut self.doing().receiving {
            receiving.moved(bytes, Instant::now());
        }
    }

    /// Waiting for memory is not the client's slowness.
    pub(super) fn received_late(&self) {
        if let Some(receiving) = &mut self.doing().receiving {
            receiving.moved(MOVED_BYTES, Instant::now());
        }
    }

    /// A whole request is here, and owes an answer.
    pub(super) fn owes(&self) {
        let mut doing = self.doing();
        doing.receiving = None;
        doing.requests += 1;
        doing.owed += 1;
    }

    pub(super) fn sends(&self) {
        self.doing().sending = Some(Transfer::new(Instant::now()));
    }

    pub(super) fn sent(&self, bytes: usize) {
        if let Some(sending) = &mut self.doing().sending {
            sending.moved(bytes, Instant::now());
        }
    }

    /// An answer is with the client, or there was none to give.
    pub(super) fn answered(&self) {
        let mut doing = self.doing();
        doing.sending = None;
        doing.owed = doing.owed.saturating_sub(1);
        doing.idle_since = Instant::now();
    }

    pub(super) fn is_owed_an_answer(&self) -> bool {
        self.doing().owed > 0
    }

    pub(super) fn is_new(&self) -> bool {
        self.doing().requests == 0
    }

    pub(super) fn hold(&self, kind: Kind, bytes: usize) {
        self.doing().held[kind as usize] += bytes;
    }

    pub(super) fn let_go(&self, kind: Kind, bytes: usize) {
        let held = &mut self.doing().held[kind as usize];
        *held = held.saturating_sub(bytes);
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        // Plain numbers, whole at every step.
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much a connection has to lose, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Idleness {
    /// It has never sent a whole request.
    Silent,
    /// It waits for its client.
    Idle,
    /// A request is under way. That includes a consumer that waits for events.
    Busy,
}

impl Doing {
    fn new(now: Instant) -> Self {
        Self {
            requests: 0,
            owed: 0,
            receiving: None,
            sending: None,
            idle_since: now,
            held: [0; 2],
        }
    }

    fn seen_idle(&self, now: Instant) -> (Idleness, Instant) {
        let slow = |transfer: &Option<Transfer>| transfer.filter(|transfer| transfer.is_slow(now));
        let waits_for_client = if self.owed > 0 {
            slow(&self.sending).map(|sending| sending.moved_at)
        } else if self.receiving.is_some() {
            slow(&self.receiving).map(|receiving| receiving.moved_at)
        } else {
            Some(self.idle_since)
        };
        match waits_for_client {
            Some(since) if self.requests == 0 => (Idleness::Silent, since),
            Some(since) => (Idleness::Idle, since),
            None => (Idleness::Busy, self.idle_since),
        }
    }

    fn transfer(&self, kind: Kind) -> Option<Transfer> {
        match kind {
            Kind::Requests => self.receiving,
            Kind::Answers => self.sending,
        }
    }

    fn begun_at(&self, kind: Kind) -> Option<Instant> {
        self.transfer(kind).map(|transfer| transfer.begun_at)
    }

    fn seen_holding(&self, kind: Kind, now: Instant) -> Holding {
        let transfer = self.transfer(kind);
        Holding {
            bytes: self.held[kind as usize],
            begun_at: transfer.map(|transfer| transfer.begun_at),
            is_slow: transfer.is_some_and(|transfer| transfer.is_slow(now)),
        }
    }
}

/// One connection as a decision sees it.
#[derive(Debug, Clone, Copy)]
struct Seen<T> {
    number: u64,
    address: IpAddr,
    what: T,
}

fn seen<T>(open: &Open, look: impl Fn(&Doing) -> T) -> Vec<Seen<T>> {
    let look = |(number, place): (&u64, &Arc<Place>)| Seen {
        number: *number,
        address: place.address,
        what: look(&place.doing()),
    };
    open.places.iter().map(look).collect()
}

/// Who gives way to a new connection from `newcomer`: those that never sent anything before those
/// that idle, each from the address that holds most first; busy ones only of an address that would
/// still hold as many as the newcomer's. A connection is given [`SLOW_AFTER`] to speak unless its
/// address holds more than the newcomer's: many new ones at a time must not push out each other.
fn gives_way_to_newcomer(
    open: &[Seen<(Idleness, Instant)>],
    newcomer: IpAddr,
    now: Instant,
) -> Option<u64> {
    let mut held = HashMap::from([(newcomer, 1_usize)]);
    for seen in open {
        *held.entry(seen.address).or_default() += 1;
    }
    let fair = held[&newcomer];
    let may = |seen: &&Seen<(Idleness, Instant)>| {
        let (idleness, since) = seen.what;
        let has_waited = now.saturating_duration_since(since) >= SLOW_AFTER;
        held[&seen.address] > fair || (idleness < Idleness::Busy && has_waited)
    };
    let order = |seen: &&Seen<(Idleness, Instant)>| {
        let (idleness, since) = seen.what;
        (idleness, usize::MAX - held[&seen.address], since)
    };
    open.iter()
        .filter(may)
        .min_by_key(order)
        .map(|seen| seen.number)
}

/// What a connection holds of one kind of memory.
#[derive(Debug, Clone, Copy)]
struct Holding {
    bytes: usize,
    /// When its request began to come, or its answer to go. None while the broker works on it.
    begun_at: Option<Instant>,
    is_slow: bool,
}

/// Who needs memory.
struct Need {
    own: Option<u64>,
    address: IpAddr,
    begun_at: Option<Instant>,
    waited: bool,
}

/// Who gives memory back. First a slow client, of the address that holds most. If waiting has not
/// helped: one of an address that holds more than the one in need; and among equals who began after
/// it, so that requests which fill the memory by halves cannot wait for each other for ever.
fn gives_memory_back(open: &[Seen<Holding>], need: &Need) -> Option<u64> {
    let mut held = HashMap::from([(need.address, 0_usize)]);
    for seen in open {
        *held.entry(seen.address).or_default() += seen.what.bytes;
    }
    let fair = held[&need.address];
    let others = || {
        open.iter()
            .filter(|seen| Some(seen.number) != need.own && seen.what.bytes > 0)
    };
    let most = |seen: &&Seen<Holding>| (held[&seen.address], seen.what.bytes);
    let slow = others().filter(|seen| seen.what.is_slow).max_by_key(most);
    if slow.is_some() || !need.waited {
        return slow.map(|seen| seen.number);
    }
    let greedy = others()
        .filter(|seen| seen.what.begun_at.is_some() && held[&seen.address] > fair)
        .max_by_key(most);
    let younger = || {
        others()
            .filter(|seen| seen.address == need.address)
            .filter(|seen| seen.what.begun_at.is_some() && seen.what.begun_at > need.begun_at)
            .max_by_key(|seen| seen.what.begun_at)
    };
    greedy.or_else(younger).map(|seen| seen.number)
}

/// Whose connections count together: an IPv4 address, or an IPv6 network of 64 bits, which is the
/// least that one customer is given.
fn client_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    fn address(text: &str) -> IpAddr {
        client_of(text.parse().unwrap())
    }

    /// Connections of two addresses, each idle in its way for so many seconds.
    fn gives_way(open: &[(&str, Idleness, u64)], newcomer: &str) -> Option<usize> {
        let now = Instant::now() + Duration::from_secs(100);
        let seen: Vec<_> = open
            .iter()
            .enumerate()
            .map(|(number, (peer, idleness, seconds))| Seen {
                number: number as u64,
                address: address(peer),
                what: (*idleness, now - Duration::from_secs(*seconds)),
            })
            .collect();
        gives_way_to_newcomer(&seen, address(newcomer), now).map(|number| number as usize)
    }

    use Idleness::{Busy, Idle, Silent};

    #[test]
    fn who_never_spoke_gives_way_before_who_idles_and_both_before_who_works() {
        let open = [
            ("10.0.0.1", Busy, 9),
            ("10.0.0.1", Idle, 8),
            ("10.0.0.1", Silent, 2),
            ("10.0.0.1", Silent, 3),
        ];
        assert_eq!(gives_way(&open, "10.0.0.1"), Some(3));
        assert_eq!(gives_way(&open[..2], "10.0.0.1"), Some(1));
        assert_eq!(gives_way(&open[..1], "10.0.0.1"), None);
    }

    #[test]
    fn the_address_that_holds_most_gives_way_even_where_all_are_busy() {
        let open = [
            ("10.0.0.1", Busy, 9),
            ("10.0.0.2", Busy, 0),
            ("10.0.0.2", Busy, 0),
            ("10.0.0.2", Busy, 0),
        ];
        assert!(gives_way(&open, "10.0.0.3") > Some(0));
        assert!(gives_way(&open, "10.0.0.1") > Some(0));
        // It would hold no more than the newcomer's.
        assert_eq!(gives_way(&open, "10.0.0.2"), None);
        assert_eq!(gives_way(&open[..3], "10.0.0.1"), None);
    }

    #[test]
    fn a_new_connection_has_time_to_speak_unless_its_address_holds_more() {
        let fresh = [("10.0.0.1", Silent, 0), ("10.0.0.1", Silent, 0)];
        assert_eq!(gives_way(&fresh, "10.0.0.1"), None);
        assert!(gives_way(&fresh, "10.0.0.2").is_some());
        let waited = [("10.0.0.1", Silent, 1), ("10.0.0.1", Silent, 0)];
        assert_eq!(gives_way(&waited, "10.0.0.1"), Some(0));
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_client() {
        assert_eq!(address("2001:db8:1:2:3::4"), address("2001:db8:1:2:ffff::"));
        assert_ne!(address("2001:db8:1:2::"), address("2001:db8:1:3::"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }

    #[test]
    fn a_waiting_consumer_is_busy_and_a_client_that_takes_no_answer_is_not() {
        let now = Instant::now();
        let mut doing = Doing::new(now);
        assert_eq!(doing.seen_idle(now).0, Silent);
        (doing.requests, doing.owed) = (1, 1);
        assert_eq!(doing.seen_idle(now + SLOW_AFTER * 60).0, Busy);
        doing.sending = Some(Transfer::new(now));
        assert_eq!(doing.seen_idle(now + SLOW_AFTER - TICK).0, Busy);
        assert_eq!(doing.seen_idle(now + SLOW_AFTER).0, Idle);
        (doing.owed, doing.sending) = (0, None);
        assert_eq!(doing.seen_idle(now).0, Idle);
    }

    #[test]
    fn a_byte_now_and_then_is_slow_and_a_steady_stream_is_not() {
        let begun = Instant::now();
        let (mut drip, mut stream) = (Transfer::new(begun), Transfer::new(begun));
        for second in 1..10 {
            let now = begun + SLOW_AFTER * second;
            drip.moved(MOVED_BYTES / 100, now);
            stream.moved(MOVED_BYTES, now);
            assert!(drip.is_slow(now));
            assert!(!stream.is_slow(now + SLOW_AFTER - TICK));
        }
    }

    struct Case<'a> {
        peer: &'a str,
        bytes: usize,
        begun: Option<u64>,
        is_slow: bool,
    }

    fn gives_back(open: &[Case<'_>], own: usize, waited: bool) -> Option<usize> {
        let start = Instant::now();
        let begun_at = |case: &Case<'_>| Some(start + Duration::from_secs(case.begun?));
        let seen: Vec<_> = open
            .iter()
            .enumerate()
            .map(|(number, case)| Seen {
                number: number as u64,
                address: address(case.peer),
                what: Holding {
                    bytes: case.bytes,
                    begun_at: begun_at(case),
                    is_slow: case.is_slow,
                },
            })
            .collect();
        let need = Need {
            own: Some(own as u64),
            address: address(open[own].peer),
            begun_at: begun_at(&open[own]),
            waited,
        };
        gives_memory_back(&seen, &need).map(|number| number as usize)
    }

    fn case(peer: &str, bytes: usize, begun: impl Into<Option<u64>>, is_slow: bool) -> Case<'_> {
        Case {
            peer,
            bytes,
            begun: begun.into(),
            is_slow,
        }
    }

    #[test]
    fn a_slow_client_gives_memory_back_at_once_and_others_once_waiting_has_not_helped() {
        let open = [
            case("10.0.0.1", 1, 5, false),
            case("10.0.0.2", 50, 1, false),
            case("10.0.0.2", 40, 2, true),
            case("10.0.0.1", 9, 3, true),
        ];
        assert_eq!(gives_back(&open, 0, false), Some(2));
        assert_eq!(gives_back(&open[..2], 0, false), None);
        assert_eq!(gives_back(&open[..2], 0, true), Some(1));
        // The address that holds more takes nothing from the one that holds less.
        assert_eq!(gives_back(&open[..2], 1, true), None);
    }

    #[test]
    fn requests_that_fill_the_memory_by_halves_do_not_wait_for_each_other() {
        let open = [
            case("10.0.0.1", 50, 1, false),
            case("10.0.0.1", 50, 2, false),
            case("10.0.0.1", 50, None, false),
        ];
        assert_eq!(gives_back(&open, 0, true), Some(1));
        assert_eq!(gives_back(&open, 1, true), None);
    }
}

//! How much at a time, where nobody waits: who comes when all room is taken gets some of whoever has most of it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use super::{Network, reserve};

/// Room for a bounded number of things that callers may hold for long: connections, open attestations.
///
/// One network may have so many; a quarter is kept for known networks. Where the room is taken all the same, a network that
/// has less gets a place of the one that has most: to keep a newcomer out takes as many networks as there are places.
#[derive(Debug, Default)]
pub struct Occupancy {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    capacity: usize,
    /// The most of one network; 0 for no limit.
    per_network: usize,
    taken: usize,
    /// How many of these were unknown when they came.
    strangers: usize,
    networks: HashMap<Network, VecDeque<Arc<Place>>>,
}

/// A place that somebody has.
#[derive(Debug)]
struct Place {
    is_known: bool,
    /// Who has shown who it is is not sent away for others.
    is_kept: AtomicBool,
    taken_away: Notify,
}

/// Who has a place; dropped, others may have it.
#[derive(Debug)]
pub struct Occupant {
    of: Arc<Occupancy>,
    network: Network,
    place: Arc<Place>,
}

impl Occupancy {
    /// So much room, and so much of it for one network (0 for no limit).
    #[must_use]
    pub fn new(capacity: usize, per_network: usize) -> Arc<Self> {
        let room = Arc::new(Self::default());
        room.set(capacity, per_network);
        room
    }

    /// As much room from now on, and so much of it for one network (0 for no limit). Who is in stays.
    pub(super) fn set(&self, capacity: usize, per_network: usize) {
        let mut state = self.lock();
        state.capacity = capacity;
        state.per_network = per_network;
    }

    /// Takes a place: a free one, or one of the network that has most. `None` where the network has as many as it may, or
    /// nobody has more.
    #[must_use]
    pub fn admit(self: &Arc<Self>, (network, is_known): (Network, bool)) -> Option<Occupant> {
        let mut state = self.lock();
        let own = state.networks.get(&network).map_or(0, VecDeque::len);
        let is_over_share = state.per_network != 0 && own >= state.per_network;
        if is_over_share || !(state.has_room(is_known) || state.make_room(own, is_known)) {
            return None;
        }
        let place = Arc::new(Place {
            is_known,
            is_kept: AtomicBool::new(false),
            taken_away: Notify::new(),
        });
        state.taken += 1;
        state.strangers += usize::from(!is_known);
        state.networks.entry(network).or_default().push_back(Arc::clone(&place));
        Some(Occupant {
            of: Arc::clone(self),
            network,
            place,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, is_known: bool) -> bool {
        let open = self.capacity - reserve(self.capacity);
        self.taken < self.capacity && (is_known || self.strangers < open)
    }

    /// Takes the oldest place that can be taken of the network that has most, for one that has `own`. A stranger gets a
    /// stranger's.
    fn make_room(&mut self, own: usize, is_known: bool) -> bool {
        let can_go = |place: &Arc<Place>| (is_known || !place.is_known) && !place.is_kept.load(Ordering::Relaxed);
        let most = self
            .networks
            .iter()
            // With one place less it must still have as many as the newcomer then has, or the two take turns for ever.
            .filter(|(_, places)| places.len() > own + 1 && places.iter().any(can_go))
            .max_by_key(|(_, places)| places.len());
        let Some((network, place)) = most.and_then(|(network, places)| {
            let oldest = places.iter().find(|place| can_go(place))?;
            Some((*network, Arc::clone(oldest)))
        }) else {
            return false;
        };
        self.remove(network, &place);
        place.taken_away.notify_one();
        true
    }

    fn remove(&mut self, network: Network, place: &Arc<Place>) {
        let Some(places) = self.networks.get_mut(&network) else {
            return;
        };
        let Some(at) = places.iter().position(|other| Arc::ptr_eq(other, place)) else {
            return;
        };
        places.remove(at);
        if places.is_empty() {
            self.networks.remove(&network);
        }
        self.taken = self.taken.saturating_sub(1);
        self.strangers = self.strangers.saturating_sub(usize::from(!place.is_known));
    }
}

impl Occupant {
    /// Keeps the place: it is not taken away for another.
    pub fn keep(&self) {
        self.place.is_kept.store(true, Ordering::Relaxed);
    }

    /// Ends once the place was taken away: whoever has it leaves now.
    pub fn taken_away(&self) -> impl Future<Output = ()> + Send + use<> {
        let place = Arc::clone(&self.place);
        async move { place.taken_away.notified().await }
    }
}

impl Drop for Occupant {
    fn drop(&mut self) {
        self.of.lock().remove(self.network, &self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use futures_util::FutureExt as _;

    use super::*;

    fn stranger(number: u8) -> (Network, bool) {
        (Network::of(IpAddr::from([192, 0, 2, number])), false)
    }

    fn known(number: u8) -> (Network, bool) {
        (stranger(number).0, true)
    }

    fn room(capacity: usize, per_network: usize) -> Arc<Occupancy> {
        Occupancy::new(capacity, per_network)
    }

    fn is_out(occupant: &Occupant) -> bool {
        occupant.taken_away().now_or_never().is_some()
    }

    fn admit(room: &Arc<Occupancy>, origin: (Network, bool), times: usize) -> Vec<Occupant> {
        (0..times).map_while(|_| room.admit(origin)).collect()
    }

    #[test]
    fn a_network_has_its_share_and_gives_it_back() {
        let room = room(100, 3);
        let mut held = admit(&room, stranger(1), 10);
        assert_eq!(held.len(), 3);
        assert_eq!(admit(&room, known(1), 1).len(), 0, "also where it is known");
        held.pop();
        assert_eq!(admit(&room, stranger(1), 10).len(), 1);
        drop(held);
        let state = room.lock();
        assert_eq!((state.taken, state.strangers, state.networks.len()), (0, 0, 0));
    }

    #[test]
    fn a_newcomer_gets_the_oldest_place_of_whoever_has_most() {
        let room = room(8, 0);
        let (few, most) = (admit(&room, stranger(1), 2), admit(&room, stranger(2), 10));
        assert_eq!(most.len(), 4, "a quarter is kept for known networks");
        let newcomer = room.admit(stranger(3)).unwrap();
        let out: Vec<bool> = most.iter().map(is_out).collect();
        assert_eq!(out, [true, false, false, false]);
        assert!(!few.iter().any(is_out) && !is_out(&newcomer));
        // Who has as many as another takes none from it.
        let second = admit(&room, stranger(3), 10);
        assert_eq!(second.len(), 1);
        assert_eq!(room.lock().taken, 6);
        drop((few, most, newcomer, second));
        assert_eq!(
            room.lock().taken,
            0,
            "a place that was taken away is not given back twice"
        );
    }

    #[test]
    fn strangers_never_take_what_is_kept_for_known_networks() {
        let room = room(8, 0);
        let mut held = Vec::new();
        for number in 0..6 {
            held.extend(room.admit(stranger(number)));
        }
        assert_eq!(held.len(), 6);
        assert!(room.admit(stranger(6)).is_none(), "nobody has more than one");
        held.extend(admit(&room, known(7), 2));
        assert_eq!(held.len(), 8);
        // A known network with many gives to another known one, not to strangers.
        assert!(room.admit(stranger(6)).is_none());
        let other = room.admit(known(8)).unwrap();
        assert!(is_out(held.get(6).unwrap()) && !is_out(&other));
    }

    #[test]
    fn who_has_shown_who_it_is_stays() {
        let room = room(8, 0);
        let held = admit(&room, stranger(1), 6);
        held.iter().take(5).for_each(Occupant::keep);
        let newcomer = room.admit(stranger(2)).unwrap();
        assert!(held.iter().take(5).all(|kept| !is_out(kept)) && held.last().is_some_and(is_out));
        assert!(room.admit(stranger(3)).is_none(), "nothing can be taken away");
        drop(newcomer);
        assert!(room.admit(stranger(3)).is_some());
    }

    #[test]
    fn to_keep_a_newcomer_out_takes_as_many_networks_as_there_are_places() {
        let room = room(8192, 512);
        let mut held = Vec::new();
        for number in 0..100 {
            held.extend(admit(&room, stranger(number), 512));
        }
        for number in 100..200 {
            held.push(room.admit(stranger(number)).unwrap());
        }
        assert!(room.lock().taken <= 8192 - reserve(8192));
    }

    #[test]
    fn other_limits_hold_from_the_next_caller_on() {
        let room = room(8, 4);
        let held = admit(&room, stranger(1), 4);
        room.set(4, 2);
        assert!(room.admit(stranger(1)).is_none() && held.iter().all(|place| !is_out(place)));
        room.set(8, 5);
        assert!(room.admit(stranger(1)).is_some());
    }
}

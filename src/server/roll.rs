//! Which connections of a server are open.

use std::mem;
use std::sync::{Arc, Weak};

use crate::socket::shared::Shared;

/// The sockets of the open connections. Entering and leaving take constant time. It costs a connection sixteen bytes,
/// and as much again of spare room after the table has grown.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    places: Vec<Place>,
    /// The first of the chain of free places; beyond the end if there is none.
    free: usize,
    taken: usize,
    /// How many have ever entered, by which places that were used again are put in order.
    entered: u64,
}

#[derive(Debug)]
enum Place {
    Taken { socket: Weak<Shared>, number: u64 },
    Free { next: usize },
}

impl Roll {
    /// Enters a socket and returns its place.
    pub(crate) fn enter(&mut self, socket: &Arc<Shared>) -> usize {
        let taken = Place::Taken { socket: Arc::downgrade(socket), number: self.entered };
        self.entered += 1;
        self.taken += 1;
        let place = self.free;
        match self.places.get_mut(place) {
            Some(free) => {
                if let Place::Free { next } = mem::replace(free, taken) {
                    self.free = next;
                }
            }
            None => {
                self.places.push(taken);
                self.free = self.places.len();
            }
        }
        place
    }

    /// Frees a place, and the memory once nobody is left. What it returns is to be dropped after the lock.
    pub(crate) fn leave(&mut self, place: usize) -> impl Sized + use<> {
        let left = mem::replace(&mut self.places[place], Place::Free { next: self.free });
        self.free = place;
        self.taken -= 1;
        let emptied = if self.taken == 0 { mem::take(&mut self.places) } else { Vec::new() };
        if self.taken == 0 {
            self.free = 0;
        }
        (left, emptied)
    }

    /// Those that are there, with the number by which they came. They are to be dropped after the lock, since the last
    /// reference to a socket may be among them.
    pub(crate) fn sockets(&self) -> Vec<(u64, Arc<Shared>)> {
        let mut sockets = Vec::with_capacity(self.taken);
        sockets.extend(self.places.iter().filter_map(|place| match place {
            Place::Taken { socket, number } => Some((*number, socket.upgrade()?)),
            Place::Free { .. } => None,
        }));
        sockets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::stream::Stream;

    fn socket() -> Arc<Shared> {
        Shared::new(Stream::open(false, 1))
    }

    fn numbers(roll: &Roll) -> Vec<u64> {
        let mut numbers: Vec<u64> = roll.sockets().into_iter().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn a_place_takes_sixteen_bytes() {
        assert_eq!(size_of::<Place>(), 16);
    }

    #[test]
    fn places_are_used_again_and_given_back_in_the_end() {
        let sockets = [socket(), socket(), socket(), socket()];
        let mut roll = Roll::default();
        let places: Vec<usize> = sockets.iter().map(|socket| roll.enter(socket)).collect();
        assert_eq!((places.as_slice(), numbers(&roll)), (&[0, 1, 2, 3][..], vec![0, 1, 2, 3]));
        drop((roll.leave(1), roll.leave(2)));
        assert_eq!(numbers(&roll), [0, 3]);
        assert_eq!([roll.enter(&sockets[1]), roll.enter(&sockets[2]), roll.enter(&socket())], [2, 1, 4]);
        assert_eq!(numbers(&roll), [0, 3, 4, 5], "a socket that is gone is left out");
        for place in 0..5 {
            drop(roll.leave(place));
        }
        assert_eq!((roll.places.capacity(), roll.enter(&sockets[0])), (0, 0));
    }
}

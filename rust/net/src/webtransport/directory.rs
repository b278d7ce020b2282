//! Keys of sessions, and which QUIC connection each is on.

use std::collections::HashMap;

use crate::connection::ConnectionKey;

/// The sessions of an endpoint. Keys come one after the other, so that an old one names nothing for
/// long.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    last: u32,
    places: HashMap<ConnectionKey, u32>,
}

impl Directory {
    /// A key for a session on the connection in this place.
    pub(crate) fn enter(&mut self, place: u32) -> ConnectionKey {
        loop {
            self.last = self.last.wrapping_add(1);
            let key = ConnectionKey(self.last | ConnectionKey::SESSION);
            if let std::collections::hash_map::Entry::Vacant(entry) = self.places.entry(key) {
                entry.insert(place);
                return key;
            }
        }
    }

    pub(crate) fn remove(&mut self, key: ConnectionKey) {
        self.places.remove(&key);
    }

    pub(crate) fn get(&self, key: ConnectionKey) -> Option<u32> {
        self.places.get(&key).copied()
    }

    /// The place of the connection that a key names, or that is beneath the session that it names.
    pub(crate) fn place(&self, key: ConnectionKey) -> Option<u32> {
        if key.is_session() { self.get(key) } else { Some(key.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sessions_and_are_not_used_twice() {
        let mut directory = Directory::default();
        let (one, two) = (directory.enter(7), directory.enter(9));
        assert!(one.is_session() && two.is_session() && one != two);
        assert_eq!((directory.place(one), directory.place(two)), (Some(7), Some(9)));
        directory.remove(one);
        assert_eq!(directory.place(one), None);
        assert_ne!(directory.enter(7), one);
        assert_eq!(directory.place(ConnectionKey(3)), Some(3), "a connection is where it is");
        directory.last = u32::MAX >> 1;
        directory.last -= 1;
        directory.enter(1);
        directory.enter(1);
        let third = directory.enter(1);
        assert!(third != two, "around the end, and past those that are there");
    }
}

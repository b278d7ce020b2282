//! One connection as its owner sees it: a single socket, or on our side one for each lane.

use std::net::SocketAddr;

use super::config::{Credentials, Target};

#[derive(Default)]
pub(super) struct Link {
    /// Where further lanes are dialled; `None` where the peer opened the connection.
    pub(super) target: Option<Target>,
    pub(super) wires: Vec<u64>,
    /// The first socket, until its lane is asked for.
    pub(super) free: Option<u64>,
    /// The owner has been told that it came about.
    pub(super) connected: bool,
    pub(super) confirmed: bool,
    pub(super) over: bool,
    pub(super) remote: Option<SocketAddr>,
    pub(super) credentials: Option<Credentials>,
    /// The peer came over a Unix socket.
    pub(super) unix: bool,
}

impl Link {
    pub(super) fn is_incoming(&self) -> bool {
        self.target.is_none()
    }

    pub(super) fn forget(&mut self, wire: u64) {
        self.wires.retain(|key| *key != wire);
        if self.free == Some(wire) {
            self.free = None;
        }
    }
}

/// Connections by key; a key is given out again when the owner has seen the end.
#[derive(Default)]
pub(super) struct Links {
    entries: Vec<Option<Link>>,
    free: Vec<u32>,
}

impl Links {
    pub(super) fn insert(&mut self, link: Link) -> u32 {
        if let Some(key) = self.free.pop() {
            if let Some(entry) = self.entries.get_mut(key as usize) {
                *entry = Some(link);
            }
            return key;
        }
        self.entries.push(Some(link));
        (self.entries.len() - 1) as u32
    }

    pub(super) fn get(&self, key: u32) -> Option<&Link> {
        self.entries.get(key as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut Link> {
        self.entries.get_mut(key as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, key: u32) {
        if self.entries.get_mut(key as usize).is_some_and(|entry| entry.take().is_some()) {
            self.free.push(key);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.entries.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.entries.iter_mut().flatten()
    }
}

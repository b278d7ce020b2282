//! The exchanges of a connection by their streams.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::http3::exchange::Exchange;

pub(super) type Exchanges = HashMap<u64, Exchange, BuildHasherDefault<Ids>>;

/// Hashes stream ids. QUIC hands them out one after the other and bounds how many are open, so no
/// peer can choose many that collide.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ids(u64);

impl Hasher for Ids {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, id: u64) {
        let mixed = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Whether a stream is one that the client opened, in both directions: a request's.
pub(super) const fn is_request(stream: u64) -> bool {
    stream % 4 == 0
}

//! One heap for the timers of all connections.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// When which connection wants to be looked at.
///
/// QUIC moves its timers later with nearly every packet. A connection therefore has at most one
/// entry that matters, its earliest; when that comes up and the timer has moved on, the connection
/// is entered again.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u32)>>,
}

impl Timers {
    /// Enters `key` at `at`, unless `armed` says that an entry no later than that exists.
    pub(crate) fn arm(&mut self, armed: &mut Option<Instant>, at: Instant, key: u32) {
        if armed.is_none_or(|armed| at < armed) {
            *armed = Some(at);
            self.heap.push(Reverse((at, key)));
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(crate) fn due(&mut self, now: Instant) -> Option<(Instant, u32)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

//! One heap for the timers of all connections.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Entries that are of no matter and are kept all the same.
const SLACK: usize = 64;

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

    /// Drops the entries that do not matter any more, once most do not: a connection that is active
    /// now and then leaves one of its idle timeout behind each time.
    pub(crate) fn prune(&mut self, connections: usize, matters: impl Fn(Instant, u32) -> bool) {
        if self.heap.len() > 2 * connections + SLACK {
            self.heap.retain(|Reverse((at, key))| matters(*at, *key));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn entries_that_do_not_matter_are_dropped_once_most_do_not() {
        let (start, mut timers, mut armed) = (Instant::now(), Timers::default(), None);
        // Each time the timer is due, it is entered again, and then moves forward: as with an idle
        // timeout that packets now and then come before.
        for round in 0..10_000 {
            let at = start + Duration::from_micros(round);
            timers.arm(&mut armed, at + Duration::from_secs(30), 7);
            timers.arm(&mut armed, at, 7);
            timers.prune(1, |entry, _| entry == at);
            assert_eq!(timers.due(at), Some((at, 7)));
            armed = None;
        }
        assert!(timers.heap.len() <= SLACK + 3, "{}", timers.heap.len());
    }
}

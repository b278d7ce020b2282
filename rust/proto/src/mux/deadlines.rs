//! When calls run out of time: a heap that forgets the calls that ended in time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Entries below which forgetting is not worth a pass.
const SMALL: usize = 64;

/// Deadlines of calls, earliest first. `T` is a point in time, `K` names a call.
///
/// Nearly every call ends long before its deadline. Taking its entry out of the heap at once would
/// cost a search for each; leaving it in would keep half a minute of calls. So entries stay until
/// they outnumber the live calls by two to one, and then one pass forgets them all.
#[derive(Debug)]
pub struct Deadlines<T, K> {
    heap: BinaryHeap<Reverse<(T, K)>>,
}

impl<T: Ord + Copy, K: Ord + Copy> Default for Deadlines<T, K> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new() }
    }
}

impl<T: Ord + Copy, K: Ord + Copy> Deadlines<T, K> {
    /// Adds a call. `live` is how many calls are pending in all and `is_live` tells whether one
    /// still is; both serve to forget the others.
    pub fn push(&mut self, at: T, call: K, live: usize, is_live: impl Fn(K) -> bool) {
        if self.heap.len() >= SMALL.max(2 * live + 2) {
            self.heap.retain(|Reverse((_, call))| is_live(*call));
        }
        self.heap.push(Reverse((at, call)));
    }

    /// The earliest deadline, possibly of a call that has ended since.
    pub fn next(&self) -> Option<T> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes a call whose deadline is not after `now`, possibly one that has ended since.
    pub fn expired(&mut self, now: T) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, call))| call)
    }

    /// Entries held, those of ended calls included.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_expire_in_order_and_not_before() {
        let mut deadlines = Deadlines::default();
        for (at, call) in [(30, 'c'), (10, 'a'), (20, 'b')] {
            deadlines.push(at, call, 3, |_| true);
        }
        assert_eq!(deadlines.next(), Some(10));
        assert_eq!(deadlines.expired(9), None);
        assert_eq!(deadlines.expired(20), Some('a'));
        assert_eq!(deadlines.expired(20), Some('b'));
        assert_eq!(deadlines.expired(20), None);
    }

    #[test]
    fn a_million_short_calls_leave_no_heap_behind() {
        let mut deadlines = Deadlines::default();
        for n in 0..1_000_000_u64 {
            // Sixteen calls are live at any time: the last sixteen.
            deadlines.push(n + 30_000_000, n, 16, |call| call + 16 > n);
            assert!(deadlines.len() <= SMALL + 1, "{} entries", deadlines.len());
        }
    }
}

//! How the endpoints of one loop share its time.
//!
//! An endpoint alone hands all that has arrived over in one turn, because batches are cheap. Where
//! another one has work too, a turn that brings much to Python would hold that up, and whoever has the
//! dearer work would have nearly all of the loop. So each then gets a slice of time, and goes on with
//! the rest after the other one's turn.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Time that a turn has for its events, where endpoints share a loop: a request of HTTP takes some 15
/// microseconds, and a round of the loop as much.
const SLICE: Duration = Duration::from_micros(250);

/// An endpoint that had nothing for so long is not expected to have something at once.
const MEMORY: Duration = Duration::from_millis(100);

/// An endpoint, by its address, and when it had events.
type Seen = Option<(usize, Instant)>;

thread_local! {
    /// The endpoint of this thread that was the last to have events, and the last one before it that
    /// was another.
    static SEEN: Cell<(Seen, Seen)> = const { Cell::new((None, None)) };
}

/// The time of one turn.
pub(crate) struct Slice {
    end: Option<Instant>,
}

impl Slice {
    /// Begins the events of `endpoint`, of which there are some.
    pub(crate) fn begin<T>(endpoint: *const T) -> Self {
        let (ours, now) = (endpoint.addr(), Instant::now());
        let (last, before) = SEEN.get();
        let other = if last.is_some_and(|(who, _)| who == ours) { before } else { last };
        SEEN.set((Some((ours, now)), other));
        let is_shared = other.is_some_and(|(_, at)| now.duration_since(at) < MEMORY);
        Self { end: is_shared.then(|| now + SLICE) }
    }

    /// Whether it is the others' turn.
    pub(crate) fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }
}

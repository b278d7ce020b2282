//! How much of a session the peer lets us have (section 5): bytes on all its streams, and streams of
//! each kind, ever. Where it has set no limit, QUIC's are the only ones.

use super::capsule;
use super::settings::Peer;
use crate::http3::{Code, StreamError};

/// Which ways a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both.
    Both,
    /// From who opened it.
    One,
}

/// The most streams that there may be (section 5.6.2).
const MOST_STREAMS: u64 = 1 << 60;

/// One limit, and how much of it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    limit: u64,
    used: u64,
    /// That it is used up has been said.
    is_told: bool,
}

impl Window {
    const fn new(limit: u64) -> Self {
        Self { limit, used: 0, is_told: false }
    }

    const fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// A limit only ever rises (sections 5.6.2 and 5.6.4).
    fn raise(&mut self, limit: u64) -> Result<bool, StreamError> {
        if limit <= self.limit {
            const LOWER: StreamError =
                StreamError::new(Code::WT_FLOW_CONTROL_ERROR, "a limit that does not rise");
            return Err(LOWER);
        }
        let was_used_up = self.left() == 0;
        self.limit = limit;
        self.is_told = false;
        Ok(was_used_up)
    }

    /// Says once for each limit that it holds us up.
    fn tell(&mut self, kind: u64, out: &mut Vec<u8>) {
        if self.left() == 0 && !std::mem::replace(&mut self.is_told, true) {
            capsule::integer(kind, self.limit, out);
        }
    }
}

/// The limits of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    /// Both ends have set some.
    counts: bool,
    data: Window,
    both: Window,
    one: Window,
}

impl Flow {
    pub(super) const fn new(peer: &Peer) -> Self {
        let counts = peer.limits();
        let (data, both) = (Window::new(peer.max_data), Window::new(peer.max_streams_bidi));
        Self { counts, data, both, one: Window::new(peer.max_streams_uni) }
    }

    fn streams(&mut self, direction: Direction) -> &mut Window {
        match direction {
            Direction::Both => &mut self.both,
            Direction::One => &mut self.one,
        }
    }

    /// Bytes that may be sent on streams now.
    pub(super) const fn credit(&self) -> u64 {
        if self.counts { self.data.left() } else { u64::MAX }
    }

    pub(super) fn sent(&mut self, bytes: u64) {
        self.data.used = self.data.used.saturating_add(bytes);
    }

    /// Whether a stream may be opened; `out` takes what is to be said if not.
    pub(super) fn may_open(&mut self, direction: Direction, out: &mut Vec<u8>) -> bool {
        if !self.counts {
            return true;
        }
        let kind = match direction {
            Direction::Both => capsule::STREAMS_BLOCKED_BIDI,
            Direction::One => capsule::STREAMS_BLOCKED_UNI,
        };
        let window = self.streams(direction);
        window.tell(kind, out);
        window.left() > 0
    }

    pub(super) fn opened(&mut self, direction: Direction) {
        self.streams(direction).used += 1;
    }

    /// Something waits for more credit.
    pub(super) fn starve(&mut self, out: &mut Vec<u8>) {
        if self.counts {
            self.data.tell(capsule::DATA_BLOCKED, out);
        }
    }

    /// The peer allows more bytes. True if none were left.
    pub(super) fn more_data(&mut self, limit: u64) -> Result<bool, StreamError> {
        // Section 5.1: it may not have heard yet that none counts.
        if !self.counts { Ok(false) } else { self.data.raise(limit) }
    }

    /// The peer allows more streams. True if none were left.
    pub(super) fn more_streams(
        &mut self,
        direction: Direction,
        limit: u64,
    ) -> Result<bool, StreamError> {
        if limit > MOST_STREAMS {
            const MANY: StreamError =
                StreamError::new(Code::WT_FLOW_CONTROL_ERROR, "more streams than there can be");
            return Err(MANY);
        }
        if !self.counts { Ok(false) } else { self.streams(direction).raise(limit) }
    }
}

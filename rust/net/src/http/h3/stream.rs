//! One exchange on its stream.

use std::cmp::{Ordering, Reverse};
use std::fs::File;

use bytes::{Bytes, BytesMut};
use quinn_proto::StreamId;

use super::sending::Sending;
use crate::http::ExchangeKey;
use crate::http::turn::Turn;

/// How soon an answer is wanted where nothing is said (RFC 9218, section 4.1).
pub(super) const URGENCY: u8 = 3;

/// The part of a file that is the rest of an answer.
#[derive(Debug)]
pub(super) struct FilePart {
    pub(super) file: File,
    pub(super) offset: u64,
    pub(super) left: u64,
}

/// What a stream is to a WebTransport session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Part {
    /// Nothing: an ordinary exchange, or one that is not known yet.
    #[default]
    None,
    /// It asks for one, and we have not answered.
    Asked,
    /// We ask for one, and it is not answered.
    Asking,
    /// It is one's CONNECT stream.
    Open,
    /// It was, and the session is over.
    Over,
}

pub(super) struct Stream {
    pub(super) id: StreamId,
    /// None as long as the request's head is not whole.
    pub(super) key: Option<ExchangeKey>,
    pub(super) urgency: u8,

    /// The owner wants a piece of the request's body.
    pub(super) is_wanted: bool,
    /// The peer waits to be told that the body is wanted.
    pub(super) expects: bool,
    /// A tunnel was asked for.
    pub(super) is_asked: bool,
    /// What came of the body and was not given to the owner.
    pub(super) held: Vec<Bytes>,
    /// The peer's side is complete.
    pub(super) has_ended: bool,
    pub(super) told_end: bool,

    /// The request was HEAD.
    pub(super) is_head: bool,
    /// The answer has no body, whatever the owner gives.
    pub(super) is_bodyless: bool,
    /// What the owner has said of the answer.
    pub(super) has_begun: bool,
    pub(super) is_given: bool,
    pub(super) is_aborted: bool,
    pub(super) is_tunnel: bool,
    pub(super) file: Option<FilePart>,
    pub(super) sending: Sending,
    /// How much QUIC had taken when it was noted that it takes no more, see `life`.
    pub(super) stall: Option<u64>,
    pub(super) session: Part,
    /// The peer wants no more of what we send for the session.
    pub(super) is_stopped: bool,
    /// All has been sent of a session that is over.
    pub(super) is_said: bool,
}

impl Stream {
    pub(super) fn new(id: StreamId) -> Self {
        Self {
            id,
            key: None,
            urgency: URGENCY,
            is_wanted: false,
            expects: false,
            is_asked: false,
            held: Vec::new(),
            has_ended: false,
            told_end: false,
            is_head: false,
            is_bodyless: false,
            has_begun: false,
            is_given: false,
            is_aborted: false,
            is_tunnel: false,
            file: None,
            sending: Sending::default(),
            stall: None,
            session: Part::None,
            is_stopped: false,
            is_said: false,
        }
    }

    /// Whether more of the request is to be read: until its head is whole, and then a piece ahead of
    /// whoever takes its body.
    pub(super) fn wants_reading(&self) -> bool {
        match self.session {
            Part::None => {
                !self.has_ended && (self.key.is_none() || (self.is_wanted && self.held.is_empty()))
            }
            // No capsule counts before the answer (section 3.2 of the WebTransport draft).
            Part::Asked => false,
            Part::Asking | Part::Open | Part::Over => !self.has_ended,
        }
    }

    /// Whether nothing is known of it yet that could be answered.
    pub(super) fn is_headless(&self) -> bool {
        self.key.is_none() && matches!(self.session, Part::None | Part::Asked)
    }

    /// Gives the owner what it wants, if that is there.
    pub(super) fn deliver(&mut self, turn: &mut Turn<'_>) {
        let Some(key) = self.key.filter(|_| self.session == Part::None) else { return };
        if self.is_wanted && !self.held.is_empty() {
            self.is_wanted = false;
            turn.body(key, self.take_held());
        }
        if self.has_ended && self.held.is_empty() && !std::mem::replace(&mut self.told_end, true) {
            turn.body_ended(key);
        }
    }

    /// All that is held as one piece; one that came as such is not copied.
    pub(super) fn take_held(&mut self) -> Bytes {
        if self.held.len() == 1 {
            return self.held.pop().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(self.held.iter().map(Bytes::len).sum());
        self.held.drain(..).for_each(|piece| whole.extend_from_slice(&piece));
        whole.freeze()
    }
}

/// An answer that waits for its turn to write: the greatest is the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) urgency: u8,
    /// When it began to wait.
    pub(super) round: u64,
    pub(super) slot: u32,
    pub(super) id: StreamId,
}

impl Ord for Ready {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |ready: &Self| Reverse((ready.urgency, ready.round));
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

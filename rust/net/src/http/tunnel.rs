//! What an HTTP/1.1 connection becomes when both ends agree (RFC 9110, section 7.8): bytes both ways.

use bytes::Bytes;

use super::http1::Step;
use super::outgoing::{Next, Outgoing};
use super::pipe::Pipe;
use super::turn::Turn;
use super::{ExchangeKey, Reply, ReplyError};

/// Bytes that leave at once: what the wire has no room for is unsent, and is known to be.
const PIECE: usize = 64 << 10;

pub(super) struct Tunnel {
    key: ExchangeKey,
    /// What came before it was one.
    first: Bytes,
    wanted: bool,
    /// The peer sends no more.
    over: bool,
    told_end: bool,
    outgoing: Outgoing,
    aborted: bool,
    pipe: Pipe,
}

impl Tunnel {
    pub(super) fn new(key: ExchangeKey, first: Bytes, outgoing: Outgoing, pipe: Pipe) -> Self {
        let (over, told_end, aborted) = (false, false, false);
        Self { key, first, wanted: true, over, told_end, outgoing, aborted, pipe }
    }

    pub(super) fn end(&mut self) {
        self.over = true;
    }

    pub(super) fn poll(&mut self, turn: &mut Turn<'_>) -> Step {
        if self.aborted {
            return Step::Broken;
        }
        if self.wanted {
            let data = if self.first.is_empty() {
                self.pipe.take_inbound().into()
            } else {
                std::mem::take(&mut self.first)
            };
            if !data.is_empty() {
                self.wanted = false;
                turn.body(self.key, data);
            } else if self.over && !std::mem::replace(&mut self.told_end, true) {
                turn.body_ended(self.key);
            }
        }
        while self.outgoing.has_next() && self.pipe.has_room() {
            match self.outgoing.next(PIECE) {
                Ok(Next::Data(data)) => self.pipe.write_past(&data),
                Ok(Next::Trailers(_)) => {}
                Ok(Next::End | Next::Wait) => {
                    turn.answered(self.key);
                    return Step::Over;
                }
                Err(_) => return Step::Broken,
            }
        }
        if self.outgoing.take_drained() {
            turn.drained(self.key);
        }
        Step::Pending
    }

    pub(super) fn want_body(&mut self) {
        self.wanted = true;
    }

    pub(super) fn unsent(&self) -> usize {
        self.outgoing.bytes()
    }

    pub(super) fn watch(&mut self) -> bool {
        self.outgoing.watch()
    }

    pub(super) fn abandon(&mut self, turn: &mut Turn<'_>) {
        if self.aborted { turn.forget(self.key) } else { turn.gone(self.key) }
    }

    pub(super) fn reply(&mut self, reply: Reply) -> Result<(), ReplyError> {
        match reply {
            Reply::Body { data, end } => self.outgoing.push(data, end),
            Reply::File { file, offset, length } => self.outgoing.push_file(file, offset, length),
            Reply::Trailers { .. } => self.outgoing.push(Bytes::new(), true),
            Reply::Abort => self.aborted = true,
            Reply::Inform { .. } | Reply::Head { .. } | Reply::Tunnel { .. } => {
                return Err(ReplyError::Begun);
            }
        }
        Ok(())
    }
}

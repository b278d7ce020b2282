//! What of one stream QUIC has not taken.

use std::collections::VecDeque;

use bytes::Bytes;
use quinn_proto::{Connection as Quic, StreamId, WriteError};

use crate::http::outgoing::UNSENT_LOW;

/// Bytes that one answer writes before another has its turn.
pub(super) const PIECE: usize = 64 << 10;

/// What writing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrote {
    /// All there is, and more will come.
    All,
    /// A piece of what there is.
    Piece,
    /// QUIC takes no more for now.
    Blocked,
    /// All, and the end.
    Finished,
    /// The peer wants no more of it.
    Refused,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Wait {
    #[default]
    Nothing,
    /// Its turn comes.
    Turn,
    /// QUIC tells when it takes more.
    Quic,
}

#[derive(Debug, Default)]
pub(super) struct Sending {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// Bytes that QUIC has taken.
    taken: u64,
    finishes: bool,
    wait: Wait,
    /// The owner wants to be told when little is left.
    is_watched: bool,
}

impl Sending {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.pieces.push_back(bytes);
        }
    }

    /// Ends it behind what there is.
    pub(super) fn finish(&mut self) {
        self.finishes = true;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that QUIC has taken, if it takes no more for now.
    pub(super) fn blocked_at(&self) -> Option<u64> {
        (self.wait == Wait::Quic).then_some(self.taken)
    }

    /// QUIC takes more again.
    pub(super) fn unblock(&mut self) {
        if self.wait == Wait::Quic {
            self.wait = Wait::Nothing;
        }
    }

    /// Has it wait for its turn. False if it waits already, or has nothing to write.
    pub(super) fn wait(&mut self) -> bool {
        let waits = self.wait == Wait::Nothing && (self.finishes || !self.pieces.is_empty());
        if waits {
            self.wait = Wait::Turn;
        }
        waits
    }

    /// Writes at most `limit` bytes.
    pub(super) fn write(&mut self, id: StreamId, mut limit: usize, quic: &mut Quic) -> Wrote {
        self.wait = Wait::Nothing;
        let mut stream = quic.send_stream(id);
        while let Some(first) = self.pieces.front_mut() {
            if limit == 0 {
                return Wrote::Piece;
            }
            let written = if first.len() > limit {
                let mut piece = first.slice(..limit);
                let written = stream.write_chunks(std::slice::from_mut(&mut piece));
                if let Ok(written) = &written {
                    drop(first.split_to(written.bytes.min(limit)));
                }
                written
            } else {
                stream.write_chunks(std::slice::from_mut(first))
            };
            match written {
                Ok(written) => {
                    self.bytes -= written.bytes;
                    self.taken += written.bytes as u64;
                    limit = limit.saturating_sub(written.bytes);
                    if first.is_empty() {
                        self.pieces.pop_front();
                    }
                }
                Err(WriteError::Blocked) => {
                    self.wait = Wait::Quic;
                    return Wrote::Blocked;
                }
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                    self.pieces.clear();
                    self.bytes = 0;
                    return Wrote::Refused;
                }
            }
        }
        match self.finishes {
            true if stream.finish().is_err() => Wrote::Refused,
            true => Wrote::Finished,
            false => Wrote::All,
        }
    }

    /// Whether there is so much that its drain is worth waiting for; it is told then.
    pub(super) fn watch(&mut self) -> bool {
        self.is_watched = self.bytes >= UNSENT_LOW;
        self.is_watched
    }

    /// Whether somebody waits for the drain, and it has come.
    pub(super) fn take_drained(&mut self) -> bool {
        let drained = self.is_watched && self.bytes < UNSENT_LOW;
        self.is_watched &= !drained;
        drained
    }
}

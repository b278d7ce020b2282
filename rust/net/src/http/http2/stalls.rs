//! Answers that flow control does not take: their peer must not keep them, and their handlers, for
//! ever. Bytes that the wire does not take are the wire's to look after.

use std::collections::VecDeque;
use std::time::Instant;

use super::Http2;
use super::stream::Stream;
use crate::http::ExchangeKey;

/// Entries that are of no matter and are kept all the same.
const SLACK: usize = 64;

/// Pieces of others that flow control takes while one waits for its turn, for each stream that there
/// may be: h2 gives what a connection may send to one stream after the other.
const TURNS: u64 = 2;

/// How it was when a stream began to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stall {
    /// What had been taken of it.
    taken: u64,
    /// What had been taken of all.
    of_all: u64,
    /// The same when it was looked at last.
    seen: u64,
}

#[derive(Debug, Default)]
pub(super) struct Stalls {
    /// Streams that have so long, the first to be due first.
    waiting: VecDeque<(Instant, u32, ExchangeKey)>,
    /// Pieces of all answers that flow control has taken.
    taken: u64,
}

impl Stalls {
    pub(super) fn on_taken(&mut self, pieces: u64) {
        self.taken += pieces;
    }

    pub(super) fn clear(&mut self) {
        self.waiting = VecDeque::new();
    }
}

impl Http2 {
    /// Notes until when more of an answer has to be taken.
    pub(super) fn note_stall(&mut self, index: u32, now: Instant) {
        let Some(until) = now.checked_add(self.limits.idle_timeout) else { return };
        let of_all = self.stalls.taken;
        let Some(stream) = self.stream(index) else { return };
        let key = stream.key;
        let begun = Stall { taken: stream.taken, of_all, seen: of_all };
        stream.stall.get_or_insert(begun).seen = of_all;
        let mut waiting = std::mem::take(&mut self.stalls.waiting);
        if waiting.len() > 2 * self.open + SLACK {
            waiting.retain(|(_, index, key)| self.at(*index, *key).is_some());
        }
        waiting.push_back((until, index, key));
        self.stalls.waiting = waiting;
    }

    /// The stream, if it is still there.
    fn at(&mut self, index: u32, key: ExchangeKey) -> Option<&mut Stream> {
        self.stream(index).filter(|stream| stream.key == key)
    }

    /// When the first of them has waited for too long.
    pub(in crate::http) fn due(&self) -> Option<Instant> {
        self.stalls.waiting.front().map(|(until, ..)| *until)
    }

    /// Gives up those whose peers have taken nothing in their time.
    pub(in crate::http) fn expire(&mut self, now: Instant) {
        let patience = TURNS * u64::from(self.limits.streams);
        while self.due().is_some_and(|until| until <= now) {
            let Some((_, index, key)) = self.stalls.waiting.pop_front() else { return };
            let of_all = self.stalls.taken;
            let Some(stream) = self.at(index, key) else { continue };
            let Some(stall) = stream.stall.filter(|_| stream.is_blocked) else {
                stream.stall = None;
                continue;
            };
            let moved = stream.taken != stall.taken;
            if moved {
                stream.stall = None;
            }
            // Where others are served, slowly, its turn may be yet to come.
            if moved || (of_all != stall.seen && of_all - stall.of_all <= patience) {
                self.note_stall(index, now);
            } else {
                stream.give_up();
                self.ring(index);
            }
        }
    }
}

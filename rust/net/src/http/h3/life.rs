//! How long a connection waits, and how it comes to its end with nothing lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jetstream_proto::http3::Code;
use quinn_proto::Connection as Quic;

use super::Http3;
use crate::http::turn::Turn;

/// Entries that are of no matter and are kept all the same.
const SLACK: usize = 64;

/// Round trips after which what the peer had sent has come.
const ROUND_TRIPS: u32 = 2;

/// The shortest time for that: a round trip over loopback is nothing that could be measured.
const MOMENT: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The peer knows that nothing new is wanted; what is on its way is taken, until then.
    Announced(Instant),
    /// Nothing new is taken; that it was not is on its way, until then.
    Final(Instant),
    /// It ends when all is answered, and has arrived.
    Last,
}

/// How a connection is to be closed.
pub(crate) struct End {
    pub(crate) code: u64,
    pub(crate) reason: &'static str,
    /// The peer broke a rule.
    pub(crate) is_broken: bool,
}

pub(super) struct Life {
    phase: Phase,
    /// Since when there has been no exchange.
    since: Instant,
    /// Streams whose request's head was not whole at once, and until when it has to be.
    heads: VecDeque<(Instant, u32, u64)>,
}

impl Life {
    pub(super) fn new(now: Instant) -> Self {
        Self { phase: Phase::Open, since: now, heads: VecDeque::new() }
    }

    /// The last exchange has ended.
    pub(super) fn rest(&mut self, now: Instant) {
        self.since = now;
    }
}

impl Http3 {
    /// Notes until when a request's head has to come, if it is not there.
    pub(super) fn expect_head(&mut self, slot: u32, now: Instant) {
        let Some(id) = self.headless(slot) else { return };
        let Some(until) = now.checked_add(self.limits.head_timeout) else { return };
        self.life.heads.push_back((until, slot, id));
        if self.life.heads.len() > 2 * self.open() + SLACK {
            let mut heads = std::mem::take(&mut self.life.heads);
            heads.retain(|(_, slot, id)| self.headless(*slot) == Some(*id));
            self.life.heads = heads;
        }
    }

    /// The stream in this place, if its request's head is not whole.
    fn headless(&self, slot: u32) -> Option<u64> {
        let stream = self.streams.get(slot as usize)?.as_ref()?;
        stream.key.is_none().then(|| stream.id.into())
    }

    /// When it wants to be looked at in any case.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        while let Some((_, slot, id)) = self.life.heads.front() {
            if self.headless(*slot) == Some(*id) {
                break;
            }
            self.life.heads.pop_front();
        }
        let head = self.life.heads.front().map(|(until, ..)| *until);
        let rest = match self.life.phase {
            Phase::Announced(until) | Phase::Final(until) => Some(until),
            Phase::Open if self.open() > 0 => None,
            Phase::Last => None,
            Phase::Open => self.life.since.checked_add(self.limits.idle_timeout),
        };
        [head, rest].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn expire(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) {
        while let Some((until, slot, id)) = self.life.heads.front().copied() {
            if until > turn.now {
                break;
            }
            self.life.heads.pop_front();
            if self.headless(slot) == Some(id) {
                // Nothing of it was looked at.
                self.core.abort(id, Code::REQUEST_REJECTED);
            }
        }
        match self.life.phase {
            Phase::Announced(until) if until <= turn.now => {
                self.core.go_away();
                self.life.phase = Phase::Final(soon(quic, turn.now));
            }
            Phase::Final(until) if until <= turn.now => self.life.phase = Phase::Last,
            Phase::Open if self.open() == 0 => {
                let rested = self.life.since.checked_add(self.limits.idle_timeout);
                if rested.is_some_and(|until| until <= turn.now) {
                    self.leave(quic, turn);
                }
            }
            _ => {}
        }
        self.settle(quic, turn);
    }

    /// Takes no more requests but those on their way, and ends when all are answered.
    pub(crate) fn leave(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) {
        if self.life.phase == Phase::Open {
            self.core.announce_going_away();
            self.life.phase = Phase::Announced(soon(quic, turn.now));
            self.settle(quic, turn);
        }
    }

    /// How the connection is to be closed now, if it is.
    pub(crate) fn take_end(&mut self, quic: &mut Quic) -> Option<End> {
        if let Some((code, reason)) = self.closed.take() {
            return Some(End { code: code.0, reason, is_broken: true });
        }
        // Closing would take back what has not arrived.
        let is_done =
            self.life.phase == Phase::Last && self.open() == 0 && self.unacknowledged(quic) == 0;
        is_done.then_some(End { code: Code::NO_ERROR.0, reason: "", is_broken: false })
    }

    /// Streams on which something was sent that has not been acknowledged, or that are not finished;
    /// our control stream never is.
    pub(crate) fn unacknowledged(&self, quic: &mut Quic) -> usize {
        quic.streams().send_streams().saturating_sub(usize::from(self.control.is_some()))
    }

    /// The handler of an exchange whose peer was gone has ended.
    pub(super) fn release(&mut self) {
        self.gone = self.gone.saturating_sub(1);
    }

    /// The connection is no more: whoever waits for it is told.
    pub(crate) fn abandon(&mut self, turn: &mut Turn<'_>) {
        for slot in 0..self.streams.len() as u32 {
            self.drop_exchange(slot, turn);
        }
    }
}

/// When what the peer has sent until now will have come.
fn soon(quic: &Quic, now: Instant) -> Instant {
    let while_away = quic.rtt().saturating_mul(ROUND_TRIPS).max(MOMENT);
    now.checked_add(while_away).unwrap_or(now)
}

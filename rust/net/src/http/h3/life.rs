//! How long a connection waits, and how it comes to its end with nothing lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jetstream_proto::http3::{Code, Role};
use quinn_proto::{Connection as Quic, StreamId};

use super::Http3;
use super::stream::Stream;
use crate::http::turn::Turn;

/// Entries that are of no matter and are kept all the same.
const SLACK: usize = 64;

/// Round trips after which what the peer had sent has come.
const ROUND_TRIPS: u32 = 2;

/// The shortest time for that: a round trip over loopback is nothing that could be measured.
const MOMENT: Duration = Duration::from_millis(2);

/// How long the last word of a session may be on its way when one side of its stream has ended: what is
/// lost is sent again within less.
const LAST_WORD: Duration = Duration::from_secs(2);

/// How long a connection outlives the last session on it. A browser that reads the ends of both at once
/// takes the session for lost, and tells its page no reason; it closes the connection by itself.
const LINGER: Duration = Duration::from_millis(100);

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

/// Streams that have so long, the first to be due first.
type Deadlines = VecDeque<(Instant, u32, StreamId)>;

pub(super) struct Life {
    phase: Phase,
    /// Since when there has been no exchange.
    since: Instant,
    /// Those whose request's head was not whole at once.
    heads: Deadlines,
    /// Those whose answer QUIC did not take.
    stalls: Deadlines,
    /// Sessions of which only the peer's end is to come.
    ends: Deadlines,
    /// Until when the connection stays for the sake of the session that ended last.
    lingers: Option<Instant>,
}

impl Life {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Open,
            since: now,
            heads: VecDeque::new(),
            stalls: VecDeque::new(),
            ends: VecDeque::new(),
            lingers: None,
        }
    }

    /// A session has ended on both sides.
    pub(super) fn linger(&mut self, now: Instant) {
        self.lingers = now.checked_add(LINGER);
    }

    /// Whether that was just now.
    pub(super) fn lingers(&self, now: Instant) -> bool {
        self.lingers.is_some_and(|until| now < until)
    }

    /// The last exchange has ended.
    pub(super) fn rest(&mut self, now: Instant) {
        self.since = now;
        // Nothing is left of what they were for.
        (self.heads, self.stalls) = (VecDeque::new(), VecDeque::new());
        self.ends = VecDeque::new();
    }
}

impl Http3 {
    /// Notes until when a request's head has to come, if it is not there.
    pub(super) fn expect_head(&mut self, slot: u32, now: Instant) {
        let Some(stream) = self.stream_mut(slot).filter(|stream| stream.is_headless()) else {
            return;
        };
        let id = stream.id;
        let Some(until) = now.checked_add(self.limits.head_timeout) else { return };
        let mut heads = std::mem::take(&mut self.life.heads);
        if heads.len() > 2 * self.open() + SLACK {
            heads.retain(|(_, slot, id)| self.at(*slot, *id).is_some_and(Stream::is_headless));
        }
        heads.push_back((until, slot, id));
        self.life.heads = heads;
    }

    /// Notes until when QUIC has to take more of an answer: its peer must not keep it for ever.
    pub(super) fn note_stall(&mut self, slot: u32, now: Instant) {
        let Some(until) = now.checked_add(self.limits.idle_timeout) else { return };
        let Some(stream) = self.stream_mut(slot).filter(|stream| stream.stall.is_none()) else {
            return;
        };
        stream.stall = stream.sending.blocked_at();
        let id = stream.id;
        let mut stalls = std::mem::take(&mut self.life.stalls);
        if stalls.len() > 2 * self.open() + SLACK {
            stalls.retain(|(_, slot, id)| self.at(*slot, *id).is_some());
        }
        stalls.push_back((until, slot, id));
        self.life.stalls = stalls;
    }

    /// Notes until when the peer has to end a session from its side, too.
    pub(super) fn expect_end(&mut self, slot: u32, now: Instant) {
        let Some(stream) = self.stream_mut(slot) else { return };
        let id = stream.id;
        let Some(until) = now.checked_add(LAST_WORD) else { return };
        let mut ends = std::mem::take(&mut self.life.ends);
        if ends.len() > 2 * self.open() + SLACK {
            ends.retain(|(_, slot, id)| self.at(*slot, *id).is_some());
        }
        ends.push_back((until, slot, id));
        self.life.ends = ends;
    }

    /// Whoever has not ended a session by now has nothing more to say of it.
    fn expire_ends(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) {
        while let Some((slot, id)) = due(&mut self.life.ends, turn.now) {
            if self.at(slot, id).is_some() {
                self.break_off(slot, Code::WT_SESSION_GONE, quic, turn);
            }
        }
    }

    /// The stream, if it is still there.
    fn at(&self, slot: u32, id: StreamId) -> Option<&Stream> {
        self.streams.get(slot as usize)?.as_ref().filter(|stream| stream.id == id)
    }

    fn expire_heads(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) {
        while let Some((slot, id)) = due(&mut self.life.heads, turn.now) {
            if self.at(slot, id).is_some_and(Stream::is_headless) {
                // Nothing of it was looked at.
                self.break_off(slot, Code::REQUEST_REJECTED, quic, turn);
            }
        }
    }

    fn expire_stalls(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) {
        while let Some((slot, id)) = due(&mut self.life.stalls, turn.now) {
            let Some(stream) = self.stream_mut(slot).filter(|stream| stream.id == id) else {
                continue;
            };
            let (before, is_at) = (stream.stall.take(), stream.sending.blocked_at());
            let urgency = stream.urgency;
            if is_at.is_none() {
                continue;
            }
            // One that gives way to more urgent ones is not its peer's fault.
            let gives_way = |other: &Stream| other.urgency < urgency && other.sending.bytes() > 0;
            if before != is_at || self.streams.iter().flatten().any(gives_way) {
                self.note_stall(slot, turn.now);
            } else {
                self.break_off(slot, Code::REQUEST_CANCELLED, quic, turn);
            }
        }
    }

    /// When it wants to be looked at in any case.
    pub(crate) fn due(&self) -> Option<Instant> {
        let first = |deadlines: &Deadlines| deadlines.front().map(|(until, ..)| *until);
        let rest = match self.life.phase {
            Phase::Announced(until) | Phase::Final(until) => Some(until),
            // A client's connection is its owner's.
            Phase::Open if self.open() > 0 || self.core.role() == Role::Client => None,
            Phase::Last => self.life.lingers,
            Phase::Open => self.life.since.checked_add(self.limits.idle_timeout),
        };
        let life = &self.life;
        let all = [first(&life.heads), first(&life.stalls), first(&life.ends), rest];
        all.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn expire(&mut self, quic: &mut Quic, turn: &mut Turn<'_>) {
        self.expire_heads(quic, turn);
        self.expire_stalls(quic, turn);
        self.expire_ends(quic, turn);
        match self.life.phase {
            Phase::Announced(until) if until <= turn.now => {
                self.core.go_away();
                self.life.phase = Phase::Final(soon(quic, turn.now));
            }
            Phase::Final(until) if until <= turn.now => self.life.phase = Phase::Last,
            Phase::Last if !self.life.lingers(turn.now) => self.life.lingers = None,
            Phase::Open if self.open() == 0 && self.core.role() == Role::Server => {
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
            self.drain_sessions();
            self.life.phase = Phase::Announced(soon(quic, turn.now));
            self.settle(quic, turn);
        }
    }

    /// Ends when what is open has ended, and has arrived: at a client, whose server needs no word of it.
    pub(crate) fn end_when_idle(&mut self) {
        self.life.phase = Phase::Last;
    }

    /// How the connection is to be closed now, if it is.
    pub(crate) fn take_end(&mut self, quic: &mut Quic, now: Instant) -> Option<End> {
        if let Some((code, reason)) = self.closed.take() {
            return Some(End { code: code.0, reason, is_broken: true });
        }
        // Closing would take back what has not arrived.
        let is_done = self.life.phase == Phase::Last
            && self.open() == 0
            && self.unacknowledged(quic) == 0
            && !self.life.lingers(now);
        is_done.then_some(End { code: Code::NO_ERROR.0, reason: "", is_broken: false })
    }

    /// Streams on which something was sent that has not been acknowledged, or that are not finished;
    /// our control stream never is, and that of a session is not before its end.
    pub(crate) fn unacknowledged(&self, quic: &mut Quic) -> usize {
        let standing = usize::from(self.control.is_some()) + self.standing_sessions();
        quic.streams().send_streams().saturating_sub(standing)
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

/// The next whose time is over.
fn due(deadlines: &mut Deadlines, now: Instant) -> Option<(u32, StreamId)> {
    let (until, ..) = deadlines.front()?;
    if *until > now {
        return None;
    }
    deadlines.pop_front().map(|(_, slot, id)| (slot, id))
}

/// When what the peer has sent until now will have come.
fn soon(quic: &Quic, now: Instant) -> Instant {
    let while_away = quic.rtt().saturating_mul(ROUND_TRIPS).max(MOMENT);
    now.checked_add(while_away).unwrap_or(now)
}

//! HTTP on wires: when it is looked at, and what its owner does between turns.

use std::time::Instant;

use super::Streams;
use super::taker::{First, Taker};
use super::wire::{Ending, Wire};
use crate::connection::ConnectionKey;
use crate::event::Lost;
use crate::http::{After, ExchangeKey, Http, Input, Reply, ReplyError, Turn};
use crate::tls::{HTTP1, HTTP2};

/// Bytes on their way to a peer over which HTTP writes no more for it.
const UNSENT_HIGH: usize = 256 << 10;

/// Bytes under which it goes on.
const UNSENT_LOW: usize = 64 << 10;

impl Streams {
    /// Finds who takes the bytes of a wire, when they can be read. False if it cannot be told yet.
    pub(super) fn decide(&mut self, key: u64, now: Instant) -> bool {
        let Some(wire) = self.wires.get_mut(key) else { return false };
        let (Taker::Undecided(_), Some(limits)) = (&wire.taker, wire.speaks.http.clone()) else {
            return true;
        };
        let alpn = wire.tls.as_ref().map(|tls| tls.alpn());
        let plain = if wire.speaks.http2 { Input::Either } else { Input::One };
        let input = match alpn.as_ref().map(Option::as_deref) {
            Some(Some(HTTP2)) => Some(Input::Two),
            Some(Some(HTTP1) | None) => Some(Input::One),
            Some(Some(_)) => None,
            None if !wire.speaks.lanes => Some(plain),
            None => match wire.taker.first() {
                First::Unknown => return false,
                First::Frame => None,
                First::Http => Some(plain),
            },
        };
        let other = match input {
            Some(input) => Taker::Http(Box::new(Http::new(key, input, limits, &self.board, now))),
            None => Taker::lane(self.limits.msize),
        };
        wire.wrong = wire.taker.become_other(other).err();
        true
    }

    /// Looks at what has arrived for HTTP.
    pub(super) fn drive_http(
        &mut self,
        key: u64,
        count: usize,
        ending: Option<Ending>,
        now: Instant,
    ) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        let Some(http) = wire.taker.http_mut() else { return };
        if count > 0 {
            http.begin(now);
        }
        self.poll_http(key, now);
        if let Some(ending) = ending {
            self.on_ending(key, ending, now);
        }
        let Some(wire) = self.wires.get(key) else { return };
        if wire.is_deaf() {
            // What is held up will not be read any more, nor any answer.
            self.on_ending(key, Ending::Wire(Lost::Ended), now);
        }
    }

    /// Looks at HTTP, if there is something to look at, and queues what it has written.
    pub(super) fn poll_http(&mut self, key: u64, now: Instant) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        let (Some(link), secure) = (wire.link, wire.tls.is_some()) else { return };
        let room = UNSENT_HIGH.saturating_sub(wire.unsent_bytes());
        let Some(http) = wire.taker.http_mut().filter(|http| http.is_dirty()) else { return };
        let mut turn = Turn {
            wire: key,
            connection: ConnectionKey(link),
            secure,
            now,
            exchanges: &mut self.exchanges,
            events: &mut self.events,
            spare: &mut self.spare,
            room,
        };
        let after = http.poll(&mut turn);
        let written = http.take_written();
        wire.queue(written);
        match after {
            After::Nothing => {}
            After::Again => self.again.push(key),
            After::Finish => self.finish_http(key),
            After::GiveUp => {
                self.give_up(key);
                self.lose(link, Lost::Here);
            }
        }
    }

    /// The wire ends when all is written.
    fn finish_http(&mut self, key: u64) {
        self.drop_exchanges(key);
        if let Some(wire) = self.wires.get_mut(key) {
            wire.finishing = true;
        }
    }

    /// Before writing.
    pub(super) fn flush_http(&mut self, key: u64, now: Instant) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        let drained = wire.unsent_bytes() < UNSENT_LOW;
        let Some(http) = wire.taker.http_mut() else { return };
        if drained && http.is_blocked() {
            http.unblock();
        }
        self.poll_http(key, now);
    }

    /// After writing: true if HTTP has more to write, and there is room.
    pub(super) fn recover_http(&mut self, key: u64, now: Instant) -> bool {
        let Some(wire) = self.wires.get_mut(key) else { return false };
        let unsent = wire.unsent_bytes();
        let Some(http) = wire.taker.http_mut() else { return false };
        if unsent == 0 {
            wire.stalled = None;
        } else {
            http.touch(now);
            if wire.stalled.is_none_or(|(_, before)| before != unsent) {
                wire.stalled = Some((now, unsent));
            }
        }
        if let Some(spent) = wire.take_spent() {
            self.spare = spent;
        }
        unsent < UNSENT_LOW && wire.taker.http().is_some_and(Http::is_blocked)
    }

    /// HTTP's patience is at its end.
    pub(super) fn expire_http(&mut self, key: u64, now: Instant) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        if let Some(http) = wire.taker.http_mut() {
            http.expire(now);
            self.poll_http(key, now);
        }
    }

    /// A wire of HTTP will not be read any more.
    pub(super) fn end_http(&mut self, key: u64, ending: Ending, now: Instant) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        let (Some(link), Some(http)) = (wire.link, wire.taker.http_mut()) else { return };
        match ending {
            // A client that says that it sends no more cannot be told from one that goes away, and
            // servers take it for the latter (nginx, uvicorn). A tunnel has two sides.
            Ending::Lane(_) if http.end() => {
                self.poll_http(key, now);
                self.finish_http(key);
            }
            Ending::Lane(_) => self.poll_http(key, now),
            Ending::Wire(reason) => {
                self.lose(link, reason);
                self.bury(key);
            }
        }
        self.activate(key);
    }

    /// Nobody waits any more for what is in progress on a wire.
    pub(super) fn drop_exchanges(&mut self, key: u64) {
        let Some(wire) = self.wires.get_mut(key) else { return };
        let (link, secure) = (wire.link.unwrap_or_default(), wire.tls.is_some());
        let Some(http) = wire.taker.http_mut() else { return };
        let mut turn = Turn {
            wire: key,
            connection: ConnectionKey(link),
            secure,
            now: Instant::now(),
            exchanges: &mut self.exchanges,
            events: &mut self.events,
            spare: &mut self.spare,
            room: 0,
        };
        http.abandon(&mut turn);
    }

    // ---- between turns ----

    fn exchange(&mut self, exchange: ExchangeKey) -> Option<(&mut Http, u32)> {
        let found = self.exchanges.get(exchange).filter(|found| !found.gone)?;
        self.activate(found.wire);
        let wire: &mut Wire = self.wires.get_mut(found.wire)?;
        Some((wire.taker.http_mut()?, found.slot))
    }

    /// Gives a part of an answer; it leaves in this turn's transmit. Nothing happens if nobody waits
    /// for it any more.
    ///
    /// # Errors
    /// It cannot be sent like that, or not at this point; the answer is where it was before.
    pub fn http_reply(&mut self, exchange: ExchangeKey, reply: Reply) -> Result<(), ReplyError> {
        let Some(found) = self.exchanges.get(exchange).filter(|found| !found.gone) else {
            return Ok(());
        };
        self.activate(found.wire);
        let http = self.wires.get_mut(found.wire).and_then(|wire| wire.taker.http_mut());
        let exchanges = &mut self.exchanges;
        http.map_or(Ok(()), |http| {
            http.reply(found.slot, reply, || exchanges.date(Instant::now()).clone())
        })
    }

    /// Asks for the next piece of a request's body, if none is on its way.
    pub fn http_want_body(&mut self, exchange: ExchangeKey) {
        if let Some((http, slot)) = self.exchange(exchange) {
            http.want_body(slot);
        }
    }

    /// Whether nobody waits for an answer any more: [`HttpEvent::Gone`] has come, or is on its way.
    ///
    /// [`HttpEvent::Gone`]: crate::HttpEvent::Gone
    pub fn http_is_gone(&self, exchange: ExchangeKey) -> bool {
        self.exchanges.get(exchange).is_none_or(|found| found.gone)
    }

    /// Bytes of an answer that its transport has not taken.
    pub fn http_unsent(&self, exchange: ExchangeKey) -> usize {
        let found = self.exchanges.get(exchange).filter(|found| !found.gone);
        let http = found.and_then(|found| Some((self.wires.get(found.wire)?.taker.http()?, found)));
        http.map_or(0, |(http, found)| http.unsent(found.slot))
    }

    /// Asks for [`HttpEvent::Drained`]; false if little is unsent now, and no event will come.
    ///
    /// [`HttpEvent::Drained`]: crate::HttpEvent::Drained
    pub fn http_watch(&mut self, exchange: ExchangeKey) -> bool {
        self.exchange(exchange).is_some_and(|(http, slot)| http.watch(slot))
    }

    /// The handler of an exchange whose peer is gone has ended.
    pub fn http_release(&mut self, exchange: ExchangeKey) {
        if let Some(found) = self.exchanges.release(exchange) {
            if let Some(http) = self.wires.get_mut(found.wire).and_then(|w| w.taker.http_mut()) {
                http.release();
            }
            self.activate(found.wire);
        }
    }

    /// Takes no more requests: connections end with what is in progress on them, and at once where
    /// nothing is.
    pub fn http_drain(&mut self) {
        for key in self.wires.keys(|wire| wire.taker.http().is_some()) {
            if let Some(http) = self.wires.get_mut(key).and_then(|wire| wire.taker.http_mut()) {
                http.leave();
            }
            self.activate(key);
        }
    }

    /// Exchanges in progress.
    pub fn open_exchanges(&self) -> usize {
        self.exchanges.open()
    }

    /// Whether a connection speaks HTTP, and has no lane.
    pub fn is_http(&self, connection: ConnectionKey) -> bool {
        self.wire_of(connection).is_some_and(|wire| wire.taker.http().is_some())
    }
}

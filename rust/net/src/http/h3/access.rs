//! What an endpoint's owner does with the exchanges of its HTTP/3 connections between turns.

use std::time::Instant;

use quinn_proto::Connection as Quic;

use super::Http3;
use crate::connection::{Connection, ConnectionKey};
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::http::turn::Turn;
use crate::http::{ExchangeKey, HttpEvent, Reply, ReplyError};

impl Endpoint {
    /// The connection of an exchange whose peer waits, in its place there.
    pub(crate) fn exchange<T>(
        &mut self,
        exchange: ExchangeKey,
        act: impl FnOnce(&mut Http3, u32, &mut Quic, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let found = self.exchanges.get(exchange).filter(|found| !found.gone)?;
        let key = found.wire as u32;
        self.activate(key);
        let connection = self.connections.get_mut(key as usize)?.as_deref_mut()?;
        let (exchanges, events) = (&mut self.exchanges, &mut self.events);
        connection.with_http(Instant::now(), exchanges, events, |http, quic, turn| {
            act(http, found.slot, quic, turn)
        })
    }

    /// Gives a part of an answer; it leaves in this turn's transmit. Nothing happens if nobody waits
    /// for it any more.
    ///
    /// # Errors
    /// It cannot be sent like that, or not at this point; the answer is where it was before.
    pub fn http_reply(&mut self, exchange: ExchangeKey, reply: Reply) -> Result<(), ReplyError> {
        let replied =
            self.exchange(exchange, |http, slot, quic, turn| http.reply(slot, reply, quic, turn));
        replied.unwrap_or(Ok(()))
    }

    /// Asks for the next piece of a request's body, if none is on its way.
    pub fn http_want_body(&mut self, exchange: ExchangeKey) {
        self.exchange(exchange, |http, slot, quic, turn| http.want_body(slot, quic, turn));
    }

    /// Whether nobody waits for an answer any more: [`HttpEvent::Gone`] has come, or is on its way.
    ///
    /// [`HttpEvent::Gone`]: crate::HttpEvent::Gone
    pub fn http_is_gone(&self, exchange: ExchangeKey) -> bool {
        self.exchanges.get(exchange).is_none_or(|found| found.gone)
    }

    /// Bytes of an answer that its stream has not taken.
    pub fn http_unsent(&self, exchange: ExchangeKey) -> usize {
        let found = self.exchanges.get(exchange).filter(|found| !found.gone);
        let http = found.and_then(|found| {
            let connection = self.connections.get(found.wire as u32 as usize)?.as_deref()?;
            Some(connection.http()?.unsent(found.slot))
        });
        http.unwrap_or_default()
    }

    /// Asks for [`HttpEvent::Drained`]; false if little is unsent now, and no event will come.
    pub fn http_watch(&mut self, exchange: ExchangeKey) -> bool {
        self.exchange(exchange, |http, slot, _, _| http.watch(slot)).unwrap_or_default()
    }

    /// The handler of an exchange whose peer is gone has ended.
    pub fn http_release(&mut self, exchange: ExchangeKey) {
        let Some(found) = self.exchanges.release(exchange) else { return };
        let key = found.wire as u32;
        let connection = self.connections.get_mut(key as usize).and_then(Option::as_deref_mut);
        // The key may be another connection's by now.
        if let Some(connection) = connection.filter(|connection| connection.wire() == found.wire) {
            if let Some(http) = connection.http_mut() {
                http.release();
                self.activate(key);
            }
        }
    }

    /// Takes no more requests: connections end with what is in progress on them, and soon where
    /// nothing is.
    pub fn http_drain(&mut self) {
        self.exchanges.drain();
        let (exchanges, events) = (&mut self.exchanges, &mut self.events);
        let mut left = Vec::new();
        for connection in self.connections.iter_mut().flatten() {
            let now = Instant::now();
            let leaves = connection
                .with_http(now, exchanges, events, |http, quic, turn| http.leave(quic, turn));
            left.extend(leaves.map(|()| connection.key.0));
        }
        left.into_iter().for_each(|key| self.activate(key));
    }

    /// Closes a client's connection when the sessions on it are over and their last words have arrived,
    /// or nobody takes them any more.
    pub fn http_leave(&mut self, connection: ConnectionKey) {
        let found = self.connections.get_mut(connection.0 as usize).and_then(Option::as_deref_mut);
        match found.filter(|found| !found.is_over()) {
            None => {}
            Some(found) => match found.http_mut() {
                Some(http) => {
                    http.end_when_idle();
                    self.activate(connection.0);
                }
                None => self.close(Instant::now(), connection, 0, b""),
            },
        }
    }

    /// Exchanges in progress.
    pub fn open_exchanges(&self) -> usize {
        self.exchanges.open()
    }

    /// Whether a connection speaks HTTP, and has no lanes.
    pub fn is_http(&self, connection: ConnectionKey) -> bool {
        !connection.is_session() && self.get(connection).is_some_and(Connection::is_http)
    }

    /// Tells of the answers that left in the last turn.
    pub(crate) fn tell_answered(&mut self) {
        for exchange in self.exchanges.take_answered() {
            self.events.push(Event::Http(HttpEvent::Answered { exchange }));
        }
    }
}

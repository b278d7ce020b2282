//! What a connection needs to tell while it is polled.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::HeaderValue;

use super::{ExchangeKey, HttpEvent, Request};
use crate::connection::ConnectionKey;
use crate::event::Event;
use crate::slab::Slab;

/// How long a date is good for: it counts in seconds.
const DATE_FRESH: std::time::Duration = std::time::Duration::from_millis(500);

/// Whose an exchange is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    /// On which wire.
    pub(crate) wire: u64,
    /// Which of those on the wire.
    pub(crate) slot: u32,
    /// The peer does not wait any more; its handler may still run.
    pub(crate) gone: bool,
}

/// The exchanges of all connections, and the time of day for their answers.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    entries: Slab<Exchange>,
    /// Those whose peer is gone and whose handler may still run.
    gone: usize,
    date: Option<(Instant, HeaderValue)>,
    /// Those whose answer left in this turn, to be told with the next.
    answered: Vec<ExchangeKey>,
    /// Connections that come to be take no requests.
    draining: bool,
}

impl Exchanges {
    pub(crate) fn get(&self, key: ExchangeKey) -> Option<Exchange> {
        self.entries.get(key.0).copied()
    }

    /// Those whose peer is gone, and that have not been released.
    pub(crate) fn gone(&self) -> usize {
        self.gone
    }

    pub(crate) fn open(&self) -> usize {
        self.entries.len() - self.gone
    }

    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    pub(crate) fn take_answered(&mut self) -> Vec<ExchangeKey> {
        std::mem::take(&mut self.answered)
    }

    /// The time of day as answers tell it (RFC 9110, section 6.6.1).
    pub(crate) fn date(&mut self, now: Instant) -> &HeaderValue {
        let old = |(at, _): &(Instant, _)| now.saturating_duration_since(*at) >= DATE_FRESH;
        if self.date.as_ref().is_some_and(old) {
            self.date = None;
        }
        let (_, date) = self.date.get_or_insert_with(|| {
            let date = httpdate::fmt_http_date(SystemTime::now());
            (now, HeaderValue::from_str(&date).unwrap_or(HeaderValue::from_static("")))
        });
        date
    }

    pub(crate) fn release(&mut self, key: ExchangeKey) -> Option<Exchange> {
        self.get(key).filter(|exchange| exchange.gone)?;
        self.gone -= 1;
        self.entries.remove(key.0)
    }
}

/// One look at one connection.
pub(crate) struct Turn<'a> {
    pub(crate) wire: u64,
    pub(crate) connection: ConnectionKey,
    pub(crate) secure: bool,
    pub(crate) now: Instant,
    pub(crate) exchanges: &'a mut Exchanges,
    pub(crate) events: &'a mut Vec<Event>,
    /// A buffer for what is written.
    pub(crate) spare: &'a mut Vec<u8>,
    /// How much may be written.
    pub(crate) room: usize,
}

impl Turn<'_> {
    fn tell(&mut self, event: HttpEvent) {
        self.events.push(Event::Http(event));
    }

    pub(super) fn begin(&mut self, slot: u32, request: Request) -> ExchangeKey {
        let exchange = Exchange { wire: self.wire, slot, gone: false };
        let exchange = ExchangeKey(self.exchanges.entries.insert(exchange));
        let connection = self.connection;
        self.tell(HttpEvent::Request { connection, exchange, request: Box::new(request) });
        exchange
    }

    pub(super) fn body(&mut self, exchange: ExchangeKey, data: Bytes) {
        self.tell(HttpEvent::Body { exchange, data });
    }

    pub(super) fn body_ended(&mut self, exchange: ExchangeKey) {
        self.tell(HttpEvent::BodyEnded { exchange });
    }

    pub(super) fn drained(&mut self, exchange: ExchangeKey) {
        self.tell(HttpEvent::Drained { exchange });
    }

    pub(super) fn answered(&mut self, exchange: ExchangeKey) {
        self.exchanges.entries.remove(exchange.0);
        self.tell(HttpEvent::Answered { exchange });
    }

    /// The same, where nobody is to be woken for it: the peer will acknowledge what was sent, and
    /// that is the next turn.
    pub(super) fn answered_later(&mut self, exchange: ExchangeKey) {
        self.exchanges.entries.remove(exchange.0);
        self.exchanges.answered.push(exchange);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.exchanges.draining
    }

    /// The owner gave it up by itself.
    pub(super) fn forget(&mut self, exchange: ExchangeKey) {
        self.exchanges.entries.remove(exchange.0);
    }

    pub(super) fn gone(&mut self, exchange: ExchangeKey) {
        if let Some(entry) = self.exchanges.entries.get_mut(exchange.0) {
            entry.gone = true;
            self.exchanges.gone += 1;
            self.tell(HttpEvent::Gone { exchange });
        }
    }

    /// The time of day as answers tell it.
    pub(super) fn date(&mut self) -> HeaderValue {
        self.exchanges.date(self.now).clone()
    }
}

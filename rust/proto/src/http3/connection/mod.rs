//! One HTTP/3 connection (RFC 9114): what it holds, what goes in and what comes out. The rules are in
//! the modules below it.

mod receive;
mod send;
mod shutdown;
mod streams;
#[cfg(test)]
mod tests;
mod uni;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::budget::Budget;
use super::code::{Code, ConnectionError};
use super::config::{Config, Role};
use super::event::{Action, Event};
use super::exchange::Exchange;
use super::frame::{self, kind};
use super::priority::Priority;
use super::settings::Settings;
use super::varint;
use streams::Exchanges;
use uni::Uni;

/// What of the peer's settings counts for what we send.
#[derive(Debug, Clone, Copy, Default)]
struct Peer {
    max_field_section: Option<u64>,
    extended_connect: bool,
    datagrams: bool,
}

/// One HTTP/3 connection in either role, without I/O: what came goes in, [`Event`]s and [`Action`]s
/// come out.
///
/// The owner tells what the transport says ([`opened`](Self::opened), [`received`](Self::received),
/// [`finished`](Self::finished), [`reset`](Self::reset), [`stopped`](Self::stopped),
/// [`datagram_received`](Self::datagram_received)) and what it has to say itself
/// ([`request`](Self::request), [`respond`](Self::respond), [`data`](Self::data) and so on), then
/// takes events and actions until there are none. It decides when a stream is read: nothing is held
/// here but a header or field section that has come in part. A peer that breaks a rule of the
/// connection ends it ([`Action::Close`]); from then on everything is ignored.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    config: Arc<Config>,
    budget: Budget,
    /// For requests that end without an answer. Content gives nothing back here: a byte of it is
    /// less than what a request costs.
    patience: Budget,
    peer: Option<Peer>,
    /// Our control stream, and what it is to carry while it is not open.
    control: Option<u64>,
    pending: Vec<u8>,
    /// Unidirectional streams that the peer has opened and that are read.
    unis: Vec<(u64, Uni)>,
    /// Which of the streams that a peer has one of have come.
    seen: uni::Seen,
    exchanges: Exchanges,
    /// The request's stream behind the last that was opened.
    next_request: u64,
    /// What we said in GOAWAY, and what the peer did.
    going: Option<u64>,
    peer_going: Option<u64>,
    /// Priorities of requests that have not come yet.
    priorities: Vec<(u64, Priority)>,
    events: VecDeque<Event>,
    actions: VecDeque<Action>,
    closed: Option<ConnectionError>,
}

impl Connection {
    /// A connection whose handshake allows sending. It wants a stream for its settings at once, of a
    /// server's side even before the handshake is complete.
    pub fn new(role: Role, config: Arc<Config>) -> Self {
        let limits = &config.limits;
        let settings = Settings {
            max_field_section: Some(limits.max_field_section.into()),
            ..config.settings.clone()
        };
        let mut payload = Vec::with_capacity(64);
        settings.encode(&mut payload);
        // The type of the stream, then SETTINGS first (RFC 9114, section 6.2.1).
        let mut pending = vec![0];
        frame::whole(kind::SETTINGS, &payload, &mut pending);
        Self {
            role,
            budget: Budget::new(limits.idle_work),
            patience: Budget::new(limits.idle_work),
            peer: None,
            control: None,
            pending,
            unis: Vec::new(),
            seen: uni::Seen::default(),
            exchanges: Exchanges::default(),
            next_request: 0,
            going: None,
            peer_going: None,
            priorities: Vec::new(),
            events: VecDeque::new(),
            actions: VecDeque::from([Action::OpenUni]),
            closed: None,
            config,
        }
    }

    /// The stream that was wanted ([`Action::OpenUni`]) is this one.
    pub fn opened_uni(&mut self, stream: u64) {
        if self.control.is_none() && self.closed.is_none() {
            self.control = Some(stream);
            let pending = std::mem::take(&mut self.pending);
            self.act(Action::Write(stream, pending.into()));
        }
    }

    /// The next thing that came.
    pub fn poll_event(&mut self) -> Option<Event> {
        pop(&mut self.events)
    }

    /// The next thing that the transport is to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        pop(&mut self.actions)
    }

    /// Which end we are.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What the peer did that ended the connection.
    pub fn closed(&self) -> Option<ConnectionError> {
        self.closed
    }

    /// Requests that are not over, on either side of them.
    pub fn open_requests(&self) -> usize {
        self.exchanges.len()
    }

    /// Bytes that came and are held because what they belong to is not whole. At most a field section
    /// for each request, and a frame of the control stream.
    pub fn held(&self) -> usize {
        let control = self.unis.iter().map(|(_, uni)| uni.held()).sum::<usize>();
        self.exchanges.values().map(Exchange::held).sum::<usize>() + control
    }

    /// Whether the last thing that came is that a stream is the owner's
    /// ([`Event::Foreign`](Event::Foreign)): what follows on it is not for this connection.
    pub fn is_foreign(&self, stream: u64) -> bool {
        matches!(self.events.back(), Some(Event::Foreign { stream: last, .. }) if *last == stream)
    }

    /// Whether this connection takes what comes on a unidirectional stream of the peer.
    pub fn reads_uni(&self, stream: u64) -> bool {
        self.unis.iter().any(|(id, _)| *id == stream)
    }

    /// Whether a request's stream has been opened, by the peer or by us.
    pub fn has_begun(&self, stream: u64) -> bool {
        stream < self.next_request
    }

    /// Whether the peer goes away, and takes nothing new.
    pub fn is_peer_going_away(&self) -> bool {
        self.peer_going.is_some()
    }

    /// Whether the peer's settings have come.
    pub fn has_settings(&self) -> bool {
        self.peer.is_some()
    }

    /// The peer opened a stream, or sent the first of one.
    pub fn opened(&mut self, stream: u64) {
        self.checked(|this| this.open(stream));
    }

    /// Bytes of a stream came. Those of streams that are over, or the owner's, are ignored.
    pub fn received(&mut self, stream: u64, bytes: Bytes) {
        self.checked(|this| match this.unis.iter().position(|(id, _)| *id == stream) {
            Some(at) => this.read_uni(at, bytes),
            None => this.read_exchange(stream, bytes),
        });
    }

    /// The peer's side of a stream ended, all of it having been given.
    pub fn finished(&mut self, stream: u64) {
        self.checked(|this| match this.unis.iter().position(|(id, _)| *id == stream) {
            Some(at) => this.end_uni(at),
            None => this.end_exchange(stream),
        });
    }

    /// The peer broke its side of a stream off.
    pub fn reset(&mut self, stream: u64, code: Code) {
        self.checked(|this| match this.unis.iter().position(|(id, _)| *id == stream) {
            Some(at) => this.end_uni(at),
            None => this.reset_exchange(stream, code),
        });
    }

    /// The peer asked us to break our side of a stream off.
    pub fn stopped(&mut self, stream: u64, code: Code) {
        self.checked(|this| {
            if this.control == Some(stream) {
                // RFC 9114, section 6.2.1: it may not ask for that.
                return Err(uni::CRITICAL);
            }
            this.stop_exchange(stream, code)
        });
    }

    /// A datagram came.
    pub fn datagram_received(&mut self, datagram: Bytes) {
        self.checked(|this| this.read_datagram(datagram));
    }

    fn checked(&mut self, input: impl FnOnce(&mut Self) -> Result<(), ConnectionError>) {
        if self.closed.is_some() {
            return;
        }
        if let Err(error) = input(self) {
            self.close(error);
        }
    }

    fn close(&mut self, error: ConnectionError) {
        self.closed = Some(error);
        self.act(Action::Close(error.code, error.reason));
        self.exchanges = Exchanges::default();
        self.unis = Vec::new();
        self.priorities = Vec::new();
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Writes a frame to our control stream.
    fn say(&mut self, kind: u64, payload: &[u8]) {
        match self.control {
            Some(stream) => {
                let mut out = Vec::with_capacity(16 + payload.len());
                frame::whole(kind, payload, &mut out);
                self.act(Action::Write(stream, out.into()));
            }
            None => frame::whole(kind, payload, &mut self.pending),
        }
    }

    fn say_integer(&mut self, kind: u64, value: u64) {
        let (bytes, size) = varint::array(value);
        self.say(kind, bytes.get(..size).unwrap_or_default());
    }
}

/// The next of a queue. What a crowd needed is not kept for a connection that may stay idle.
fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let next = queue.pop_front();
    if next.is_none() && queue.capacity() > 16 {
        *queue = VecDeque::new();
    }
    next
}

//! HTTP/3 as its QUIC connection has it: the border between the two.

use std::time::Instant;

use bytes::Bytes;
use jetstream_proto::http3::Role;
use quinn_proto::Connection as Quic;

use super::Http3;
use crate::config::Incoming;
use crate::connection::{Connection, Surroundings};
use crate::event::{Event, Lost};
use crate::http::turn::{Exchanges, Turn};
use crate::stream::code;

impl Connection {
    /// Speaks HTTP/3 from now on, if that is its protocol; with the handshake complete nothing that
    /// comes is early any more.
    pub(crate) fn begin_http(&mut self, around: &mut Surroundings<'_>) {
        self.prepare_http(around.now);
        let is_early = self.is_handshaking();
        let Some(http) = &mut self.http else { return };
        http.is_early = is_early;
        self.with_http(around.now, around.exchanges, around.events, |http, quic, turn| {
            http.begin(quic, turn);
        });
    }

    /// Has something that takes sessions to be asked for, or requests, if HTTP/3 is its protocol.
    /// Nothing is said yet.
    pub(crate) fn prepare_http(&mut self, now: Instant) {
        let Some(Incoming::Http(options)) = &self.incoming else { return };
        let role = if self.server { Role::Server } else { Role::Client };
        self.http.get_or_insert_with(|| Box::new(Http3::new(options, role, now)));
    }

    /// Its HTTP/3, with what that needs.
    pub(crate) fn with_http<T>(
        &mut self,
        now: Instant,
        exchanges: &mut Exchanges,
        events: &mut Vec<Event>,
        act: impl FnOnce(&mut Http3, &mut Quic, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let wire = self.wire();
        let http = self.http.as_mut()?;
        // Only wires write into a buffer.
        let (mut spare, room) = (Vec::new(), 0);
        let (connection, secure) = (self.key, true);
        let spare = &mut spare;
        let mut turn = Turn { wire, connection, secure, now, exchanges, events, spare, room };
        Some(act(http, &mut self.quic, &mut turn))
    }

    /// Names it among all connections that ever were.
    pub(crate) fn wire(&self) -> u64 {
        u64::from(self.serial) << 32 | u64::from(self.key.0)
    }

    pub(crate) fn http_mut(&mut self) -> Option<&mut Http3> {
        self.http.as_deref_mut()
    }

    pub(crate) fn http(&self) -> Option<&Http3> {
        self.http.as_deref()
    }

    pub(crate) fn is_http(&self) -> bool {
        self.http.is_some()
    }

    /// Moves what is to be written into the streams. True if a bound was reached.
    pub(crate) fn write_http(
        &mut self,
        now: Instant,
        exchanges: &mut Exchanges,
        events: &mut Vec<Event>,
    ) -> bool {
        self.with_http(now, exchanges, events, |http, quic, turn| http.write(quic, turn))
            .unwrap_or_default()
    }

    /// Does what is due.
    pub(crate) fn expire_http(
        &mut self,
        now: Instant,
        exchanges: &mut Exchanges,
        events: &mut Vec<Event>,
    ) {
        self.with_http(now, exchanges, events, |http, quic, turn| http.expire(quic, turn));
    }

    /// Closes the connection, if HTTP/3 is at its end.
    pub(crate) fn end_http(&mut self, around: &mut Surroundings<'_>) {
        let end = match &mut self.http {
            Some(http) => http.take_end(&mut self.quic, around.now),
            None => return,
        };
        let Some(end) = end else { return };
        self.lift.open();
        self.quic.close(around.now, code(end.code), Bytes::from_static(end.reason.as_bytes()));
        let lost = if end.is_broken {
            Lost::Violated { code: end.code, reason: end.reason.to_owned() }
        } else {
            Lost::Here
        };
        self.on_lost(lost, around);
    }

    /// Streams on which something was sent that has not been acknowledged, or that have not been
    /// finished.
    pub(crate) fn unacknowledged(&mut self) -> usize {
        match &self.http {
            Some(http) => http.unacknowledged(&mut self.quic),
            None => self.quic.streams().send_streams(),
        }
    }

    /// Sessions that are over, and whose peers have not said that they know.
    pub(crate) fn ending_sessions(&self, now: Instant) -> usize {
        self.http.as_ref().map_or(0, |http| http.ending_sessions(now))
    }
}

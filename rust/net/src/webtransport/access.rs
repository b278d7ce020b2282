//! What an endpoint's owner does with WebTransport sessions. Streams and lanes of one are opened, read
//! and written like those of any connection.

use std::time::Instant;

use jetstream_proto::http3::Misuse;
use jetstream_proto::webtransport::{Direction, PROTOCOLS, header};
use quinn_proto::{Dir, StreamId};

use super::{Ask, SessionError, prefix};
use crate::config::Incoming;
use crate::connection::{Connection, ConnectionKey};
use crate::endpoint::Endpoint;
use crate::http::{ExchangeKey, Fields, ReplyError, session_request};
use crate::lane::LaneKey;

impl Endpoint {
    /// See [`Hub::accept_session`](crate::Hub::accept_session).
    ///
    /// # Errors
    /// It is no such request, was answered, or is gone; or the fields cannot be sent.
    pub fn accept_session(
        &mut self,
        exchange: ExchangeKey,
        fields: &Fields,
        incoming: Incoming,
    ) -> Result<ConnectionKey, ReplyError> {
        let found = self.exchanges.get(exchange).ok_or(ReplyError::Gone)?;
        let key = self.sessions.enter(found.wire as u32);
        let accepted = self.exchange(exchange, |http, slot, quic, turn| {
            http.accept_session((slot, exchange), key, fields, incoming, quic, turn)
        });
        match accepted.unwrap_or(Err(ReplyError::Gone)) {
            Ok(()) => Ok(key),
            Err(why) => {
                self.sessions.remove(key);
                Err(why)
            }
        }
    }

    /// See [`Hub::connect_session`](crate::Hub::connect_session).
    ///
    /// # Errors
    /// The connection cannot have it.
    pub fn connect_session(
        &mut self,
        connection: ConnectionKey,
        authority: &str,
        path: &str,
        fields: &Fields,
        incoming: Incoming,
    ) -> Result<ConnectionKey, SessionError> {
        if connection.is_session() {
            return Err(SessionError::NotHttp3);
        }
        let found = self.touch(connection).and_then(|found| found.http());
        found.ok_or(SessionError::NotHttp3)?.may_ask()?;
        let ask =
            Ask { authority: authority.to_owned(), path: path.to_owned(), fields: fields.clone() };
        if let Err(why) = session_request(&ask, PROTOCOLS[0]) {
            return Err(SessionError::Malformed(match why {
                Misuse::Malformed(reason) => reason,
                _ => "no such request can be made",
            }));
        }
        let key = self.sessions.enter(connection.0);
        let (exchanges, events) = (&mut self.exchanges, &mut self.events);
        let found = self.connections.get_mut(connection.0 as usize).and_then(Option::as_deref_mut);
        found.and_then(|found| {
            found.with_http(Instant::now(), exchanges, events, |http, quic, turn| {
                http.ask_session(key, ask, incoming, quic, turn);
            })
        });
        Ok(key)
    }

    /// Ends a session: its streams are given up, but for those that were ended before.
    pub(crate) fn close_session(&mut self, session: ConnectionKey, code: u64, reason: &[u8]) {
        let Some(place) = self.sessions.get(session) else { return };
        self.activate(place);
        let code = u32::try_from(code).unwrap_or(u32::MAX);
        let reason = String::from_utf8_lossy(reason);
        self.with(place, |connection, around| {
            connection.with_http(
                around.now,
                around.exchanges,
                around.events,
                |http, quic, turn| http.close_session(session, code, &reason, quic, turn),
            );
            connection.settle_sessions(around);
        });
    }

    /// The QUIC connection that a session is on.
    pub fn beneath(&self, session: ConnectionKey) -> Option<ConnectionKey> {
        self.sessions.get(session).map(ConnectionKey)
    }

    /// See [`Hub::label_lane`](crate::Hub::label_lane).
    pub fn label_lane(&mut self, lane: LaneKey, label: u64) -> bool {
        let Some(key) = self.lanes.get(lane.0).map(|found| found.connection) else { return true };
        if !key.is_session() {
            return true;
        }
        let Some(found) = self.touch(key) else { return true };
        let Some(session) = found.sessions().and_then(|all| all.get_mut(key)) else { return true };
        if session.labels.get(&label).is_some_and(|other| *other != lane) {
            return false;
        }
        session.labels.insert(label, lane);
        let before = self.lanes.get_mut(lane.0).and_then(|found| found.label.replace(label));
        if let Some(before) = before.filter(|before| *before != label) {
            let session = self.touch(key).and_then(|found| found.sessions()?.get_mut(key));
            if let Some(session) = session {
                session.labels.remove(&before);
            }
        }
        true
    }
}

impl Connection {
    /// Opens a stream of a session; `None` while the peer allows no more of them.
    pub(crate) fn open_session_stream(&mut self, key: ConnectionKey, dir: Dir) -> Option<StreamId> {
        let (sessions, quic) = self.sessions_and_quic()?;
        let session = sessions.get_mut(key).filter(|session| session.is_open)?;
        let id = session.id?;
        let direction = match dir {
            Dir::Bi => Direction::Both,
            Dir::Uni => Direction::One,
        };
        if !session.core.may_open(direction) {
            return None;
        }
        let stream = quic.streams().open(dir)?;
        session.core.opened(direction);
        let mut first = Vec::new();
        header::encode(direction, id, &mut first);
        sessions.own(key, stream);
        sessions.begin(stream, first, quic);
        Some(stream)
    }

    /// What datagrams of an open session begin with.
    pub(crate) fn session_prefix(&mut self, key: ConnectionKey) -> Option<Vec<u8>> {
        let session = self.sessions()?.get(key).filter(|session| session.is_open)?;
        session.id.map(prefix)
    }

    pub(crate) fn send_session_datagram(
        &mut self,
        key: ConnectionKey,
        data: &[u8],
    ) -> Result<(), String> {
        let closed = || "the connection is closed".to_owned();
        let mut datagram = self.session_prefix(key).ok_or_else(closed)?;
        datagram.extend_from_slice(data);
        let sent = self.quic.datagrams().send(datagram.into(), true);
        sent.map_err(|error| error.to_string())
    }

    /// What is left of a datagram for a session.
    pub(crate) fn session_datagram_size(
        &mut self,
        key: ConnectionKey,
        whole: usize,
    ) -> Option<usize> {
        whole.checked_sub(self.session_prefix(key)?.len())
    }
}

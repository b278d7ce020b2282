//! What an endpoint's owner does with WebTransport sessions.

use super::SessionError;
use crate::config::Incoming;
use crate::connection::ConnectionKey;
use crate::endpoint::Endpoint;
use crate::http::{ExchangeKey, Fields, ReplyError};
use crate::lane::LaneKey;

impl Endpoint {
    /// See [`Hub::accept_session`](crate::Hub::accept_session).
    ///
    /// # Errors
    /// It is no such request, was answered, or is gone; or the fields cannot be sent.
    pub fn accept_session(
        &mut self,
        _exchange: ExchangeKey,
        _fields: &Fields,
        _incoming: Incoming,
    ) -> Result<ConnectionKey, ReplyError> {
        Err(ReplyError::NotAsked)
    }

    /// See [`Hub::connect_session`](crate::Hub::connect_session).
    ///
    /// # Errors
    /// The connection cannot have it.
    pub fn connect_session(
        &mut self,
        _connection: ConnectionKey,
        _authority: &str,
        _path: &str,
        _fields: &Fields,
        _incoming: Incoming,
    ) -> Result<ConnectionKey, SessionError> {
        Err(SessionError::NotHttp3)
    }

    /// The QUIC connection that a session is on.
    pub fn beneath(&self, _session: ConnectionKey) -> Option<ConnectionKey> {
        None
    }

    /// See [`Hub::label_lane`](crate::Hub::label_lane).
    pub fn label_lane(&mut self, _lane: LaneKey, _label: u64) -> bool {
        true
    }
}

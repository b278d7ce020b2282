//! One face for the transports: what calls need of an endpoint, be it QUIC, TCP, Unix or memory.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use quinn_proto::{Dir, StreamId};

use crate::config::Incoming;
use crate::connection::ConnectionKey;
use crate::datagram::Sent;
use crate::endpoint::{Endpoint, Progress};
use crate::event::Event;
use crate::http::{ExchangeKey, Fields, Reply, ReplyError};
use crate::lane::LaneKey;
use crate::memory::Memory;
use crate::streams::{Credentials, Streams};
use crate::webtransport::SessionError;

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// QUIC over UDP.
    Quic,
    /// TCP with TLS.
    Tcp,
    /// A Unix socket.
    Unix,
    /// Queues in this process.
    Memory,
    /// A WebTransport session on an HTTP/3 connection.
    WebTransport,
}

/// Where lanes live. The methods mean what they mean on [`Endpoint`].
pub enum Hub {
    /// A UDP socket with QUIC connections.
    Quic(Box<Endpoint>),
    /// TCP and Unix sockets.
    Streams(Box<Streams>),
    /// Two ends in this process.
    Memory(Memory),
}

macro_rules! either {
    ($self:ident, $hub:ident => $call:expr) => {
        match $self {
            Hub::Quic($hub) => $call,
            Hub::Streams($hub) => $call,
            Hub::Memory($hub) => $call,
        }
    };
}

impl Hub {
    /// The QUIC endpoint, where it is one.
    pub fn quic(&mut self) -> Option<&mut Endpoint> {
        match self {
            Self::Quic(endpoint) => Some(endpoint),
            Self::Streams(_) | Self::Memory(_) => None,
        }
    }

    /// The streams, where it is some.
    pub fn streams(&mut self) -> Option<&mut Streams> {
        match self {
            Self::Streams(streams) => Some(streams),
            Self::Quic(_) | Self::Memory(_) => None,
        }
    }

    /// The first half of a turn, see [`Endpoint::receive`].
    ///
    /// # Errors
    /// The socket is broken.
    pub fn receive(&mut self, now: Instant) -> io::Result<bool> {
        match self {
            Self::Quic(endpoint) => endpoint.receive(now),
            Self::Streams(streams) => streams.receive(now),
            Self::Memory(_) => Ok(false),
        }
    }

    /// The second half of a turn, see [`Endpoint::transmit`].
    ///
    /// # Errors
    /// The socket is broken.
    pub fn transmit(&mut self, now: Instant) -> io::Result<Progress> {
        match self {
            Self::Quic(endpoint) => endpoint.transmit(now),
            Self::Streams(streams) => streams.transmit(now),
            Self::Memory(memory) => {
                Ok(Progress { more: memory.has_events(), blocked: false, timeout: None })
            }
        }
    }

    /// What happened since the last time, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        either!(self, hub => hub.take_events())
    }

    /// Connections that exist, those that are ending included.
    pub fn open_connections(&self) -> usize {
        either!(self, hub => hub.open_connections())
    }

    /// Lanes that exist.
    pub fn open_lanes(&self) -> usize {
        either!(self, hub => hub.open_lanes())
    }

    /// Bytes queued on all lanes that have not been taken.
    pub fn unsent(&self) -> usize {
        match self {
            Self::Quic(endpoint) => endpoint.unsent(),
            Self::Streams(streams) => streams.unsent(),
            Self::Memory(_) => 0,
        }
    }

    /// Streams on which something has not been acknowledged, or that have not been finished.
    pub fn unacknowledged(&mut self) -> usize {
        match self {
            Self::Quic(endpoint) => endpoint.unacknowledged(),
            Self::Streams(streams) => streams.unfinished(),
            Self::Memory(_) => 0,
        }
    }

    /// Sessions that are over, and whose peers have not said that they know. That takes two seconds at
    /// most.
    pub fn ending_sessions(&self, now: Instant) -> usize {
        match self {
            Self::Quic(endpoint) => endpoint.ending_sessions(now),
            Self::Streams(_) | Self::Memory(_) => 0,
        }
    }

    /// There will be nothing more to say: peers that are not heard of any more hold nothing up. Of
    /// streams the system tells when their peer is gone.
    pub fn part(&mut self, now: Instant) {
        if let Self::Quic(endpoint) = self {
            endpoint.part(now);
        }
    }

    /// Closes a connection; streams have no room for the code and the reason.
    pub fn close(&mut self, now: Instant, connection: ConnectionKey, code: u64, reason: &[u8]) {
        match self {
            Self::Quic(endpoint) => endpoint.close(now, connection, code, reason),
            Self::Streams(streams) => streams.close(now, connection),
            Self::Memory(memory) => memory.close(now, connection, code, reason),
        }
    }

    /// The peer's address; there is none over Unix sockets and in memory.
    pub fn remote(&self, connection: ConnectionKey) -> Option<SocketAddr> {
        match self {
            Self::Quic(endpoint) => endpoint.remote(connection),
            Self::Streams(streams) => streams.remote(connection),
            Self::Memory(_) => None,
        }
    }

    /// The protocol that was agreed, where TLS is spoken.
    pub fn alpn(&self, connection: ConnectionKey) -> Option<Vec<u8>> {
        match self {
            Self::Quic(endpoint) => endpoint.alpn(connection),
            Self::Streams(streams) => streams.alpn(connection),
            Self::Memory(_) => None,
        }
    }

    /// Our own address; there is none over Unix sockets and in memory.
    pub fn local(&self, connection: ConnectionKey) -> Option<SocketAddr> {
        match self {
            Self::Quic(endpoint) => endpoint.local(connection),
            Self::Streams(streams) => streams.local(connection),
            Self::Memory(_) => None,
        }
    }

    /// The cipher suite that was agreed on, as IANA numbers them, where TLS is spoken.
    pub fn cipher_suite(&self, connection: ConnectionKey) -> Option<u16> {
        match self {
            Self::Quic(endpoint) => endpoint.cipher_suite(connection),
            Self::Streams(streams) => streams.cipher_suite(connection),
            Self::Memory(_) => None,
        }
    }

    /// What carries a connection.
    pub fn carrier(&self, connection: ConnectionKey) -> Carrier {
        match self {
            Self::Quic(_) if connection.is_session() => Carrier::WebTransport,
            Self::Quic(_) => Carrier::Quic,
            Self::Streams(streams) if streams.is_unix(connection) => Carrier::Unix,
            Self::Streams(_) => Carrier::Tcp,
            Self::Memory(_) => Carrier::Memory,
        }
    }

    /// The process at the other end, over Unix sockets.
    pub fn credentials(&self, connection: ConnectionKey) -> Option<Credentials> {
        match self {
            Self::Streams(streams) => streams.credentials(connection),
            Self::Quic(_) | Self::Memory(_) => None,
        }
    }

    /// The peer's certificates in DER, its own first.
    pub fn peer_chain(&self, connection: ConnectionKey) -> Vec<Vec<u8>> {
        either!(self, hub => hub.peer_chain(connection))
    }

    /// Whether a connection carries many lanes side by side, so that a stream can have one of its own.
    /// Where it does not, a further lane is a further connection, or cannot be had.
    pub fn many_lanes(&self, _connection: ConnectionKey) -> bool {
        match self {
            Self::Quic(_) => true,
            Self::Streams(_) => false,
            Self::Memory(memory) => memory.many_lanes(),
        }
    }

    /// Whether a stream may have a lane of its own now: there are many, and enough are left for
    /// those who need one.
    pub fn spares_lane(&mut self, connection: ConnectionKey) -> bool {
        match self {
            Self::Quic(endpoint) => endpoint.spares_lane(connection),
            Self::Streams(_) => false,
            Self::Memory(memory) => memory.many_lanes(),
        }
    }

    /// Whether this end can open lanes on a connection at all; if not, [`Hub::open_lane`] never gives
    /// one.
    pub fn can_open_lane(&self, connection: ConnectionKey) -> bool {
        match self {
            Self::Quic(_) => true,
            Self::Streams(streams) => streams.can_open_lane(connection),
            Self::Memory(memory) => memory.can_open_lane(connection),
        }
    }

    /// Opens a lane that takes frames of at most `msize` bytes; `None` while the peer allows none.
    pub fn open_lane(&mut self, connection: ConnectionKey, msize: u32) -> Option<LaneKey> {
        match self {
            Self::Quic(endpoint) => {
                let stream = endpoint.open_stream(connection, Dir::Bi)?;
                endpoint.make_lane(connection, stream, msize)
            }
            Self::Streams(streams) => streams.open_lane(connection, msize),
            Self::Memory(memory) => memory.open_lane(connection, msize),
        }
    }

    // ---- WebTransport ----

    /// Accepts a request for a WebTransport session ([`Request::protocol`](crate::Request::protocol)
    /// says so): 200 is answered with these fields, and the exchange is over. The session is a
    /// connection from now on: [`Event::Connected`] follows, then what the peer has sent ahead.
    /// Before the handshake is complete [`Event::Early`] comes first, as on a QUIC connection.
    ///
    /// # Errors
    /// It is no such request, was answered, or is gone; or the fields cannot be sent.
    pub fn accept_session(
        &mut self,
        exchange: ExchangeKey,
        fields: Fields,
        incoming: Incoming,
    ) -> Result<ConnectionKey, ReplyError> {
        match self {
            Self::Quic(endpoint) => endpoint.accept_session(exchange, &fields, incoming),
            Self::Streams(_) | Self::Memory(_) => Err(ReplyError::NotAsked),
        }
    }

    /// Asks for a WebTransport session on an HTTP/3 connection of ours. What comes of it is told as of
    /// any connection: [`Event::Connected`] and [`Event::Confirmed`], or [`Event::Lost`].
    ///
    /// # Errors
    /// The connection cannot have it.
    pub fn connect_session(
        &mut self,
        connection: ConnectionKey,
        authority: &str,
        path: &str,
        fields: Fields,
        incoming: Incoming,
    ) -> Result<ConnectionKey, SessionError> {
        match self {
            Self::Quic(endpoint) => {
                endpoint.connect_session(connection, authority, path, &fields, incoming)
            }
            Self::Streams(_) | Self::Memory(_) => Err(SessionError::NotHttp3),
        }
    }

    /// The QUIC connection that a session is on.
    pub fn beneath(&self, session: ConnectionKey) -> Option<ConnectionKey> {
        match self {
            Self::Quic(endpoint) => endpoint.beneath(session),
            Self::Streams(_) | Self::Memory(_) => None,
        }
    }

    /// The stream that a lane is, where it is QUIC's.
    pub fn lane_stream(&self, lane: LaneKey) -> Option<StreamId> {
        match self {
            Self::Quic(endpoint) => endpoint.lane_stream(lane),
            Self::Streams(_) | Self::Memory(_) => None,
        }
    }

    /// Names a lane of a WebTransport session for its datagrams: both ends go by the same label, as
    /// the lane's opener gave it. Over everything else nothing happens. False if the label is
    /// another lane's.
    pub fn label_lane(&mut self, lane: LaneKey, label: u64) -> bool {
        match self {
            Self::Quic(endpoint) => endpoint.label_lane(lane, label),
            Self::Streams(_) | Self::Memory(_) => true,
        }
    }

    // ---- HTTP ----

    /// Whether a connection speaks HTTP, and has no lanes.
    pub fn is_http(&self, connection: ConnectionKey) -> bool {
        match self {
            Self::Quic(endpoint) => endpoint.is_http(connection),
            Self::Streams(streams) => streams.is_http(connection),
            Self::Memory(_) => false,
        }
    }

    /// Gives a part of an answer; it leaves in this turn's transmit. Nothing happens if nobody waits
    /// for it any more.
    ///
    /// # Errors
    /// It cannot be sent like that, or not at this point; the answer is where it was before.
    pub fn http_reply(&mut self, exchange: ExchangeKey, reply: Reply) -> Result<(), ReplyError> {
        match self {
            Self::Quic(endpoint) => endpoint.http_reply(exchange, reply),
            Self::Streams(streams) => streams.http_reply(exchange, reply),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Asks for the next piece of a request's body, if none is on its way; see [`HttpEvent::Body`](crate::HttpEvent::Body).
    pub fn http_want_body(&mut self, exchange: ExchangeKey) {
        match self {
            Self::Quic(endpoint) => endpoint.http_want_body(exchange),
            Self::Streams(streams) => streams.http_want_body(exchange),
            Self::Memory(_) => {}
        }
    }

    /// Whether nobody waits for an answer any more: [`HttpEvent::Gone`](crate::HttpEvent::Gone) has come, or is on its way.
    pub fn http_is_gone(&self, exchange: ExchangeKey) -> bool {
        match self {
            Self::Quic(endpoint) => endpoint.http_is_gone(exchange),
            Self::Streams(streams) => streams.http_is_gone(exchange),
            Self::Memory(_) => true,
        }
    }

    /// Bytes of an answer that its transport has not taken.
    pub fn http_unsent(&self, exchange: ExchangeKey) -> usize {
        match self {
            Self::Quic(endpoint) => endpoint.http_unsent(exchange),
            Self::Streams(streams) => streams.http_unsent(exchange),
            Self::Memory(_) => 0,
        }
    }

    /// Asks for [`HttpEvent::Drained`](crate::HttpEvent::Drained); false if little is unsent now, and no event will come.
    pub fn http_watch(&mut self, exchange: ExchangeKey) -> bool {
        match self {
            Self::Quic(endpoint) => endpoint.http_watch(exchange),
            Self::Streams(streams) => streams.http_watch(exchange),
            Self::Memory(_) => false,
        }
    }

    /// Says that the handler of an exchange whose peer is gone has ended; see [`HttpEvent::Gone`](crate::HttpEvent::Gone).
    pub fn http_release(&mut self, exchange: ExchangeKey) {
        match self {
            Self::Quic(endpoint) => endpoint.http_release(exchange),
            Self::Streams(streams) => streams.http_release(exchange),
            Self::Memory(_) => {}
        }
    }

    /// Takes no more requests: connections end with what is in progress on them, and at once where
    /// nothing is.
    pub fn http_drain(&mut self) {
        match self {
            Self::Quic(endpoint) => endpoint.http_drain(),
            Self::Streams(streams) => streams.http_drain(),
            Self::Memory(_) => {}
        }
    }

    /// Closes a client's connection when the sessions on it are over and have said their last words.
    pub fn http_leave(&mut self, connection: ConnectionKey) {
        match self {
            Self::Quic(endpoint) => endpoint.http_leave(connection),
            Self::Streams(_) | Self::Memory(_) => {}
        }
    }

    /// Exchanges in progress.
    pub fn open_exchanges(&self) -> usize {
        match self {
            Self::Quic(endpoint) => endpoint.open_exchanges(),
            Self::Streams(streams) => streams.open_exchanges(),
            Self::Memory(_) => 0,
        }
    }

    /// Changes the largest frame that a lane takes.
    pub fn set_lane_limit(&mut self, lane: LaneKey, msize: u32) {
        either!(self, hub => hub.set_lane_limit(lane, msize));
    }

    /// Queues frames on a lane.
    pub fn write_lane(&mut self, lane: LaneKey, frames: Vec<u8>) {
        match self {
            Self::Quic(endpoint) => endpoint.write_lane(lane, frames),
            Self::Streams(streams) => streams.write_lane(lane, frames),
            Self::Memory(memory) => memory.write_lane(lane, &frames),
        }
    }

    /// Sends a frame of a lane as a datagram, if it can leave at once; see [`Sent`].
    pub fn lane_datagram(&mut self, lane: LaneKey, frame: &[u8]) -> Sent {
        match self {
            Self::Quic(endpoint) => endpoint.lane_datagram(lane, frame),
            Self::Streams(_) | Self::Memory(_) => Sent::Unfit,
        }
    }

    /// Bytes queued on a lane that have not been taken.
    pub fn lane_unsent(&self, lane: LaneKey) -> usize {
        match self {
            Self::Quic(endpoint) => endpoint.lane_unsent(lane),
            Self::Streams(streams) => streams.lane_unsent(lane),
            Self::Memory(memory) => memory.lane_unsent(lane),
        }
    }

    /// Asks for [`Event::LaneDrained`]; false if little is unsent now, and no event will come.
    pub fn watch_drained(&mut self, lane: LaneKey) -> bool {
        either!(self, hub => hub.watch_drained(lane))
    }

    /// Stops or resumes reading a lane.
    pub fn pause_lane(&mut self, lane: LaneKey, paused: bool) {
        either!(self, hub => hub.pause_lane(lane, paused));
    }

    /// Ends a lane in order.
    pub fn finish_lane(&mut self, lane: LaneKey) {
        either!(self, hub => hub.finish_lane(lane));
    }

    /// Ends a lane in order and asks the peer to send no more, with a code that says why.
    pub fn refuse_lane(&mut self, lane: LaneKey, code: u32) {
        match self {
            Self::Quic(endpoint) => endpoint.refuse_lane(lane, code),
            Self::Streams(streams) => streams.refuse_lane(lane),
            Self::Memory(memory) => memory.refuse_lane(lane, code),
        }
    }

    /// Gives a lane up at once.
    pub fn abort_lane(&mut self, lane: LaneKey, code: u32) {
        match self {
            Self::Quic(endpoint) => endpoint.abort_lane(lane, code),
            Self::Streams(streams) => streams.abort_lane(lane),
            Self::Memory(memory) => memory.abort_lane(lane, code),
        }
    }

    /// Forgets a lane of which nothing more is expected; what it has queued is still sent.
    pub fn release_lane(&mut self, lane: LaneKey) {
        either!(self, hub => hub.release_lane(lane));
    }
}

//! The endpoint: a UDP socket, the connections on it, and the turns in which they move.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{
    ConnectionHandle, DatagramEvent, EndpointConfig, Incoming as QuicIncoming, Transmit,
};

use crate::config::{ConnectOptions, Incoming, ServerOptions};
use crate::congestion::Lift;
use crate::connection::{Connection, ConnectionKey, Deadline, Surroundings};
use crate::docket::{Review, Reviewing};
use crate::event::{Event, Lost};
use crate::http::Exchanges;
use crate::lane::Lane;
use crate::slab::Slab;
use crate::socket::{Arrived, Socket};
use crate::stream::code;
use crate::timers::Timers;
use crate::webtransport::Directory;

/// Datagrams that one turn takes in before it lets the loop do something else.
pub(crate) const RECEIVE_PER_TURN: usize = 512;

/// Trains of datagrams that one connection sends in one turn.
const SEND_PER_TURN: usize = 64;

/// Datagrams in one train; the kernel cuts it (generic segmentation offload).
const SEGMENTS: usize = 32;

/// The largest UDP payload there is (RFC 9000, section 18.2).
const MAX_UDP_PAYLOAD: u16 = 65_527;

/// What the kernel takes in one train, whatever its datagrams' size.
const TRAIN_BYTES: usize = 65_000;

/// Why a connection cannot even be begun.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name cannot be a server's.
    #[error("{0:?} is not a name or address that a certificate can have")]
    ServerName(String),
    /// The endpoint is closed or cannot reach such an address.
    #[error("{0}")]
    Other(String),
}

/// How things stand after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// A bound was reached: another turn is due as soon as the loop has done something else.
    pub more: bool,
    /// The socket is full: a turn is due when it takes datagrams again.
    pub blocked: bool,
    /// When the next turn is due in any case.
    pub timeout: Option<Instant>,
}

/// A UDP socket and its connections. Nothing happens but in [`Endpoint::receive`] and
/// [`Endpoint::transmit`], one turn; between them the owner takes the events and reacts.
pub struct Endpoint {
    pub(crate) socket: Socket,
    /// The socket of the address before, see `rebind`.
    pub(crate) previous: Option<Socket>,
    pub(crate) quic: quinn_proto::Endpoint,
    pub(crate) connections: Vec<Option<Box<Connection>>>,
    pub(crate) open: usize,
    pub(crate) handshaking: usize,
    pub(crate) lanes: Slab<Lane>,
    pub(crate) timers: Timers,
    /// Connections that must be driven, each once.
    pub(crate) active: Vec<u32>,
    pub(crate) events: Vec<Event>,
    pub(crate) exchanges: Exchanges,
    pub(crate) sessions: Directory,
    /// Connections there were.
    pub(crate) begun: u32,
    pub(crate) server: Option<ServerOptions>,
    pub(crate) server_quic: Option<quinn_proto::ServerConfig>,
    pub(crate) review: Review<u32>,
    /// Connections whose key may be given out again once the owner has seen their end.
    pub(crate) drained: Vec<u32>,
    pub(crate) unsent: Option<(Transmit, Vec<u8>)>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) segments: usize,
}

impl Endpoint {
    /// Binds a socket. With `server`, connections are taken.
    ///
    /// # Errors
    /// The system's, for example that the port is in use.
    pub fn bind(address: SocketAddr, server: Option<ServerOptions>) -> io::Result<Self> {
        let socket = Socket::bind(address)?;
        let mut config = EndpointConfig::default();
        // What we can receive in one datagram is for the path to find out, see `Transport`.
        let _ = config.max_udp_payload_size(MAX_UDP_PAYLOAD);
        if let Some(server) = &server {
            server.tls.reset_secret().configure(&mut config, socket.io().local_addr()?);
        }
        let mut endpoint = Self {
            quic: quinn_proto::Endpoint::new(Arc::new(config), None, !socket.may_fragment(), None),
            segments: segments_of(&socket),
            socket,
            previous: None,
            connections: Vec::new(),
            open: 0,
            handshaking: 0,
            lanes: Slab::default(),
            timers: Timers::default(),
            active: Vec::new(),
            events: Vec::new(),
            exchanges: Exchanges::default(),
            sessions: Directory::default(),
            begun: 0,
            server: None,
            server_quic: None,
            review: Review::default(),
            drained: Vec::new(),
            unsent: None,
            buffer: Vec::new(),
        };
        endpoint.serve(server);
        Ok(endpoint)
    }

    /// Begins to take connections, changes how, or (with `None`) takes no more.
    pub fn serve(&mut self, server: Option<ServerOptions>) {
        self.server_quic = server.as_ref().map(|options| {
            let mut quic = quinn_proto::ServerConfig::with_crypto(options.tls.clone());
            quic.migration(true);
            quic
        });
        self.quic.set_server_config(self.server_quic.clone().map(Arc::new));
        if let Some(server) = &server {
            self.review.incoming = Some(server.tls.clone());
        }
        self.server = server;
    }

    /// The socket, to be watched for readability.
    pub fn io(&self) -> &UdpSocket {
        self.socket.io()
    }

    /// Begins a connection; an event tells how it went.
    ///
    /// # Errors
    /// The name or the address cannot be connected to.
    pub fn connect(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        server_name: &str,
        options: ConnectOptions,
    ) -> Result<ConnectionKey, ConnectError> {
        let (tls, diagnosis) = options.tls.config(remote, options.early_data);
        let mut config = quinn_proto::ClientConfig::new(tls);
        let lift = Lift::default();
        config.transport_config(options.transport.quic(remote.ip(), &lift));
        let (handle, quic) =
            self.quic.connect(now, config, remote, server_name).map_err(|error| match error {
                quinn_proto::ConnectError::InvalidServerName(name) => {
                    ConnectError::ServerName(name)
                }
                error => ConnectError::Other(error.to_string()),
            })?;
        let key = self.add((handle, quic), remote, Some(options.incoming), lift, None);
        if let Some(connection) = self.touch(key) {
            connection.prepare_http(now);
            connection.bound(&options.transport);
            connection.diagnosis = Some(diagnosis);
            connection.asked = Some(server_name.into());
            if options.early_data && connection.send_early() {
                connection.handshake_deadline = Deadline::new(now, options.handshake_timeout);
                self.events.push(Event::Early { connection: key, incoming: false });
            }
        }
        Ok(key)
    }

    fn add(
        &mut self,
        (handle, quic): (ConnectionHandle, quinn_proto::Connection),
        remote: SocketAddr,
        incoming: Option<Incoming>,
        lift: Lift,
        deadline: Option<Deadline>,
    ) -> ConnectionKey {
        // quinn's handles are dense, so they serve as keys.
        let index = handle.0;
        let key = ConnectionKey(index as u32);
        let mut connection = Connection::new(quic, handle, key, remote, incoming);
        connection.handshake_deadline = deadline;
        connection.lift = lift;
        connection.generation = self.review.generation;
        self.begun = self.begun.wrapping_add(1);
        connection.serial = self.begun;
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        self.connections[index] = Some(Box::new(connection));
        self.open += 1;
        self.handshaking += 1;
        self.activate(key.0);
        key
    }

    pub(crate) fn activate(&mut self, key: u32) {
        if let Some(Some(connection)) = self.connections.get_mut(key as usize) {
            if !std::mem::replace(&mut connection.queued, true) {
                self.active.push(key);
            }
        }
    }

    pub(crate) fn get(&self, key: ConnectionKey) -> Option<&Connection> {
        self.connections.get(self.sessions.place(key)? as usize)?.as_deref()
    }

    /// The connection, to be changed by its owner: it is driven in this turn's transmit.
    pub(crate) fn touch(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        let place = self.sessions.place(key)?;
        self.activate(place);
        let connection = self.connections.get_mut(place as usize)?.as_deref_mut()?;
        (!connection.is_over()).then_some(connection)
    }

    // ---- the first half of a turn ----

    /// Takes in what has arrived and what is due; [`Endpoint::take_events`] then has the news.
    /// True if a bound was reached and more is waiting.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn receive(&mut self, now: Instant) -> io::Result<bool> {
        self.release_drained();
        self.tell_answered();
        let mut more = self.receive_datagrams(now)?;
        while let Some((at, key)) = self.timers.due(now) {
            self.on_timer(at, key, now);
        }
        // Connections stay active until `transmit` has sent what they have to say.
        for index in 0..self.active.len() {
            self.drive(self.active[index], now);
        }
        more |= self.review(now);
        Ok(more)
    }

    fn release_drained(&mut self) {
        for key in std::mem::take(&mut self.drained) {
            let Some(slot) = self.connections.get_mut(key as usize) else { continue };
            if let Some(connection) = slot.take() {
                self.open -= 1;
                if let Some(event) = connection.drained {
                    self.quic.handle_event(connection.handle, event);
                }
            }
        }
    }

    fn receive_datagrams(&mut self, now: Instant) -> io::Result<bool> {
        self.receive_late(now);
        let mut received = 0;
        let mut arrived = Vec::new();
        loop {
            let (count, full) = self.socket.receive(|datagram| arrived.push(datagram))?;
            self.handle(arrived.drain(..), now);
            if count > 0 {
                self.previous = None;
            }
            received += count;
            if !full {
                return Ok(false);
            }
            if received >= RECEIVE_PER_TURN {
                return Ok(true);
            }
        }
    }

    pub(crate) fn handle(&mut self, arrived: impl Iterator<Item = Arrived>, now: Instant) {
        for Arrived { remote, local, ecn, bytes } in arrived {
            self.buffer.clear();
            let event = self.quic.handle(now, remote, local, ecn, bytes, &mut self.buffer);
            self.on_datagram(event, now);
        }
    }

    fn on_datagram(&mut self, event: Option<DatagramEvent>, now: Instant) {
        match event {
            None => {}
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(Some(connection)) = self.connections.get_mut(handle.0) {
                    connection.quic.handle_event(event);
                    connection.on_heard(now);
                    self.activate(handle.0 as u32);
                }
            }
            Some(DatagramEvent::Response(transmit)) => self.respond(&transmit),
            Some(DatagramEvent::NewConnection(incoming)) => self.on_incoming(incoming, now),
        }
    }

    /// Sends a stateless answer; if it cannot be sent now it is not worth keeping.
    fn respond(&self, transmit: &Transmit) {
        let _ = self.socket.send(transmit, &self.buffer);
    }

    fn on_incoming(&mut self, incoming: QuicIncoming, now: Instant) {
        let Some(server) = &self.server else {
            self.quic.ignore(incoming);
            return;
        };
        self.buffer.clear();
        // The handlers of those who went away count, too.
        let full = self.open + self.exchanges.gone() >= server.max_connections;
        if full || self.handshaking >= server.max_handshakes {
            let transmit = self.quic.refuse(incoming, &mut self.buffer);
            self.respond(&transmit);
            return;
        }
        if self.handshaking >= server.retry_above && !incoming.remote_address_validated() {
            if let Ok(transmit) = self.quic.retry(incoming, &mut self.buffer) {
                self.respond(&transmit);
            }
            return;
        }
        let remote = incoming.remote_address();
        let deadline = Deadline::new(now, server.handshake_timeout);
        let transport = server.transport.clone();
        let lift = Lift::default();
        let config = self.server_quic.clone().map(|mut config| {
            config.transport_config(transport.quic(remote.ip(), &lift));
            Arc::new(config)
        });
        match self.quic.accept(incoming, now, &mut self.buffer, config) {
            Ok((handle, quic)) => {
                let key = self.add((handle, quic), remote, None, lift, deadline);
                if let Some(connection) = self.touch(key) {
                    connection.bound(&transport);
                }
            }
            Err(error) => {
                if let Some(transmit) = error.response {
                    self.respond(&transmit);
                }
                let reason = Lost::new(error.cause, server.tls.last_failure());
                self.events.push(Event::HandshakeFailed { remote, reason });
            }
        }
    }

    fn on_timer(&mut self, at: Instant, key: u32, now: Instant) {
        let Some(Some(connection)) = self.connections.get_mut(key as usize) else { return };
        if connection.armed != Some(at) {
            return;
        }
        connection.armed = None;
        if connection.quic.poll_timeout().is_some_and(|due| due <= now) {
            connection.quic.handle_timeout(now);
        }
        if let Some(deadline) = connection.handshake_deadline.filter(|due| due.at <= now) {
            connection.lift.open();
            connection.quic.close(
                now,
                code(jetstream_proto::codes::LIMIT.into()),
                Bytes::from_static(b"the handshake took too long"),
            );
            self.end(key, Lost::HandshakeTimedOut { after: deadline.after });
        } else if connection.patience.is_some_and(|patience| patience.until <= now) {
            self.on_silence(key, now);
        } else {
            connection.expire_http(now, &mut self.exchanges, &mut self.events);
        }
        self.activate(key);
    }

    /// Ends a connection from our side and tells the owner.
    pub(crate) fn end(&mut self, key: u32, reason: Lost) {
        if let Some(Some(connection)) = self.connections.get(key as usize) {
            self.handshaking -= usize::from(connection.is_handshaking());
        }
        self.with(key, |connection, around| connection.on_lost(reason, around));
    }

    /// The connection in a place, with what it needs to be driven.
    pub(crate) fn with(
        &mut self,
        place: u32,
        act: impl FnOnce(&mut Connection, &mut Surroundings<'_>),
    ) {
        let Some(Some(connection)) = self.connections.get_mut(place as usize) else { return };
        let mut around = Surroundings {
            lanes: &mut self.lanes,
            events: &mut self.events,
            exchanges: &mut self.exchanges,
            sessions: &mut self.sessions,
            now: Instant::now(),
            modes: &|_| None,
        };
        act(connection, &mut around);
    }

    fn drive(&mut self, key: u32, now: Instant) {
        let Some(Some(connection)) = self.connections.get_mut(key as usize) else { return };
        let server = self.server.as_ref();
        let mut around = Surroundings {
            lanes: &mut self.lanes,
            events: &mut self.events,
            exchanges: &mut self.exchanges,
            sessions: &mut self.sessions,
            now,
            modes: &|alpn| server.and_then(|server| server.incoming.get(alpn)),
        };
        let was_handshaking = connection.is_handshaking();
        connection.drive(&mut around);
        while let Some(event) = connection.quic.poll_endpoint_events() {
            if event.is_drained() {
                connection.drained = Some(event);
                self.drained.push(key);
            } else if let Some(event) = self.quic.handle_event(connection.handle, event) {
                connection.quic.handle_event(event);
            }
        }
        if was_handshaking && !connection.is_handshaking() {
            self.handshaking -= 1;
            // TLS may have changed since the handshake began.
            self.review_one(key, now);
        }
    }

    /// What happened since the last time, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    // ---- the second half of a turn ----

    /// Sends what there is to send.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn transmit(&mut self, now: Instant) -> io::Result<Progress> {
        let mut blocked = !self.retry_unsent()?;
        let mut more = false;
        for key in std::mem::take(&mut self.active) {
            let Some(Some(connection)) = self.connections.get_mut(key as usize) else { continue };
            connection.queued = false;
            connection.write_lanes(&mut self.lanes, &mut self.events);
            let mut again = connection.has_more_to_read();
            again |= connection.write_http(now, &mut self.exchanges, &mut self.events);
            if !blocked {
                let (full, unfinished) = self.send(key, now)?;
                blocked = full;
                again |= unfinished;
            }
            // Sending may have made identifiers, acknowledgements or an end.
            self.drive(key, now);
            if let Some(Some(connection)) = self.connections.get_mut(key as usize) {
                if let Some(at) = connection.next_timer() {
                    self.timers.arm(&mut connection.armed, at, key);
                }
            }
            if again || blocked {
                self.activate(key);
            }
            more |= again;
        }
        let connections = &self.connections;
        self.timers.prune(self.open, |at, key| {
            let connection = connections.get(key as usize).and_then(Option::as_deref);
            connection.is_some_and(|connection| connection.armed == Some(at))
        });
        let more = more || !self.events.is_empty() || !self.drained.is_empty();
        Ok(Progress { more, blocked, timeout: self.timers.next() })
    }

    fn retry_unsent(&mut self) -> io::Result<bool> {
        if let Some((transmit, bytes)) = self.unsent.take() {
            if !self.try_send(&transmit, &bytes)? {
                self.unsent = Some((transmit, bytes));
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the datagrams are gone; false if the socket is full.
    fn try_send(&mut self, transmit: &Transmit, bytes: &[u8]) -> io::Result<bool> {
        match self.socket.send(transmit, bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            // A destination that cannot be reached now is like a lost datagram: QUIC's timers
            // decide when that is the end of the connection.
            Err(_) => Ok(true),
        }
    }

    /// Sends for one connection: whether the socket is full, and whether a bound was reached.
    fn send(&mut self, key: u32, now: Instant) -> io::Result<(bool, bool)> {
        for _ in 0..SEND_PER_TURN {
            let Some(Some(connection)) = self.connections.get_mut(key as usize) else { break };
            self.buffer.clear();
            let mtu = usize::from(connection.quic.current_mtu()).max(1);
            let segments = self.segments.min(TRAIN_BYTES / mtu).max(1);
            let transmit = connection.quic.poll_transmit(now, segments, &mut self.buffer);
            let Some(transmit) = transmit else { return Ok((false, false)) };
            let bytes = std::mem::take(&mut self.buffer);
            if !self.try_send(&transmit, &bytes)? {
                self.unsent = Some((transmit, bytes));
                return Ok((true, true));
            }
            self.buffer = bytes;
        }
        Ok((false, true))
    }

    /// Connections that exist, those that are ending included.
    pub fn open_connections(&self) -> usize {
        self.open
    }

    /// Lanes that exist.
    pub fn open_lanes(&self) -> usize {
        self.lanes.len()
    }
}

/// Datagrams in one train on a socket.
pub(crate) fn segments_of(socket: &Socket) -> usize {
    socket.max_segments().min(SEGMENTS)
}

//! What the owner of streams does between turns.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::Token;
use rustls::pki_types::ServerName;

use super::config::{Credentials, Target, TcpOptions, TcpServer};
use super::link::Link;
use super::listener::Listener;
use super::taker::Speaks;
use super::unix::UnixAddress;
use super::wire::{Phase, Wire};
use super::{FIRST_LISTENER, Streams};
use crate::connection::ConnectionKey;
use crate::endpoint::ConnectError;
use crate::event::Lost;
use crate::lane::LaneKey;
use crate::tls::{HTTP2, StreamAcceptor};

impl Streams {
    // ---- listening ----

    /// Takes connections over TCP; where, with the port that was free.
    ///
    /// # Errors
    /// The system's, for example that the port is in use.
    pub fn listen_tcp(
        &mut self,
        address: SocketAddr,
        server: &TcpServer,
    ) -> io::Result<SocketAddr> {
        let nameless = server.http.is_some();
        let tls = server.tls.as_ref();
        let tls = tls.map(|tls| StreamAcceptor::new(tls, &server.alpns, nameless));
        let http2 = server.alpns.iter().any(|alpn| alpn == HTTP2);
        let speaks = Speaks { lanes: tls.is_some(), http: server.http.clone(), http2 };
        let listener = Listener::tcp(address, tls, speaks)?;
        let local = listener.local().unwrap_or(address);
        self.listen(listener)?;
        Ok(local)
    }

    /// Takes connections of lanes over a Unix socket, whose file has the permissions of `mode`.
    ///
    /// # Errors
    /// The system's; that somebody else listens there, or that there is a file of that name that is
    /// no socket.
    pub fn listen_unix(&mut self, address: &UnixAddress, mode: u32) -> io::Result<()> {
        self.serve_unix(address, mode, Speaks::lanes())
    }

    /// Takes connections over a Unix socket that speak what `speaks` says; which of it, their first
    /// bytes tell.
    ///
    /// # Errors
    /// As with [`Streams::listen_unix`].
    pub fn serve_unix(
        &mut self,
        address: &UnixAddress,
        mode: u32,
        speaks: Speaks,
    ) -> io::Result<()> {
        self.listen(Listener::unix(address, mode, speaks)?)
    }

    fn listen(&mut self, mut listener: Listener) -> io::Result<()> {
        let token = Token(FIRST_LISTENER + self.listeners.len());
        listener.register(self.poll.registry(), token)?;
        self.listeners.push(listener);
        Ok(())
    }

    /// Takes no more connections; those that exist go on. Ports and files are free at once.
    pub fn stop_listening(&mut self) {
        self.listeners.clear();
        let coming: Vec<u64> = self.wires.keys(|wire| wire.incoming && wire.link.is_none());
        for key in coming {
            self.give_up(key);
        }
    }

    // ---- connections ----

    /// Begins a connection over TCP; an event tells how it went.
    ///
    /// # Errors
    /// The name cannot be a server's.
    pub fn connect_tcp(&mut self, options: TcpOptions) -> Result<ConnectionKey, ConnectError> {
        let name = ServerName::try_from(options.server_name.clone())
            .map_err(|_| ConnectError::ServerName(options.server_name.clone()))?;
        Ok(self.connect(Target::Tcp(options, name)))
    }

    /// Begins a connection over a Unix socket; an event tells how it went.
    pub fn connect_unix(&mut self, address: UnixAddress) -> ConnectionKey {
        self.connect(Target::Unix(address))
    }

    fn connect(&mut self, target: Target) -> ConnectionKey {
        let link = self.links.insert(Link { target: Some(target), ..Link::default() });
        let wire = self.add_wire(link, self.limits.msize);
        if let Some(link) = self.links.get_mut(link) {
            link.free = Some(wire);
        }
        ConnectionKey(link)
    }

    /// Closes a connection. A server's peers get what is queued, and the end; a client's server sees
    /// that it was given up.
    pub fn close(&mut self, now: Instant, connection: ConnectionKey) {
        let Some(found) = self.links.get(connection.0).filter(|link| !link.over) else { return };
        let (wires, incoming) = (found.wires.clone(), found.is_incoming());
        for key in wires {
            if !incoming {
                self.give_up(key);
            } else if let Some(wire) = self.wires.get_mut(key) {
                wire.wind_up(now);
                self.activate(key);
            }
        }
        self.lose(connection.0, Lost::Here);
    }

    pub(super) fn wire_of(&self, connection: ConnectionKey) -> Option<&Wire> {
        let link = self.links.get(connection.0)?;
        self.wires.get(*link.wires.first()?)
    }

    /// The peer's address, over TCP.
    pub fn remote(&self, connection: ConnectionKey) -> Option<SocketAddr> {
        self.links.get(connection.0)?.remote
    }

    /// The protocol that was agreed, over TCP.
    pub fn alpn(&self, connection: ConnectionKey) -> Option<Vec<u8>> {
        self.wire_of(connection)?.tls.as_ref()?.alpn()
    }

    /// The cipher suite that was agreed on, over TCP.
    pub fn cipher_suite(&self, connection: ConnectionKey) -> Option<u16> {
        self.wire_of(connection)?.tls.as_ref()?.cipher_suite()
    }

    /// Our own address, over TCP.
    pub fn local(&self, connection: ConnectionKey) -> Option<SocketAddr> {
        self.wire_of(connection)?.socket.as_ref()?.local()
    }

    /// The peer's certificates in DER, its own first; empty if it showed none.
    pub fn peer_chain(&self, connection: ConnectionKey) -> Vec<Vec<u8>> {
        let tls = self.wire_of(connection).and_then(|wire| wire.tls.as_ref());
        tls.map(|tls| tls.peer_chain()).unwrap_or_default()
    }

    /// Whether it is one over a Unix socket.
    pub fn is_unix(&self, connection: ConnectionKey) -> bool {
        let target = self.links.get(connection.0).and_then(|link| link.target.as_ref());
        match target {
            Some(target) => matches!(target, Target::Unix(_)),
            None => self.links.get(connection.0).is_some_and(|link| link.unix),
        }
    }

    /// The process at the other end, over a Unix socket.
    pub fn credentials(&self, connection: ConnectionKey) -> Option<Credentials> {
        self.links.get(connection.0)?.credentials
    }

    // ---- lanes ----

    /// Whether this end opens the lanes of a connection.
    pub fn can_open_lane(&self, connection: ConnectionKey) -> bool {
        self.links.get(connection.0).is_some_and(|link| !link.is_incoming())
    }

    /// The lane of a connection that we began; once that is taken, one on a further connection to the
    /// same server, which comes about meanwhile. `None` while there are as many as there may be, and
    /// where the peer opens the lanes.
    pub fn open_lane(&mut self, connection: ConnectionKey, msize: u32) -> Option<LaneKey> {
        let link = self.links.get_mut(connection.0)?;
        if link.is_incoming() || link.over {
            return None;
        }
        let key = match link.free.take() {
            Some(key) => key,
            None if link.wires.len() >= self.limits.max_lanes => return None,
            None => self.add_wire(connection.0, msize),
        };
        let wire = self.wires.get_mut(key)?;
        wire.taker.set_limit(msize);
        wire.owned = true;
        Some(LaneKey(key))
    }

    /// The wire of a lane that is still its owner's; it is looked at in this turn's transmit.
    fn lane(&mut self, lane: LaneKey) -> Option<&mut Wire> {
        self.activate(lane.0);
        self.wires.get_mut(lane.0).filter(|wire| wire.owned)
    }

    /// Changes the largest frame that a lane takes.
    pub fn set_lane_limit(&mut self, lane: LaneKey, msize: u32) {
        if let Some(wire) = self.lane(lane) {
            wire.taker.set_limit(msize);
        }
    }

    /// Queues frames on a lane; they leave in this turn's transmit, if the connection is there.
    pub fn write_lane(&mut self, lane: LaneKey, frames: Vec<u8>) {
        if let Some(wire) = self.lane(lane) {
            wire.queue(frames);
        }
    }

    /// Bytes queued on a lane that its socket has not taken.
    pub fn lane_unsent(&self, lane: LaneKey) -> usize {
        self.wires.get(lane.0).map_or(0, Wire::unsent_bytes)
    }

    /// Asks for [`Event::LaneDrained`]; false if little is unsent now, and no event will come.
    ///
    /// [`Event::LaneDrained`]: crate::Event::LaneDrained
    pub fn watch_drained(&mut self, lane: LaneKey) -> bool {
        self.wires.get_mut(lane.0).is_some_and(Wire::watch_drained)
    }

    /// Bytes queued on all lanes that their sockets have not taken.
    pub fn unsent(&self) -> usize {
        self.wires.iter().map(Wire::unsent_bytes).sum()
    }

    /// Lanes whose end has not been seen by both sides. Clients of HTTP look at a connection when they
    /// need one, so theirs are not waited for.
    pub fn unfinished(&self) -> usize {
        let lane = |wire: &&Wire| wire.phase == Phase::Open && wire.taker.http().is_none();
        self.wires.iter().filter(lane).count()
    }

    /// Stops or resumes reading a lane; while it is paused the peer is held up by flow control.
    pub fn pause_lane(&mut self, lane: LaneKey, paused: bool) {
        if let Some(wire) = self.lane(lane) {
            wire.paused = paused;
        }
    }

    /// Ends a lane in order: what is queued is written, then the end.
    pub fn finish_lane(&mut self, lane: LaneKey) {
        if let Some(wire) = self.lane(lane) {
            wire.finishing = true;
        }
    }

    /// Ends a lane in order and takes no more on it. The peer is not told why.
    pub fn refuse_lane(&mut self, lane: LaneKey) {
        if let Some(wire) = self.lane(lane) {
            wire.finishing = true;
            wire.discarding = true;
        }
    }

    /// Gives a lane up at once, and its connection with it.
    pub fn abort_lane(&mut self, lane: LaneKey) {
        let Some(wire) = self.wires.get(lane.0).filter(|wire| wire.owned) else { return };
        let (link, incoming) = (wire.link, wire.incoming);
        self.give_up(lane.0);
        match link {
            Some(link) if incoming => self.lose(link, Lost::Here),
            Some(link) => self.unlink(link, lane.0),
            None => {}
        }
    }

    /// Forgets a lane of which nothing more is expected; what it has queued is still written.
    pub fn release_lane(&mut self, lane: LaneKey) {
        if let Some(wire) = self.lane(lane) {
            wire.owned = false;
            wire.discarding = true;
            wire.finishing = true;
        }
    }
}

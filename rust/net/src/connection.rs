//! One QUIC connection: its state machine, its streams, and what they mean to us.

mod lanes;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use quinn_proto::{Connection as Quic, ConnectionHandle, Dir, Event as QuicEvent, StreamEvent};
use quinn_proto::{EndpointEvent, StreamId};

use crate::config::{Incoming, Transport};
use crate::congestion::Lift;
use crate::datagram;
use crate::event::{Event, LaneEnd, Lost};
use crate::http::{Exchanges, Http3};
use crate::lane::{Lane, LaneKey};
use crate::parting::Patience;
use crate::review::Chain;
use crate::slab::Slab;
use crate::stream::{Read, code};
use crate::tls::{Diagnosis, HandshakeData, TlsFailure};
use crate::webtransport::{Directory, lane_end};

/// Names a connection of one endpoint: a QUIC connection, or a WebTransport session on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey(pub u32);

impl ConnectionKey {
    /// Marks the keys of WebTransport sessions. QUIC's are small and dense.
    pub(crate) const SESSION: u32 = 1 << 31;

    /// Whether it names a WebTransport session.
    pub const fn is_session(self) -> bool {
        self.0 & Self::SESSION != 0
    }
}

/// Figures about one connection.
#[derive(Debug, Clone, Copy)]
pub struct Counters {
    /// The current estimate of the round trip.
    pub rtt: Duration,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// Packets lost on the way.
    pub lost: u64,
    /// The largest datagram that the path is known to carry, in bytes.
    pub mtu: u16,
}

/// What became of the data that went ahead of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyData {
    /// There was none.
    #[default]
    None,
    /// It is on its way, or being read, and the handshake is not complete.
    Sent,
    /// The server took it.
    Accepted,
    /// The server threw it away.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    /// The same, with data going ahead of it.
    Early,
    /// A client whose certificate the server has not confirmed yet.
    Unconfirmed,
    Open,
    /// Closed by either side; only the draining remains.
    Over,
}

pub(crate) struct Connection {
    pub(crate) quic: Quic,
    pub(crate) handle: ConnectionHandle,
    pub(crate) key: ConnectionKey,
    pub(crate) remote: SocketAddr,
    pub(crate) server: bool,
    phase: Phase,
    /// Data went ahead of the handshake.
    early: bool,
    pub(crate) incoming: Option<Incoming>,
    /// Lanes by stream; any other stream is raw.
    lanes: HashMap<StreamId, LaneKey>,
    /// Ends of raw streams that were seen with the last data and are to be told next.
    ends: HashMap<StreamId, Read>,
    /// Lanes with something to read, and lanes with something to write.
    readable: Vec<LaneKey>,
    writable: Vec<LaneKey>,
    pub(crate) queued: bool,
    pub(crate) armed: Option<Instant>,
    pub(crate) handshake_deadline: Option<Deadline>,
    /// See `parting`.
    pub(crate) patience: Option<Patience>,
    pub(crate) drained: Option<EndpointEvent>,
    /// What our TLS notes of a handshake as a client; a server's session carries its own.
    pub(crate) diagnosis: Option<Diagnosis>,
    pub(crate) lift: Lift,
    /// See [`crate::Transport`].
    max_unsent: usize,
    pub(crate) datagram_send_buffer: usize,
    /// The name that we asked for, as a client.
    pub(crate) asked: Option<Box<str>>,
    /// By which TLS it was accepted, see `review`.
    pub(crate) generation: u32,
    /// Lanes that the peer lets us have open at once, once it has said so.
    allowed: Option<u64>,
    /// How many connections there were before it, to tell it from others that had its key.
    pub(crate) serial: u32,
    pub(crate) http: Option<Box<Http3>>,
}

/// When a handshake has taken too long, and how long that is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) after: Duration,
}

impl Deadline {
    pub(crate) fn new(now: Instant, after: Duration) -> Option<Self> {
        now.checked_add(after).map(|at| Self { at, after })
    }
}

/// What a connection needs of its endpoint while it is driven.
pub(crate) struct Surroundings<'a> {
    pub(crate) lanes: &'a mut Slab<Lane>,
    pub(crate) events: &'a mut Vec<Event>,
    pub(crate) exchanges: &'a mut Exchanges,
    pub(crate) sessions: &'a mut Directory,
    pub(crate) now: Instant,
    pub(crate) modes: &'a dyn Fn(&[u8]) -> Option<&'a Incoming>,
}

impl Connection {
    pub(crate) fn new(
        quic: Quic,
        handle: ConnectionHandle,
        key: ConnectionKey,
        remote: SocketAddr,
        incoming: Option<Incoming>,
    ) -> Self {
        Self {
            server: quic.side().is_server(),
            quic,
            handle,
            key,
            remote,
            phase: Phase::Handshake,
            early: false,
            incoming,
            lanes: HashMap::new(),
            ends: HashMap::new(),
            readable: Vec::new(),
            writable: Vec::new(),
            queued: false,
            armed: None,
            handshake_deadline: None,
            patience: None,
            drained: None,
            diagnosis: None,
            lift: Lift::default(),
            max_unsent: 0,
            datagram_send_buffer: 0,
            asked: None,
            generation: 0,
            allowed: None,
            serial: 0,
            http: None,
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Handshake | Phase::Early)
    }

    /// When it wants to be looked at in any case.
    pub(crate) fn next_timer(&mut self) -> Option<Instant> {
        let patience = self.patience.map(|patience| patience.until);
        let handshake = self.handshake_deadline.map(|deadline| deadline.at);
        let http = self.http.as_ref().and_then(|http| http.due());
        [self.quic.poll_timeout(), handshake, patience, http].into_iter().flatten().min()
    }

    /// Sends data ahead of the handshake from now on, if a ticket allows it.
    pub(crate) fn send_early(&mut self) -> bool {
        let may = self.phase == Phase::Handshake && !self.server && self.quic.has_0rtt();
        if may {
            self.phase = Phase::Early;
            self.early = true;
        }
        may
    }

    pub(crate) fn early_data(&self) -> EarlyData {
        match self.phase {
            Phase::Early => EarlyData::Sent,
            Phase::Handshake => EarlyData::None,
            _ if !self.early => EarlyData::None,
            // A server knows of early data only when it has taken it.
            _ if self.server || self.quic.accepted_0rtt() => EarlyData::Accepted,
            _ => EarlyData::Refused,
        }
    }

    /// Takes the limits that are not QUIC's own.
    pub(crate) fn bound(&mut self, transport: &Transport) {
        self.max_unsent = transport.max_unsent;
        self.datagram_send_buffer = transport.datagram_send_buffer;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    pub(crate) fn counters(&self) -> Counters {
        let stats = self.quic.stats();
        Counters {
            rtt: self.quic.rtt(),
            sent: stats.udp_tx.datagrams,
            received: stats.udp_rx.datagrams,
            lost: stats.path.lost_packets,
            mtu: stats.path.current_mtu,
        }
    }

    /// The protocol that was agreed.
    pub(crate) fn alpn(&self) -> Option<Vec<u8>> {
        self.handshake().and_then(|handshake| handshake.alpn)
    }

    /// The cipher suite that was agreed on; on the server.
    pub(crate) fn cipher_suite(&self) -> Option<u16> {
        self.handshake().and_then(|handshake| handshake.cipher_suite)
    }

    /// The peer's certificates, its own first; empty if it showed none.
    pub(crate) fn peer_chain(&self) -> Chain {
        let identity = self.quic.crypto_session().peer_identity();
        let chain = identity.and_then(|any| any.downcast::<Chain>().ok());
        chain.map(|chain| *chain).unwrap_or_default()
    }

    pub(crate) fn resumed(&self) -> bool {
        !self.is_handshaking() && self.handshake().is_some_and(|handshake| handshake.resumed)
    }

    fn handshake(&self) -> Option<HandshakeData> {
        let data = self.quic.crypto_session().handshake_data()?;
        data.downcast::<HandshakeData>().ok().map(|data| *data)
    }

    fn tls_failure(&self) -> Option<TlsFailure> {
        match &self.diagnosis {
            Some(diagnosis) => diagnosis.failure(),
            None => self.handshake()?.diagnosis.failure(),
        }
    }

    /// Takes what QUIC has to tell, then reads the lanes that have something.
    pub(crate) fn drive(&mut self, around: &mut Surroundings<'_>) {
        while let Some(event) = self.quic.poll() {
            self.on_event(event, around);
        }
        if self.phase == Phase::Unconfirmed && self.quic.stats().frame_rx.handshake_done > 0 {
            self.phase = Phase::Open;
            around.events.push(Event::Confirmed { connection: self.key });
        }
        self.settle_sessions(around);
        self.read_lanes(around);
        if let Some((sessions, quic)) = self.sessions_and_quic() {
            sessions.sweep(quic);
        }
        self.end_http(around);
    }

    fn on_event(&mut self, event: QuicEvent, around: &mut Surroundings<'_>) {
        match event {
            QuicEvent::HandshakeDataReady => {}
            QuicEvent::Connected => self.on_connected(around),
            QuicEvent::ConnectionLost { reason } => {
                // What came before the end is still the owner's.
                while !self.readable.is_empty() {
                    self.read_lanes(around);
                }
                let reason = Lost::new(reason, self.tls_failure());
                self.on_lost(reason, around);
            }
            QuicEvent::DatagramReceived => self.on_datagram(around),
            QuicEvent::DatagramsUnblocked => {}
            QuicEvent::Stream(event) => self.on_stream(event, around),
        }
    }

    /// A stream that arrives before the handshake is complete can only be early data.
    fn on_early(&mut self, around: &mut Surroundings<'_>) {
        if self.phase != Phase::Handshake || !self.server {
            return;
        }
        self.choose_mode(around);
        // Only lanes and HTTP know what may be done twice. All else waits until the handshake is
        // complete.
        if matches!(self.incoming, Some(Incoming::Lanes { .. } | Incoming::Http(_))) {
            self.phase = Phase::Early;
            self.early = true;
            around.events.push(Event::Early { connection: self.key, incoming: true });
            self.begin_http(around);
        }
    }

    /// QUIC has forgotten all streams that were opened so far.
    fn on_early_rejected(&mut self, around: &mut Surroundings<'_>) {
        for (_, lane) in self.lanes.drain() {
            around.lanes.remove(lane.0);
        }
        self.readable.clear();
        self.writable.clear();
        self.ends.clear();
        around.events.push(Event::EarlyRejected { connection: self.key });
    }

    fn choose_mode(&mut self, around: &mut Surroundings<'_>) {
        if self.incoming.is_none() {
            self.incoming = self.alpn().and_then(|alpn| (around.modes)(&alpn).cloned());
        }
    }

    fn on_connected(&mut self, around: &mut Surroundings<'_>) {
        self.phase = if self.server { Phase::Open } else { Phase::Unconfirmed };
        self.handshake_deadline = None;
        self.choose_mode(around);
        if self.early_data() == EarlyData::Refused {
            self.on_early_rejected(around);
        }
        around.events.push(Event::Connected { connection: self.key, incoming: self.server });
        self.on_sessions_connected(around);
        self.begin_http(around);
        // Streams may have come in the same flight as the end of the handshake.
        self.accept_streams(Dir::Bi, around);
        self.accept_streams(Dir::Uni, around);
    }

    /// The end, whoever brought it: lanes go, and the owner is told once.
    pub(crate) fn on_lost(&mut self, reason: Lost, around: &mut Surroundings<'_>) {
        let before = std::mem::replace(&mut self.phase, Phase::Over);
        for (_, lane) in self.lanes.drain() {
            around.lanes.remove(lane.0);
        }
        self.readable.clear();
        self.writable.clear();
        self.handshake_deadline = None;
        self.lose_sessions(&reason, around);
        self.with_http(around.now, around.exchanges, around.events, |http, _, turn| {
            http.abandon(turn)
        });
        self.http = None;
        match before {
            Phase::Over => {}
            Phase::Handshake if self.server => {
                around.events.push(Event::HandshakeFailed { remote: self.remote, reason });
            }
            _ => around.events.push(Event::Lost { connection: self.key, reason }),
        }
    }

    fn on_datagram(&mut self, around: &mut Surroundings<'_>) {
        if matches!(self.incoming, Some(Incoming::Raw)) {
            around.events.push(Event::Datagram { connection: self.key });
            return;
        }
        while let Some(datagram) = self.quic.datagrams().recv() {
            if self.http.is_some() {
                self.with_http(around.now, around.exchanges, around.events, |http, quic, turn| {
                    http.on_datagram(datagram, quic, turn);
                });
                self.settle_sessions(around);
                continue;
            }
            let Some((stream, frame)) = datagram::split(&datagram) else { continue };
            // One that comes before its lane, or after its end, is as good as lost.
            if let Some(lane) = self.lanes.get(&stream) {
                around.events.push(Event::LaneDatagram { lane: *lane, frame: frame.to_vec() });
            }
        }
    }

    fn on_stream(&mut self, event: StreamEvent, around: &mut Surroundings<'_>) {
        if let StreamEvent::Opened { .. } = event {
            self.on_early(around);
        }
        let connection = match event {
            StreamEvent::Readable { id }
            | StreamEvent::Writable { id }
            | StreamEvent::Finished { id }
            | StreamEvent::Stopped { id, .. } => self.owner(id),
            StreamEvent::Opened { .. } | StreamEvent::Available { .. } => self.key,
        };
        if self.http.is_some() && connection == self.key {
            self.with_http(around.now, around.exchanges, around.events, |http, quic, turn| {
                http.on_stream(event, quic, turn);
            });
            self.settle_sessions(around);
            return;
        }
        match event {
            StreamEvent::Opened { dir } => self.accept_streams(dir, around),
            StreamEvent::Readable { id } => match self.lanes.get(&id) {
                Some(lane) => self.readable.push(*lane),
                None => around.events.push(Event::Readable { connection, stream: id }),
            },
            StreamEvent::Writable { id } => self.on_may_write(id, around),
            StreamEvent::Finished { id } => {
                around.events.push(Event::Finished { connection, stream: id });
            }
            StreamEvent::Stopped { id, error_code } => match self.lanes.get(&id) {
                Some(lane) => {
                    let end = LaneEnd::Stopped { code: error_code.into_inner() };
                    let end = lane_end(connection, end);
                    around.events.extend(end.map(|end| Event::LaneEnded { lane: *lane, end }));
                }
                None => around.events.push(Event::Writable { connection, stream: id }),
            },
            StreamEvent::Available { dir } => {
                around.events.push(Event::MayOpen { connection, dir });
            }
        }
    }

    fn accept_streams(&mut self, dir: Dir, around: &mut Surroundings<'_>) {
        if self.phase == Phase::Handshake {
            return;
        }
        if self.http.is_some() {
            self.with_http(around.now, around.exchanges, around.events, |http, quic, turn| {
                http.accept(dir, quic, turn);
            });
            self.settle_sessions(around);
            return;
        }
        while let Some(stream) = self.quic.streams().accept(dir) {
            match self.incoming {
                Some(Incoming::Raw) => {
                    around.events.push(Event::StreamOpened { connection: self.key, stream });
                }
                Some(Incoming::Lanes { msize }) if dir == Dir::Bi => {
                    let lane = self.add_lane(self.key, stream, msize, false, around.lanes);
                    around.events.push(Event::LaneOpened { connection: self.key, lane });
                }
                _ => {
                    let unwanted = code(jetstream_proto::codes::UNWANTED.into());
                    let _ = self.quic.recv_stream(stream).stop(unwanted);
                    if dir == Dir::Bi {
                        let _ = self.quic.send_stream(stream).reset(unwanted);
                    }
                }
            }
        }
    }
}

//! A client that holds the keys: its packets decrypt, and in them is whatever a test writes.

use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use quinn_proto::congestion::CubicConfig;
use quinn_proto::crypto::{
    ClientConfig, CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey,
    Session,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{
    ConnectError, ConnectionError, ConnectionHandle, ConnectionId, DatagramEvent, EndpointConfig,
    Side, TransportConfig, TransportError,
};

use crate::tls::ClientTls;

/// The next frame of an attack.
pub(super) type Frames = Box<dyn FnMut() -> Vec<u8> + Send>;

/// What is said in packets instead of what QUIC would say; `None` while the client is honest.
type Script = Arc<Mutex<Option<Frames>>>;

struct Forged {
    inner: Box<dyn PacketKey>,
    script: Script,
}

impl PacketKey for Forged {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        if let Some(next) = self.script.lock().unwrap().as_mut() {
            let end = buf.len() - self.inner.tag_len();
            let mut room = &mut buf[header_len..end];
            room.fill(0); // PADDING
            loop {
                let frame = next();
                if frame.is_empty() || frame.len() > room.len() {
                    break;
                }
                let (here, rest) = room.split_at_mut(frame.len());
                here.copy_from_slice(&frame);
                room = rest;
            }
        }
        self.inner.encrypt(packet, buf, header_len);
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        self.inner.decrypt(packet, header, payload)
    }

    fn tag_len(&self) -> usize {
        self.inner.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.inner.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.inner.integrity_limit()
    }
}

struct Forger {
    inner: Box<dyn Session>,
    script: Script,
}

impl Forger {
    fn forge(&self, mut keys: Keys) -> Keys {
        let honest = keys.packet.local;
        keys.packet.local = Box::new(Forged { inner: honest, script: self.script.clone() });
        keys
    }
}

impl Session for Forger {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.forge(self.inner.initial_keys(dst_cid, side))
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.inner.read_handshake(buf)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let keys = self.inner.write_handshake(buf)?;
        Some(self.forge(keys))
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        // Keys change every few hundred packets.
        let mut keys = self.inner.next_1rtt_keys()?;
        keys.local = Box::new(Forged { inner: keys.local, script: self.script.clone() });
        Some(keys)
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

struct Forging {
    inner: Arc<dyn ClientConfig>,
    script: Script,
}

impl ClientConfig for Forging {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let inner = self.inner.clone().start_session(version, server_name, params)?;
        Ok(Box::new(Forger { inner, script: self.script.clone() }))
    }
}

/// Anything but one of our endpoints: QUIC on a socket of its own.
pub(super) struct Attacker {
    socket: UdpSocket,
    endpoint: quinn_proto::Endpoint,
    handle: ConnectionHandle,
    pub(super) quic: quinn_proto::Connection,
    script: Script,
    pub(super) sent: usize,
    pub(super) received: usize,
    pub(super) lost: Option<ConnectionError>,
}

impl Attacker {
    pub(super) fn new(server: SocketAddr, tls: &ClientTls, script: Option<Frames>) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let script: Script = Arc::new(Mutex::new(script));
        let inner = tls.config(server, false).0;
        let mut config =
            quinn_proto::ClientConfig::new(Arc::new(Forging { inner, script: script.clone() }));
        let mut transport = TransportConfig::default();
        let mut congestion = CubicConfig::default();
        congestion.initial_window(1 << 30);
        transport.congestion_controller_factory(Arc::new(congestion));
        // Its own timers do not end it: it stops acknowledging while it attacks.
        transport.max_idle_timeout(None).mtu_discovery_config(None);
        config.transport_config(Arc::new(transport));
        let mut endpoint =
            quinn_proto::Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
        let (handle, quic) = endpoint.connect(Instant::now(), config, server, "localhost").unwrap();
        Self { socket, endpoint, handle, quic, script, sent: 0, received: 0, lost: None }
    }

    pub(super) fn turn(&mut self) {
        let mut buffer = [0; 65_535];
        while let Ok((size, from)) = self.socket.recv_from(&mut buffer) {
            self.received += 1;
            let data = BytesMut::from(&buffer[..size]);
            let mut answer = Vec::new();
            let event = self.endpoint.handle(Instant::now(), from, None, None, data, &mut answer);
            if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
                self.quic.handle_event(event);
            }
        }
        let now = Instant::now();
        if self.quic.poll_timeout().is_some_and(|due| due <= now) {
            self.quic.handle_timeout(now);
        }
        let mut out = Vec::new();
        while let Some(transmit) = self.quic.poll_transmit(now, 1, &mut out) {
            // A full socket loses a datagram, as any way does.
            let _ = self.socket.send_to(&out[..transmit.size], transmit.destination);
            self.sent += 1;
            out.clear();
        }
        while let Some(event) = self.quic.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                self.quic.handle_event(event);
            }
        }
        while let Some(event) = self.quic.poll() {
            if let quinn_proto::Event::ConnectionLost { reason } = event {
                self.lost = Some(reason);
            }
        }
    }

    /// From now on it says this.
    pub(super) fn say(&self, script: Frames) {
        *self.script.lock().unwrap() = Some(script);
    }

    /// A packet that is full, of frames of the script's.
    pub(super) fn shoot(&mut self) {
        let size = self.quic.datagrams().max_size().unwrap_or(1_000);
        let _ = self.quic.datagrams().send(Bytes::from(vec![0; size]), true);
    }
}

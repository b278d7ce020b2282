//! A client and a server endpoint in memory: no socket, and a clock that only the test moves.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Endpoint,
    EndpointConfig, Event, ServerConfig, Transmit, TransportErrorCode,
};
use rustls::pki_types::CertificateDer;

use crate::tls::{
    ClientTls, Diagnosis, HandshakeData, PeerRejection, ServerTls, TlsFailure, explain_close,
};

/// Where the server is, as the client remembers it.
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 4433);

/// One end of the pair.
struct End {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    inbox: VecDeque<Vec<u8>>,
    connected: bool,
    lost: Option<ConnectionError>,
}

/// What one end knows when nothing moves any more.
pub(crate) struct Outcome {
    pub(crate) connected: bool,
    pub(crate) lost: Option<ConnectionError>,
    pub(crate) failure: Option<TlsFailure>,
    pub(crate) data: Option<HandshakeData>,
    pub(crate) peer: Vec<CertificateDer<'static>>,
    /// Early data may be sent, or was.
    pub(crate) early: bool,
}

impl Outcome {
    pub(crate) fn resumed(&self) -> bool {
        assert!(self.connected && self.lost.is_none(), "{:?}", self.lost);
        self.data.as_ref().unwrap().resumed
    }

    /// What the peer's close frame said, made readable.
    pub(crate) fn rejection(&self) -> PeerRejection {
        match &self.lost {
            Some(ConnectionError::ConnectionClosed(close)) => {
                explain_close(close.error_code, &close.reason).unwrap()
            }
            other => panic!("not closed by the peer: {other:?}"),
        }
    }

    pub(crate) fn local_code(&self) -> TransportErrorCode {
        match &self.lost {
            Some(ConnectionError::TransportError(error)) => error.code,
            other => panic!("not closed by us: {other:?}"),
        }
    }
}

impl End {
    fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, connection: None, inbox: VecDeque::new(), connected: false, lost: None }
    }

    fn receive(&mut self, from: SocketAddr, now: Instant, out: &mut VecDeque<Vec<u8>>) {
        while let Some(datagram) = self.inbox.pop_front() {
            let mut buffer = Vec::new();
            let data = BytesMut::from(&datagram[..]);
            let handled = self.endpoint.handle(now, from, None, None, data, &mut buffer);
            match handled {
                Some(DatagramEvent::ConnectionEvent(_, event)) => {
                    if let Some((_, connection)) = self.connection.as_mut() {
                        connection.handle_event(event);
                    }
                }
                Some(DatagramEvent::NewConnection(incoming)) => {
                    match self.endpoint.accept(incoming, now, &mut buffer, None) {
                        Ok(accepted) => self.connection = Some(accepted),
                        Err(error) => {
                            self.lost = Some(error.cause);
                            out.extend(error.response.map(|t| sent(&t, &buffer)));
                        }
                    }
                }
                Some(DatagramEvent::Response(t)) => out.push_back(sent(&t, &buffer)),
                None => {}
            }
        }
    }

    fn drive(&mut self, now: Instant, out: &mut VecDeque<Vec<u8>>) {
        let Some((handle, connection)) = self.connection.as_mut() else {
            return;
        };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while let Some(event) = connection.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason } => self.lost = Some(reason),
                _ => {}
            }
        }
        let mut buffer = Vec::new();
        while let Some(transmit) = connection.poll_transmit(now, 1, &mut buffer) {
            out.push_back(sent(&transmit, &buffer));
            buffer.clear();
        }
    }

    fn outcome(self, diagnosis: Option<Diagnosis>) -> Outcome {
        let session = self.connection.as_ref().map(|(_, c)| c.crypto_session());
        let data = session
            .and_then(|session| session.handshake_data())
            .and_then(|data| data.downcast::<HandshakeData>().ok().map(|data| *data));
        let peer = session
            .and_then(|session| session.peer_identity())
            .map(|chain| *chain.downcast::<Vec<CertificateDer<'static>>>().unwrap());
        let diagnosis = diagnosis.or_else(|| data.as_ref().map(|data| data.diagnosis.clone()));
        Outcome {
            connected: self.connected,
            lost: self.lost,
            failure: diagnosis.and_then(|diagnosis| diagnosis.failure()),
            early: self.connection.as_ref().is_some_and(|(_, c)| c.has_0rtt()),
            data,
            peer: peer.unwrap_or_default(),
        }
    }
}

fn sent(transmit: &Transmit, buffer: &[u8]) -> Vec<u8> {
    assert_eq!(transmit.segment_size, None);
    buffer[..transmit.size].to_vec()
}

/// Connects once, as `name`, until nothing moves any more: what the client and the server know.
pub(crate) fn shake(client: &ClientTls, server: &Arc<ServerTls>, name: &str) -> (Outcome, Outcome) {
    let (crypto, diagnosis) = client.config(SERVER, false);
    shake_with(crypto, Some(diagnosis), server, name)
}

/// As `shake`, with early data if there is a ticket for it.
pub(crate) fn shake_early(client: &ClientTls, server: &Arc<ServerTls>) -> (Outcome, Outcome) {
    let (crypto, diagnosis) = client.config(SERVER, true);
    shake_with(crypto, Some(diagnosis), server, "localhost")
}

/// As `shake`, with a client of any make.
pub(crate) fn shake_with(
    crypto: Arc<dyn quinn_proto::crypto::ClientConfig>,
    diagnosis: Option<Diagnosis>,
    server: &Arc<ServerTls>,
    name: &str,
) -> (Outcome, Outcome) {
    let now = Instant::now();
    let config = Arc::new(EndpointConfig::default());
    let server_config = ServerConfig::with_crypto(server.clone());
    let server_end = Endpoint::new(config.clone(), Some(Arc::new(server_config)), false, None);
    let mut there = End::new(server_end);
    let mut here = End::new(Endpoint::new(config, None, false, None));
    let client_address = SocketAddr::from((Ipv6Addr::LOCALHOST, 5544));
    let config = ClientConfig::new(crypto);
    let started = here.endpoint.connect(now, config, SERVER, name);
    here.connection = Some(started.unwrap());
    for _ in 0..100 {
        here.drive(now, &mut there.inbox);
        if there.inbox.is_empty() {
            break;
        }
        there.receive(client_address, now, &mut here.inbox);
        there.drive(now, &mut here.inbox);
        here.receive(SERVER, now, &mut there.inbox);
    }
    let mut there = there.outcome(None);
    if there.data.is_none() {
        there.failure = server.last_failure();
    }
    (here.outcome(diagnosis), there)
}

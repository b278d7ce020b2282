//! TLS 1.3 over an ordered stream of bytes, with the verifiers and the readable failures of QUIC's.
//!
//! An alert carries no text, so a peer that we refuse learns the alert alone. And TLS has no word for
//! "your certificate is accepted", as QUIC has HANDSHAKE_DONE: our servers send one session ticket,
//! which comes only after the client's certificate was looked at (RFC 8446, section 4.6.1). It can
//! never be used: nothing is resumed here, every connection proves its certificates anew.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

use quinn_proto::{Side, TransportErrorCode};
use rustls::pki_types::ServerName;
use rustls::server::StoresServerSessions;
use rustls::{
    AlertDescription, ClientConnection, Connection, Error, ServerConfig, ServerConnection,
};

use super::diagnosis::Diagnosis;
use super::explain::explain_close;
use super::failure::FailureKind;
use super::server::ServerTls;
use super::{ClientTls, TlsFailure};
use crate::event::Lost;

/// The name of HTTP/1.1, which is also spoken with those who name nothing.
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// The name of HTTP/2.
pub(crate) const HTTP2: &[u8] = b"h2";

/// What a server's TLS is over streams.
pub(super) fn server_config(quic: &ServerConfig) -> ServerConfig {
    let mut tls = quic.clone();
    tls.session_storage = Arc::new(Forgetful);
    tls.send_tls13_tickets = 1;
    tls.max_early_data_size = 0;
    tls
}

/// Has tickets sent and knows none of them.
#[derive(Debug)]
struct Forgetful;

impl StoresServerSessions for Forgetful {
    fn put(&self, _key: Vec<u8>, _value: Vec<u8>) -> bool {
        true
    }

    fn get(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        false
    }
}

/// Makes the sessions of a server.
#[derive(Clone)]
pub(crate) struct StreamAcceptor {
    config: Arc<ServerConfig>,
    alpns: Arc<[Vec<u8>]>,
    /// HTTP is spoken, also with clients that name no protocol.
    http: bool,
}

impl StreamAcceptor {
    /// Speaks those of the server's protocols that are in `alpns`; with `http`, HTTP/1.1 with
    /// clients that name none, provided that it is among them.
    pub(crate) fn new(tls: &ServerTls, alpns: &[Vec<u8>], http: bool) -> Self {
        let mut config = tls.streams.clone();
        config.alpn_protocols.retain(|alpn| alpns.contains(alpn));
        let alpns = config.alpn_protocols.clone().into();
        Self { config: Arc::new(config), alpns, http }
    }

    /// The same protocols with another TLS.
    pub(crate) fn renewed(&self, tls: &ServerTls) -> Self {
        Self::new(tls, &self.alpns, self.http)
    }

    pub(crate) fn accept(&self) -> Result<StreamTls, Lost> {
        let inner = ServerConnection::new(self.config.clone()).map_err(|error| broken(&error))?;
        let diagnosis = Diagnosis::default();
        let alpns = self.alpns.clone();
        let mut tls = StreamTls::new(Connection::Server(inner), Side::Client, alpns, diagnosis);
        tls.nameless = self.http && self.alpns.iter().any(|alpn| alpn == HTTP1);
        Ok(tls)
    }
}

/// One TLS session over a stream. It owns no socket: bytes are put in and taken out.
pub(crate) struct StreamTls {
    inner: Connection,
    /// Which side the peer is.
    peer: Side,
    alpns: Arc<[Vec<u8>]>,
    /// A client may name no protocol.
    nameless: bool,
    /// Kept until the handshake is over.
    diagnosis: Option<Diagnosis>,
}

impl fmt::Debug for StreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamTls").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl StreamTls {
    fn new(inner: Connection, peer: Side, alpns: Arc<[Vec<u8>]>, diagnosis: Diagnosis) -> Self {
        let mut inner = inner;
        // Whoever writes bounds what is put in.
        inner.set_buffer_limit(None);
        Self { inner, peer, alpns, nameless: false, diagnosis: Some(diagnosis) }
    }

    /// A client's session with the server of that name.
    pub(crate) fn connect(tls: &ClientTls, name: &ServerName<'static>) -> Result<Self, Lost> {
        let diagnosis = Diagnosis::default();
        diagnosis.set_asked(&name.to_str());
        let inner = ClientConnection::new(tls.inner.clone(), name.clone());
        let inner = inner.map_err(|error| broken(&error))?;
        Ok(Self::new(Connection::Client(inner), Side::Server, tls.alpns().into(), diagnosis))
    }

    /// Takes bytes that arrived; what they decrypt to goes to `sink` as long as that takes it.
    ///
    /// # Errors
    /// The session is over: an alert may be waiting to be sent.
    pub(crate) fn read(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(), Lost> {
        while !bytes.is_empty() {
            let taken = self.inner.read_tls(&mut bytes);
            if taken.map_err(|error| Lost::Broken { reason: error.to_string() })? == 0 {
                // Behind its close_notify a peer has nothing to say.
                return Ok(());
            }
            let inner = &mut self.inner;
            let outcome = match &self.diagnosis {
                Some(diagnosis) => diagnosis.during(|| inner.process_new_packets()),
                None => inner.process_new_packets(),
            };
            let outcome = outcome.map(drop);
            let mut reader = self.inner.reader();
            // No bytes, the end, and an error are all told elsewhere.
            while let Ok(plain @ [_, ..]) = reader.fill_buf() {
                let length = plain.len();
                sink(plain);
                reader.consume(length);
            }
            outcome.map_err(|error| self.readable(&error))?;
        }
        Ok(())
    }

    /// What an error of TLS means.
    fn readable(&self, error: &Error) -> Lost {
        if let Error::AlertReceived(alert) = error {
            let code = TransportErrorCode::crypto(u8::from(*alert));
            if let Some(rejection) = explain_close(code, b"") {
                return Lost::Rejected(rejection);
            }
        }
        let Some(diagnosis) = &self.diagnosis else { return broken(error) };
        let (kind, alert) = match error {
            Error::NoApplicationProtocol => {
                (self.no_protocol(diagnosis), Some(AlertDescription::NoApplicationProtocol))
            }
            Error::NoCertificatesPresented => {
                (FailureKind::NoCertificate, Some(AlertDescription::CertificateRequired))
            }
            other => (FailureKind::Other(other.to_string()), None),
        };
        // If a verifier already wrote down why, that stands.
        diagnosis.fail(self.peer, kind);
        diagnosis.set_alert(alert.map(u8::from));
        match diagnosis.failure() {
            Some(failure) => Lost::Tls(Box::new(failure)),
            None => broken(error),
        }
    }

    fn no_protocol(&self, diagnosis: &Diagnosis) -> FailureKind {
        FailureKind::NoSharedProtocol { ours: self.alpns.to_vec(), theirs: diagnosis.hello().1 }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    /// The handshake is over. Unlike QUIC's, TLS over a stream lets peers agree on no protocol.
    ///
    /// # Errors
    /// They did, and HTTP/1.1, which needs no name (RFC 7301, section 3.1), is not spoken.
    pub(crate) fn settle(&mut self) -> Result<(), Box<TlsFailure>> {
        let Some(diagnosis) = self.diagnosis.take() else { return Ok(()) };
        if self.nameless || self.inner.alpn_protocol().is_some() {
            return Ok(());
        }
        diagnosis.fail(self.peer, self.no_protocol(&diagnosis));
        diagnosis.failure().map_or(Ok(()), |failure| Err(Box::new(failure)))
    }

    /// Whether the server has said anything that it says only to those whom it has accepted.
    pub(crate) fn is_confirmed(&self) -> bool {
        match &self.inner {
            Connection::Client(client) => client.tls13_tickets_received() > 0,
            Connection::Server(_) => true,
        }
    }

    pub(crate) fn alpn(&self) -> Option<Vec<u8>> {
        self.inner.alpn_protocol().map(<[u8]>::to_vec)
    }

    /// The cipher suite that was agreed on, as IANA numbers them.
    pub(crate) fn cipher_suite(&self) -> Option<u16> {
        self.inner.negotiated_cipher_suite().map(|suite| suite.suite().into())
    }

    /// The peer's certificates in DER, its own first; empty if it showed none.
    pub(crate) fn peer_chain(&self) -> Vec<Vec<u8>> {
        let chain = self.inner.peer_certificates().unwrap_or_default();
        chain.iter().map(|der| der.to_vec()).collect()
    }

    /// Encrypts; [`StreamTls::write_to`] sends it.
    pub(crate) fn encrypt(&mut self, plain: &[u8]) -> io::Result<()> {
        self.inner.writer().write_all(plain)
    }

    /// Whether something encrypted is waiting to be sent.
    pub(crate) fn wants_write(&self) -> bool {
        self.inner.wants_write()
    }

    /// Sends what one call takes.
    pub(crate) fn write_to(&mut self, socket: &mut dyn Write) -> io::Result<usize> {
        self.inner.write_tls(socket)
    }

    /// Says that nothing more follows.
    pub(crate) fn close(&mut self) {
        self.inner.send_close_notify();
    }

    /// Whether the peer has said that nothing more follows.
    pub(crate) fn is_closed(&mut self) -> bool {
        // A reader that is empty tells the end from a pause by its error.
        matches!(self.inner.reader().fill_buf(), Ok([]))
    }
}

fn broken(error: &Error) -> Lost {
    Lost::Broken { reason: format!("TLS failed: {error}") }
}

//! A TLS session of `quinn-proto` whose failures are readable.
//!
//! Everything is delegated to the rustls session. Only when reading the handshake fails, the
//! reason of the `TransportError`, which travels to the peer in the close frame, becomes the line
//! of [`TlsFailure::reason`](super::TlsFailure::reason); the alert stays as it was.
//!
//! And a resumed session is looked at once more: see [`TlsSession::after_reading`].

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::rustls::HandshakeData as RustlsHandshakeData;
use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::pki_types::CertificateDer;

use super::diagnosis::Diagnosis;
use super::failure::FailureKind;
use super::text;
use super::verify::ClientVerifier;
use super::visits::Visit;

/// What a handshake showed: the `Any` behind `crypto_session().handshake_data()`. Always there,
/// also before the handshake got anywhere and after it failed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HandshakeData {
    /// The application protocol, once it is chosen.
    pub alpn: Option<Vec<u8>>,
    /// The name that the client asked for (SNI), on the server.
    pub server_name: Option<String>,
    /// The application protocols that the client offered, in its order and at most
    /// [`MAX_OFFERED_PROTOCOLS`](super::MAX_OFFERED_PROTOCOLS) of them; on the client our own.
    pub client_alpns: Vec<Vec<u8>>,
    /// The cipher suite that is agreed on, as IANA numbers them; on the server.
    pub cipher_suite: Option<u16>,
    /// Whether an earlier session is resumed.
    pub resumed: bool,
    /// Why our side ended the handshake, if it did.
    pub diagnosis: Diagnosis,
}

/// What becomes of a session that has come so far.
pub(super) enum Next {
    /// The client's: the server's chain is kept for the tickets that follow.
    Visit(Arc<Visit>),
    /// The server's: a client that resumes is checked; `None` where clients show no certificates.
    Tickets(Option<Arc<ClientVerifier>>),
}

/// Alerts that name their reason by themselves (RFC 8446 section 6.2).
const ACCESS_DENIED: u8 = 49;
const CERTIFICATE_REQUIRED: u8 = 116;
const NO_APPLICATION_PROTOCOL: u8 = 120;

pub(super) struct TlsSession {
    inner: Box<dyn Session>,
    /// Which side the peer is.
    peer: Side,
    alpns: Arc<[Vec<u8>]>,
    diagnosis: Diagnosis,
    /// `None` once the handshake is over.
    next: Option<Next>,
}

impl TlsSession {
    pub(super) fn new(
        inner: Box<dyn Session>,
        alpns: Arc<[Vec<u8>]>,
        diagnosis: Diagnosis,
        next: Next,
    ) -> Self {
        let peer = match next {
            Next::Visit(_) => Side::Server,
            Next::Tickets(_) => Side::Client,
        };
        Self { inner, peer, alpns, diagnosis, next: Some(next) }
    }

    /// Does what rustls leaves to us when a step of the handshake went well.
    ///
    /// A ticket is found and judged within the step that reads the client's first message. If the
    /// step went well, the client holds the secret of that session, so the user's check may see it,
    /// and must before any of the early data.
    fn after_reading(&mut self) -> Result<(), TransportError> {
        let Some(next) = &self.next else { return Ok(()) };
        if let (Next::Tickets(verifier), Some(chain)) = (next, self.diagnosis.take_ticket()) {
            if chain.is_empty() || self.inner.peer_identity().is_some() {
                let checked = verifier.as_ref().map_or(Ok(()), |verifier| verifier.check(&chain));
                if let Err(failure) = checked {
                    self.diagnosis.fail_with(*failure);
                    let code = TransportErrorCode::crypto(ACCESS_DENIED);
                    return Err(TransportError { code, frame: None, reason: String::new() });
                }
            } else {
                self.diagnosis.not_resumed();
            }
        }
        if !self.inner.is_handshaking() {
            if let Next::Visit(visit) = next {
                visit.set_chain(self.chain().into());
            }
            self.diagnosis.settle();
            self.next = None;
        }
        Ok(())
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = self.inner.peer_identity().and_then(|chain| chain.downcast().ok());
        chain.map(|chain| *chain).unwrap_or_default()
    }

    fn readable(&self, error: TransportError) -> TransportError {
        let alert = super::alert_of(error.code);
        let kind = match alert {
            Some(NO_APPLICATION_PROTOCOL) => FailureKind::NoSharedProtocol {
                ours: self.alpns.to_vec(),
                theirs: self.diagnosis.hello().1,
            },
            Some(CERTIFICATE_REQUIRED) => FailureKind::NoCertificate,
            _ => {
                // `quinn-proto` puts this before errors that have no alert.
                let said = error.reason.strip_prefix("TLS error: ");
                FailureKind::Other(said.unwrap_or(&error.reason).to_owned())
            }
        };
        // If a verifier already wrote down why, that stands.
        self.diagnosis.fail(self.peer, kind);
        self.diagnosis.set_alert(alert);
        let reason = match self.diagnosis.failure() {
            Some(failure) => failure.reason(),
            None => text::reason(&error.reason),
        };
        TransportError { reason, ..error }
    }
}

impl Session for TlsSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let inner = self.inner.handshake_data();
        let alpn = inner
            .and_then(|data| data.downcast::<RustlsHandshakeData>().ok())
            .and_then(|data| data.protocol);
        let (server_name, mut client_alpns) = self.diagnosis.hello();
        if self.peer == Side::Server {
            client_alpns = self.alpns.to_vec();
        }
        Some(Box::new(HandshakeData {
            alpn,
            server_name,
            client_alpns,
            cipher_suite: self.diagnosis.cipher_suite(),
            resumed: self.diagnosis.is_resumed(),
            diagnosis: self.diagnosis.clone(),
        }))
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
        let diagnosis = self.diagnosis.clone();
        let inner = &mut self.inner;
        let outcome = diagnosis.during(|| inner.read_handshake(buf));
        let outcome = outcome.and_then(|news| self.after_reading().map(|()| news));
        outcome.map_err(|error| self.readable(error))
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.inner.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
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

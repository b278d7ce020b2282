//! A TLS session of `quinn-proto` whose failures are readable.
//!
//! Everything is delegated to the rustls session. Only when reading the handshake fails, the
//! reason of the `TransportError`, which travels to the peer in the close frame, becomes the line
//! of [`TlsFailure::reason`](super::TlsFailure::reason); the alert stays as it was.

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::rustls::HandshakeData as RustlsHandshakeData;
use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError};

use super::diagnosis::Diagnosis;
use super::failure::FailureKind;
use super::text;

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
    /// Why our side ended the handshake, if it did.
    pub diagnosis: Diagnosis,
}

/// Alerts that name their reason by themselves (RFC 8446 section 6.2).
const CERTIFICATE_REQUIRED: u8 = 116;
const NO_APPLICATION_PROTOCOL: u8 = 120;

pub(super) struct TlsSession {
    inner: Box<dyn Session>,
    /// Which side the peer is.
    peer: Side,
    alpns: Arc<[Vec<u8>]>,
    diagnosis: Diagnosis,
}

impl TlsSession {
    pub(super) fn new(
        inner: Box<dyn Session>,
        peer: Side,
        alpns: Arc<[Vec<u8>]>,
        diagnosis: Diagnosis,
    ) -> Self {
        Self { inner, peer, alpns, diagnosis }
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

//! The verifiers that rustls calls: webpki or the platform decides, we write down why.
//!
//! The order for a peer's chain: its size, whether the leaf can be read, the roots (with names,
//! times, uses and revocation), then the signature over the handshake, which proves that the peer
//! holds the key, and only then the user's own check. That check therefore never sees a chain
//! that somebody merely copied. When a session is resumed, holding its secret is that proof, and
//! all the rest is verified anew, as of now: rustls itself would verify nothing.

use std::fmt;
use std::sync::Arc;

use quinn_proto::Side;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::PeerCheck;
use super::diagnosis::Diagnosis;
use super::failure::{FailureKind, TlsFailure, issuer_text};
use super::rollover;
use crate::identity::{self, Certificate, MAX_CHAIN_CERTIFICATES};

/// What both directions have in common.
struct Judge {
    peer: Side,
    algorithms: WebPkiSupportedAlgorithms,
    check: Option<PeerCheck>,
    /// Bytes of all certificates of a peer together.
    max_chain: usize,
}

impl Judge {
    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        verify: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let diagnosis = Diagnosis::current();
        let all: Vec<CertificateDer<'_>> =
            std::iter::once(leaf).chain(intermediates).cloned().collect();
        let read = identity::check_chain_size(&all, self.max_chain);
        let certificate = read.and_then(|()| identity::parse(leaf)).map_err(|error| {
            let mut what = error.to_string();
            if matches!(error, identity::CertificateError::TooLarge { .. }) {
                what.push_str("; the setting is Limits(max_chain=...)");
            }
            diagnosis.fail(self.peer, FailureKind::Malformed(what));
            Error::InvalidCertificate(CertificateError::BadEncoding)
        })?;
        let outcome = verify();
        let kind = outcome.as_ref().err().map(|error| {
            let top = top_issuer(&certificate, intermediates);
            FailureKind::of_error(error, &certificate, top)
        });
        let owned = all.into_iter().map(CertificateDer::into_owned).collect();
        diagnosis.set_presented(Box::new(certificate), owned);
        if let Some(kind) = kind {
            diagnosis.fail(self.peer, kind);
        }
        outcome
    }

    fn signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let diagnosis = Diagnosis::current();
        let valid = verify_tls13_signature(message, leaf, signature, &self.algorithms);
        let valid = valid.inspect_err(|error| {
            let kind = match error {
                Error::InvalidCertificate(CertificateError::BadSignature) => {
                    FailureKind::BadSignature { handshake: true }
                }
                other => FailureKind::Unacceptable(other.to_string()),
            };
            diagnosis.fail(self.peer, kind);
        })?;
        self.check(&diagnosis.chain()).map_err(|kind| {
            diagnosis.fail(self.peer, kind);
            Error::from(CertificateError::ApplicationVerificationFailure)
        })?;
        diagnosis.accepted();
        Ok(valid)
    }

    /// Asks the user. No lock is held here: the check is the user's code.
    fn check(&self, chain: &[CertificateDer<'_>]) -> Result<(), FailureKind> {
        match &self.check {
            Some(check) => check(chain).map_err(FailureKind::Refused),
            None => Ok(()),
        }
    }

    /// What `verify` notes of a chain outside of a handshake.
    fn outside(
        &self,
        asked: Option<&str>,
        verify: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Box<TlsFailure>> {
        let notes = Diagnosis::default();
        if let Some(asked) = asked {
            notes.set_asked(asked);
        }
        let Err(error) = notes.during(verify) else { return Ok(()) };
        // The verifiers write down what they do not accept.
        notes.fail(self.peer, FailureKind::Unacceptable(error.to_string()));
        notes.failure().map_or(Ok(()), |failure| Err(Box::new(failure)))
    }

    /// The failure of a chain that has been read before.
    fn failure(&self, chain: &[CertificateDer<'_>], kind: FailureKind) -> Box<TlsFailure> {
        let leaf = chain.first().and_then(|leaf| identity::parse(leaf).ok());
        Box::new(TlsFailure { presented: leaf.map(Box::new), ..TlsFailure::of(self.peer, kind) })
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("peer", &self.peer)
            .field("check", &self.check.is_some())
            .finish_non_exhaustive()
    }
}

/// Follows the issuers upwards within what was presented, and names the one at which it ends.
fn top_issuer(leaf: &Certificate, intermediates: &[CertificateDer<'_>]) -> String {
    let readable = intermediates.iter().filter_map(|der| identity::parse(der).ok());
    let above: Vec<Certificate> = readable.collect();
    let mut at = leaf;
    for _ in 0..MAX_CHAIN_CERTIFICATES {
        match above.iter().find(|candidate| candidate.subject == at.issuer) {
            Some(next) if next.der != at.der && !at.is_self_issued() => at = next,
            _ => break,
        }
    }
    issuer_text(at)
}

/// TLS 1.2 is not offered, so its signatures cannot occur.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("only TLS 1.3 is spoken here".to_owned()))
}

/// Verifies servers, on the client.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    judge: Judge,
    /// One of these accepts; see `rollover`. `None`: any chain.
    roots: Option<Vec<Arc<dyn ServerCertVerifier>>>,
}

impl ServerVerifier {
    pub(super) fn new(
        roots: Option<Vec<Arc<dyn ServerCertVerifier>>>,
        algorithms: WebPkiSupportedAlgorithms,
        check: Option<PeerCheck>,
        max_chain: usize,
    ) -> Self {
        let peer = Side::Server;
        let judge = Judge { peer, algorithms, check, max_chain };
        Self { judge, roots }
    }

    /// Whether a server that proved `chain` before would be accepted as `name` at `now`.
    pub(super) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Box<TlsFailure>> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(self.judge.failure(chain, FailureKind::NoCertificate));
        };
        self.judge.outside(Some(&name.to_str()), || {
            self.verify_server_cert(leaf, intermediates, name, &[], now).map(drop)
        })?;
        self.judge.check(chain).map_err(|kind| self.judge.failure(chain, kind))
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge.chain(leaf, intermediates, || match &self.roots {
            Some(roots) => rollover::any(roots, |roots| {
                roots
                    .verify_server_cert(leaf, intermediates, server_name, ocsp_response, now)
                    .map(drop)
            }),
            None => Ok(()),
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.algorithms.supported_schemes()
    }
}

/// Verifies clients, on the server.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    judge: Judge,
    /// One of these accepts; see `rollover`. `None`: any chain, the check decides.
    roots: Option<Vec<Arc<dyn ClientCertVerifier>>>,
    /// The names of all roots.
    hints: Vec<DistinguishedName>,
    required: bool,
}

impl ClientVerifier {
    pub(super) fn new(
        roots: Option<Vec<Arc<dyn ClientCertVerifier>>>,
        hints: Vec<DistinguishedName>,
        algorithms: WebPkiSupportedAlgorithms,
        check: Option<PeerCheck>,
        max_chain: usize,
        required: bool,
    ) -> Self {
        let peer = Side::Client;
        let judge = Judge { peer, algorithms, check, max_chain };
        Self { judge, roots, hints, required }
    }

    /// Whether a client that proved `chain` before, or nothing, has what is asked for at `now`;
    /// all but the user's own check.
    pub(super) fn trusts(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Box<TlsFailure>> {
        match chain.split_first() {
            Some((leaf, intermediates)) => self
                .judge
                .outside(None, || self.verify_client_cert(leaf, intermediates, now).map(drop)),
            None if self.required => Err(self.judge.failure(chain, FailureKind::NoCertificate)),
            None => Ok(()),
        }
    }

    /// The user's own check, of a chain that was proved; nobody is checked who showed none.
    pub(super) fn check(&self, chain: &[CertificateDer<'_>]) -> Result<(), Box<TlsFailure>> {
        if chain.is_empty() {
            return Ok(());
        }
        self.judge.check(chain).map_err(|kind| self.judge.failure(chain, kind))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge.chain(leaf, intermediates, || match &self.roots {
            Some(roots) => rollover::any(roots, |roots| {
                roots.verify_client_cert(leaf, intermediates, now).map(drop)
            }),
            None => Ok(()),
        })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.algorithms.supported_schemes()
    }
}

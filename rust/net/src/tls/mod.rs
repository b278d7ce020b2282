//! Mutual TLS 1.3 for QUIC: our identity, whom we trust, and readable reasons when it fails.
//!
//! [`server`] and [`client`] turn options into what `quinn-proto` takes. Underneath is rustls with
//! the `ring` provider, passed explicitly; a provider that somebody else installed for the process
//! is never looked at.
//!
//! **Resumption.** A client that comes back resumes its last session by a ticket and is spared the
//! certificates' way and signatures. rustls takes that for a continuation and verifies nothing, so a
//! client that was revoked would come back in. Here the chain of that session is verified again, as
//! of now and by the trust of now, on both sides, before the session is taken up: the times, the
//! roots, the revocation lists and the user's own check. If it fails, there is a full handshake,
//! where the peer may show a better certificate, or is refused with the reason. Tickets are kept in
//! memory, bounded, and each is good for one visit: `tickets` on the server, `visits` on the client.
//!
//! **Early data** is what such a client sends in its first flight. Somebody who saw the flight can
//! send it once more. Since a ticket is good for one visit, the copy is not accepted by a server
//! that has seen the original; but if the copy came first, its data is run, and the original falls
//! back to a full handshake and sends its data again. So early data must only do what may be done
//! twice; what that is, the layers above know.
//!
//! **Revocation lists.** Once a list is given, every certificate of the chain below the root must
//! be covered by one of its issuer, and the lists must be current (`nextUpdate`): a chain of
//! unknown status is rejected, not waved through, as OpenSSL and nginx do it too.
//!
//! **What the peer learns** when it is turned away is one line of at most [`MAX_REASON_BYTES`]
//! bytes beside the alert: what was wrong with what it sent itself, or which protocols we speak.
//! In TLS 1.3 a client's handshake is complete before the server has looked at its certificate;
//! such a client sees a connection that is established and closed by the peer right after. What
//! the peer's close frame says is made readable by [`explain_close`].

mod client;
mod config;
mod diagnosis;
mod explain;
mod failure;
pub mod material;
mod rollover;
mod server;
mod session;
mod stream;
mod suspicion;
mod text;
mod tickets;
mod verify;
mod visits;

use std::fmt;
use std::sync::Arc;

use quinn_proto::TransportErrorCode;
use rustls::pki_types::PrivateKeyDer;
pub use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

pub use client::{ClientOptions, ClientTls, Trust, client};
pub use config::ConfigError;
pub use diagnosis::Diagnosis;
pub use explain::{PeerRejection, explain_close, printable_reason};
pub use failure::{FailureKind, TlsFailure};
pub use server::{
    ClientAuth, MAX_OFFERED_PROTOCOLS, ServerOptions, ServerTls, server, server_after,
};
pub use session::HandshakeData;
pub(crate) use stream::{HTTP1, HTTP2, StreamAcceptor, StreamTls};
pub use text::MAX_REASON_BYTES;

/// A certificate of our own with its key.
pub struct Identity {
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of the leaf.
    pub key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leaf = self.chain.first().map(|der| crate::identity::parse(der));
        f.debug_struct("Identity").field("leaf", &leaf).finish_non_exhaustive()
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// A check of the user's own: gets the chain (DER, leaf first) and refuses with a reason, which
/// the peer will read.
///
/// It is called synchronously inside the handshake, after everything else was verified and after
/// the peer proved that it holds the key of the leaf. The leaf can be read by
/// [`identity::parse`](crate::identity::parse).
pub type PeerCheck = Arc<dyn Fn(&[CertificateDer<'_>]) -> Result<(), String> + Send + Sync>;

/// What time it is: for certificates, revocation lists and tickets.
pub type Clock = Arc<dyn TimeProvider>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(DefaultTimeProvider)
}

/// The TLS alert within a QUIC error code (RFC 9001 section 4.8): 0x0100 plus the alert.
fn alert_of(code: TransportErrorCode) -> Option<u8> {
    match u64::from(code) {
        code @ 0x100..=0x1ff => u8::try_from(code - 0x100).ok(),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! What server and client share when options become a configuration, and what can be wrong with
//! the options.

use std::sync::Arc;

use quinn_proto::Side;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::VerifierBuilderError;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use super::failure::{FailureKind, TlsFailure};
use super::{Clock, Identity};
use crate::identity::{self, CertificateError, MAX_CHAIN_BYTES};

/// Why options do not make a configuration. Each says which input is wrong.
///
/// A certificate that is expired or not yet valid is no such error: whether it is valid is for
/// the peer to judge, at the time of the handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The identity has no certificate.
    #[error("the identity holds no certificate")]
    NoCertificate,
    /// A certificate of the identity cannot be used.
    #[error("certificate {position} of the identity's chain cannot be used: {reason}")]
    BadCertificate {
        /// Which one, counted from 1 (the leaf).
        position: usize,
        /// Why not.
        reason: String,
    },
    /// The identity's chain is too large.
    #[error("the identity's chain cannot be used: {0}")]
    BadChain(CertificateError),
    /// The identity's private key cannot be used.
    #[error(
        "the private key cannot be used: {0} (supported: RSA from 2048 bits, ECDSA P-256 and \
         P-384, Ed25519)"
    )]
    UnsupportedKey(String),
    /// Certificate and private key do not belong together.
    #[error("the private key does not belong to the certificate \"{subject}\"")]
    KeyMismatch {
        /// The subject of the certificate.
        subject: String,
    },
    /// A list of roots without a root.
    #[error("the roots for {whom} are empty: nobody would be trusted")]
    NoRoots {
        /// Whom the roots are for.
        whom: &'static str,
    },
    /// A root is not a certificate.
    #[error("root {position} for {whom} cannot be used: {reason}")]
    BadRoot {
        /// Whom the roots are for.
        whom: &'static str,
        /// Which one, counted from 1.
        position: usize,
        /// Why not.
        reason: String,
    },
    /// The system's roots cannot be loaded.
    #[error("the system's trusted roots cannot be used: {0}")]
    SystemRoots(String),
    /// A revocation list cannot be used.
    #[error("revocation list {position} cannot be used: {reason}")]
    BadCrl {
        /// Which one, counted from 1.
        position: usize,
        /// Why not.
        reason: String,
    },
    /// Revocation lists without roots of our own to check them by.
    #[error("revocation lists need roots to be given explicitly: {0}")]
    CrlsWithoutRoots(&'static str),
    /// Clients are asked for certificates, and nothing says which to accept.
    #[error(
        "client certificates are asked for, but nothing says which to accept: give client roots \
         or a check"
    )]
    NoClientTrust,
    /// Something says which client certificates to accept, and none are asked for.
    #[error("{0} would not be used: client authentication is off")]
    ClientTrustUnused(&'static str),
    /// No application protocol.
    #[error("no application protocol (ALPN) is given, and QUIC needs one")]
    NoProtocols,
    /// An application protocol of no bytes, or of more than 255.
    #[error("application protocol {position} has {size} bytes; 1 to 255 are possible")]
    BadProtocol {
        /// Which one, counted from 1.
        position: usize,
        /// Its length.
        size: usize,
    },
    /// Something else that the TLS library refused.
    #[error("TLS cannot be set up: {0}")]
    Library(String),
}

pub(super) fn library(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::Library(error.to_string())
}

/// What time it is; without it nobody can be accepted.
pub(super) fn now(clock: &Clock, peer: Side) -> Result<UnixTime, Box<TlsFailure>> {
    clock.current_time().ok_or_else(|| {
        let why = "the time is not known".to_owned();
        Box::new(TlsFailure::of(peer, FailureKind::Other(why)))
    })
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Checks chain and key, and that they belong together.
pub(super) fn certified_key(
    identity: Identity,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, ConfigError> {
    let Some(leaf) = identity.chain.first() else {
        return Err(ConfigError::NoCertificate);
    };
    identity::check_chain_size(&identity.chain, MAX_CHAIN_BYTES).map_err(ConfigError::BadChain)?;
    let subject = identity::parse(leaf).map(|leaf| leaf.subject);
    for (index, der) in identity.chain.iter().enumerate() {
        identity::parse(der).map_err(|error| bad_certificate(index, error))?;
    }
    let key = provider
        .key_provider
        .load_private_key(identity.key)
        .map_err(|error| ConfigError::UnsupportedKey(general(error)))?;
    let certified = CertifiedKey::new(identity.chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
        Err(Error::InconsistentKeys(_)) => {
            Err(ConfigError::KeyMismatch { subject: subject.unwrap_or_default() })
        }
        Err(error) => Err(bad_certificate(0, error)),
    }
}

pub(super) fn root_store(
    whom: &'static str,
    roots: Vec<CertificateDer<'static>>,
) -> Result<Arc<RootCertStore>, ConfigError> {
    if roots.is_empty() {
        return Err(ConfigError::NoRoots { whom });
    }
    let mut store = RootCertStore::empty();
    for (index, root) in roots.into_iter().enumerate() {
        store.add(root).map_err(|error| ConfigError::BadRoot {
            whom,
            position: index + 1,
            reason: error.to_string(),
        })?;
    }
    Ok(Arc::new(store))
}

/// Reads every list once by itself, because the verifier's builder does not say which is wrong.
pub(super) fn check_crls(crls: &[CertificateRevocationListDer<'_>]) -> Result<(), ConfigError> {
    for (index, crl) in crls.iter().enumerate() {
        webpki::BorrowedCertRevocationList::from_der(crl).map_err(|error| ConfigError::BadCrl {
            position: index + 1,
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

pub(super) fn verifier_error(whom: &'static str, error: VerifierBuilderError) -> ConfigError {
    match error {
        VerifierBuilderError::NoRootAnchors => ConfigError::NoRoots { whom },
        other => library(other),
    }
}

pub(super) fn check_protocols(alpns: &[Vec<u8>]) -> Result<(), ConfigError> {
    if alpns.is_empty() {
        return Err(ConfigError::NoProtocols);
    }
    let bad = |alpn: &Vec<u8>| !(1..=255).contains(&alpn.len());
    match alpns.iter().position(bad) {
        None => Ok(()),
        Some(index) => Err(ConfigError::BadProtocol {
            position: index + 1,
            size: alpns.get(index).map_or(0, Vec::len),
        }),
    }
}

fn bad_certificate(index: usize, error: impl std::fmt::Display) -> ConfigError {
    ConfigError::BadCertificate { position: index + 1, reason: error.to_string() }
}

/// The text of a general error without rustls' "unexpected error:" before it.
fn general(error: Error) -> String {
    match error {
        Error::General(text) => text,
        other => other.to_string(),
    }
}

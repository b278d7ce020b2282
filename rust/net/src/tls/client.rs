//! TLS of a client: which servers it believes, and the certificate it presents.

use std::fmt;
use std::sync::Arc;

use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::crypto::{ClientConfig, Session};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, Side};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::config::{self, ConfigError};
use super::diagnosis::Diagnosis;
use super::session::TlsSession;
use super::verify::ServerVerifier;
use super::{Identity, PeerCheck};

/// Whom the roots and errors of this module are about.
const WHOM: &str = "servers";

/// Which servers a client believes.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Those whom the operating system trusts.
    #[default]
    System,
    /// Those whose chain leads to one of these certificates.
    Roots(Vec<CertificateDer<'static>>),
    /// Anyone who holds the key of the certificate it presents, for whatever name: without a
    /// check of the user's own, nothing says who the peer is.
    DangerAnything,
}

/// What a client's TLS consists of.
#[derive(Clone)]
pub struct ClientOptions {
    /// Which servers are believed.
    pub trust: Trust,
    /// Revocation lists for servers' chains; with [`Trust::Roots`] only.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    /// A check of the user's own, after all others.
    pub check: Option<PeerCheck>,
    /// The certificate to present where a server asks for one.
    pub identity: Option<Identity>,
    /// The application protocols that are offered, best first.
    pub alpns: Vec<Vec<u8>>,
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("trust", &self.trust)
            .field("crls", &self.crls.len())
            .field("check", &self.check.is_some())
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// The TLS of a client, for any number of connections.
#[derive(Clone)]
pub struct ClientTls {
    inner: Arc<QuicClientConfig>,
    alpns: Arc<[Vec<u8>]>,
}

/// Makes a client's TLS. With [`Trust::System`] this reads the system's roots, so keep the result.
///
/// # Errors
///
/// If an option is unusable or contradicts another one.
pub fn client(options: ClientOptions) -> Result<ClientTls, ConfigError> {
    config::check_protocols(&options.alpns)?;
    let provider = config::provider();
    let roots = server_roots(options.trust, options.crls, &provider)?;
    let algorithms = provider.signature_verification_algorithms;
    let verifier = ServerVerifier::new(roots, algorithms, options.check);
    let key = match options.identity {
        Some(identity) => Some(config::certified_key(identity, &provider)?),
        None => None,
    };
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config::library)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut tls = match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(presenting(&key))),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols.clone_from(&options.alpns);
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    let inner = QuicClientConfig::try_from(tls).map_err(config::library)?;
    Ok(ClientTls { inner: Arc::new(inner), alpns: options.alpns.into() })
}

/// The certificate is presented whichever authorities the server names: if it is the wrong one,
/// the server says so, which is easier to understand than "none was presented".
fn presenting(key: &Arc<CertifiedKey>) -> SingleCertAndKey {
    SingleCertAndKey::from(CertifiedKey::clone(key))
}

fn server_roots(
    trust: Trust,
    crls: Vec<CertificateRevocationListDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ServerCertVerifier>>, ConfigError> {
    match trust {
        Trust::System if !crls.is_empty() => {
            Err(ConfigError::CrlsWithoutRoots("the system's verifier takes none"))
        }
        Trust::System => {
            let verifier = rustls_platform_verifier::Verifier::new(provider.clone())
                .map_err(|error| ConfigError::SystemRoots(error.to_string()))?;
            Ok(Some(Arc::new(verifier)))
        }
        Trust::Roots(roots) => {
            config::check_crls(&crls)?;
            let store = config::root_store(WHOM, roots)?;
            let builder = WebPkiServerVerifier::builder_with_provider(store, provider.clone())
                .with_crls(crls)
                .enforce_revocation_expiration();
            let built = builder.build();
            Ok(Some(built.map_err(|error| config::verifier_error(WHOM, error))?))
        }
        Trust::DangerAnything if !crls.is_empty() => {
            Err(ConfigError::CrlsWithoutRoots("any certificate is accepted here"))
        }
        Trust::DangerAnything => Ok(None),
    }
}

impl ClientTls {
    /// Starts one connection: the configuration for `quinn_proto::ClientConfig::new`, and the slot
    /// that will say why the handshake failed. Each is for one connection only.
    pub fn config(&self) -> (Arc<dyn ClientConfig>, Diagnosis) {
        let diagnosis = Diagnosis::default();
        let one = OneConnection { tls: self.clone(), diagnosis: diagnosis.clone() };
        (Arc::new(one), diagnosis)
    }

    /// The application protocols that are offered, best first.
    pub fn alpns(&self) -> &[Vec<u8>] {
        &self.alpns
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

struct OneConnection {
    tls: ClientTls,
    diagnosis: Diagnosis,
}

impl ClientConfig for OneConnection {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let inner = self.tls.inner.clone();
        let session = inner.start_session(version, server_name, params)?;
        self.diagnosis.set_asked(server_name);
        Ok(Box::new(TlsSession::new(
            session,
            Side::Server,
            self.tls.alpns.clone(),
            self.diagnosis.clone(),
        )))
    }
}

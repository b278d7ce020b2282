//! TLS of a client: which servers it believes, and the certificate it presents.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::crypto::{ClientConfig, Session};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, Side};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, Tls12Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::config::{self, ConfigError};
use super::diagnosis::Diagnosis;
use super::failure::{FailureKind, TlsFailure};
use super::rollover;
use super::session::{Next, TlsSession};
use super::suspicion::Suspicion;
use super::verify::ServerVerifier;
use super::visits::{Visit, Visits};
use super::{Clock, Identity, PeerCheck};

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
    /// Bytes of certificates that a server may show.
    pub max_chain: usize,
    /// Servers to remember, so that the next handshake with them is shorter.
    pub visits: usize,
    /// What time it is.
    pub clock: Clock,
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

/// The TLS of a client, for any number of connections, and its memory of servers.
#[derive(Clone)]
pub struct ClientTls {
    /// It resumes nothing; QUIC's connections have copies that do.
    pub(super) inner: Arc<rustls::ClientConfig>,
    verifier: Arc<ServerVerifier>,
    suspicion: Arc<Suspicion>,
    visits: Arc<Visits>,
    clock: Clock,
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
    let known = match &options.trust {
        Trust::Roots(roots) => &roots[..],
        Trust::System | Trust::DangerAnything => &[],
    };
    let suspicion = Arc::new(Suspicion::new(known, &options.crls));
    let roots = server_roots(options.trust, options.crls, &provider)?;
    let algorithms = provider.signature_verification_algorithms;
    let verifier =
        Arc::new(ServerVerifier::new(roots, algorithms, options.check, options.max_chain));
    let key = match options.identity {
        Some(identity) => Some(config::certified_key(identity, &provider)?),
        None => None,
    };
    let builder = rustls::ClientConfig::builder_with_details(provider, options.clock.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config::library)?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone());
    let mut tls = match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(presenting(&key))),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols.clone_from(&options.alpns);
    // Each connection has its own view of the memory, see `ClientTls::config`.
    tls.resumption = Resumption::disabled();
    let inner = Arc::new(tls);
    QuicClientConfig::try_from(inner.clone()).map_err(config::library)?;
    Ok(ClientTls {
        inner,
        verifier,
        suspicion,
        visits: Visits::new(options.visits),
        clock: options.clock,
        alpns: options.alpns.into(),
    })
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
) -> Result<Option<Vec<Arc<dyn ServerCertVerifier>>>, ConfigError> {
    match trust {
        Trust::System if !crls.is_empty() => {
            Err(ConfigError::CrlsWithoutRoots("the system's verifier takes none"))
        }
        Trust::System => {
            let verifier = rustls_platform_verifier::Verifier::new(provider.clone())
                .map_err(|error| ConfigError::SystemRoots(error.to_string()))?;
            Ok(Some(vec![Arc::new(verifier)]))
        }
        Trust::Roots(roots) => {
            config::check_crls(&crls)?;
            config::root_store(WHOM, roots.clone())?;
            let built = rollover::groups(&roots, &crls).into_iter().map(|group| {
                let store = config::root_store(WHOM, group.roots)?;
                let builder = WebPkiServerVerifier::builder_with_provider(store, provider.clone())
                    .with_crls(group.crls)
                    .enforce_revocation_expiration();
                let built = builder.build().map_err(|error| config::verifier_error(WHOM, error))?;
                Ok(built as Arc<dyn ServerCertVerifier>)
            });
            Ok(Some(built.collect::<Result<_, _>>()?))
        }
        Trust::DangerAnything if !crls.is_empty() => {
            Err(ConfigError::CrlsWithoutRoots("any certificate is accepted here"))
        }
        Trust::DangerAnything => Ok(None),
    }
}

impl ClientTls {
    /// Starts one connection to `remote`: the configuration for `quinn_proto::ClientConfig::new`,
    /// and the slot that will say why the handshake failed. Each is for one connection only.
    ///
    /// With `early`, and if the server gave a ticket that allows it, the connection may send data
    /// in its first flight: data that somebody who saw it can send once more (RFC 8446,
    /// section 8).
    pub fn config(&self, remote: SocketAddr, early: bool) -> (Arc<dyn ClientConfig>, Diagnosis) {
        let diagnosis = Diagnosis::default();
        let one = OneConnection { tls: self.clone(), remote, early, diagnosis: diagnosis.clone() };
        (Arc::new(one), diagnosis)
    }

    /// Whether a server that proved `chain` before would be accepted as `name` now.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, chain: &[CertificateDer<'_>], name: &str) -> Result<(), Box<TlsFailure>> {
        let server = ServerName::try_from(name)
            .map_err(|_| TlsFailure::of(Side::Server, FailureKind::NameMismatch))?;
        let now = config::now(&self.clock, Side::Server)?;
        self.verifier.judge(chain, &server, now)
    }

    /// Whether [`ClientTls::judge`] is likely to refuse a server that was accepted before; this costs
    /// next to nothing.
    pub(crate) fn suspects(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.clock.current_time().is_some_and(|now| self.suspicion.falls_on(chain, now))
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
    remote: SocketAddr,
    early: bool,
    diagnosis: Diagnosis,
}

impl ClientConfig for OneConnection {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let ClientTls { inner, verifier, visits, clock, alpns, .. } = self.tls.clone();
        let visit = Arc::new(Visit::new(visits, self.remote, verifier, clock));
        let mut config = rustls::ClientConfig::clone(&inner);
        config.resumption =
            Resumption::store(visit.clone()).tls12_resumption(Tls12Resumption::Disabled);
        config.enable_early_data = self.early;
        let config =
            QuicClientConfig::try_from(config).map_err(|_| ConnectError::UnsupportedVersion)?;
        // A ticket is looked for when the session starts.
        let session =
            self.diagnosis.during(|| Arc::new(config).start_session(version, server_name, params));
        let session = session?;
        self.diagnosis.set_asked(server_name);
        let next = Next::Visit(visit);
        Ok(Box::new(TlsSession::new(session, alpns, self.diagnosis.clone(), next)))
    }
}

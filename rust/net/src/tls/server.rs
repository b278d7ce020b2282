//! TLS of a server: its certificate, and which clients it lets in.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::crypto::{Keys, ServerConfig, Session, UnsupportedVersion};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side};
use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::config::{self, ConfigError};
use super::diagnosis::Diagnosis;
use super::failure::TlsFailure;
use super::rollover;
use super::session::{Next, TlsSession};
use super::suspicion::Suspicion;
use super::tickets::{Sessions, Tickets};
use super::verify::ClientVerifier;
use super::{Clock, Identity, PeerCheck};
use crate::reset::ResetSecret;

/// Whom the roots and errors of this module are about.
const WHOM: &str = "clients";

/// Tickets that a visit brings. It uses one up; and a visit that was over before its handshake was,
/// with one call ahead of it, brings none.
const TICKETS: usize = 2;

/// Protocols that are not spoken over QUIC.
const TCP_ONLY: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How many of a client's offered protocols are kept for reports. Browsers offer one, a client of
/// several protocols a handful; they are kept as long as the connection. All are negotiated.
pub const MAX_OFFERED_PROTOCOLS: usize = 32;

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// They are not asked, and none is looked at.
    None,
    /// They are asked; a client without a certificate is let in, one with a bad certificate not.
    Optional,
    /// Nobody is let in without a good certificate.
    #[default]
    Required,
}

/// What a server's TLS consists of.
#[derive(Clone)]
pub struct ServerOptions {
    /// The server's certificate and key.
    pub identity: Identity,
    /// Whether clients are asked for a certificate.
    pub client_auth: ClientAuth,
    /// The roots that clients' chains must lead to. Empty with a `check`: any chain whose holder
    /// proves to hold the key is given to the check.
    pub client_roots: Vec<CertificateDer<'static>>,
    /// Revocation lists for clients' chains.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    /// A check of the user's own, after all others.
    pub check: Option<PeerCheck>,
    /// The application protocols that are spoken, best first.
    pub alpns: Vec<Vec<u8>>,
    /// Bytes of certificates that a client may show.
    pub max_chain: usize,
    /// Sessions to remember, so that their clients' next handshakes are shorter.
    pub sessions: usize,
    /// Whether such a client may send data in its first flight, which somebody who saw it can send
    /// once more (RFC 8446, section 8).
    pub early_data: bool,
    /// What time it is.
    pub clock: Clock,
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("identity", &self.identity)
            .field("client_auth", &self.client_auth)
            .field("client_roots", &self.client_roots.len())
            .field("crls", &self.crls.len())
            .field("check", &self.check.is_some())
            .finish_non_exhaustive()
    }
}

/// The TLS of a server, for `quinn_proto::ServerConfig::crypto`.
///
/// Its sessions tell why they failed by [`HandshakeData`](super::HandshakeData). A handshake that
/// fails within the client's first datagrams never becomes a connection, though:
/// `Endpoint::accept` returns an error then, and [`ServerTls::last_failure`] tells why.
///
/// It is for one endpoint: a client that comes back relies on the limits that it was told before
/// (RFC 9000, section 7.4.1), so those must not shrink while sessions are remembered.
pub struct ServerTls {
    inner: Arc<QuicServerConfig>,
    /// The same for ordered streams, see [`StreamAcceptor`](super::stream::StreamAcceptor).
    pub(super) streams: rustls::ServerConfig,
    alpns: Arc<[Vec<u8>]>,
    last: Mutex<Diagnosis>,
    reset_secret: ResetSecret,
    verifier: Option<Arc<ClientVerifier>>,
    suspicion: Suspicion,
    clock: Clock,
    sessions: Arc<Sessions>,
    shown: Shown,
}

/// What a session is about besides the client's certificate: one that was made under something else
/// cannot be resumed.
#[derive(PartialEq, Eq)]
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    client_auth: ClientAuth,
    sessions: usize,
}

/// Makes a server's TLS.
///
/// # Errors
///
/// If an option is unusable or contradicts another one.
pub fn server(options: ServerOptions) -> Result<Arc<ServerTls>, ConfigError> {
    make(options, None)
}

/// Makes a server's TLS that takes the place of `previous`. Sessions from before can be resumed if
/// the server shows the same certificate and asks clients for the same; whether the client is still
/// trusted is judged anew.
///
/// # Errors
///
/// If an option is unusable or contradicts another one.
pub fn server_after(
    options: ServerOptions,
    previous: &ServerTls,
) -> Result<Arc<ServerTls>, ConfigError> {
    make(options, Some(previous))
}

fn make(
    options: ServerOptions,
    previous: Option<&ServerTls>,
) -> Result<Arc<ServerTls>, ConfigError> {
    config::check_protocols(&options.alpns)?;
    let provider = config::provider();
    let verifier = client_verifier(&options, &provider)?;
    let reset_secret = ResetSecret::of_private_key(options.identity.key.secret_der());
    let shown = Shown {
        chain: options.identity.chain.clone(),
        client_auth: options.client_auth,
        sessions: options.sessions,
    };
    let sessions = match previous {
        Some(previous) if previous.shown == shown => previous.sessions.clone(),
        _ => Sessions::new(options.sessions),
    };
    let suspicion = Suspicion::new(&options.client_roots, &options.crls);
    let key = config::certified_key(options.identity, &provider)?;
    let clock = options.clock;
    let asks: Arc<dyn ClientCertVerifier> = match &verifier {
        Some(verifier) => verifier.clone(),
        None => WebPkiClientVerifier::no_client_auth(),
    };
    // Those of TLS 1.2 are left out: a client may name them, and they will not be taken.
    let suites = provider.cipher_suites.iter().filter(|suite| suite.tls13().is_some());
    let suites = suites.map(|suite| suite.suite()).collect();
    let mut tls = rustls::ServerConfig::builder_with_details(provider, clock.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config::library)?
        .with_client_cert_verifier(asks)
        .with_cert_resolver(Arc::new(Resolver { key, suites }));
    tls.alpn_protocols.clone_from(&options.alpns);
    let tickets = Tickets::new(sessions.clone(), verifier.clone(), clock.clone());
    tls.session_storage = Arc::new(tickets);
    tls.send_tls13_tickets = if options.sessions > 0 { TICKETS } else { 0 };
    // QUIC knows all or nothing here (RFC 9001, section 4.6.1); flow control bounds it.
    tls.max_early_data_size = if options.early_data { u32::MAX } else { 0 };
    let streams = super::stream::server_config(&tls);
    // HTTP/1.1 and HTTP/2 are TCP's (RFC 9113, section 3.2); QUIC has HTTP/3.
    tls.alpn_protocols.retain(|alpn| !TCP_ONLY.contains(&&alpn[..]));
    let alpns = tls.alpn_protocols.clone().into();
    let inner = QuicServerConfig::try_from(tls).map_err(config::library)?;
    Ok(Arc::new(ServerTls {
        inner: Arc::new(inner),
        streams,
        alpns,
        last: Mutex::default(),
        reset_secret,
        verifier,
        suspicion,
        clock,
        sessions,
        shown,
    }))
}

/// `None` where clients are not asked.
fn client_verifier(
    options: &ServerOptions,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<ClientVerifier>>, ConfigError> {
    let has_roots = !options.client_roots.is_empty();
    let required = match options.client_auth {
        ClientAuth::None => {
            let unused = [
                (has_roots, "the client roots"),
                (!options.crls.is_empty(), "the revocation lists"),
                (options.check.is_some(), "the check of clients"),
            ];
            return match unused.iter().find(|(given, _)| *given) {
                Some((_, what)) => Err(ConfigError::ClientTrustUnused(what)),
                None => Ok(None),
            };
        }
        ClientAuth::Optional => false,
        ClientAuth::Required => true,
    };
    if !has_roots && options.check.is_none() {
        return Err(ConfigError::NoClientTrust);
    }
    if !has_roots && !options.crls.is_empty() {
        return Err(ConfigError::CrlsWithoutRoots("no client roots are given"));
    }
    let (mut roots, mut hints) = (None, Vec::new());
    if has_roots {
        config::check_crls(&options.crls)?;
        hints = config::root_store(WHOM, options.client_roots.clone())?.subjects();
        let groups = rollover::groups(&options.client_roots, &options.crls).into_iter();
        let built = groups.map(|group| {
            let store = config::root_store(WHOM, group.roots)?;
            let builder = WebPkiClientVerifier::builder_with_provider(store, provider.clone())
                .with_crls(group.crls)
                .enforce_revocation_expiration();
            builder.build().map_err(|error| config::verifier_error(WHOM, error))
        });
        roots = Some(built.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(Some(Arc::new(ClientVerifier::new(
        roots,
        hints,
        provider.signature_verification_algorithms,
        options.check.clone(),
        options.max_chain,
        required,
    ))))
}

/// Presents the one certificate, and notes what the client asked for: this is the only place
/// where rustls shows the offered protocols, and it comes before one is chosen.
#[derive(Debug)]
struct Resolver {
    key: Arc<CertifiedKey>,
    /// Those that we speak.
    suites: Vec<CipherSuite>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered = hello.alpn().into_iter().flatten();
        let offered = offered.take(MAX_OFFERED_PROTOCOLS).map(<[u8]>::to_vec);
        let server_name = hello.server_name().map(str::to_owned);
        let diagnosis = Diagnosis::current();
        diagnosis.set_hello(server_name, offered.collect());
        // quinn has no word for it. rustls takes the client's first that it knows, too.
        let ours = |suite: &&CipherSuite| self.suites.contains(suite);
        diagnosis.set_cipher_suite(hello.cipher_suites().iter().find(ours).map(|s| u16::from(*s)));
        Some(self.key.clone())
    }
}

impl ServerTls {
    /// Why the session that was started last failed, if it did.
    ///
    /// For the error of `quinn_proto::Endpoint::accept`: call it right after, on the same thread.
    pub fn last_failure(&self) -> Option<TlsFailure> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.failure()
    }

    /// What the endpoint's stateless resets are derived from.
    pub(crate) fn reset_secret(&self) -> &ResetSecret {
        &self.reset_secret
    }

    /// Whether a client that proved `chain` before, or nothing, would be let in now.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<(), Box<TlsFailure>> {
        let Some(verifier) = &self.verifier else { return Ok(()) };
        verifier.trusts(chain, config::now(&self.clock, Side::Client)?)?;
        verifier.check(chain)
    }

    /// Whether [`ServerTls::judge`] is likely to refuse a client that was let in before; this costs
    /// next to nothing.
    pub(crate) fn suspects(&self, chain: &[CertificateDer<'_>]) -> bool {
        let now = self.clock.current_time().filter(|_| self.verifier.is_some());
        now.is_some_and(|now| self.suspicion.falls_on(chain, now))
    }

    /// Makes the secrets of all sessions wrong.
    #[cfg(test)]
    pub(super) fn damage_sessions(&self) {
        self.sessions.damage();
    }

    /// The application protocols that are spoken over QUIC, best first.
    pub fn alpns(&self) -> &[Vec<u8>] {
        &self.alpns
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl ServerConfig for ServerTls {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        self.inner.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.inner.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        let diagnosis = Diagnosis::default();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone_from(&diagnosis);
        drop(last);
        let session = self.inner.clone().start_session(version, params);
        let next = Next::Tickets(self.verifier.clone());
        Box::new(TlsSession::new(session, self.alpns.clone(), diagnosis, next))
    }
}

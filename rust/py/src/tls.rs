//! TLS settings, made once and used for any number of connections.

use std::sync::Arc;

use jetstream_net::tls::material::private_key;
use jetstream_net::tls::{
    self, CertificateDer, CertificateRevocationListDer, ClientAuth, ClientOptions, Identity,
    PeerCheck, ServerOptions, Trust,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::TlsConfigError;
use crate::shared::chain_tuple;
use crate::visited::Visited;

/// A server's TLS.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct ServerTls {
    pub(crate) inner: Arc<tls::ServerTls>,
    /// Roots for clients, and revocation lists.
    #[pyo3(get)]
    trusted: (usize, usize),
    certificate: Vec<u8>,
}

/// A client's TLS.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct ClientTls {
    pub(crate) inner: tls::ClientTls,
    pub(crate) visited: Arc<Visited>,
}

fn certificates(ders: Vec<Vec<u8>>) -> Vec<CertificateDer<'static>> {
    ders.into_iter().map(CertificateDer::from).collect()
}

fn lists(ders: Vec<Vec<u8>>) -> Vec<CertificateRevocationListDer<'static>> {
    ders.into_iter().map(CertificateRevocationListDer::from).collect()
}

fn identity(chain: Vec<Vec<u8>>, key: &[u8]) -> PyResult<Identity> {
    let key = private_key(key).map_err(|error| TlsConfigError::new_err(error.to_string()))?;
    Ok(Identity { chain: certificates(chain), key })
}

/// A check in Python: called with the chain as a tuple of DER, refuses by raising.
fn peer_check(check: Option<Py<PyAny>>) -> Option<PeerCheck> {
    let check = check?;
    Some(Arc::new(move |chain: &[CertificateDer<'_>]| {
        Python::attach(|py| {
            let ders: Vec<Vec<u8>> = chain.iter().map(|der| der.to_vec()).collect();
            let called = chain_tuple(py, &ders).and_then(|chain| check.call1(py, (chain,)));
            match called {
                Ok(_) => Ok(()),
                Err(error) => Err(error.value(py).to_string()),
            }
        })
    }))
}

fn protocols(names: Vec<String>) -> Vec<Vec<u8>> {
    names.into_iter().map(String::into_bytes).collect()
}

#[pymethods]
impl ServerTls {
    /// `client_auth` is "none", "optional" or "required"; certificates and lists are DER.
    #[new]
    #[pyo3(signature = (
        chain, key, *, client_auth, client_roots, crls, check, alpns, max_chain, sessions,
        early_data, previous=None
    ))]
    #[allow(clippy::too_many_arguments)] // one place in Python calls this
    fn new(
        py: Python<'_>,
        chain: Vec<Vec<u8>>,
        key: &[u8],
        client_auth: &str,
        client_roots: Vec<Vec<u8>>,
        crls: Vec<Vec<u8>>,
        check: Option<Py<PyAny>>,
        alpns: Vec<String>,
        max_chain: usize,
        sessions: usize,
        early_data: bool,
        previous: Option<&Bound<'_, Self>>,
    ) -> PyResult<Self> {
        let certificate = chain.first().cloned().unwrap_or_default();
        let client_auth = match client_auth {
            "none" => ClientAuth::None,
            "optional" => ClientAuth::Optional,
            "required" => ClientAuth::Required,
            _ => return Err(PyValueError::new_err("none, optional or required")),
        };
        let options = ServerOptions {
            identity: identity(chain, key)?,
            client_auth,
            client_roots: certificates(client_roots),
            crls: lists(crls),
            check: peer_check(check),
            alpns: protocols(alpns),
            max_chain,
            sessions,
            early_data,
            clock: tls::system_clock(),
        };
        let trusted = (options.client_roots.len(), options.crls.len());
        let previous = previous.map(|previous| previous.get().inner.clone());
        // Lists of revoked certificates may be long, and calls go on meanwhile.
        let inner = py.detach(|| match previous {
            Some(previous) => tls::server_after(options, &previous),
            None => tls::server(options),
        });
        let inner = inner.map_err(|error| TlsConfigError::new_err(error.to_string()))?;
        Ok(Self { inner, trusted, certificate })
    }

    /// Our certificate in DER.
    #[getter]
    fn certificate<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.certificate)
    }
}

#[pymethods]
impl ClientTls {
    /// `trust` is "system", "roots" or "danger_anything"; certificates and lists are DER.
    #[new]
    #[pyo3(signature = (*, trust, roots, crls, check, chain, key, alpns, max_chain, visits))]
    #[allow(clippy::too_many_arguments)] // one place in Python calls this
    fn new(
        py: Python<'_>,
        trust: &str,
        roots: Vec<Vec<u8>>,
        crls: Vec<Vec<u8>>,
        check: Option<Py<PyAny>>,
        chain: Option<Vec<Vec<u8>>>,
        key: Option<&[u8]>,
        alpns: Vec<String>,
        max_chain: usize,
        visits: usize,
    ) -> PyResult<Self> {
        let trust = match trust {
            "system" => Trust::System,
            "roots" => Trust::Roots(certificates(roots)),
            "danger_anything" => Trust::DangerAnything,
            _ => return Err(PyValueError::new_err("system, roots or danger_anything")),
        };
        let identity = match (chain, key) {
            (Some(chain), Some(key)) => Some(identity(chain, key)?),
            _ => None,
        };
        let options = ClientOptions {
            trust,
            crls: lists(crls),
            check: peer_check(check),
            identity,
            alpns: protocols(alpns),
            max_chain,
            visits,
            clock: tls::system_clock(),
        };
        let inner = py.detach(|| tls::client(options));
        let inner = inner.map_err(|error| TlsConfigError::new_err(error.to_string()))?;
        Ok(Self { inner, visited: Visited::new(visits) })
    }
}

//! Certificates from a directory, and a server's endpoint made of them.
//!
//! The program on 15.2.0 and the benchmark's use this file too.

use std::{future::Future, net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
    RootCertStore,
};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the directory given on the command line holds.
pub struct Certificates<'a> {
    pub directory: &'a Path,
}

impl Certificates<'_> {
    pub fn chain(&self, name: &str) -> Result<Vec<CertificateDer<'static>>, BoxError> {
        let path = self.directory.join(name);
        CertificateDer::pem_file_iter(&path)
            .and_then(Iterator::collect)
            .map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// The first certificate of a file: the crate's client takes exactly one.
    pub fn first(&self, name: &str) -> Result<CertificateDer<'static>, BoxError> {
        let mut chain = self.chain(name)?.into_iter();
        chain.next().ok_or_else(|| format!("{name} holds no certificate").into())
    }

    pub fn key(&self, name: &str) -> Result<PrivateKeyDer<'static>, BoxError> {
        let path = self.directory.join(name);
        PrivateKeyDer::from_pem_file(&path)
            .map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// A server's endpoint that insists on a client certificate.
    ///
    /// Made here rather than by the crate's `Server`, which keeps its endpoint to itself: with
    /// port 0 nobody would learn the port. The configuration is the same.
    pub fn listen(
        &self,
        address: SocketAddr,
        alpn: Vec<Vec<u8>>,
    ) -> Result<quinn::Endpoint, BoxError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.first("ca.pem")?)?;
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
        let mut tls = rustls::ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain("server.pem")?, self.key("server.key")?)?;
        tls.max_early_data_size = u32::MAX;
        tls.alpn_protocols = alpn;
        let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls)?;
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        Ok(quinn::Endpoint::server(config, address)?)
    }
}

/// Hands incoming connections to a router, each in a task, until standard input closes.
pub async fn serve<F>(endpoint: &quinn::Endpoint, handle: impl Fn(quinn::Incoming) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut stdin, mut nowhere) = (tokio::io::stdin(), tokio::io::sink());
    let accept = async {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(handle(incoming));
        }
    };
    tokio::select! {
        () = accept => {}
        _ = tokio::io::copy(&mut stdin, &mut nowhere) => {}
    }
    endpoint.close(0u32.into(), b"stdin closed");
}

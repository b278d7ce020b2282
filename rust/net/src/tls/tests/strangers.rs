//! Clients that are not ours: made with rustls alone, with chains that ours would never send.

use std::sync::Arc;

use quinn_proto::ConnectionError;
use quinn_proto::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::pair::{Outcome, shake_with};
use super::pki::{Authority, Leaf};
use super::{ALPN, a_server};
use crate::tls::{
    ClientAuth, FailureKind, Identity, ServerOptions, config, explain_close, printable_reason,
};

/// Presents `chain` with a key that may belong to another certificate.
fn stranger(
    chain: Vec<CertificateDer<'static>>,
    identity: Identity,
    change: impl FnOnce(&mut ServerOptions),
) -> (Outcome, Outcome) {
    let (authority, server) = a_server(change);
    let provider = config::provider();
    let key = provider.key_provider.load_private_key(identity.key).unwrap();
    let presented = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(config::root_store("servers", vec![authority.der.clone()]).unwrap())
        .with_client_cert_resolver(Arc::new(presented));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = Arc::new(QuicClientConfig::try_from(tls).unwrap());
    shake_with(crypto, None, &server, "localhost")
}

fn anyone(options: &mut ServerOptions) {
    options.client_auth = ClientAuth::Required;
    options.check = Some(Arc::new(|_| panic!("must not be called")));
}

#[test]
fn a_copied_certificate_without_its_key_never_reaches_the_check() {
    let clients = Authority::root("Clients CA");
    let alice = clients.issue(Leaf::new("alice", &[]));
    let mallory = clients.issue(Leaf::new("mallory", &[]));
    for roots in [vec![], vec![clients.der.clone()]] {
        let (client, server) = stranger(alice.chain.clone(), mallory.clone(), |options| {
            anyone(options);
            options.client_roots = roots;
        });
        let failure = server.failure.unwrap();
        assert_eq!(failure.kind, FailureKind::BadSignature { handshake: true });
        assert_eq!(
            client.rejection().text,
            "client certificate rejected: the peer does not hold the key of the certificate"
        );
        let leaf = failure.presented.unwrap();
        assert_eq!(leaf.common_name.as_deref(), Some("alice"));
    }
}

#[test]
fn garbage_is_not_a_certificate() {
    let identity = Leaf::new("alice", &[]).self_signed();
    let garbage = vec![CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff, 1, 2, 3])];
    let (client, server) = stranger(garbage, identity, anyone);
    assert_eq!(server.failure.unwrap().kind.slug(), "malformed");
    let rejection = client.rejection();
    assert_eq!(rejection.alert, 42);
    let expected = "client certificate rejected: not an X.509 certificate in DER";
    assert!(rejection.text.starts_with(expected), "{}", rejection.text);
}

#[test]
fn a_chain_is_bounded_in_number_and_size() {
    let identity = Leaf::new("alice", &[]).self_signed();
    let many = vec![identity.chain[0].clone(); 17];
    let (client, _) = stranger(many, identity.clone(), anyone);
    assert_eq!(
        client.rejection().text,
        "client certificate rejected: a chain of 17 certificates, the limit is 16"
    );
    let padding = CertificateDer::from(vec![0; 65_500]);
    let large = vec![identity.chain[0].clone(), padding];
    let (client, server) = stranger(large, identity, anyone);
    // rustls itself stops at a message of 64 KiB, without an alert.
    let said = "TLS handshake failed: received corrupt message of type HandshakePayloadTooLarge";
    assert_eq!(server.failure.unwrap().reason(), said);
    match client.lost {
        Some(ConnectionError::ConnectionClosed(close)) => {
            assert_eq!(explain_close(close.error_code, &close.reason), None);
            assert_eq!(printable_reason(&close.reason), said);
        }
        other => panic!("not closed by the peer: {other:?}"),
    }
}

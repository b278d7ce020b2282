//! Options that contradict each other or cannot work.

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivatePkcs8KeyDer};

use super::pki::{Authority, Leaf};
use super::{client_options, refusing, server_options};
use crate::tls::{ClientAuth, ClientOptions, ConfigError, ServerOptions, Trust, client, server};

fn server_error(change: impl FnOnce(&mut ServerOptions)) -> ConfigError {
    let identity = Authority::root("Dev CA").issue(Leaf::new("dev", &["localhost"]));
    let mut options = server_options(identity);
    change(&mut options);
    server(options).unwrap_err()
}

fn client_error(trust: Trust, change: impl FnOnce(&mut ClientOptions)) -> ConfigError {
    let mut options = client_options(trust);
    change(&mut options);
    client(options).unwrap_err()
}

#[test]
fn the_identity_is_checked() {
    let error = server_error(|o| o.identity.chain.clear());
    assert_eq!(error, ConfigError::NoCertificate);
    let error = server_error(|o| o.identity.key = Leaf::new("x", &[]).self_signed().key);
    assert_eq!(error.to_string(), "the private key does not belong to the certificate \"CN=dev\"");
    let error = server_error(|o| o.identity.key = PrivatePkcs8KeyDer::from(vec![1, 2]).into());
    assert_eq!(
        error.to_string(),
        "the private key cannot be used: failed to parse private key as RSA, ECDSA, or EdDSA \
         (supported: RSA from 2048 bits, ECDSA P-256 and P-384, Ed25519)"
    );
    let error = server_error(|o| o.identity.chain.push(CertificateDer::from(vec![1, 2])));
    let text = error.to_string();
    let expected = "certificate 2 of the identity's chain cannot be used: not an X.509";
    assert!(text.starts_with(expected), "{text}");
    let error = server_error(|o| {
        let leaf = o.identity.chain[0].clone();
        o.identity.chain = vec![leaf; 17];
    });
    assert!(matches!(error, ConfigError::BadChain(_)));
    // The same for clients.
    let error = client_error(Trust::DangerAnything, |o| {
        let mut identity = Leaf::new("x", &[]).self_signed();
        identity.chain.clear();
        o.identity = Some(identity);
    });
    assert_eq!(error, ConfigError::NoCertificate);
}

#[test]
fn an_expired_identity_is_for_the_peer_to_judge() {
    let old = Leaf::new("dev", &["localhost"]).valid(2020, 2021).self_signed();
    assert!(server(server_options(old)).is_ok());
}

#[test]
fn asking_clients_needs_something_to_judge_by() {
    let error = server_error(|o| o.client_auth = ClientAuth::Required);
    assert_eq!(error, ConfigError::NoClientTrust);
    let error = server_error(|o| o.check = Some(refusing("x")));
    assert_eq!(
        error.to_string(),
        "the check of clients would not be used: client authentication is off"
    );
    let error = server_error(|o| o.client_roots = o.identity.chain.clone());
    assert!(matches!(error, ConfigError::ClientTrustUnused(_)));
    let error = server_error(|o| {
        o.client_auth = ClientAuth::Required;
        o.check = Some(refusing("x"));
        o.crls = vec![Authority::root("x").crl(&[], false)];
    });
    assert!(matches!(error, ConfigError::CrlsWithoutRoots(_)));
}

#[test]
fn roots_and_lists_say_which_is_wrong() {
    let authority = Authority::root("Dev CA");
    let error = client_error(Trust::Roots(vec![]), |_| {});
    assert_eq!(error.to_string(), "the roots for servers are empty: nobody would be trusted");
    let roots = vec![authority.der.clone(), CertificateDer::from(vec![9])];
    let error = client_error(Trust::Roots(roots), |_| {});
    assert!(matches!(error, ConfigError::BadRoot { position: 2, .. }));
    let error = client_error(Trust::Roots(vec![authority.der.clone()]), |o| {
        let bad = CertificateRevocationListDer::from(vec![9]);
        o.crls = vec![authority.crl(&[], false), bad];
    });
    assert!(matches!(error, ConfigError::BadCrl { position: 2, .. }));
    for trust in [Trust::System, Trust::DangerAnything] {
        let error = client_error(trust, |o| o.crls = vec![authority.crl(&[], false)]);
        assert!(matches!(error, ConfigError::CrlsWithoutRoots(_)));
    }
}

#[test]
fn protocols_are_needed_and_have_a_length() {
    let error = server_error(|o| o.alpns.clear());
    assert_eq!(error, ConfigError::NoProtocols);
    let error = client_error(Trust::DangerAnything, |o| o.alpns.push(vec![b'x'; 256]));
    assert_eq!(error.to_string(), "application protocol 2 has 256 bytes; 1 to 255 are possible");
}

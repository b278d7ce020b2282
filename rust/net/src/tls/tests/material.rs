//! Files as they are, and the wrong ones.

use rcgen::KeyPair;
use rustls::pki_types::PrivateKeyDer;

use super::pki::{Authority, Leaf};
use crate::tls::material::{MaterialError, crls, pem_or_der_certificates, private_key};

fn pem(label: &str, der: &[u8]) -> String {
    let text = data(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// Base64 without a dependency: only tests write PEM.
fn data(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = (word >> (18 - 6 * place)) & 63;
            let used = place <= chunk.len();
            out.push(if used { DIGITS[digit as usize] as char } else { '=' });
        }
    }
    out
}

fn key_der() -> Vec<u8> {
    KeyPair::generate().unwrap().serialize_der()
}

#[test]
fn certificates_are_read_from_both_formats() {
    let one = Leaf::new("one", &[]).self_signed().chain.remove(0);
    let two = Leaf::new("two", &[]).self_signed().chain.remove(0);
    let read = pem_or_der_certificates(&one).unwrap();
    assert_eq!(read, std::slice::from_ref(&one));
    let mixed = format!(
        "\u{feff}# a comment\n{}{}{}",
        pem("CERTIFICATE", &one),
        pem("PRIVATE KEY", &key_der()),
        pem("CERTIFICATE", &two).replace('\n', "\r\n"),
    );
    assert_eq!(pem_or_der_certificates(mixed.as_bytes()).unwrap(), [one, two]);
}

#[test]
fn keys_are_read_from_both_formats() {
    let der = key_der();
    let key = private_key(&der).unwrap();
    assert_eq!(key.secret_der(), der);
    let leaf = Leaf::new("one", &[]).self_signed().chain.remove(0);
    let both = pem("CERTIFICATE", &leaf) + &pem("PRIVATE KEY", &der);
    assert_eq!(private_key(both.as_bytes()).unwrap(), key);
    // The label is wrong, the content decides.
    let mislabelled = private_key(pem("EC PRIVATE KEY", &der).as_bytes()).unwrap();
    assert!(matches!(mislabelled, PrivateKeyDer::Pkcs8(_)));
    let two = pem("PRIVATE KEY", &der).repeat(2);
    assert_eq!(private_key(two.as_bytes()), Err(MaterialError::SeveralKeys(2)));
}

#[test]
fn lists_are_read_from_both_formats() {
    let list = Authority::root("x").crl(&[1], false);
    assert_eq!(crls(&list).unwrap(), std::slice::from_ref(&list));
    assert_eq!(crls(pem("X509 CRL", &list).as_bytes()).unwrap(), [list]);
}

#[test]
fn an_encrypted_key_is_called_so() {
    let label = pem("ENCRYPTED PRIVATE KEY", &[0; 40]);
    let header = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                  DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    // The outline of EncryptedPrivateKeyInfo: an algorithm, then bytes.
    let der = [0x30, 0x08, 0x30, 0x02, 0x05, 0x00, 0x04, 0x02, 1, 2];
    for bytes in [label.as_bytes(), header.as_bytes(), &der] {
        assert_eq!(private_key(bytes), Err(MaterialError::EncryptedKey));
    }
    let text = pem_or_der_certificates(&der).unwrap_err().to_string();
    assert_eq!(text, "this is an encrypted private key, not a certificate");
    let text = pem_or_der_certificates(header.as_bytes()).unwrap_err().to_string();
    assert_eq!(text, "this is an encrypted private key, not a certificate");
    // Beside a certificate it does not matter to who wants the certificate.
    let leaf = Leaf::new("one", &[]).self_signed().chain.remove(0);
    let both = format!("{header}{}", pem("CERTIFICATE", &leaf));
    assert_eq!(pem_or_der_certificates(both.as_bytes()).unwrap(), [leaf]);
}

#[test]
fn swapped_files_are_noticed() {
    let certificate = Leaf::new("one", &[]).self_signed().chain.remove(0);
    let key = key_der();
    let list = Authority::root("x").crl(&[1], false);
    let text = |error: MaterialError| error.to_string();
    let expected = "this is a private key, not a certificate";
    assert_eq!(text(pem_or_der_certificates(&key).unwrap_err()), expected);
    let wrapped = pem("PRIVATE KEY", &key);
    let error = pem_or_der_certificates(wrapped.as_bytes()).unwrap_err();
    assert_eq!(text(error), expected);
    let expected = "this is a certificate, not a private key";
    assert_eq!(text(private_key(&certificate).unwrap_err()), expected);
    let wrapped = pem("CERTIFICATE", &certificate);
    assert_eq!(text(private_key(wrapped.as_bytes()).unwrap_err()), expected);
    let expected = "this is a certificate revocation list, not a certificate";
    assert_eq!(text(pem_or_der_certificates(&list).unwrap_err()), expected);
    let expected = "this is a certificate, not a certificate revocation list";
    assert_eq!(text(crls(&certificate).unwrap_err()), expected);
    let bundle = [0x30, 0x05, 0x02, 0x01, 0x03, 0x30, 0x00];
    let expected = "this is a PKCS#12 bundle, not a private key";
    assert_eq!(text(private_key(&bundle).unwrap_err()), expected);
}

#[test]
fn what_is_nothing_is_called_so() {
    let text = |bytes: &[u8]| pem_or_der_certificates(bytes).unwrap_err().to_string();
    assert_eq!(text(b" \n"), "it is empty, a certificate is wanted");
    assert_eq!(text(b"hello"), "it is not PEM and not DER, a certificate is wanted");
    let broken = pem("CERTIFICATE", &[1, 2, 3]);
    assert!(text(broken.as_bytes()).starts_with("certificate 1 in it cannot be read"));
    let cut = broken.replace("-----END CERTIFICATE-----", "");
    assert!(text(cut.as_bytes()).starts_with("the PEM is damaged"));
    assert_eq!(text(pem("FOO", &[1]).as_bytes()), "this is PEM of another kind, not a certificate");
}

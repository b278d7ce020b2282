use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use super::*;
use crate::tls::tests::pki::{Authority, Leaf};

fn with_subject(parts: &[(DnType, &str)]) -> Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in parts {
        params.distinguished_name.push(kind.clone(), *value);
    }
    let key = KeyPair::generate().unwrap();
    parse(params.self_signed(&key).unwrap().der()).unwrap()
}

#[test]
fn everything_is_read() {
    let authority = Authority::root("Dev CA");
    let mut leaf = Leaf::new("dev", &["localhost", "*.example", "127.0.0.1", "::1"]);
    let more = [
        SanType::Rfc822Name("a@example".try_into().unwrap()),
        SanType::URI("spiffe://example/dev".try_into().unwrap()),
    ];
    leaf.params.subject_alt_names.extend(more);
    let identity = authority.issue(leaf);
    let certificate = parse(&identity.chain[0]).unwrap();
    assert_eq!(certificate.der, identity.chain[0].as_ref());
    assert_eq!(certificate.common_name.as_deref(), Some("dev"));
    assert_eq!(certificate.subject, "CN=dev");
    assert_eq!(certificate.issuer, "CN=Dev CA");
    assert_eq!(certificate.issuer_common_name.as_deref(), Some("Dev CA"));
    assert_eq!(certificate.serial, [77]);
    assert_eq!(time_text(certificate.not_before), "2020-01-01T00:00:00Z");
    assert_eq!(time_text(certificate.not_after), "2126-12-04T00:00:00Z");
    assert_eq!(certificate.dns_names, ["localhost", "*.example"]);
    let addresses: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    assert_eq!(certificate.ip_addresses, addresses);
    assert_eq!(certificate.emails, ["a@example"]);
    assert_eq!(certificate.uris, ["spiffe://example/dev"]);
    assert!(!certificate.is_ca && !certificate.is_self_issued());
    assert!(parse(&authority.der).unwrap().is_ca);
}

#[test]
fn a_key_keeps_its_digest_when_the_certificate_is_renewed() {
    let key = KeyPair::generate().unwrap();
    let made = |name: &str| {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parse(params.self_signed(&key).unwrap().der()).unwrap()
    };
    let (old, new) = (made("a"), made("b"));
    assert_eq!(old.spki_sha256, new.spki_sha256);
    assert_ne!(old.fingerprint, new.fingerprint);
    let text = fingerprint_text(&old.fingerprint);
    assert_eq!(text.len(), 95);
    assert!(text.split(':').all(|byte| u8::from_str_radix(byte, 16).is_ok()));
}

#[test]
fn names_are_written_as_rfc_4514_says() {
    let certificate = with_subject(&[
        (DnType::CountryName, "DE"),
        (DnType::OrganizationName, "A, B + \"C\" <x>; \\y"),
        (DnType::CommonName, " #dev "),
    ]);
    let expected = r#"CN=\ #dev\ ,O=A\, B \+ \"C\" \<x\>\; \\y,C=DE"#;
    assert_eq!(certificate.subject, expected);
    assert_eq!(certificate.common_name.as_deref(), Some(" #dev "));
    let email = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
    let certificate = with_subject(&[(email, "a@b"), (DnType::CommonName, "#x")]);
    assert_eq!(certificate.subject, r"CN=\#x,1.2.840.113549.1.9.1=a@b");
    assert_eq!(with_subject(&[]).subject, "");
    assert_eq!(with_subject(&[]).common_name, None);
}

#[test]
fn a_comma_in_a_name_does_not_make_another_name() {
    let certificate = with_subject(&[(DnType::CommonName, "a,O=Bank")]);
    assert_eq!(certificate.subject, r"CN=a\,O=Bank");
}

#[test]
fn damaged_certificates_are_errors() {
    let der = Leaf::new("dev", &["localhost", "127.0.0.1"]).self_signed().chain.remove(0);
    for end in 0..der.len() {
        assert!(parse(&der[..end]).is_err());
    }
    let mut longer = der.to_vec();
    longer.push(0);
    assert_eq!(parse(&longer), Err(CertificateError::TrailingBytes(1)));
    // Whatever a flipped bit makes of it, there is an answer.
    for bit in 0..der.len() * 8 {
        let mut flipped = der.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = parse(&flipped);
    }
    let large = vec![0; MAX_CHAIN_BYTES + 1];
    assert!(matches!(parse(&large), Err(CertificateError::TooLarge { .. })));
}

#[test]
fn chains_are_bounded() {
    let der = Leaf::new("dev", &[]).self_signed().chain.remove(0);
    assert_eq!(parse_chain(std::slice::from_ref(&der)).unwrap().len(), 1);
    assert_eq!(parse_chain::<Vec<u8>>(&[]), Err(CertificateError::Empty));
    let many = vec![der.clone(); MAX_CHAIN_CERTIFICATES + 1];
    assert!(matches!(parse_chain(&many), Err(CertificateError::TooMany { .. })));
    let large = [vec![0; MAX_CHAIN_BYTES], vec![0]];
    assert!(matches!(parse_chain(&large), Err(CertificateError::TooLarge { .. })));
}

#[test]
fn times_have_a_text() {
    assert_eq!(time_text(0), "1970-01-01T00:00:00Z");
    assert_eq!(time_text(1_796_378_400), "2026-12-04T10:00:00Z");
    assert_eq!(time_text(i64::MAX), i64::MAX.to_string());
}

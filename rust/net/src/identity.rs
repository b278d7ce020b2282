//! Who a certificate says its holder is: names, validity and digests, read by `x509-parser`.
//!
//! Nothing here decides whether a certificate is trusted; that is `tls`. What is read here comes
//! from a peer, so it is bounded first and never panics.

use std::fmt::Write as _;
use std::net::IpAddr;

use ring::digest::{SHA256, digest};
use x509_parser::asn1_rs::{Any, BmpString, Tag, ToDer, UniversalString};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

/// The most bytes one certificate may have, and all certificates of a chain together; a peer's may
/// be bounded more tightly.
///
/// A TLS 1.3 certificate message carries at most 2²⁴ bytes, and rustls takes none over 2¹⁶; real
/// chains have 2 to 8 KiB.
pub const MAX_CHAIN_BYTES: usize = 64 * 1024;

/// The most certificates a chain may have. `webpki` follows at most six intermediates; GnuTLS
/// also stops at 16.
pub const MAX_CHAIN_CERTIFICATES: usize = 16;

/// Why bytes are not a certificate that this crate accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// More bytes than are allowed, in one certificate or in the whole chain.
    #[error("{size} bytes of certificates, the limit is {limit}")]
    TooLarge {
        /// How many bytes there are.
        size: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// More certificates than [`MAX_CHAIN_CERTIFICATES`].
    #[error("a chain of {count} certificates, the limit is {limit}")]
    TooMany {
        /// How many certificates there are.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A chain without a certificate.
    #[error("no certificate")]
    Empty,
    /// Not the DER of an X.509 certificate.
    #[error("not an X.509 certificate in DER: {0}")]
    Malformed(String),
    /// A certificate with bytes after its end.
    #[error("{0} bytes after the end of the certificate")]
    TrailingBytes(usize),
}

/// What one certificate says.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate itself, DER.
    pub der: Vec<u8>,
    /// The most specific common name of the subject (the last in the certificate, the first as
    /// RFC 4514 writes it).
    pub common_name: Option<String>,
    /// SHA-256 of the DER.
    pub fingerprint: [u8; 32],
    /// SHA-256 of the subject's public key info: stays the same when a certificate is renewed
    /// with the same key.
    pub spki_sha256: [u8; 32],
    /// The subject as RFC 4514 writes it: most specific first.
    pub subject: String,
    /// The issuer as RFC 4514 writes it.
    pub issuer: String,
    /// The most specific common name of the issuer.
    pub issuer_common_name: Option<String>,
    /// The serial number, big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// Valid from this second of the Unix epoch on.
    pub not_before: i64,
    /// Valid up to and including this second of the Unix epoch.
    pub not_after: i64,
    /// The DNS names of the subject alternative name, as they stand there.
    pub dns_names: Vec<String>,
    /// The IP addresses of the subject alternative name.
    pub ip_addresses: Vec<IpAddr>,
    /// The mail addresses of the subject alternative name (RFC 822 names).
    pub emails: Vec<String>,
    /// The URIs of the subject alternative name; a SPIFFE identity is one.
    pub uris: Vec<String>,
    /// Whether the basic constraints make it a certificate authority.
    pub is_ca: bool,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject)
            .field("issuer", &self.issuer)
            .field("fingerprint", &fingerprint_text(&self.fingerprint))
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// All alternative names as texts, in the order DNS names, addresses, mail, URIs.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        let addresses = self.ip_addresses.iter().map(ToString::to_string);
        self.dns_names
            .iter()
            .cloned()
            .chain(addresses)
            .chain(self.emails.iter().cloned())
            .chain(self.uris.iter().cloned())
    }

    /// Whether subject and issuer are the same name (the signature is not looked at).
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }
}

/// Reads one certificate from its DER.
///
/// # Errors
///
/// If it is larger than [`MAX_CHAIN_BYTES`], is not a certificate or has bytes after its end.
pub fn parse(der: &[u8]) -> Result<Certificate, CertificateError> {
    if der.len() > MAX_CHAIN_BYTES {
        return Err(CertificateError::TooLarge { size: der.len(), limit: MAX_CHAIN_BYTES });
    }
    let (rest, parsed) = X509Certificate::from_der(der).map_err(malformed)?;
    if !rest.is_empty() {
        return Err(CertificateError::TrailingBytes(rest.len()));
    }
    let mut certificate = Certificate {
        der: der.to_vec(),
        common_name: common_name(parsed.subject()),
        fingerprint: sha256(der),
        spki_sha256: sha256(parsed.public_key().raw),
        subject: rfc4514(parsed.subject()),
        issuer: rfc4514(parsed.issuer()),
        issuer_common_name: common_name(parsed.issuer()),
        serial: serial(parsed.raw_serial()),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        emails: Vec::new(),
        uris: Vec::new(),
        is_ca: parsed.is_ca(),
    };
    let alternative = parsed.subject_alternative_name().map_err(malformed)?;
    for name in alternative.iter().flat_map(|san| &san.value.general_names) {
        match name {
            GeneralName::DNSName(name) => certificate.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => certificate.emails.push((*name).to_owned()),
            GeneralName::URI(name) => certificate.uris.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => certificate.ip_addresses.extend(address(bytes)),
            _ => {}
        }
    }
    Ok(certificate)
}

/// Reads a chain, leaf first.
///
/// # Errors
///
/// If there is none, if there are more than [`MAX_CHAIN_CERTIFICATES`] of them or more than
/// [`MAX_CHAIN_BYTES`] bytes, or if one of them cannot be read.
pub fn parse_chain<T: AsRef<[u8]>>(chain: &[T]) -> Result<Vec<Certificate>, CertificateError> {
    check_chain_size(chain, MAX_CHAIN_BYTES)?;
    chain.iter().map(|der| parse(der.as_ref())).collect()
}

/// Checks the bounds of a chain without reading it: at most `limit` bytes in all.
pub(crate) fn check_chain_size<T: AsRef<[u8]>>(
    chain: &[T],
    limit: usize,
) -> Result<(), CertificateError> {
    if chain.is_empty() {
        return Err(CertificateError::Empty);
    }
    if chain.len() > MAX_CHAIN_CERTIFICATES {
        return Err(CertificateError::TooMany {
            count: chain.len(),
            limit: MAX_CHAIN_CERTIFICATES,
        });
    }
    let size = chain.iter().map(|der| der.as_ref().len()).sum();
    if size > limit {
        return Err(CertificateError::TooLarge { size, limit });
    }
    Ok(())
}

/// A digest the way tools print it: `AA:BB:…`.
pub fn fingerprint_text(fingerprint: &[u8; 32]) -> String {
    let mut text = String::with_capacity(95);
    for (index, byte) in fingerprint.iter().enumerate() {
        let separator = if index == 0 { "" } else { ":" };
        let _ = write!(text, "{separator}{byte:02X}");
    }
    text
}

/// A moment as RFC 3339 writes it, in UTC: `2026-12-04T10:00:00Z`. Beyond the year 9999 it is the
/// bare number of seconds.
pub fn time_text(unix_seconds: i64) -> String {
    let Ok(time) = ASN1Time::from_timestamp(unix_seconds) else {
        return unix_seconds.to_string();
    };
    let at = time.to_datetime();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn malformed(error: impl std::fmt::Display) -> CertificateError {
    CertificateError::Malformed(error.to_string())
}

/// `ring` and not another crate, because the handshake already brings it.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn serial(raw: &[u8]) -> Vec<u8> {
    let zeros = raw.iter().take_while(|byte| **byte == 0).count();
    raw.get(zeros..).unwrap_or_default().to_vec()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().last().and_then(|attribute| text_of(attribute.attr_value()))
}

/// A name as RFC 4514 writes it, and as `cryptography`'s `rfc4514_string()` does (which only for
/// values that are no text leaves out the tag and length that section 2.4 asks for).
///
/// `x509-parser`'s own `Display` keeps the order of the certificate and escapes nothing, so
/// `CN=a, O=b` may there be one attribute or two.
fn rfc4514(name: &X509Name<'_>) -> String {
    let mut relative: Vec<String> = name
        .iter_rdn()
        .map(|rdn| {
            let attributes: Vec<String> = rdn
                .iter()
                .map(|attribute| {
                    let oid = attribute.attr_type().to_id_string();
                    let value = match text_of(attribute.attr_value()) {
                        Some(text) => escape(&text),
                        None => hexadecimal(attribute.attr_value()),
                    };
                    format!("{}={value}", short_name(&oid).unwrap_or(&oid))
                })
                .collect();
            attributes.join("+")
        })
        .collect();
    relative.reverse();
    relative.join(",")
}

/// The names of RFC 4514 section 3; every other type stands there as its object identifier.
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        _ => return None,
    })
}

/// The text of a string type; `None` for every other type and for bytes that are not its text.
fn text_of(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::BmpString => BmpString::try_from(value.clone()).ok().map(|s| s.string()),
        Tag::UniversalString => UniversalString::try_from(value.clone()).ok().map(|s| s.string()),
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::NumericString
        | Tag::VisibleString
        | Tag::T61String => std::str::from_utf8(value.data).ok().map(str::to_owned),
        _ => None,
    }
}

/// RFC 4514 section 2.4.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        match c {
            '\0' => out.push_str("\\00"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', c]),
            '#' if index == 0 => out.push_str("\\#"),
            ' ' if index == 0 || index == last => out.push_str("\\ "),
            _ => out.push(c),
        }
    }
    out
}

fn hexadecimal(value: &Any<'_>) -> String {
    let der = value.to_der_vec().unwrap_or_default();
    der.iter().fold(String::from("#"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

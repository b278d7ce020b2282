//! Certificates, keys and revocation lists from the bytes of a file, PEM or DER.
//!
//! No file is opened here. The errors say what the bytes look like instead of what was wanted,
//! because the commonest mistake is to swap two files.

use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};
use x509_parser::asn1_rs::{Integer, OctetString, Sequence};
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Why bytes are not what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaterialError {
    /// Nothing at all.
    #[error("it is empty, {wanted} is wanted")]
    Empty {
        /// What was wanted.
        wanted: &'static str,
    },
    /// Something else than what was wanted.
    #[error("this is {found}, not {wanted}")]
    WrongKind {
        /// What was wanted.
        wanted: &'static str,
        /// What it looks like.
        found: &'static str,
    },
    /// Neither of the two formats.
    #[error("it is not PEM and not DER, {wanted} is wanted")]
    Unreadable {
        /// What was wanted.
        wanted: &'static str,
    },
    /// A private key under a password.
    #[error("the private key is encrypted: decrypt it first, passwords are not supported here")]
    EncryptedKey,
    /// More than one private key where one is wanted.
    #[error("it holds {0} private keys, one is wanted")]
    SeveralKeys(usize),
    /// PEM whose lines are damaged.
    #[error("the PEM is damaged: {0}")]
    BadPem(String),
    /// PEM around something that cannot be read.
    #[error("{what} {position} in it cannot be read: {reason}")]
    BadItem {
        /// What it should be.
        what: &'static str,
        /// Which one, counted from 1.
        position: usize,
        /// Why it is not.
        reason: String,
    },
}

const CERTIFICATE: &str = "a certificate";
const PRIVATE_KEY: &str = "a private key";
const REVOCATION_LIST: &str = "a certificate revocation list";
const ENCRYPTED_KEY: &str = "an encrypted private key";

/// All certificates in the bytes: one DER certificate, or every certificate of a PEM file (other
/// sections, such as a key, are skipped).
///
/// # Errors
///
/// If there is none, or one cannot be read.
pub fn pem_or_der_certificates(
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let ders = all_of(bytes, CERTIFICATE, SectionKind::Certificate)?;
    for (index, der) in ders.iter().enumerate() {
        readable::<X509Certificate<'_>>("certificate", index, der)?;
    }
    Ok(ders.into_iter().map(CertificateDer::from).collect())
}

/// All revocation lists in the bytes: one DER list, or every list of a PEM file.
///
/// # Errors
///
/// If there is none, or one cannot be read.
pub fn crls(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, MaterialError> {
    let ders = all_of(bytes, REVOCATION_LIST, SectionKind::Crl)?;
    for (index, der) in ders.iter().enumerate() {
        readable::<CertificateRevocationList<'_>>("revocation list", index, der)?;
    }
    let lists = ders.into_iter().map(CertificateRevocationListDer::from);
    Ok(lists.collect())
}

/// The private key in the bytes: PKCS#8, PKCS#1 (RSA) or SEC 1 (elliptic curves), PEM or DER.
/// Certificates beside it in a PEM file are skipped.
///
/// # Errors
///
/// If there is none, more than one, or it is encrypted.
pub fn private_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, MaterialError> {
    let bytes = without_bom(bytes);
    if !is_pem(bytes) {
        if found_in_der(bytes) == Some(ENCRYPTED_KEY) {
            return Err(MaterialError::EncryptedKey);
        }
        if found_in_der(bytes) == Some(PRIVATE_KEY) {
            if let Ok(key) = PrivateKeyDer::try_from(bytes) {
                return Ok(key.clone_key());
            }
        }
        return Err(other_than(PRIVATE_KEY, bytes));
    }
    if is_encrypted_pem(bytes) {
        return Err(MaterialError::EncryptedKey);
    }
    let mut keys: Vec<PrivateKeyDer<'static>> =
        PrivateKeyDer::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(bad_pem)?;
    match (keys.len(), keys.pop()) {
        (1, Some(key)) => Ok(relabelled(key)),
        (0, _) | (_, None) => Err(other_than(PRIVATE_KEY, bytes)),
        (count, _) => Err(MaterialError::SeveralKeys(count)),
    }
}

/// Some tools write PKCS#8 under the label of another format; the content decides.
fn relabelled(key: PrivateKeyDer<'static>) -> PrivateKeyDer<'static> {
    let pkcs8 = matches!(PrivateKeyDer::try_from(key.secret_der()), Ok(PrivateKeyDer::Pkcs8(_)));
    if pkcs8 && !matches!(key, PrivateKeyDer::Pkcs8(_)) {
        return PrivatePkcs8KeyDer::from(key.secret_der().to_vec()).into();
    }
    key
}

fn all_of(
    bytes: &[u8],
    wanted: &'static str,
    kind: SectionKind,
) -> Result<Vec<Vec<u8>>, MaterialError> {
    let bytes = without_bom(bytes);
    if !is_pem(bytes) {
        if found_in_der(bytes) == Some(wanted) {
            return Ok(vec![bytes.to_vec()]);
        }
        return Err(other_than(wanted, bytes));
    }
    let sections = sections(bytes)?;
    let mut ders = Vec::new();
    for (section, der) in sections {
        if section == kind {
            ders.push(der);
        }
    }
    if ders.is_empty() {
        return Err(other_than(wanted, bytes));
    }
    Ok(ders)
}

fn readable<'a, T>(what: &'static str, index: usize, der: &'a [u8]) -> Result<(), MaterialError>
where
    T: FromDer<'a, x509_parser::error::X509Error>,
{
    let reason = match T::from_der(der) {
        Ok(([], _)) => return Ok(()),
        Ok((rest, _)) => format!("{} bytes follow its end", rest.len()),
        Err(error) => error.to_string(),
    };
    Err(MaterialError::BadItem { what, position: index + 1, reason })
}

/// The error for bytes that do not hold what was wanted.
fn other_than(wanted: &'static str, bytes: &[u8]) -> MaterialError {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return MaterialError::Empty { wanted };
    }
    let found = if is_pem(bytes) { found_in_pem(bytes) } else { found_in_der(bytes) };
    match found {
        Some(found) => MaterialError::WrongKind { wanted, found },
        None => MaterialError::Unreadable { wanted },
    }
}

fn found_in_pem(bytes: &[u8]) -> Option<&'static str> {
    if is_encrypted_pem(bytes) {
        return Some(ENCRYPTED_KEY);
    }
    let first = sections(bytes).ok()?.first().map(|(kind, _)| *kind);
    Some(match first {
        Some(SectionKind::Certificate) => CERTIFICATE,
        Some(SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey) => {
            PRIVATE_KEY
        }
        Some(SectionKind::Crl) => REVOCATION_LIST,
        Some(SectionKind::Csr) => "a certificate request",
        Some(SectionKind::PublicKey) => "a public key",
        _ => "PEM of another kind",
    })
}

fn found_in_der(bytes: &[u8]) -> Option<&'static str> {
    if whole::<X509Certificate<'_>>(bytes) {
        return Some(CERTIFICATE);
    }
    if whole::<CertificateRevocationList<'_>>(bytes) {
        return Some(REVOCATION_LIST);
    }
    if whole::<X509CertificationRequest<'_>>(bytes) {
        return Some("a certificate request");
    }
    if whole::<SubjectPublicKeyInfo<'_>>(bytes) {
        return Some("a public key");
    }
    let ([], outer) = Sequence::from_der(bytes).ok()? else {
        return None;
    };
    if let Ok((_, version)) = Integer::from_der(&outer.content) {
        // PKCS#12 has version 3 (RFC 7292), all key formats 0 or 1.
        return match version.as_u8() {
            Ok(3) => Some("a PKCS#12 bundle"),
            _ => PrivateKeyDer::try_from(bytes).ok().map(|_| PRIVATE_KEY),
        };
    }
    // EncryptedPrivateKeyInfo (RFC 5958): the algorithm, then the encrypted bytes.
    let (rest, _) = Sequence::from_der(&outer.content).ok()?;
    let (rest, _) = OctetString::from_der(rest).ok()?;
    rest.is_empty().then_some(ENCRYPTED_KEY)
}

fn whole<'a, T: FromDer<'a, x509_parser::error::X509Error>>(bytes: &'a [u8]) -> bool {
    matches!(T::from_der(bytes), Ok(([], _)))
}

fn sections(bytes: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, MaterialError> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes);
    if is_encrypted_pem(bytes) {
        // The header lines of an encrypted key are not base64: that section is skipped.
        return Ok(sections.filter_map(Result::ok).collect());
    }
    sections.collect::<Result<_, _>>().map_err(bad_pem)
}

fn bad_pem(error: pem::Error) -> MaterialError {
    MaterialError::BadPem(error.to_string())
}

/// Editors of Windows put a byte order mark before text.
fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn is_pem(bytes: &[u8]) -> bool {
    contains(bytes, b"-----BEGIN ")
}

/// PKCS#8 says it in its label, the older formats in a header line (RFC 1421).
fn is_encrypted_pem(bytes: &[u8]) -> bool {
    contains(bytes, b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || contains(bytes, b"Proc-Type: 4,ENCRYPTED")
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

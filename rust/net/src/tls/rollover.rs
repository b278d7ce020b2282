//! Roots and the revocation lists that go with them.
//!
//! webpki takes the first list that says the name of a certificate's issuer. An authority that changes
//! its key has two lists under its one name for a while, each signed by another key; with the first of
//! them alone, the certificates of the other key would be of unknown status. So each key has a
//! verifier, which knows nothing of the other's list.

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::{CertificateError, Error};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

type Crls = Vec<CertificateRevocationListDer<'static>>;

/// Some roots, with the lists that are for them.
pub(super) struct Group {
    pub(super) roots: Vec<CertificateDer<'static>>,
    pub(super) crls: Crls,
}

/// Divides roots and lists so that no root meets a list of its name that another root has signed. That
/// is one group unless an authority changes its key.
pub(super) fn groups(roots: &[CertificateDer<'static>], crls: &Crls) -> Vec<Group> {
    let signers: Vec<Option<CertificateDer<'static>>> = match crls.len() {
        0 | 1 => vec![None; crls.len()],
        _ => crls.iter().map(|crl| signer(crl, roots)).collect(),
    };
    let mut groups: Vec<(Vec<bool>, Group)> = Vec::new();
    for root in roots {
        let is_own = |signer: &CertificateDer<'_>| is_one_key(signer, root);
        // Whoever has no list must meet one that does not fit: without any, nothing would be checked.
        let has_own = signers.iter().flatten().any(is_own);
        let fits = |signer: &Option<CertificateDer<'_>>| match signer {
            Some(signer) => !has_own || is_own(signer) || !is_one_name(signer, root),
            None => true,
        };
        let fitting: Vec<bool> = signers.iter().map(fits).collect();
        match groups.iter_mut().find(|(known, _)| *known == fitting) {
            Some((_, group)) => group.roots.push(root.clone()),
            None => {
                let own = crls.iter().zip(&fitting).filter(|(_, fits)| **fits);
                let crls = own.map(|(crl, _)| crl.clone()).collect();
                groups.push((fitting, Group { roots: vec![root.clone()], crls }));
            }
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Which root has signed a list, if there are several of its issuer's name.
fn signer(
    crl: &CertificateRevocationListDer<'_>,
    roots: &[CertificateDer<'static>],
) -> Option<CertificateDer<'static>> {
    let (_, crl) = CertificateRevocationList::from_der(crl).ok()?;
    let named: Vec<_> = roots
        .iter()
        .filter_map(|der| Some((der, X509Certificate::from_der(der).ok()?.1)))
        .filter(|(_, root)| root.subject().as_raw() == crl.issuer().as_raw())
        .collect();
    if named.len() < 2 {
        return None;
    }
    let mut signed =
        named.iter().filter(|(_, root)| crl.verify_signature(root.public_key()).is_ok());
    signed.next().map(|(der, _)| (*der).clone())
}

fn is_one_key(one: &CertificateDer<'_>, other: &CertificateDer<'_>) -> bool {
    same(one, other, |root| root.public_key().raw.to_vec())
}

fn is_one_name(one: &CertificateDer<'_>, other: &CertificateDer<'_>) -> bool {
    same(one, other, |root| root.subject().as_raw().to_vec())
}

fn same(
    one: &CertificateDer<'_>,
    other: &CertificateDer<'_>,
    part: impl Fn(&X509Certificate<'_>) -> Vec<u8>,
) -> bool {
    let part = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der).ok().map(|(_, certificate)| part(&certificate))
    };
    part(one).is_some_and(|one| part(other) == Some(one))
}

/// Whether one of the groups' verifiers accepts what `verify` gives it. If none does, the reason is
/// that of one which knew the issuer.
pub(super) fn any<V>(
    verifiers: &[V],
    verify: impl Fn(&V) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut refused: Option<Error> = None;
    for verifier in verifiers {
        match verify(verifier) {
            Ok(()) => return Ok(()),
            Err(error) if refused.as_ref().is_none_or(is_of_a_stranger) => refused = Some(error),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or(CertificateError::UnknownIssuer.into()))
}

fn is_of_a_stranger(error: &Error) -> bool {
    let strange = [CertificateError::UnknownIssuer, CertificateError::BadSignature];
    matches!(error, Error::InvalidCertificate(error) if strange.contains(error))
}

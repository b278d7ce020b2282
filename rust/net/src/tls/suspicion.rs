//! Who seems to have lost their trust: what can be seen of a chain without a signature.
//!
//! It decides who is judged first, and nothing else. So names and numbers are kept as hashes, of
//! which two may be the same.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use x509_parser::certificate::X509CertificateParser;
use x509_parser::nom::Parser;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

/// What a chain is looked at for.
pub(super) struct Suspicion {
    hasher: RandomState,
    /// Issuers with serial numbers that a revocation list names.
    revoked: HashSet<u64>,
    /// The subjects of the roots; `None` if they are not known.
    roots: Option<HashSet<u64>>,
}

impl Suspicion {
    /// By these lists, and by these roots unless there are none.
    pub(super) fn new(
        roots: &[CertificateDer<'_>],
        crls: &[CertificateRevocationListDer<'_>],
    ) -> Self {
        let hasher = RandomState::new();
        let mut revoked = HashSet::new();
        for crl in crls {
            let Ok((_, list)) = CertificateRevocationList::from_der(crl) else { continue };
            let issuer = list.issuer().as_raw();
            revoked.extend(list.iter_revoked_certificates().map(|certificate| {
                hasher.hash_one((issuer, without_zeros(certificate.raw_serial())))
            }));
        }
        let subjects = roots.iter().filter_map(|root| {
            let (_, root) = parser().parse(root).ok()?;
            Some(hasher.hash_one(root.subject().as_raw()))
        });
        let roots = (!roots.is_empty()).then(|| subjects.collect());
        Self { hasher, revoked, roots }
    }

    /// Whether one of these certificates is on a list or out of its time, or none is of a root.
    pub(super) fn falls_on(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let mut rooted = self.roots.is_none();
        for der in chain {
            let Ok((_, certificate)) = parser().parse(der) else { return true };
            let validity = certificate.validity();
            let issuer = certificate.issuer().as_raw();
            let serial = without_zeros(certificate.raw_serial());
            let named = self.revoked.contains(&self.hasher.hash_one((issuer, serial)));
            if named
                || now < validity.not_before.timestamp()
                || now > validity.not_after.timestamp()
            {
                return true;
            }
            rooted |= self
                .roots
                .as_ref()
                .is_some_and(|roots| roots.contains(&self.hasher.hash_one(issuer)));
        }
        !rooted && !chain.is_empty()
    }
}

/// Extensions say nothing here.
fn parser() -> X509CertificateParser {
    X509CertificateParser::new().with_deep_parse_extensions(false)
}

fn without_zeros(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::slice::from_ref;

    use rcgen::SerialNumber;

    use super::*;
    use crate::tls::tests::pki::{Authority, Leaf};

    fn leaf(serial: Vec<u8>) -> Leaf {
        let mut leaf = Leaf::new("ada", &[]);
        leaf.params.serial_number = Some(SerialNumber::from(serial));
        leaf
    }

    fn now() -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000))
    }

    #[test]
    fn whoever_is_on_a_list_of_their_issuer_falls_under_it() {
        let (ours, other) = (Authority::root("CA"), Authority::root("Other CA"));
        let middle = ours.below("Middle CA");
        let roots = [ours.der.clone(), other.der.clone()];
        // The first of them has a byte of zeros in front in DER.
        let suspicion = Suspicion::new(&roots, &[ours.crl(&[200, 300], false)]);
        for serial in [vec![200], vec![1, 44]] {
            assert!(suspicion.falls_on(&ours.issue(leaf(serial.clone())).chain, now()));
            assert!(!suspicion.falls_on(&other.issue(leaf(serial.clone())).chain, now()));
            assert!(!suspicion.falls_on(&middle.issue(leaf(serial)).chain, now()));
        }
        let suspicion = Suspicion::new(&roots, &[middle.crl(&[5], false)]);
        assert!(suspicion.falls_on(&middle.issue(leaf(vec![5])).chain, now()));
    }

    #[test]
    fn whoever_is_out_of_time_or_of_no_root_falls_under_it() {
        let (ours, other) = (Authority::root("CA"), Authority::root("Other CA"));
        let chain = ours.below("Middle CA").issue(leaf(vec![1])).chain;
        assert!(!Suspicion::new(from_ref(&ours.der), &[]).falls_on(&chain, now()));
        assert!(!Suspicion::new(&[], &[]).falls_on(&chain, now()), "any root will do");
        assert!(Suspicion::new(from_ref(&other.der), &[]).falls_on(&chain, now()));
        let chain = ours.issue(leaf(vec![1]).valid(2020, 2021)).chain;
        assert!(Suspicion::new(from_ref(&ours.der), &[]).falls_on(&chain, now()));
        assert!(!Suspicion::new(&[other.der], &[]).falls_on(&[], now()), "nothing was shown");
    }
}

//! Certificates for tests, made anew in every run.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};

use crate::tls::Identity;

/// An authority, a root or one below a root.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) der: CertificateDer<'static>,
    /// What stands between a leaf of this authority and the root.
    above: Vec<CertificateDer<'static>>,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params(name);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der, above: Vec::new() }
    }

    pub(crate) fn below(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params(name);
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let mut above = vec![signed.der().clone()];
        above.extend(self.above.iter().cloned());
        Self { issuer: Issuer::new(params, key), der: signed.der().clone(), above }
    }

    pub(crate) fn issue(&self, leaf: Leaf) -> Identity {
        let key = KeyPair::generate().unwrap();
        let signed = leaf.params.signed_by(&key, &self.issuer).unwrap();
        let mut chain = vec![signed.der().clone()];
        chain.extend(self.above.iter().cloned());
        Identity { chain, key: private(&key) }
    }

    pub(crate) fn crl(
        &self,
        revoked: &[u64],
        expired: bool,
    ) -> CertificateRevocationListDer<'static> {
        let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2023, 1, 1),
            next_update: date_time_ymd(if expired { 2024 } else { 2100 }, 2, 3),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().clone()
    }
}

/// What a leaf says.
pub(crate) struct Leaf {
    pub(crate) params: CertificateParams,
}

impl Leaf {
    pub(crate) fn new(name: &str, alternatives: &[&str]) -> Self {
        let alternatives: Vec<String> = alternatives.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(alternatives).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2126, 12, 4);
        params.serial_number = Some(SerialNumber::from(77));
        Self { params }
    }

    pub(crate) fn valid(mut self, from: i32, until: i32) -> Self {
        self.params.not_before = date_time_ymd(from, 1, 2);
        self.params.not_after = date_time_ymd(until, 1, 2);
        self
    }

    pub(crate) fn only_for(mut self, purpose: ExtendedKeyUsagePurpose) -> Self {
        self.params.extended_key_usages = vec![purpose];
        self
    }

    pub(crate) fn authority(mut self) -> Self {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self
    }

    pub(crate) fn self_signed(self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let signed = self.params.self_signed(&key).unwrap();
        Identity { chain: vec![signed.der().clone()], key: private(&key) }
    }
}

pub(crate) fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

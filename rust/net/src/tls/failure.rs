//! Why a handshake failed, as data for our own side and as one line for the peer.

use std::fmt;

use quinn_proto::Side;
use rustls::{CertificateError, Error, ExtendedKeyPurpose};

use super::text;
use crate::identity::{Certificate, time_text};

/// A handshake that we ended, and everything needed to say why.
///
/// `Display` is the long form, several lines with what was asked for and what was presented;
/// [`TlsFailure::reason`] is the single line that also travels to the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFailure {
    /// Which side the peer is: whose certificate or offer was not accepted.
    pub peer: Side,
    /// What was wrong.
    pub kind: FailureKind,
    /// The TLS alert that was sent, if TLS has one for it.
    pub alert: Option<u8>,
    /// The name that was asked for, on the client.
    pub asked: Option<String>,
    /// The leaf that the peer presented, if it could be read.
    pub presented: Option<Box<Certificate>>,
}

/// What was wrong with a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The server's certificate is not for the name that was asked for.
    NameMismatch,
    /// No trusted root above the certificate.
    UnknownIssuer {
        /// The issuer at which the search ended.
        issuer: String,
        /// The certificate names itself as its issuer.
        self_signed: bool,
    },
    /// It, or a certificate above it, is not valid any more.
    Expired {
        /// Since when, in seconds of the Unix epoch, where known.
        at: Option<i64>,
        /// It is the leaf itself, not one above it.
        leaf: bool,
    },
    /// It, or a certificate above it, is not valid yet.
    NotYetValid {
        /// From when on, in seconds of the Unix epoch, where known.
        from: Option<i64>,
        /// It is the leaf itself, not one above it.
        leaf: bool,
    },
    /// A revocation list names it or a certificate above it.
    Revoked,
    /// Revocation lists were given, but none of its issuer (or not of every issuer above it).
    RevocationUnknown,
    /// The revocation list of its issuer is out of date since this second of the Unix epoch.
    RevocationListExpired(Option<i64>),
    /// The certificate is made for another use.
    NotForThisUse(String),
    /// A signature does not verify.
    BadSignature {
        /// It is the handshake's: the peer does not hold the key of its certificate. Otherwise
        /// it is one within the chain.
        handshake: bool,
    },
    /// The client presented no certificate, and one is required.
    NoCertificate,
    /// The user's own check refused, for this reason.
    Refused(String),
    /// The chain cannot be read, or is too large.
    Malformed(String),
    /// The chain is unacceptable for another reason.
    Unacceptable(String),
    /// No application protocol in common.
    NoSharedProtocol {
        /// What our side speaks or offers.
        ours: Vec<Vec<u8>>,
        /// What the client offered; empty on the client, who is not told what the server speaks.
        theirs: Vec<Vec<u8>>,
    },
    /// Something else in the handshake.
    Other(String),
}

impl FailureKind {
    /// A stable name for programs.
    pub fn slug(&self) -> &'static str {
        match self {
            Self::NameMismatch => "name_mismatch",
            Self::UnknownIssuer { .. } => "unknown_issuer",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::RevocationListExpired(_) => "revocation_list_expired",
            Self::NotForThisUse(_) => "not_for_this_use",
            Self::BadSignature { .. } => "bad_signature",
            Self::NoCertificate => "no_certificate",
            Self::Refused(_) => "refused",
            Self::Malformed(_) => "malformed",
            Self::Unacceptable(_) => "unacceptable",
            Self::NoSharedProtocol { .. } => "no_shared_protocol",
            Self::Other(_) => "other",
        }
    }

    /// What a verifier's error means for the chain whose leaf is `leaf`; `top` is the issuer at
    /// the upper end of what was presented.
    pub(super) fn of_error(error: &Error, leaf: &Certificate, top: String) -> Self {
        let Error::InvalidCertificate(error) = error else {
            return Self::Unacceptable(error.to_string());
        };
        match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::NameMismatch
            }
            CertificateError::UnknownIssuer => {
                Self::UnknownIssuer { issuer: top, self_signed: leaf.is_self_issued() }
            }
            CertificateError::Expired => Self::Expired { at: None, leaf: true },
            CertificateError::ExpiredContext { not_after, .. } => {
                let at = seconds(not_after.as_secs());
                Self::Expired { at: Some(at), leaf: at == leaf.not_after }
            }
            CertificateError::NotValidYet => Self::NotYetValid { from: None, leaf: true },
            CertificateError::NotValidYetContext { not_before, .. } => {
                let from = seconds(not_before.as_secs());
                Self::NotYetValid { from: Some(from), leaf: from == leaf.not_before }
            }
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownRevocationStatus => Self::RevocationUnknown,
            CertificateError::ExpiredRevocationList => Self::RevocationListExpired(None),
            CertificateError::ExpiredRevocationListContext { next_update, .. } => {
                Self::RevocationListExpired(Some(seconds(next_update.as_secs())))
            }
            CertificateError::InvalidPurpose => Self::NotForThisUse("not for this use".into()),
            CertificateError::InvalidPurposeContext { required, presented } => {
                Self::NotForThisUse(purpose_text(required, presented))
            }
            CertificateError::BadSignature => Self::BadSignature { handshake: false },
            CertificateError::BadEncoding => Self::Malformed("it is not correctly encoded".into()),
            CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
                Some(error) => Self::of_webpki(error),
                None => Self::Unacceptable(other.0.to_string()),
            },
            other => Self::Unacceptable(other.to_string()),
        }
    }

    fn of_webpki(error: &webpki::Error) -> Self {
        match error {
            webpki::Error::CaUsedAsEndEntity => Self::NotForThisUse(
                "it is the certificate of an authority (CA:TRUE), not of a peer".into(),
            ),
            webpki::Error::EndEntityUsedAsCa => Self::Unacceptable(
                "it is signed by a certificate that is not an authority's (CA:FALSE)".into(),
            ),
            webpki::Error::NameConstraintViolation => {
                Self::Unacceptable("an issuer's name constraints exclude its names".into())
            }
            webpki::Error::PathLenConstraintViolated => {
                Self::Unacceptable("the chain is longer than an issuer allows".into())
            }
            webpki::Error::UnsupportedCertVersion => {
                Self::Unacceptable("it is not of X.509 version 3".into())
            }
            other => Self::Unacceptable(spaced(&format!("{other:?}"))),
        }
    }

    /// What stands after "certificate rejected:".
    fn what(&self) -> String {
        match self {
            Self::NameMismatch => "name mismatch".into(),
            Self::UnknownIssuer { issuer, self_signed } => {
                let note = if *self_signed { " (self-signed)" } else { "" };
                format!("issuer \"{}\" is not trusted{note}", text::name(issuer))
            }
            Self::Expired { at, leaf } => format!("{}expired{}", above(*leaf), moment(*at)),
            Self::NotYetValid { from, leaf } => {
                format!("{}not valid before{}", above(*leaf), moment(*from))
            }
            Self::Revoked => "revoked".into(),
            Self::RevocationUnknown => {
                "not covered by a revocation list (one of every issuer is needed)".into()
            }
            Self::RevocationListExpired(at) => {
                format!("the revocation list of its issuer expired{}", moment(*at))
            }
            Self::BadSignature { handshake: true } => {
                "the peer does not hold the key of the certificate".into()
            }
            Self::BadSignature { handshake: false } => {
                "a signature in its chain does not verify".into()
            }
            Self::NoCertificate => "none was presented".into(),
            Self::NotForThisUse(what)
            | Self::Refused(what)
            | Self::Malformed(what)
            | Self::Unacceptable(what)
            | Self::Other(what) => text::printable(what),
            Self::NoSharedProtocol { .. } => "no shared protocol".into(),
        }
    }
}

impl TlsFailure {
    /// A failure that is not about a certificate that was presented.
    pub(super) fn of(peer: Side, kind: FailureKind) -> Self {
        Self { peer, kind, alert: None, asked: None, presented: None }
    }

    /// The first line of the long form: `server certificate rejected: name mismatch`.
    pub fn summary(&self) -> String {
        match &self.kind {
            FailureKind::NoCertificate => {
                "client certificate required but none was presented".into()
            }
            FailureKind::NoSharedProtocol { ours, theirs } => match self.peer {
                Side::Client if theirs.is_empty() => format!(
                    "no shared protocol: the client offers none, the server speaks {}",
                    text::protocols(ours)
                ),
                Side::Client => format!(
                    "no shared protocol: the client offers {}, the server speaks {}",
                    text::protocols(theirs),
                    text::protocols(ours)
                ),
                Side::Server => format!(
                    "no shared protocol: the client offers {}, the server chose none",
                    text::protocols(ours)
                ),
            },
            FailureKind::Other(what) => {
                text::reason(&format!("TLS handshake failed: {}", text::printable(what)))
            }
            kind => {
                let side = side_text(self.peer);
                text::reason(&format!("{side} certificate rejected: {}", kind.what()))
            }
        }
    }

    /// The line that travels to the peer, at most [`super::MAX_REASON_BYTES`] bytes.
    pub fn reason(&self) -> String {
        let mut line = self.summary();
        if self.kind == FailureKind::NameMismatch {
            let asked = self.asked.as_deref().unwrap_or("?");
            line.push_str(&format!(" (asked for {}", text::name(asked)));
            if let Some(leaf) = &self.presented {
                line.push_str(&format!(", presented {}", alternatives(leaf)));
            }
            line.push(')');
        }
        text::reason(&line)
    }

    /// What was asked for and what was presented, as labels and texts for a report.
    pub fn details(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(asked) = &self.asked {
            lines.push(("asked for", text::name(asked)));
        }
        if let Some(leaf) = &self.presented {
            let subject = match &leaf.common_name {
                Some(name) => format!("CN={}", text::name(name)),
                None => text::name(&leaf.subject),
            };
            let expires = time_text(leaf.not_after);
            let day = expires.split('T').next().unwrap_or(&expires);
            lines.push(("presented", format!("{} ({subject}, expires {day})", alternatives(leaf))));
            lines.push(("issuer", issuer_text(leaf)));
        }
        lines
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())?;
        for (label, text) in self.details() {
            write!(f, "\n  {label:<11}{text}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TlsFailure {}

/// The short name of a certificate's issuer.
pub(super) fn issuer_text(certificate: &Certificate) -> String {
    let name = certificate.issuer_common_name.as_ref();
    text::name(name.unwrap_or(&certificate.issuer))
}

fn side_text(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

fn alternatives(leaf: &Certificate) -> String {
    let names = text::names(leaf.names(), ",");
    if names.is_empty() {
        return "no SAN".into();
    }
    format!("SAN={names}")
}

fn above(leaf: bool) -> &'static str {
    if leaf { "" } else { "a certificate above it is " }
}

fn moment(at: Option<i64>) -> String {
    at.map(|at| format!(" {}", time_text(at))).unwrap_or_default()
}

fn seconds(unsigned: u64) -> i64 {
    i64::try_from(unsigned).unwrap_or(i64::MAX)
}

fn purpose_text(required: &ExtendedKeyPurpose, presented: &[ExtendedKeyPurpose]) -> String {
    let use_of = |purpose: &ExtendedKeyPurpose| match purpose {
        ExtendedKeyPurpose::ClientAuth => "client authentication".to_owned(),
        ExtendedKeyPurpose::ServerAuth => "server authentication".to_owned(),
        other => format!("{other:?}"),
    };
    let presented = text::names(presented.iter().map(use_of), ", ");
    format!("made for {presented}, not for {}", use_of(required))
}

/// `SomeVariantName(…)` of an error without a text of its own, as words.
fn spaced(debug: &str) -> String {
    let mut out = String::new();
    for c in debug.chars().take_while(char::is_ascii_alphanumeric) {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

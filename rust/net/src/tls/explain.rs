//! What a peer's close frame says about TLS, whoever's implementation the peer is.

use quinn_proto::TransportErrorCode;

use super::{alert_of, text};

/// The peer turned us away in the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerRejection {
    /// The TLS alert.
    pub alert: u8,
    /// Its name in RFC 8446 section 6.
    pub name: &'static str,
    /// What it means here, with what the peer added.
    pub text: String,
}

/// How the reasons of this implementation begin; they speak for themselves.
const OUR_BEGINNINGS: [&str; 4] =
    ["client certificate ", "server certificate ", "no shared protocol", "TLS handshake failed: "];

/// Makes the peer's close frame readable. `None` if its code is not a TLS alert.
///
/// `reason` is what the peer wrote: it may be empty, of another implementation, not UTF-8, or
/// meant to confuse. At most [`MAX_REASON_BYTES`](super::MAX_REASON_BYTES) of it are taken over,
/// without control characters.
pub fn explain_close(code: TransportErrorCode, reason: &[u8]) -> Option<PeerRejection> {
    let alert = alert_of(code)?;
    let (name, meaning) = meaning(alert);
    let said = printable_reason(reason);
    let ours = OUR_BEGINNINGS.iter().any(|begin| said.starts_with(begin));
    let text = if said.is_empty() {
        meaning.to_owned()
    } else if ours {
        said
    } else {
        format!("{meaning} (the peer says: {said})")
    };
    Some(PeerRejection { alert, name, text })
}

/// The reason of any close frame as text, at most [`MAX_REASON_BYTES`](super::MAX_REASON_BYTES)
/// bytes and without control characters.
pub fn printable_reason(reason: &[u8]) -> String {
    // A packet's worth is enough; what is cut off here would be cut off below.
    let bounded = reason.get(..4 * text::MAX_REASON_BYTES).unwrap_or(reason);
    text::reason(String::from_utf8_lossy(bounded).trim())
}

fn meaning(alert: u8) -> (&'static str, &'static str) {
    match alert {
        0 => ("close_notify", "the peer ended TLS"),
        10 => ("unexpected_message", "the peer did not expect our TLS message"),
        20 => ("bad_record_mac", "the peer could not decrypt what we sent"),
        22 => ("record_overflow", "the peer found our TLS message too large"),
        40 => ("handshake_failure", "the peer found no acceptable TLS parameters"),
        42 => ("bad_certificate", "the peer rejects our certificate"),
        43 => (
            "unsupported_certificate",
            "the peer does not support our certificate, or not for this use",
        ),
        44 => ("certificate_revoked", "the peer says that our certificate is revoked"),
        45 => (
            "certificate_expired",
            "the peer says that our certificate is expired or not yet valid",
        ),
        46 => ("certificate_unknown", "the peer does not accept our certificate"),
        47 => ("illegal_parameter", "the peer found a TLS parameter of ours illegal"),
        48 => ("unknown_ca", "the peer does not trust the issuer of our certificate"),
        49 => ("access_denied", "the peer knows our certificate and denies access"),
        50 => ("decode_error", "the peer could not read our TLS message"),
        51 => {
            ("decrypt_error", "the peer could not verify a signature of ours or of our certificate")
        }
        70 => ("protocol_version", "the peer does not speak our version of TLS"),
        71 => ("insufficient_security", "the peer demands stronger TLS parameters"),
        80 => ("internal_error", "the peer's TLS failed internally"),
        86 => ("inappropriate_fallback", "the peer noticed a fallback to older TLS"),
        90 => ("user_canceled", "the peer cancelled the handshake"),
        109 => ("missing_extension", "the peer misses a TLS extension"),
        110 => ("unsupported_extension", "the peer did not ask for a TLS extension of ours"),
        112 => ("unrecognized_name", "the server does not know the name that was asked for"),
        113 => (
            "bad_certificate_status_response",
            "the peer rejects the OCSP response of our certificate",
        ),
        115 => ("unknown_psk_identity", "the peer does not know the pre-shared key"),
        116 => ("certificate_required", "the server requires a client certificate"),
        120 => ("no_application_protocol", "the server speaks none of the offered protocols"),
        121 => ("ech_required", "the server requires Encrypted Client Hello"),
        _ => ("unknown", "the peer ended the TLS handshake with an unknown alert"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn explain(alert: u8, reason: &[u8]) -> PeerRejection {
        explain_close(TransportErrorCode::crypto(alert), reason).unwrap()
    }

    #[test]
    fn an_empty_reason_still_says_what_happened() {
        let rejection = explain(116, b"");
        assert_eq!(rejection.alert, 116);
        assert_eq!(rejection.name, "certificate_required");
        assert_eq!(rejection.text, "the server requires a client certificate");
        for alert in 0..=255 {
            assert!(!explain(alert, b"").text.is_empty());
        }
    }

    #[test]
    fn our_reasons_stand_and_foreign_ones_are_quoted() {
        assert_eq!(
            explain(44, b"client certificate rejected: revoked").text,
            "client certificate rejected: revoked"
        );
        assert_eq!(
            explain(42, b"tls: bad certificate\n").text,
            "the peer rejects our certificate (the peer says: tls: bad certificate)"
        );
    }

    #[test]
    fn hostile_reasons_are_bounded_and_harmless() {
        let text = explain(48, &[0xff; 100_000]).text;
        assert!(text.len() < 1024, "{}", text.len());
        let text = explain(48, b"\x1b]0;owned\x07 client certificate").text;
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn other_codes_are_not_tls() {
        assert_eq!(explain_close(TransportErrorCode::NO_ERROR, b""), None);
        assert_eq!(explain_close(TransportErrorCode::PROTOCOL_VIOLATION, b"x"), None);
    }
}

//! What the headers of an opening handshake say (RFC 6455, section 4).
//!
//! Over HTTP/1.1 all of this is asked; over HTTP/2 and HTTP/3 there is no key, and what `Upgrade` and
//! `Connection` say is said by `:protocol` (RFC 8441, section 5).

use super::extensions;

/// The version of the protocol, the value of `Sec-WebSocket-Version`.
pub const VERSION: &str = "13";

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Subprotocols that one request may name; more than anybody speaks.
const MAX_SUBPROTOCOLS: usize = 64;

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Another version, or none: to be answered with 426 and [`VERSION`] (section 4.2.2).
    #[error("Sec-WebSocket-Version is not {VERSION}")]
    Version,
    /// No key, or one that is not 16 bytes in base64.
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    Key,
    /// Subprotocols that are no tokens, or not all different.
    #[error("Sec-WebSocket-Protocol is not a list of different tokens")]
    Subprotocols,
    /// Extensions that are malformed, or from a server, not those that were offered.
    #[error("Sec-WebSocket-Extensions is malformed, or not what was offered")]
    Extensions,
}

/// Checks the value of `Sec-WebSocket-Version` (section 4.2.1).
///
/// # Errors
/// It is not [`VERSION`].
pub fn check_version(value: &[u8]) -> Result<(), HandshakeError> {
    if value.trim_ascii() == VERSION.as_bytes() { Ok(()) } else { Err(HandshakeError::Version) }
}

/// The value of `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (section 4.2.2).
///
/// # Errors
/// The key is not 16 bytes in base64.
pub fn accept_key(key: &[u8]) -> Result<String, HandshakeError> {
    let key = key.trim_ascii();
    if !is_key(key) {
        return Err(HandshakeError::Key);
    }
    let mut digest = sha1_smol::Sha1::new();
    digest.update(key);
    digest.update(GUID);
    Ok(base64(&digest.digest().bytes()))
}

/// The value of a client's `Sec-WebSocket-Key`, from a random nonce (section 4.1).
pub fn key(nonce: [u8; 16]) -> String {
    base64(&nonce)
}

/// The subprotocols that the values of `Sec-WebSocket-Protocol` name, in the order of preference.
///
/// # Errors
/// One is not a token, or is there twice (section 4.1).
pub fn subprotocols<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<&'a str>, HandshakeError> {
    let mut found = Vec::new();
    for name in values.into_iter().flat_map(extensions::tokens) {
        let name = name.ok_or(HandshakeError::Subprotocols)?;
        if found.contains(&name) || found.len() == MAX_SUBPROTOCOLS {
            return Err(HandshakeError::Subprotocols);
        }
        found.push(name);
    }
    Ok(found)
}

/// Whether the list in a header's value names `token`, in any case: `websocket` in `Upgrade`,
/// `upgrade` in `Connection` (section 4.2.1).
pub fn names(value: &[u8], token: &str) -> bool {
    extensions::tokens(value).flatten().any(|name| name.eq_ignore_ascii_case(token))
}

/// 16 bytes are 22 characters and two of padding.
fn is_key(key: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.strip_suffix(b"==").is_some_and(|key| key.iter().all(plain))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..4 {
            out.push(if place > chunk.len() { '=' } else { letter(bits >> (18 - 6 * place)) });
        }
    }
    out
}

fn letter(bits: u32) -> char {
    let six = (bits & 0x3f) as u8;
    char::from(match six {
        0..=25 => b'A' + six,
        26..=51 => b'a' + (six - 26),
        52..=61 => b'0' + (six - 52),
        62 => b'+',
        _ => b'/',
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_specification() {
        let accept = accept_key(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(key(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
    }

    #[test]
    fn base64_of_the_specification() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for key in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQ===",
            "dGhlIHNhbXBsZSBub25jZQAA",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhlIHNhbXBsZSBub25j=Q==",
            "dGhlIHNhbXBsZSBub25j*Q==",
            "dGhlIHNhbXBsZSBub25jZ Q=",
            "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        ] {
            assert_eq!(accept_key(key.as_bytes()), Err(HandshakeError::Key), "{key}");
        }
    }

    #[test]
    fn one_version_is_spoken() {
        assert_eq!(check_version(b"13"), Ok(()));
        for version in ["", "8", "12", "013", "13, 8", "1 3"] {
            assert_eq!(
                check_version(version.as_bytes()),
                Err(HandshakeError::Version),
                "{version}"
            );
        }
    }

    #[test]
    fn subprotocols_are_different_tokens() {
        let read = |values: &[&'static str]| subprotocols(values.iter().map(|it| it.as_bytes()));
        assert_eq!(read(&[]), Ok(vec![]));
        assert_eq!(read(&["chat, superchat", "v1.x"]), Ok(vec!["chat", "superchat", "v1.x"]));
        assert_eq!(read(&[" ,a,, b ,"]), Ok(vec!["a", "b"]));
        for values in [&["a b"][..], &["a, a"], &["a", "a"], &["a;q=1"], &["\"a\""], &["\u{e4}"]] {
            assert_eq!(read(values), Err(HandshakeError::Subprotocols), "{values:?}");
        }
        let many: Vec<_> = (0..=MAX_SUBPROTOCOLS).map(|number| format!("p{number}")).collect();
        let all =
            |count: usize| subprotocols(many.iter().take(count).map(|it| it.as_bytes())).is_ok();
        assert!(all(MAX_SUBPROTOCOLS) && !all(MAX_SUBPROTOCOLS + 1));
    }

    #[test]
    fn lists_name_tokens_in_any_case() {
        assert!(names(b"keep-alive, Upgrade", "upgrade"));
        assert!(names(b"WebSocket", "websocket"));
        assert!(!names(b"websockets, web socket", "websocket"));
    }
}

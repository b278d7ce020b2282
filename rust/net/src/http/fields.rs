//! Requests and field lines between our own form and that of the `http` crate, which hyper and h2
//! speak.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::{Fields, ReplyError, Request, Version};

/// Connection-specific fields (RFC 9110, section 7.6.1): what they say is between this end and its
/// transport, so no owner has a say in them; `connection: close` in HTTP/1.1 excepted.
const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

impl Request {
    /// A request whose head came over a socket.
    pub(super) fn of(
        version: Version,
        secure: bool,
        parts: &http::request::Parts,
        protocol: Option<Vec<u8>>,
        ended: bool,
    ) -> Self {
        let uri = &parts.uri;
        Self {
            version,
            method: parts.method.as_str().as_bytes().to_vec(),
            secure,
            authority: uri.authority().map(|authority| authority.as_str().as_bytes().to_vec()),
            target: match uri.path_and_query() {
                Some(target) => target.as_str().as_bytes().to_vec(),
                None => b"/".to_vec(),
            },
            protocol,
            fields: Fields::of(&parts.headers),
            early: false,
            ended,
        }
    }
}

/// Whether a client waits to be told that the body is wanted (RFC 9110, section 10.1.1).
pub(super) fn expects_continue(fields: &HeaderMap) -> bool {
    fields.get(header::EXPECT).is_some_and(|value| has_token(value, "100-continue"))
}

impl Fields {
    /// None yet, with room for so many lines of so many bytes in all.
    pub(super) fn with_capacity(lines: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(lines) }
    }

    fn of(map: &HeaderMap) -> Self {
        let bytes = map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let mut fields = Self::with_capacity(map.len(), bytes);
        for (name, value) in map {
            fields.push(name.as_str().as_bytes(), value.as_bytes());
        }
        fields
    }

    /// The lines as a map that shares their bytes.
    pub(super) fn into_map(self) -> Result<HeaderMap, ReplyError> {
        let Self { bytes, ends } = self;
        let bytes = Bytes::from(bytes);
        let mut map = HeaderMap::with_capacity(ends.len() + 2);
        let mut begin = 0;
        for (middle, end) in ends {
            let (first, middle, end) = (begin, middle as usize, end as usize);
            begin = end;
            let name = bytes.get(first..middle).unwrap_or_default();
            let wrong = || ReplyError::Field(String::from_utf8_lossy(name).into_owned());
            let name = HeaderName::from_bytes(name).map_err(|_| wrong())?;
            let value = bytes.slice(middle..end);
            let value = HeaderValue::from_maybe_shared(value).map_err(|_| wrong())?;
            map.try_append(name, value).map_err(|_| wrong())?;
        }
        Ok(map)
    }
}

/// Takes out what only this end may say. True if the owner wants the connection to end.
pub(super) fn strip(map: &mut HeaderMap) -> bool {
    let closes = map.get_all(header::CONNECTION).iter().any(|value| has_token(value, "close"));
    for name in &HOP_BY_HOP {
        map.remove(name);
    }
    closes
}

/// Whether a list of tokens has this one, in any case.
pub(super) fn has_token(value: &HeaderValue, token: &str) -> bool {
    let tokens = value.to_str().unwrap_or_default().split(',');
    tokens.map(str::trim).any(|found| found.eq_ignore_ascii_case(token))
}

/// The base64 form (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            let digit = if digit <= chunk.len() { DIGITS.get(value) } else { None };
            text.push(char::from(*digit.unwrap_or(&b'=')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        let known =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, coded) in known {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}

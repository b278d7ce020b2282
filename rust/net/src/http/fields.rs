//! Requests and field lines between our own form and that of the `http` crate, which hyper and h2
//! speak.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use jetstream_proto::websocket::handshake::names;

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
    fields.get(header::EXPECT).is_some_and(|value| names(value.as_bytes(), "100-continue"))
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
    let closes =
        map.get_all(header::CONNECTION).iter().any(|value| names(value.as_bytes(), "close"));
    for name in &HOP_BY_HOP {
        map.remove(name);
    }
    closes
}

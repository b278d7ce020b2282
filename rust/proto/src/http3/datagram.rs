//! HTTP/3 datagrams (RFC 9297, section 2.1): which request one belongs to.

use bytes::{Buf, Bytes};

use super::code::{Code, ConnectionError};
use super::varint;

/// The largest quarter of a stream id.
const MOST: u64 = (1 << 60) - 1;

/// Takes the payload of a QUIC datagram apart: the request's stream, and what is for it.
///
/// # Errors
/// There is no stream, or none that can be.
pub fn decode(mut datagram: Bytes) -> Result<(u64, Bytes), ConnectionError> {
    const fn error(reason: &'static str) -> ConnectionError {
        ConnectionError::new(Code::DATAGRAM_ERROR, reason)
    }
    let (quarter, size) = varint::decode(&datagram).ok_or(error("a datagram without a stream"))?;
    if quarter > MOST {
        return Err(error("a datagram for a stream that cannot be"));
    }
    datagram.advance(size);
    Ok((quarter * 4, datagram))
}

/// The payload of a QUIC datagram for the request on `stream`.
pub fn encode(stream: u64, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(8 + payload.len());
    varint::encode(stream / 4, &mut out);
    out.extend_from_slice(payload);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http3::tests::hex;

    #[test]
    fn datagrams_go_there_and_back() {
        for stream in [0, 4, 1024, MOST * 4] {
            for payload in [&b""[..], b"hello"] {
                let datagram = encode(stream, payload);
                assert_eq!(decode(datagram), Ok((stream, Bytes::copy_from_slice(payload))));
            }
        }
    }

    #[test]
    fn rules_of_datagrams() {
        for (bytes, what) in [
            ("", "too short for a quarter stream id"),
            ("40", "too short for a quarter stream id"),
            ("c0000000000000", "too short for a quarter stream id"),
            ("d000000000000000", "a quarter stream id over 2^60-1"),
            ("ffffffffffffffff", "a quarter stream id over 2^60-1"),
        ] {
            let error = decode(hex(bytes).into()).map_err(|error| error.code);
            assert_eq!(error, Err(Code::DATAGRAM_ERROR), "RFC 9297, section 2.1: {what}");
        }
    }
}

//! Capsules of a session (sections 5.6 and 6), each by its type.

use crate::http3::{Code, StreamError, capsule, varint};

/// WT_CLOSE_SESSION.
pub(super) const CLOSE: u64 = 0x2843;
/// WT_DRAIN_SESSION.
pub(super) const DRAIN: u64 = 0x78ae;
/// WT_MAX_DATA.
pub(super) const MAX_DATA: u64 = 0x190b_4d3d;
/// WT_MAX_STREAM_DATA, which HTTP/3 has not.
const MAX_STREAM_DATA: u64 = 0x190b_4d3e;
/// WT_MAX_STREAMS for bidirectional streams.
pub(super) const MAX_STREAMS_BIDI: u64 = 0x190b_4d3f;
/// WT_MAX_STREAMS for unidirectional streams.
pub(super) const MAX_STREAMS_UNI: u64 = 0x190b_4d40;
/// WT_DATA_BLOCKED.
pub(super) const DATA_BLOCKED: u64 = 0x190b_4d41;
/// WT_STREAM_DATA_BLOCKED, which HTTP/3 has not.
const STREAM_DATA_BLOCKED: u64 = 0x190b_4d42;
/// WT_STREAMS_BLOCKED for bidirectional streams.
pub(super) const STREAMS_BLOCKED_BIDI: u64 = 0x190b_4d43;
/// WT_STREAMS_BLOCKED for unidirectional streams.
pub(super) const STREAMS_BLOCKED_UNI: u64 = 0x190b_4d44;

/// Bytes of the code of WT_CLOSE_SESSION.
pub(super) const CODE: usize = 4;

/// The longest datagram that comes as a capsule: no packet carries a longer one as a frame, loopback
/// aside.
const MAX_DATAGRAM: usize = 1500;

/// How long a capsule may be; `None` for those that are skipped.
///
/// # Errors
/// It may not come at all (section 5.4).
pub(super) fn limit(kind: u64) -> Result<Option<usize>, StreamError> {
    match kind {
        capsule::DATAGRAM => Ok(Some(MAX_DATAGRAM)),
        CLOSE => Ok(Some(CODE + super::MAX_REASON)),
        DRAIN => Ok(Some(0)),
        MAX_DATA | MAX_STREAMS_BIDI | MAX_STREAMS_UNI | DATA_BLOCKED | STREAMS_BLOCKED_BIDI
        | STREAMS_BLOCKED_UNI => Ok(Some(8)),
        MAX_STREAM_DATA | STREAM_DATA_BLOCKED => {
            const NONE: StreamError = StreamError::new(
                Code::WT_FLOW_CONTROL_ERROR,
                "a limit of a stream, which QUIC has",
            );
            Err(NONE)
        }
        _ => Ok(None),
    }
}

/// What is said of a capsule that is longer than it may be.
pub(super) const fn too_long(kind: u64) -> StreamError {
    match kind {
        capsule::DATAGRAM => {
            StreamError::new(Code::EXCESSIVE_LOAD, "a datagram over the limit in a capsule")
        }
        CLOSE => StreamError::malformed("a reason over 1,024 bytes"),
        _ => StreamError::malformed("a capsule that is longer than its type"),
    }
}

/// Appends a capsule of one integer.
pub(super) fn integer(kind: u64, value: u64, out: &mut Vec<u8>) {
    let (bytes, size) = varint::array(value.min(varint::MAX));
    capsule::encode(kind, bytes.get(..size).unwrap_or_default(), out);
}

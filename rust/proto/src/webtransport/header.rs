//! The first bytes of streams (sections 4.2 and 4.3): a kind, then the session's id.

use super::flow::Direction;
use crate::http3::{Code, ConnectionError, varint};

/// How a bidirectional stream of a session begins.
pub const BOTH: u64 = 0x41;
/// How a unidirectional one does.
pub const ONE: u64 = 0x54;

/// Appends the first bytes of a stream of the session.
pub fn encode(direction: Direction, session: u64, out: &mut Vec<u8>) {
    let kind = match direction {
        Direction::Both => BOTH,
        Direction::One => ONE,
    };
    varint::encode(kind, out);
    varint::encode(session, out);
}

/// Checks the id that a stream came with.
///
/// # Errors
/// No session can have it: it is of no bidirectional stream that a client opens (section 4).
pub fn check(session: u64) -> Result<(), ConnectionError> {
    if session % 4 == 0 {
        return Ok(());
    }
    Err(ConnectionError::new(Code::ID_ERROR, "a stream for a session that cannot be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_say_whose_they_are() {
        for (direction, session, bytes) in [
            (Direction::Both, 0, &[0x40, 0x41, 0][..]),
            (Direction::Both, 64, &[0x40, 0x41, 0x40, 64]),
            (Direction::One, 4, &[0x40, 0x54, 4]),
        ] {
            let mut out = Vec::new();
            encode(direction, session, &mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn a_session_is_a_request() {
        for id in [0, 4, 4096, varint::MAX - 3] {
            assert_eq!(check(id), Ok(()));
        }
        for id in [1, 2, 3, 5, varint::MAX] {
            assert_eq!(check(id).map_err(|error| error.code), Err(Code::ID_ERROR));
        }
    }
}

//! Frames that travel as datagrams: `stream u64 LE`, then one frame of the lane on that stream. Over
//! WebTransport the label that the lane's opener gave it stands for the stream, whose number nobody
//! knows in a browser; and before it, whose session it is of.
//!
//! They come at most once and in any order, and what they say is only worth having now: the sender
//! keeps none back for later.

use quinn_proto::{Dir, Side, StreamId, VarInt};

/// Bytes of datagrams that have not left over which the path is taken to be busy: a few full ones.
const BUSY: usize = 8 << 10;

const HEADER: usize = 8;

/// What became of a frame that was to travel as a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It leaves with the next packets.
    Sent,
    /// Others have not left yet; this one would only come late.
    Busy,
    /// The peer takes no datagrams, or none of that size.
    Unfit,
}

/// The stream whose lane a datagram is for, and the frame.
pub(crate) fn split(datagram: &[u8]) -> Option<(StreamId, &[u8])> {
    let (stream, frame) = datagram.split_first_chunk::<HEADER>()?;
    let index = VarInt::from_u64(u64::from_le_bytes(*stream)).ok()?.into_inner();
    // Two bits of a stream's number say who opened it and whether it goes both ways (RFC 9000,
    // section 2.1).
    let side = if index & 1 == 0 { Side::Client } else { Side::Server };
    let dir = if index & 2 == 0 { Dir::Bi } else { Dir::Uni };
    Some((StreamId::new(side, dir, index >> 2), frame))
}

/// A lane's label and the frame, of a datagram of a session.
pub(crate) fn split_label(payload: &[u8]) -> Option<(u64, &[u8])> {
    let (label, frame) = payload.split_first_chunk::<HEADER>()?;
    Some((u64::from_le_bytes(*label), frame))
}

/// Sends a frame of the lane that goes by `name`, if it can leave at once, behind `prefix`. QUIC keeps
/// `buffer` bytes of datagrams for sending.
pub(crate) fn send(
    connection: &mut quinn_proto::Connection,
    buffer: usize,
    prefix: Vec<u8>,
    name: u64,
    frame: &[u8],
) -> Sent {
    let size = prefix.len() + HEADER + frame.len();
    let mut datagrams = connection.datagrams();
    match datagrams.max_size() {
        Some(most) if size <= most => {}
        _ => return Sent::Unfit,
    }
    if datagrams.send_buffer_space() + BUSY.min(buffer / 2) < buffer {
        return Sent::Busy;
    }
    let mut datagram = prefix;
    datagram.reserve_exact(HEADER + frame.len());
    datagram.extend_from_slice(&name.to_le_bytes());
    datagram.extend_from_slice(frame);
    match datagrams.send(datagram.into(), true) {
        Ok(()) => Sent::Sent,
        Err(_) => Sent::Unfit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_names_its_stream() {
        for (number, dir, side) in
            [(0, Dir::Bi, Side::Client), (5, Dir::Bi, Side::Server), (14, Dir::Uni, Side::Client)]
        {
            let mut bytes = u64::to_le_bytes(number).to_vec();
            bytes.push(9);
            let found = split(&bytes).map(|(stream, frame)| (u64::from(stream), frame.to_vec()));
            assert_eq!(found, Some((number, vec![9])));
            assert_eq!(split(&bytes).map(|(stream, _)| stream.dir()), Some(dir));
            assert_eq!(split(&bytes).map(|(stream, _)| stream.initiator()), Some(side));
        }
        assert_eq!(split(&[0; 7]), None);
        assert_eq!(split(&[255; 9]), None, "no stream has such a number");
    }
}

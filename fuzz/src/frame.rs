//! A lane's bytes in random pieces: the same frames come out, and the same end, as from a reading
//! of the whole; nothing is held but what arrived.

use jetstream_proto::frame::{FrameError, Splitter, begin, finish, frames, retag};
use jetstream_proto::limits::FRAME_HEADER;

use crate::pieces::pieces;

/// Limits up to here, so that short inputs go over them too.
const LARGEST: u32 = 600;

/// One input: a limit, how to cut, and the bytes.
pub fn run(input: &[u8]) {
    let [low, high, cut, stream @ ..] = input else { return };
    let limit = u32::from(u16::from_le_bytes([*low, *high])) % LARGEST;
    let (expected, end, rest) = whole(stream, limit);

    let mut splitter = Splitter::new(limit);
    let mut seen = Vec::new();
    let mut error = None;
    let mut pushed = 0;
    for piece in pieces(stream, *cut) {
        let outcome = splitter.push(piece);
        pushed += piece.len();
        assert!(splitter.unfinished() <= pushed, "more is held than arrived");
        // Taken now and then only: several pieces may make one run.
        if outcome.is_err() || pushed % 3 != 0 {
            collect(&mut splitter, &mut seen);
        }
        if let Err(broken) = outcome {
            error = Some(broken);
            break;
        }
    }
    collect(&mut splitter, &mut seen);
    assert_eq!(seen, expected);
    assert_eq!(error, end);
    if error.is_none() {
        assert_eq!(splitter.unfinished(), rest);
    }
    for frame in &seen {
        writes_back(frame, limit);
    }
}

type Owned = (u8, u16, Vec<u8>);

/// The frames of a stream read as one, why it goes no further, and how much is left over.
fn whole(mut stream: &[u8], limit: u32) -> (Vec<Owned>, Option<FrameError>, usize) {
    let mut found = Vec::new();
    loop {
        let &[a, b, c, d, ..] = stream else { return (found, None, stream.len()) };
        let size = u32::from_le_bytes([a, b, c, d]);
        if size < 7 {
            return (found, Some(FrameError::TooSmall { size }), stream.len());
        }
        if size > limit {
            let error = FrameError::TooLarge { size: size.into(), limit };
            return (found, Some(error), stream.len());
        }
        if stream.len() < size as usize {
            return (found, None, stream.len());
        }
        let (frame, rest) = stream.split_at(size as usize);
        found.push((frame[4], u16::from_le_bytes([frame[5], frame[6]]), frame[7..].to_vec()));
        stream = rest;
    }
}

fn collect(splitter: &mut Splitter, seen: &mut Vec<Owned>) {
    let Some(run) = splitter.take() else { return };
    let mut iterator = frames(&run);
    seen.extend(iterator.by_ref().map(|frame| (frame.kind, frame.tag, frame.payload.to_vec())));
    assert_eq!(iterator.position(), run.len(), "a run has whole frames only");
}

/// What was read is written the same, goes over a smaller limit without a trace, and takes a tag.
fn writes_back((kind, tag, payload): &Owned, limit: u32) {
    let mut out = b"before".to_vec();
    let start = begin(&mut out, *kind, *tag);
    out.extend_from_slice(payload);
    let size = (FRAME_HEADER + payload.len()) as u32;
    assert_eq!(finish(&mut out, start, limit), Ok(()));
    let again = frames(&out[start..]).next();
    assert!(again.is_some_and(|f| (f.kind, f.tag, f.payload) == (*kind, *tag, &payload[..])));

    retag(&mut out[start..], !tag);
    assert!(frames(&out[start..]).next().is_some_and(|frame| frame.tag == !tag));

    let error = FrameError::TooLarge { size: size.into(), limit: size - 1 };
    assert_eq!(finish(&mut out, start, size - 1), Err(error));
    assert_eq!(out, b"before");
}

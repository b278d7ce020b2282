//! Frames (RFC 9114, section 7.1): type and length, then what their reader wants of the payload.
//! This module knows no rule about which frame may come where.

use bytes::{Buf, Bytes};

use super::varint::{self, Partial};

/// Frame types.
pub mod kind {
    /// Content (RFC 9114, section 7.2.1).
    pub const DATA: u64 = 0x00;
    /// A field section (section 7.2.2).
    pub const HEADERS: u64 = 0x01;
    /// A push is not wanted (section 7.2.3).
    pub const CANCEL_PUSH: u64 = 0x03;
    /// Settings (section 7.2.4).
    pub const SETTINGS: u64 = 0x04;
    /// A push is announced (section 7.2.5).
    pub const PUSH_PROMISE: u64 = 0x05;
    /// Nothing new is begun (section 7.2.6).
    pub const GOAWAY: u64 = 0x07;
    /// How many pushes are allowed (section 7.2.7).
    pub const MAX_PUSH_ID: u64 = 0x0d;
    /// The priority of a request (RFC 9218, section 7.2).
    pub const PRIORITY_UPDATE_REQUEST: u64 = 0xf0700;
    /// The priority of a push.
    pub const PRIORITY_UPDATE_PUSH: u64 = 0xf0701;

    /// Whether it is one of HTTP/2's that HTTP/3 has not (RFC 9114, section 7.2.8).
    pub const fn is_of_http2(kind: u64) -> bool {
        matches!(kind, 0x02 | 0x06 | 0x08 | 0x09)
    }
}

/// What comes out of a [`Reader`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A frame begins. Its payload is skipped, unless the reader is told to [`keep`](Reader::keep)
    /// or to [`pass`](Reader::pass) it before the next step.
    Begin {
        /// The type, see [`kind`].
        kind: u64,
        /// The declared length of the payload.
        length: u64,
    },
    /// Some of the payload of a frame that is passed on, as it came.
    Piece(Bytes),
    /// The whole payload of a frame that is kept.
    Whole {
        /// The type, see [`kind`].
        kind: u64,
        /// All of the payload.
        payload: Bytes,
    },
}

#[derive(Debug)]
enum Body {
    Skip,
    Pass,
    Keep(Vec<u8>),
}

#[derive(Debug)]
enum State {
    Kind(Partial),
    Length(u64, Partial),
    Payload { kind: u64, left: u64, body: Body },
}

/// Reads types, lengths and values from bytes in any pieces. It holds nothing but a header that has
/// come in part, and what it was told to keep.
#[derive(Debug)]
pub struct Reader {
    state: State,
}

impl Default for Reader {
    fn default() -> Self {
        Self { state: State::Kind(Partial::default()) }
    }
}

impl Reader {
    /// The next step that `input` allows; `None` when it is used up.
    #[inline]
    pub fn next(&mut self, input: &mut Bytes) -> Option<Step> {
        loop {
            match &mut self.state {
                State::Kind(partial) => {
                    let kind = partial.read(input)?;
                    self.state = State::Length(kind, Partial::default());
                }
                State::Length(kind, partial) => {
                    let (kind, length) = (*kind, partial.read(input)?);
                    self.state = State::Payload { kind, left: length, body: Body::Skip };
                    return Some(Step::Begin { kind, length });
                }
                State::Payload { kind, left, body } => {
                    let step = match body {
                        Body::Skip => {
                            input.advance(take(left, input));
                            None
                        }
                        Body::Pass if *left > 0 && !input.is_empty() => {
                            return Some(Step::Piece(input.split_to(take(left, input))));
                        }
                        Body::Pass => None,
                        Body::Keep(kept) => keep(*kind, left, kept, input),
                    };
                    if *left > 0 {
                        return None;
                    }
                    self.state = State::Kind(Partial::default());
                    if step.is_some() {
                        return step;
                    }
                }
            }
        }
    }

    /// Keeps the payload of the frame that has just begun, whose length the caller has judged.
    /// Memory grows by what comes, not by what was declared.
    pub fn keep(&mut self) {
        self.treat(Body::Keep(Vec::new()));
    }

    /// Passes the payload of the frame that has just begun on.
    pub fn pass(&mut self) {
        self.treat(Body::Pass);
    }

    fn treat(&mut self, how: Body) {
        if let State::Payload { body, .. } = &mut self.state {
            *body = how;
        }
    }

    /// Bytes of a payload that is kept and not whole.
    pub fn held(&self) -> usize {
        match &self.state {
            State::Payload { body: Body::Keep(kept), .. } => kept.len(),
            _ => 0,
        }
    }

    /// Whether no frame has begun that has not ended; anything else at the end of a stream is an
    /// error (RFC 9114, section 7.1).
    pub fn is_between(&self) -> bool {
        match &self.state {
            State::Kind(partial) => partial.is_empty(),
            State::Length(..) => false,
            State::Payload { left, .. } => *left == 0,
        }
    }
}

/// How much of `input` belongs to a payload of which `left` bytes are to come.
fn take(left: &mut u64, input: &Bytes) -> usize {
    let size = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= size as u64;
    size
}

fn keep(kind: u64, left: &mut u64, kept: &mut Vec<u8>, input: &mut Bytes) -> Option<Step> {
    let piece = input.split_to(take(left, input));
    if *left > 0 {
        kept.extend_from_slice(&piece);
        return None;
    }
    if kept.is_empty() {
        return Some(Step::Whole { kind, payload: piece });
    }
    kept.extend_from_slice(&piece);
    Some(Step::Whole { kind, payload: std::mem::take(kept).into() })
}

/// Appends type and length.
pub fn header(kind: u64, length: u64, out: &mut Vec<u8>) {
    varint::encode(kind, out);
    varint::encode(length, out);
}

/// Appends a whole frame.
pub fn whole(kind: u64, payload: &[u8], out: &mut Vec<u8>) {
    header(kind, payload.len() as u64, out);
    out.extend_from_slice(payload);
}

/// Bytes before a field section that [`seal`] writes a HEADERS frame's type and length into.
pub(crate) const ROOM: usize = 5;

/// Makes a HEADERS frame of a buffer that begins with [`ROOM`] bytes and a field section; whatever
/// `behind` appends comes after it. `None` if the section is over what the room can say, 1 GiB.
pub(crate) fn seal(mut out: Vec<u8>, behind: impl FnOnce(&mut Vec<u8>)) -> Option<Bytes> {
    let (length, size) = varint::array(out.len().checked_sub(ROOM)? as u64);
    let start = ROOM.checked_sub(1 + size)?;
    let (kind, place) = out.get_mut(start..ROOM)?.split_first_mut()?;
    *kind = kind::HEADERS as u8;
    place.copy_from_slice(length.get(..size)?);
    behind(&mut out);
    let mut bytes = Bytes::from(out);
    bytes.advance(start);
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    /// Reads all of `bytes` in pieces of `size`, keeping type 4 and passing type 0 on.
    fn read(bytes: &[u8], size: usize) -> (Vec<(u64, Vec<u8>)>, Reader) {
        let (mut reader, mut seen) = (Reader::default(), Vec::<(u64, Vec<u8>)>::new());
        for piece in bytes.chunks(size) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(step) = reader.next(&mut input) {
                match step {
                    Step::Begin { kind, .. } => {
                        match kind {
                            kind::DATA => reader.pass(),
                            kind::SETTINGS => reader.keep(),
                            _ => {}
                        }
                        if kind != kind::SETTINGS {
                            seen.push((kind, Vec::new()));
                        }
                    }
                    Step::Piece(piece) => {
                        assert!(!piece.is_empty());
                        seen.last_mut().unwrap().1.extend_from_slice(&piece);
                    }
                    Step::Whole { kind, payload } => seen.push((kind, payload.to_vec())),
                }
            }
            assert!(input.is_empty(), "all is taken");
        }
        (seen, reader)
    }

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = Vec::new();
        whole(kind::SETTINGS, &[7; 70], &mut bytes);
        whole(kind::DATA, b"", &mut bytes);
        whole(0x21, &[9; 100], &mut bytes);
        whole(kind::DATA, b"hello", &mut bytes);
        whole(kind::SETTINGS, b"", &mut bytes);
        let expected = [
            (kind::SETTINGS, vec![7; 70]),
            (kind::DATA, vec![]),
            (0x21, vec![]),
            (kind::DATA, b"hello".to_vec()),
            (kind::SETTINGS, vec![]),
        ];
        for size in 1..=bytes.len() {
            let (seen, reader) = read(&bytes, size);
            assert_eq!(seen, expected, "pieces of {size}");
            assert!(reader.is_between());
        }
    }

    #[test]
    fn a_cut_within_a_frame_is_seen() {
        let mut bytes = Vec::new();
        whole(0x4000, b"abc", &mut bytes);
        for cut in 1..bytes.len() {
            assert!(!read(&bytes[..cut], cut).1.is_between(), "cut at {cut}");
        }
    }

    #[test]
    fn nothing_is_held_of_a_frame_of_any_length() {
        let mut bytes = Vec::new();
        header(0x21, varint::MAX, &mut bytes);
        header(0x21, varint::MAX, &mut bytes);
        let (_, reader) = read(&bytes, 3);
        let State::Payload { body: Body::Skip, left, .. } = reader.state else { panic!() };
        assert_eq!(left, varint::MAX - 9);
    }

    #[test]
    fn what_is_passed_on_and_what_is_whole_is_not_copied() {
        let mut bytes = Vec::new();
        whole(kind::DATA, b"hello", &mut bytes);
        whole(kind::SETTINGS, b"world", &mut bytes);
        let all = Bytes::from(bytes);
        let (mut reader, mut input) = (Reader::default(), all.clone());
        reader.next(&mut input);
        reader.pass();
        let Some(Step::Piece(piece)) = reader.next(&mut input) else { panic!() };
        assert_eq!(piece.as_ptr(), all[2..].as_ptr());
        reader.next(&mut input);
        reader.keep();
        let Some(Step::Whole { payload, .. }) = reader.next(&mut input) else { panic!() };
        assert_eq!(payload.as_ptr(), all[9..].as_ptr());
    }

    #[test]
    fn a_sealed_section_has_the_shortest_header() {
        for size in [0_usize, 1, 63, 64, 16_383, 16_384, 100_000] {
            let sealed = seal(vec![7; ROOM + size], |out| out.push(1)).unwrap();
            let mut expected = Vec::new();
            whole(kind::HEADERS, &vec![7; size], &mut expected);
            expected.push(1);
            assert_eq!(sealed, expected);
        }
    }
}

//! Frames: cutting a lane's bytes into whole frames, and writing new ones.
//!
//! `size u32 LE, counting itself | type u8 | tag u16 LE | payload`. This module knows sizes and
//! types; it does not know what a payload means.

use crate::limits::FRAME_HEADER;

/// Frame types that are not a method's own.
pub mod kind {
    /// The answer to a request that failed: a fault.
    pub const RERROR: u8 = 5;
    /// The end of a stream of items: the request's type and the result, or 0 for none.
    pub const RDONE: u8 = 8;
    /// Asks that an earlier request be given up: `oldtag u16, binding u64`.
    pub const TCANCEL: u8 = 9;
    /// The answer to it, when nothing more comes under the old tag: `oldtag u16`.
    pub const RCANCEL: u8 = 10;
    /// The caller's version, the first frame on a lane.
    pub const TVERSION: u8 = 100;
    /// The answer to it.
    pub const RVERSION: u8 = 101;
    /// The first method's request; see [`Dialect`](crate::dialect::Dialect) for the others.
    pub const FIRST_METHOD: u8 = 102;

    /// The request type that a reply type answers.
    pub const fn request_of_reply(reply: u8) -> u8 {
        reply.wrapping_sub(1)
    }
}

/// Why bytes are not a frame, or a frame cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The declared size does not even cover the header.
    #[error("a frame of {size} bytes is smaller than its own header of {FRAME_HEADER}")]
    TooSmall {
        /// The declared size.
        size: u32,
    },
    /// The declared size is over what was agreed for this lane.
    #[error("a frame of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// The declared size.
        size: u64,
        /// The agreed limit, `msize`.
        limit: u32,
    },
}

/// One whole frame, borrowed from the bytes it arrived in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The type, see [`kind`].
    pub kind: u8,
    /// The tag that pairs a request with its reply.
    pub tag: u16,
    /// Everything after the header.
    pub payload: &'a [u8],
}

/// Cuts a lane's bytes into whole frames. Sizes are checked as soon as they are known, before
/// anything is kept for them; memory grows only by what arrived.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    whole: usize,
    limit: u32,
}

impl Splitter {
    /// A splitter that refuses frames over `limit` bytes, header included.
    pub fn new(limit: u32) -> Self {
        Self { buffer: Vec::new(), whole: 0, limit }
    }

    /// Changes the limit for the frames that have not been looked at yet.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Adds bytes as they came.
    ///
    /// # Errors
    /// The first frame whose declared size cannot be; the lane is then beyond repair.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        self.buffer.extend_from_slice(bytes);
        while let Some(size) = declared_size(&self.buffer[self.whole..]) {
            if (size as usize) < FRAME_HEADER {
                return Err(FrameError::TooSmall { size });
            }
            if size > self.limit {
                return Err(FrameError::TooLarge { size: u64::from(size), limit: self.limit });
            }
            if self.buffer.len() - self.whole < size as usize {
                break;
            }
            self.whole += size as usize;
        }
        Ok(())
    }

    /// Takes all whole frames that have arrived, as one run of bytes for [`frames`].
    pub fn take(&mut self) -> Option<Vec<u8>> {
        if self.whole == 0 {
            return None;
        }
        let rest = self.buffer.split_off(self.whole);
        self.whole = 0;
        Some(std::mem::replace(&mut self.buffer, rest))
    }

    /// Bytes that have been added and not taken.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of a frame that has begun and not ended.
    pub fn unfinished(&self) -> usize {
        self.buffer.len() - self.whole
    }
}

fn declared_size(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|size| u32::from_le_bytes(*size))
}

/// The frames of a run that [`Splitter::take`] gave; it stops at the first byte that is none.
pub fn frames(run: &[u8]) -> Frames<'_> {
    Frames { run, position: 0 }
}

/// Iterates over a run of whole frames.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    run: &'a [u8],
    position: usize,
}

impl Frames<'_> {
    /// How many bytes of the run have been passed.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let rest = self.run.get(self.position..)?;
        let size = declared_size(rest)? as usize;
        let frame = rest.get(..size)?;
        let (header, payload) = frame.split_at_checked(FRAME_HEADER)?;
        self.position += size;
        Some(Frame { kind: header[4], tag: u16::from_le_bytes([header[5], header[6]]), payload })
    }
}

/// Begins a frame at the end of `out`; the payload is appended by the caller, then [`finish`].
pub fn begin(out: &mut Vec<u8>, kind: u8, tag: u16) -> usize {
    let start = out.len();
    let [low, high] = tag.to_le_bytes();
    out.extend_from_slice(&[0, 0, 0, 0, kind, low, high]);
    start
}

/// Ends the frame that began at `start`: writes its size.
///
/// # Errors
/// The frame is over `limit`; `out` is then as it was before [`begin`].
pub fn finish(out: &mut Vec<u8>, start: usize, limit: u32) -> Result<(), FrameError> {
    let size = out.len() - start;
    match u32::try_from(size) {
        Ok(encoded) if encoded <= limit => {
            if let Some(field) = out.get_mut(start..start + 4) {
                field.copy_from_slice(&encoded.to_le_bytes());
            }
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(FrameError::TooLarge { size: size as u64, limit })
        }
    }
}

/// Writes another tag into the frame that begins at `start`: a call that waited gets its tag late.
pub fn retag(frame: &mut [u8], tag: u16) {
    if let Some(field) = frame.get_mut(5..FRAME_HEADER) {
        field.copy_from_slice(&tag.to_le_bytes());
    }
}

/// Writes another type into the frame that begins at `start`: a request may leave by a lane that
/// numbers methods differently.
pub fn retype(frame: &mut [u8], kind: u8) {
    if let Some(field) = frame.get_mut(4) {
        *field = kind;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn frame(kind: u8, tag: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let start = begin(&mut out, kind, tag);
        out.extend_from_slice(payload);
        finish(&mut out, start, u32::MAX).unwrap();
        out
    }

    #[test]
    fn the_vectors_of_the_rust_crate() {
        assert_eq!(frame(102, 1, &[]), [7, 0, 0, 0, 0x66, 1, 0]);
        assert_eq!(
            frame(104, 2, b"\x05\0hello"),
            [14, 0, 0, 0, 0x68, 2, 0, 5, 0, b'h', b'e', b'l', b'l', b'o']
        );
    }

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = frame(102, 1, &[]);
        bytes.extend(frame(104, 2, b"abc"));
        bytes.extend(frame(105, 65535, &[0; 300]));
        for size in 1..bytes.len() {
            let mut splitter = Splitter::new(1024);
            let mut seen = Vec::new();
            for piece in bytes.chunks(size) {
                splitter.push(piece).unwrap();
                if let Some(run) = splitter.take() {
                    seen.extend(frames(&run).map(|f| (f.kind, f.tag, f.payload.len())));
                }
            }
            assert_eq!(seen, [(102, 1, 0), (104, 2, 3), (105, 65535, 300)], "pieces of {size}");
            assert_eq!(splitter.unfinished(), 0);
        }
    }

    #[test]
    fn impossible_sizes_are_refused_from_the_header_alone() {
        for size in [0_u32, 6] {
            let error = Splitter::new(100).push(&size.to_le_bytes()).unwrap_err();
            assert_eq!(error, FrameError::TooSmall { size });
        }
        for size in [101_u32, u32::MAX] {
            let mut splitter = Splitter::new(100);
            let error = splitter.push(&size.to_le_bytes()).unwrap_err();
            assert_eq!(error, FrameError::TooLarge { size: u64::from(size), limit: 100 });
            assert!(splitter.buffer.capacity() < 100, "nothing is kept for a refused frame");
        }
        assert!(Splitter::new(100).push(&100_u32.to_le_bytes()).is_ok());
    }

    #[test]
    fn a_frame_over_the_limit_leaves_no_trace() {
        let mut out = frame(102, 1, &[]);
        let before = out.clone();
        let start = begin(&mut out, 104, 2);
        out.extend_from_slice(&[0; 100]);
        assert_eq!(finish(&mut out, start, 50), Err(FrameError::TooLarge { size: 107, limit: 50 }));
        assert_eq!(out, before);
    }

    #[test]
    fn a_late_tag_and_type_are_written_in_place() {
        let mut bytes = frame(104, 0, b"x");
        retag(&mut bytes, 0x1234);
        retype(&mut bytes, 103);
        let expected = Frame { kind: 103, tag: 0x1234, payload: b"x" };
        assert_eq!(frames(&bytes).next(), Some(expected));
    }
}

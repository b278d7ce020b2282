//! Capsules (RFC 9297, section 3) in the content of a tunnel: type, length and value, like frames.

use bytes::Bytes;

use super::budget::Budget;
use super::code::{Code, Fault, StreamError};
use super::frame::{self, Step};

/// A datagram that comes as a capsule (RFC 9297, section 3.5).
pub const DATAGRAM: u64 = 0x00;

/// A capsule of a type that its reader asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capsule {
    /// The type.
    pub kind: u64,
    /// The value.
    pub value: Bytes,
}

/// Reads capsules from content in any pieces. Those of other types are skipped, whatever their
/// length (section 3.2).
#[derive(Debug, Default)]
pub struct Reader {
    reader: frame::Reader,
}

impl Reader {
    /// The next capsule for which `limit` says how long it may be; `None` from it skips the type.
    /// `None` from this when `input` is used up. What is skipped costs of `budget`.
    ///
    /// # Errors
    /// A capsule is longer than it may be, or too many are skipped.
    pub fn next(
        &mut self,
        input: &mut Bytes,
        budget: &mut Budget,
        limit: impl Fn(u64) -> Option<usize>,
    ) -> Result<Option<Capsule>, Fault> {
        while let Some(step) = self.reader.next(input) {
            match step {
                Step::Begin { kind, length } => match limit(kind) {
                    None => budget.spend()?,
                    Some(most) if length > most as u64 => {
                        const LONG: StreamError =
                            StreamError::new(Code::EXCESSIVE_LOAD, "a capsule over the limit");
                        return Err(LONG.into());
                    }
                    Some(_) => self.reader.keep(),
                },
                Step::Whole { kind, payload } => {
                    return Ok(Some(Capsule { kind, value: payload }));
                }
                Step::Piece(_) => {}
            }
        }
        Ok(None)
    }

    /// The content has ended.
    ///
    /// # Errors
    /// The last capsule is cut off: a malformed message (section 3.3).
    pub fn finish(&self) -> Result<(), StreamError> {
        if self.reader.is_between() {
            return Ok(());
        }
        Err(StreamError::malformed("a capsule that is cut off"))
    }
}

/// Appends a capsule.
pub fn encode(kind: u64, value: &[u8], out: &mut Vec<u8>) {
    frame::whole(kind, value, out);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn limit(kind: u64) -> Option<usize> {
        match kind {
            DATAGRAM => Some(10),
            0x2843 => Some(1028),
            _ => None,
        }
    }

    #[test]
    fn capsules_survive_any_cut_and_unknown_ones_are_skipped() {
        let mut bytes = Vec::new();
        encode(DATAGRAM, b"one", &mut bytes);
        encode(0x1234, &[0; 500], &mut bytes);
        encode(DATAGRAM, b"", &mut bytes);
        encode(0x2843, &[7; 600], &mut bytes);
        for size in [1, 2, 3, 7, 64, bytes.len()] {
            let (mut reader, mut budget, mut seen) =
                (Reader::default(), Budget::new(1), Vec::new());
            for piece in bytes.chunks(size) {
                let mut input = Bytes::copy_from_slice(piece);
                while let Some(capsule) = reader.next(&mut input, &mut budget, limit).unwrap() {
                    seen.push((capsule.kind, capsule.value.len()));
                }
            }
            assert_eq!(seen, [(DATAGRAM, 3), (DATAGRAM, 0), (0x2843, 600)], "pieces of {size}");
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn rules_of_capsules() {
        let code = |bytes: &[u8]| {
            let mut input = Bytes::copy_from_slice(bytes);
            let mut reader = Reader::default();
            match reader.next(&mut input, &mut Budget::new(2), limit) {
                Err(Fault::Stream(error)) => Some(error.code),
                Err(Fault::Connection(error)) => Some(error.code),
                Ok(_) => reader.finish().err().map(|error| error.code),
            }
        };
        // RFC 9297, section 3.3: cut off is malformed.
        for cut in [1, 2, 5] {
            assert_eq!(code(&[0x00, 0x05, 1, 2, 3][..cut]), Some(Code::MESSAGE_ERROR));
        }
        // Longer than its type may be: seen from its length alone.
        assert_eq!(code(&[0x00, 0x0b]), Some(Code::EXCESSIVE_LOAD));
        // Many that mean nothing.
        assert_eq!(code(&[0x21, 0, 0x21, 0]), None);
        assert_eq!(code(&[0x21, 0, 0x21, 0, 0x21, 0]), Some(Code::EXCESSIVE_LOAD));
    }
}

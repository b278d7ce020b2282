//! Integers of one, two, four or eight bytes (RFC 9000, section 16), whole or as they come.

use bytes::{Buf, Bytes};

/// The largest that can be written.
pub const MAX: u64 = (1 << 62) - 1;

/// Bytes that `value` takes.
pub const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `value`, which is at most [`MAX`].
#[inline]
pub fn encode(value: u64, out: &mut Vec<u8>) {
    let (bytes, size) = array(value);
    out.extend_from_slice(bytes.get(..size).unwrap_or_default());
}

/// `value`, which is at most [`MAX`], at the beginning of an array, and how many bytes of it it is.
#[inline]
pub(crate) const fn array(value: u64) -> ([u8; 8], usize) {
    debug_assert!(value <= MAX);
    let size = len(value);
    let mark = size.trailing_zeros() as u64;
    let shifted = (value & MAX) << (64 - 8 * size);
    ((shifted | mark << 62).to_be_bytes(), size)
}

/// The integer at the beginning of `bytes`, and how many of them it takes; `None` if it goes on
/// behind them. Any length is taken for any value: only QUIC's own frame types must be short.
#[inline]
pub fn decode(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    match first >> 6 {
        0 => Some((first.into(), 1)),
        1 => bytes.first_chunk().map(|b| (u64::from(u16::from_be_bytes(*b) & 0x3fff), 2)),
        2 => bytes.first_chunk().map(|b| (u64::from(u32::from_be_bytes(*b) & 0x3fff_ffff), 4)),
        _ => bytes.first_chunk().map(|b| (u64::from_be_bytes(*b) & MAX, 8)),
    }
}

/// The integer that fills `bytes`.
pub fn whole(bytes: &[u8]) -> Option<u64> {
    decode(bytes).and_then(|(value, size)| (size == bytes.len()).then_some(value))
}

/// An integer that comes in pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Partial {
    bytes: [u8; 8],
    have: u8,
}

impl Partial {
    /// Takes of `input` what belongs to the integer; it, if it is whole now.
    #[inline]
    pub fn read(&mut self, input: &mut Bytes) -> Option<u64> {
        if self.have == 0 {
            if let Some((value, size)) = decode(input) {
                input.advance(size);
                return Some(value);
            }
        }
        self.gather(input)
    }

    fn gather(&mut self, input: &mut Bytes) -> Option<u64> {
        while let Some((byte, place)) =
            input.first().zip(self.bytes.get_mut(usize::from(self.have)))
        {
            *place = *byte;
            self.have += 1;
            input.advance(1);
            let gathered = self.bytes.get(..usize::from(self.have)).and_then(decode);
            if let Some((value, _)) = gathered {
                self.have = 0;
                return Some(value);
            }
        }
        None
    }

    /// Whether no byte of it has come.
    pub fn is_empty(&self) -> bool {
        self.have == 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_9000() {
        // RFC 9000, appendix A.1.
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!(decode(bytes), Some((value, bytes.len())));
            let mut out = Vec::new();
            encode(value, &mut out);
            assert_eq!(out, bytes);
        }
        assert_eq!(decode(&[0x40, 0x25]), Some((37, 2)), "more bytes than it needs");
    }

    #[test]
    fn edges_go_there_and_back_whole_and_in_pieces() {
        for value in [0, 0x3f, 0x40, 0x3fff, 0x4000, 0x3fff_ffff, 0x4000_0000, MAX] {
            let mut out = Vec::new();
            encode(value, &mut out);
            assert_eq!(out.len(), len(value));
            assert_eq!(decode(&out), Some((value, out.len())));
            assert_eq!(whole(&out), Some(value));
            let mut partial = Partial::default();
            let (last, first) = out.split_last().unwrap();
            for byte in first {
                assert_eq!(partial.read(&mut Bytes::copy_from_slice(&[*byte])), None);
                assert!(!partial.is_empty());
            }
            let mut rest = Bytes::copy_from_slice(&[*last, 0xff]);
            assert_eq!(partial.read(&mut rest), Some(value));
            assert!(partial.is_empty() && rest.len() == 1, "what is behind it is left");
            for cut in 0..out.len() {
                assert_eq!(decode(&out[..cut]), None);
            }
            out.push(0);
            assert_eq!(whole(&out), None);
        }
    }
}

//! Encoded field sections (RFC 9204, section 4.5) into [`Fields`], bounded while they are read.

use super::huffman::{self, Wrong};
use super::integer;
use super::static_table::ENTRIES;
use crate::http3::fields::{Fields, OVERHEAD};

/// Why a field section was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not one: QPACK_DECOMPRESSION_FAILED for the connection.
    #[error("{0}")]
    Failed(&'static str),
    /// It is larger, or has more fields, than is taken: the stream's affair.
    #[error("the field section is over the limit")]
    TooLarge,
}

/// Reads a field section of at most `most` fields and `size` bytes, counted as RFC 9114, section
/// 4.2.2, does.
///
/// # Errors
/// It is malformed, refers to a dynamic table, or is over a limit.
pub fn decode(section: &[u8], most: usize, size: usize) -> Result<Fields, DecodeError> {
    let mut reader = Reader { rest: section };
    if reader.integer(8)? != 0 {
        return Err(DecodeError::Failed("a field section that needs insertions"));
    }
    // The Base: any, for a section that refers to nothing, but not below 0 (section 4.5.1.2).
    if reader.first()? & 0x80 != 0 {
        return Err(DecodeError::Failed("a field section with a negative Base"));
    }
    reader.integer(7)?;
    // What Huffman codes and indices make longer, the buffer grows for.
    let mut fields =
        Fields::with_capacity(16.min(section.len()), section.len().saturating_mul(2).min(size));
    while let Some(first) = reader.rest.first() {
        // What is left for names and values when this field is counted.
        let room = size.checked_sub(fields.size() + OVERHEAD).ok_or(DecodeError::TooLarge)?;
        if fields.len() >= most {
            return Err(DecodeError::TooLarge);
        }
        let start = fields.buffer().len();
        let middle = match first {
            0xc0.. => {
                let (name, value) = reader.entry(6)?;
                let bytes = fields.buffer();
                bytes.extend_from_slice(name);
                let middle = bytes.len();
                bytes.extend_from_slice(value);
                middle
            }
            0x50..=0x5f | 0x70..=0x7f => {
                let (name, _) = reader.entry(4)?;
                let bytes = fields.buffer();
                bytes.extend_from_slice(name);
                let middle = bytes.len();
                reader.string(8, room.saturating_sub(name.len()), bytes)?;
                middle
            }
            0x20..=0x3f => {
                let bytes = fields.buffer();
                reader.string(4, room, bytes)?;
                let middle = bytes.len();
                reader.string(8, room.saturating_sub(middle - start), bytes)?;
                middle
            }
            _ => return Err(DecodeError::Failed("a reference to the dynamic table")),
        };
        if fields.buffer().len() - start > room {
            return Err(DecodeError::TooLarge);
        }
        fields.close(middle);
    }
    Ok(fields)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn first(&self) -> Result<u8, DecodeError> {
        self.rest.first().copied().ok_or(DecodeError::Failed("a field section that is cut off"))
    }

    #[inline]
    fn integer(&mut self, bits: u32) -> Result<u64, DecodeError> {
        const WRONG: DecodeError = DecodeError::Failed("an integer that is cut off or too large");
        let (value, size) = integer::decode(self.rest, bits).ok_or(WRONG)?;
        self.rest = self.rest.get(size..).ok_or(WRONG)?;
        Ok(value)
    }

    #[inline]
    fn entry(&mut self, bits: u32) -> Result<(&'static [u8], &'static [u8]), DecodeError> {
        let index = usize::try_from(self.integer(bits)?).ok();
        index
            .and_then(|index| ENTRIES.get(index).copied())
            .ok_or(DecodeError::Failed("an index behind the static table"))
    }

    /// Appends a string whose first byte has `bits` of its own (RFC 9204, section 4.1.2).
    #[inline]
    fn string(&mut self, bits: u32, room: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let coded = self.first()? & 1 << (bits - 1) != 0;
        let length = usize::try_from(self.integer(bits - 1)?).ok();
        let (string, rest) = length
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or(DecodeError::Failed("a string that is cut off"))?;
        self.rest = rest;
        if coded {
            huffman::decode(string, room, out).map_err(|wrong| match wrong {
                Wrong::Code => DecodeError::Failed("a string that is not of the Huffman code"),
                Wrong::TooLong => DecodeError::TooLarge,
            })
        } else if string.len() > room {
            Err(DecodeError::TooLarge)
        } else {
            out.extend_from_slice(string);
            Ok(())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http3::tests::hex;

    fn read(section: &str) -> Result<Fields, DecodeError> {
        decode(&hex(section), 128, 65_536)
    }

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().copied().collect()
    }

    #[test]
    fn every_representation_without_a_dynamic_table() {
        // RFC 9204, appendix B.1.
        assert_eq!(
            read("0000 510b 2f69 6e64 6578 2e68 746d 6c"),
            Ok(fields(&[(":path", "/index.html")]))
        );
        for (section, name, value) in [
            // Section 4.5.2: indexed, in one byte and in two.
            ("0000 c1", ":path", "/"),
            ("0000 ff23", "x-frame-options", "sameorigin"),
            // Section 4.5.4: a name of the table, N clear and set; an index in two bytes.
            ("0000 5001 61", ":authority", "a"),
            ("0000 7001 61", ":authority", "a"),
            ("0000 5f50 0161", "user-agent", "a"),
            // Section 4.5.6: a literal name, N clear and set, both strings coded or not.
            ("0000 2161 0162", "a", "b"),
            ("0000 3161 0162", "a", "b"),
            (
                "0000 2f01 25a8 49e9 5ba9 7d7f 8925a8 49e9 5bb8 e8b4 bf",
                "custom-key",
                "custom-value",
            ),
            ("0000 2000", "", ""),
        ] {
            assert_eq!(read(section), Ok(fields(&[(name, value)])), "{section}");
        }
        assert_eq!(read("0000"), Ok(Fields::default()));
        // Section 4.5.1.2: any Base, if nothing refers to it.
        assert_eq!(read("0005 c1"), Ok(fields(&[(":path", "/")])));
    }

    #[test]
    fn whatever_needs_a_dynamic_table_fails() {
        for (section, what) in [
            ("0381 10", "appendix B.2: Required Insert Count 2"),
            ("0500 80c1 81", "appendix B.4: Required Insert Count 4"),
            ("0100 c1", "section 4.5.1.1: a count that no table of size 0 has"),
            ("0000 80", "section 4.5.2: indexed, dynamic"),
            ("0000 10", "section 4.5.3: indexed, post-Base"),
            ("0000 4000", "section 4.5.4: a name, dynamic"),
            ("0000 0000", "section 4.5.5: a name, post-Base"),
            ("0080 c1", "section 4.5.1.2: a negative Base"),
        ] {
            assert!(matches!(read(section), Err(DecodeError::Failed(_))), "{what}");
        }
    }

    #[test]
    fn what_is_cut_off_or_cannot_be_fails() {
        for (section, what) in [
            ("", "nothing"),
            ("00", "no Base"),
            ("0000 ff24", "section 3.1: index 99"),
            ("0000 5f54", "section 3.1: a name at index 99"),
            ("0000 ff", "an index cut off"),
            ("0000 ffffffffffffffffffff01", "section 4.1.1: more than 62 bits"),
            ("0000 51", "no value"),
            ("0000 5105 6162", "a value cut off"),
            ("0000 23 6162", "a name cut off"),
            ("0000 5181 ff", "RFC 7541, section 5.2: padding of a byte"),
            ("0000 5181 06", "RFC 7541, section 5.2: padding that is not of EOS"),
            ("0000 5184 ffffffff", "RFC 7541, section 5.2: EOS"),
            ("0000 517f ffff ffff ffff ffff 7f", "a length of 2^62"),
        ] {
            assert!(matches!(read(section), Err(DecodeError::Failed(_))), "{what}");
        }
        let whole = hex("0000 ff23 5001 61 2161 0162");
        let ends: Vec<usize> =
            (2..=whole.len()).filter(|cut| decode(&whole[..*cut], 9, 999).is_ok()).collect();
        assert_eq!(ends, [2, 4, 7, 11], "only between fields");
    }

    #[test]
    fn size_and_number_are_bounded_to_the_byte() {
        // RFC 9114, section 4.2.2: names, values and 32 each. `:path` and `/` are 38.
        for (section, size) in [
            ("0000 c1", 38),
            ("0000 c1c1", 76),
            ("0000 5104 2f616263", 41),
            ("0000 2161 0162", 34),
            ("0000 2f01 25a8 49e9 5ba9 7d7f 8925a8 49e9 5bb8 e8b4 bf", 54),
        ] {
            let section = hex(section);
            let read = decode(&section, 2, size).unwrap();
            assert_eq!(read.size(), size);
            assert_eq!(decode(&section, 2, size - 1), Err(DecodeError::TooLarge));
            assert_eq!(decode(&section, read.len() - 1, size), Err(DecodeError::TooLarge));
        }
        // A bomb of one-byte fields is given up at once, and holds no more than it may.
        let mut bomb = vec![0, 0];
        bomb.resize(60_000, 0xc0 | 41);
        assert_eq!(decode(&bomb, usize::MAX, 65_536), Err(DecodeError::TooLarge));
        assert_eq!(decode(&bomb, 128, usize::MAX >> 1), Err(DecodeError::TooLarge));
    }
}

//! What a peer may say on its encoder and decoder streams (RFC 9204, sections 4.3 and 4.4) to an end
//! that has no dynamic table: next to nothing.

use super::integer::MOST;
use crate::http3::budget::Budget;
use crate::http3::code::{Code, ConnectionError};

/// Reads from the peer's encoder stream. Its table has size 0 and nothing in it, so only Set Dynamic
/// Table Capacity with 0 is left, which is one byte.
///
/// # Errors
/// The peer inserts, duplicates or wants a table (sections 3.2.3, 4.3.1 to 4.3.4).
pub fn encoder_stream(bytes: &[u8], budget: &mut Budget) -> Result<(), ConnectionError> {
    for byte in bytes {
        if *byte != 0x20 {
            return Err(ConnectionError::new(
                Code::QPACK_ENCODER_STREAM_ERROR,
                "an insertion into a table of size 0",
            ));
        }
        budget.spend()?;
    }
    Ok(())
}

/// The peer's decoder stream. We refer to nothing, so there is nothing to acknowledge; a stream that
/// the peer gave up may be named (section 4.4.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecoderStream {
    /// Bytes of a stream id that have come, 0 between instructions.
    within: u8,
}

impl DecoderStream {
    /// Reads on.
    ///
    /// # Errors
    /// The peer acknowledges what was never sent (sections 4.4.1 and 4.4.3), or names a stream that
    /// cannot be.
    pub fn read(&mut self, bytes: &[u8], budget: &mut Budget) -> Result<(), ConnectionError> {
        const fn error(reason: &'static str) -> ConnectionError {
            ConnectionError::new(Code::QPACK_DECODER_STREAM_ERROR, reason)
        }
        for byte in bytes {
            if self.within > 0 {
                self.within = if byte & 0x80 == 0 { 0 } else { self.within + 1 };
                if usize::from(self.within) > MOST {
                    return Err(error("a stream id that is too long"));
                }
                continue;
            }
            match byte >> 6 {
                0 => return Err(error("an Insert Count Increment for no insertion")),
                1 => {
                    budget.spend()?;
                    self.within = u8::from(byte & 0x3f == 0x3f);
                }
                _ => return Err(error("a Section Acknowledgment for no reference")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http3::tests::hex;

    #[test]
    fn the_encoder_stream_takes_a_capacity_of_0_only() {
        let mut budget = Budget::new(3);
        assert_eq!(encoder_stream(&[0x20, 0x20], &mut budget), Ok(()));
        for (bytes, what) in [
            ("21", "section 3.2.3: a capacity over the maximum"),
            ("3fbd01", "appendix B.2: a capacity of 220"),
            ("c000", "section 4.3.2: a name of the static table"),
            ("8000", "section 4.3.2: a name of the dynamic table"),
            ("4a63 7573 746f 6d2d", "section 4.3.3, appendix B.3: a literal name"),
            ("02", "section 4.3.4, appendix B.4: a duplicate"),
        ] {
            let error = encoder_stream(&hex(bytes), &mut budget);
            assert_eq!(error.map_err(|e| e.code), Err(Code::QPACK_ENCODER_STREAM_ERROR), "{what}");
        }
        let flood = encoder_stream(&[0x20, 0x20], &mut budget);
        assert_eq!(flood.map_err(|e| e.code), Err(Code::EXCESSIVE_LOAD));
    }

    #[test]
    fn the_decoder_stream_takes_cancellations_only() {
        let mut budget = Budget::new(100);
        let mut stream = DecoderStream::default();
        // Section 4.4.2, appendix B.4; and ids of more bytes, cut anywhere.
        for byte in hex("48 7f00 7fff ff03 40") {
            assert_eq!(stream.read(&[byte], &mut budget), Ok(()));
        }
        assert_eq!(stream, DecoderStream::default());
        for (bytes, what) in [
            ("84", "section 4.4.1, appendix B.2: an acknowledgment"),
            ("01", "section 4.4.3, appendix B.3: an increment"),
            ("00", "section 4.4.3: an increment of 0"),
            ("7fffffffffffffffffffff", "section 4.1.1: an id of too many bytes"),
        ] {
            let error = DecoderStream::default().read(&hex(bytes), &mut budget);
            assert_eq!(error.map_err(|e| e.code), Err(Code::QPACK_DECODER_STREAM_ERROR), "{what}");
        }
        let flood = stream.read(&[0x40; 200], &mut budget);
        assert_eq!(flood.map_err(|e| e.code), Err(Code::EXCESSIVE_LOAD));
    }
}

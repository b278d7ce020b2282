//! Text that arrives in pieces: each byte is looked at once, when it comes (RFC 6455, section 8.1).

use super::close::Violation;

/// A text so far, and the beginning of a character that has not ended.
#[derive(Debug, Default)]
pub(super) struct Text {
    whole: String,
    begun: [u8; 4],
    length: usize,
}

impl Text {
    /// Appends a piece.
    ///
    /// # Errors
    /// Whatever comes next, this is not UTF-8.
    pub(super) fn push(&mut self, mut piece: &[u8]) -> Result<(), Violation> {
        while self.length > 0 {
            let Some((byte, rest)) = piece.split_first() else { return Ok(()) };
            piece = rest;
            self.resume(*byte)?;
        }
        let (complete, begun) = piece.split_at(piece.len() - unfinished(piece));
        self.whole.push_str(std::str::from_utf8(complete).map_err(|_| Violation::Utf8)?);
        begun.iter().try_for_each(|byte| self.resume(*byte))
    }

    /// The text, if it ends here.
    ///
    /// # Errors
    /// Its last character has not ended.
    pub(super) fn finish(&mut self) -> Result<String, Violation> {
        if self.length > 0 {
            return Err(Violation::Utf8);
        }
        Ok(std::mem::take(&mut self.whole))
    }

    /// Bytes that are kept.
    pub(super) fn held(&self) -> usize {
        self.whole.len() + self.length
    }

    fn resume(&mut self, byte: u8) -> Result<(), Violation> {
        let slot = self.begun.get_mut(self.length).ok_or(Violation::Utf8)?;
        *slot = byte;
        self.length += 1;
        match std::str::from_utf8(self.begun.get(..self.length).unwrap_or_default()) {
            Ok(character) => {
                self.whole.push_str(character);
                self.length = 0;
                Ok(())
            }
            Err(error) if error.error_len().is_none() => Ok(()),
            Err(_) => Err(Violation::Utf8),
        }
    }
}

/// How many bytes at the end of `piece` begin a character that needs more.
fn unfinished(piece: &[u8]) -> usize {
    for (before, byte) in piece.iter().rev().take(3).enumerate() {
        let needed = match byte {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            _ => 1,
        };
        return if needed > before + 1 { before + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: std::slice::Chunks<'_, u8>) -> Result<String, usize> {
        let mut text = Text::default();
        let mut pushed = 0;
        for piece in pieces {
            pushed += piece.len();
            text.push(piece).map_err(|_| pushed)?;
        }
        text.finish().map_err(|_| pushed)
    }

    #[test]
    fn text_survives_any_cut() {
        let text = "κόσμε a\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff} ἄλφα";
        for size in 1..=text.len() {
            assert_eq!(read(text.as_bytes().chunks(size)), Ok(text.to_owned()), "pieces of {size}");
        }
    }

    #[test]
    fn the_first_byte_that_cannot_be_is_the_last_one_read() {
        for (bytes, at) in [
            (&b"a\x80bcd"[..], 2),
            (b"a\xc0\x80bcd", 2),
            (b"a\xc3(bcd", 3),
            (b"a\xe2\x28bcd", 3),
            (b"a\xed\xa0\x80bcd", 3),
            (b"a\xe0\x80\x80bcd", 3),
            (b"a\xf4\x90\x80\x80bcd", 3),
            (b"a\xf5bcd", 2),
            (b"a\xff", 2),
            (b"a\xe2\x82", 3),
            (b"\xf0\x9f\x92", 3),
        ] {
            assert_eq!(read(bytes.chunks(1)), Err(at), "{bytes:x?}");
            for size in 2..=bytes.len() {
                assert!(read(bytes.chunks(size)).is_err(), "{bytes:x?} in pieces of {size}");
            }
        }
    }
}

//! A message that comes in more than one piece, or compressed: put together within its limit.

use std::borrow::Cow;

use super::close::Violation;
use super::connection::Event;
use super::deflate::Inflater;
use super::frame::{Header, Opcode};
use super::utf8::Text;

/// Bytes that are decompressed at a time: at first what a fair ratio makes of a small piece, then more
/// and more. Room for them is filled with zeros, which a small message should not pay for.
const FIRST_STEP: usize = 512;
const MAX_STEP: usize = 16 << 10;

/// The message that has begun and not ended, if there is one.
#[derive(Debug)]
pub(super) struct Assembly {
    limit: usize,
    inflater: Option<Inflater>,
    text: Option<Text>,
    binary: Vec<u8>,
    compressed: bool,
    /// Payload that its frames declared.
    declared: u64,
}

impl Assembly {
    pub(super) fn new(limit: usize, inflater: Option<Inflater>) -> Self {
        let binary = Vec::new();
        Self { limit, inflater, text: None, binary, compressed: false, declared: 0 }
    }

    /// A frame of data begins.
    ///
    /// # Errors
    /// Its message will be over the limit.
    #[inline]
    pub(super) fn begin(&mut self, header: &Header) -> Result<(), Violation> {
        if header.opcode != Opcode::Continuation {
            self.compressed = header.compressed;
            self.declared = 0;
            self.text = (header.opcode == Opcode::Text).then(Text::default);
        }
        self.declared = self.declared.saturating_add(header.length);
        // What does not become smaller becomes little larger: five bytes for each stored block.
        // Compressed bytes are not kept; how large they become is counted in `inflate`.
        let limit = self.limit as u64;
        let most = if self.compressed { limit.saturating_add((limit >> 10) + 64) } else { limit };
        if self.declared > most {
            return Err(Violation::TooLarge(self.limit));
        }
        Ok(())
    }

    /// More of the message.
    ///
    /// # Errors
    /// It is not UTF-8, cannot be decompressed, or is over the limit when it is.
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), Violation> {
        match &mut self.text {
            _ if self.compressed => self.inflate(payload),
            Some(text) => text.push(payload),
            None => {
                self.binary.extend_from_slice(payload);
                Ok(())
            }
        }
    }

    /// The message ends.
    ///
    /// # Errors
    /// As those of [`push`](Self::push), at its end.
    pub(super) fn finish<'i>(&mut self) -> Result<Event<'i>, Violation> {
        if self.compressed {
            let tail = self.inflater.as_ref().map(Inflater::tail).unwrap_or_default();
            self.inflate(tail)?;
            if let Some(inflater) = &mut self.inflater {
                inflater.finish();
            }
        }
        match self.text.take() {
            Some(mut text) => {
                self.binary = Vec::new();
                Ok(Event::Text(Cow::Owned(text.finish()?)))
            }
            None => Ok(Event::Binary(Cow::Owned(std::mem::take(&mut self.binary)))),
        }
    }

    /// Forgets the message and what it needs: nothing will be read any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit, None);
    }

    /// Bytes that are kept of the message.
    pub(super) fn held(&self) -> usize {
        self.binary.len() + self.text.as_ref().map_or(0, Text::held)
    }

    fn inflate(&mut self, mut payload: &[u8]) -> Result<(), Violation> {
        let Some(inflater) = &mut self.inflater else { return Err(Violation::Corrupt) };
        if payload.is_empty() {
            return Ok(());
        }
        let mut step = FIRST_STEP;
        loop {
            // A text's bytes are in `binary` only on their way.
            let before = self.binary.len();
            let room = self.limit.saturating_sub(before + self.text.as_ref().map_or(0, Text::held));
            let most = room.saturating_add(1).min(step);
            let outcome = inflater.step(&mut payload, &mut self.binary, most);
            // In the order in which things came, and so however they were cut: first what is within
            // the limit, then the limit, then what cannot be decompressed.
            let added = self.binary.len() - before;
            if let Some(text) = &mut self.text {
                text.push(self.binary.get(..added.min(room)).unwrap_or_default())?;
                self.binary.clear();
            }
            if added > room {
                return Err(Violation::TooLarge(self.limit));
            }
            if !outcome? {
                return Ok(());
            }
            step = (step * 2).min(MAX_STEP);
        }
    }
}

//! Takes fixed and counted pieces off the front of received bytes, never past their end.
use super::{DecodeReason, MAX_DATA};

/// A position in received bytes.
#[derive(Clone, Debug)]
pub struct Reader<'d> {
    rest: &'d [u8],
    length: usize,
}

impl<'d> Reader<'d> {
    /// At the start of `data`.
    pub fn new(data: &'d [u8]) -> Self {
        Self { rest: data, length: data.len() }
    }

    /// Bytes taken so far.
    #[inline]
    pub fn offset(&self) -> usize {
        self.length - self.rest.len()
    }

    /// Bytes not taken yet.
    #[inline]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeReason> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(DecodeReason::Short { needed: N, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(*head)
    }

    /// The next `count` bytes.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Result<&'d [u8], DecodeReason> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else {
            return Err(DecodeReason::Short { needed: count, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeReason> {
        self.array().map(|[byte]| byte)
    }

    /// A `u16`: the count before strings, lists, maps and sets.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeReason> {
        self.array().map(u16::from_le_bytes)
    }

    /// The bytes of a string, not yet known to be UTF-8.
    #[inline]
    pub fn text(&mut self) -> Result<&'d [u8], DecodeReason> {
        let length = self.u16()?;
        self.bytes(length.into())
    }

    /// The bytes of a `data` value.
    #[inline]
    pub fn data(&mut self) -> Result<&'d [u8], DecodeReason> {
        let before = self.rest;
        let length = u32::from_le_bytes(self.array()?) as usize;
        if length > MAX_DATA {
            // It is the length that is at fault, so nothing was taken.
            self.rest = before;
            return Err(DecodeReason::DataTooLong { length });
        }
        self.bytes(length)
    }
}

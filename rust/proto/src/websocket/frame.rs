//! Frames: cutting a tunnel's bytes into pieces of frames, and writing headers (RFC 6455, section 5).
//!
//! Every rule of a frame, and of the order of frames, is held here. What a payload means is not
//! known here, and no payload is kept: it is unmasked where it lies.

use super::close::Violation;
use super::mask;

/// The longest header: two bytes, eight of length, four of mask.
pub const MAX_HEADER: usize = 14;

/// The kinds of frames (section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of a message that has begun.
    Continuation = 0x0,
    /// A message of text, or its first fragment.
    Text = 0x1,
    /// A message of bytes, or its first fragment.
    Binary = 0x2,
    /// The sender's last frame.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// The answer to a ping, or nothing.
    Pong = 0xa,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    /// Whether this is a control frame, which may come within a message.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// What a frame says before its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// The message that begins here is compressed: RSV1 (RFC 7692, section 6).
    pub compressed: bool,
    /// The kind.
    pub opcode: Opcode,
    /// The key of the mask; clients have one, servers none.
    pub key: Option<[u8; 4]>,
    /// Bytes of payload, below 2⁶³.
    pub length: u64,
}

impl Header {
    /// The frame of a whole message, or a control frame.
    pub fn whole(opcode: Opcode, length: usize) -> Self {
        Self { fin: true, compressed: false, opcode, key: None, length: length as u64 }
    }

    /// Appends the header to `out`, its length in the shortest form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let masked = u8::from(self.key.is_some()) << 7;
        let flags = u8::from(self.fin) << 7 | u8::from(self.compressed) << 6;
        let first = flags | self.opcode as u8;
        match (u8::try_from(self.length), u16::try_from(self.length)) {
            (Ok(length @ ..=125), _) => out.extend_from_slice(&[first, masked | length]),
            (_, Ok(length)) => {
                let [high, low] = length.to_be_bytes();
                out.extend_from_slice(&[first, masked | 126, high, low]);
            }
            _ => {
                out.extend_from_slice(&[first, masked | 127]);
                out.extend_from_slice(&self.length.to_be_bytes());
            }
        }
        if let Some(key) = &self.key {
            out.extend_from_slice(key);
        }
    }
}

/// Some of a frame: as much of its payload as has come.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece<'i> {
    /// The frame's header.
    pub header: Header,
    /// The frame begins here. It may do so without any payload yet.
    pub first: bool,
    /// The frame ends here.
    pub last: bool,
    /// The payload, without its mask.
    pub payload: &'i mut [u8],
}

/// Cuts bytes into pieces of frames. Nothing is kept but a header that has not ended.
#[derive(Debug)]
pub struct Reader {
    masked: bool,
    compression: bool,
    held: [u8; MAX_HEADER],
    holds: usize,
    current: Option<Header>,
    /// Bytes of the current frame that have not come, and the key for them.
    left: u64,
    key: [u8; 4],
    /// A message has begun and not ended.
    within: bool,
}

impl Reader {
    /// A reader of frames that are `masked`, a client's, or are not; and that may have the bit of
    /// compressed messages set, if `compression` was agreed on.
    pub fn new(masked: bool, compression: bool) -> Self {
        Self {
            masked,
            compression,
            held: [0; MAX_HEADER],
            holds: 0,
            current: None,
            left: 0,
            key: [0; 4],
            within: false,
        }
    }

    /// The next piece of a frame, taken from the beginning of `input`; none if more has to come.
    ///
    /// # Errors
    /// The first rule that a header breaks, as soon as the byte that breaks it has come. There are no
    /// frames after that.
    #[inline]
    pub fn next<'i>(&mut self, input: &mut &'i mut [u8]) -> Result<Option<Piece<'i>>, Violation> {
        let (header, first) = match self.current {
            Some(_) if input.is_empty() => return Ok(None),
            Some(header) => (header, false),
            None => match self.header(input)? {
                Some(header) => (header, true),
                None => return Ok(None),
            },
        };
        let size = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        let (payload, rest) = std::mem::take(input).split_at_mut(size);
        *input = rest;
        self.left -= size as u64;
        if header.key.is_some() {
            self.key = mask::apply(payload, self.key);
        }
        let last = self.left == 0;
        self.current = if last { None } else { Some(header) };
        Ok(Some(Piece { header, first, last, payload }))
    }

    #[inline]
    fn header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, Violation> {
        let (found, taken) = if self.holds == 0 {
            match self.parse(input)? {
                Some((header, size)) => (Some(header), size),
                None => (None, self.hold(input)),
            }
        } else {
            let before = self.holds;
            let added = self.hold(input);
            match self.parse(self.held.get(..self.holds).unwrap_or_default())? {
                Some((header, size)) => {
                    self.holds = 0;
                    (Some(header), size - before)
                }
                None => (None, added),
            }
        };
        *input = std::mem::take(input).get_mut(taken..).unwrap_or_default();
        if let Some(header) = found {
            self.left = header.length;
            self.key = header.key.unwrap_or_default();
            if !header.opcode.is_control() {
                self.within = !header.fin;
            }
        }
        Ok(found)
    }

    /// Keeps the beginning of `input` for a header that has not ended; how many bytes of it.
    fn hold(&mut self, input: &[u8]) -> usize {
        let free = self.held.get_mut(self.holds..).unwrap_or_default();
        let size = free.len().min(input.len());
        for (to, from) in free.iter_mut().zip(input) {
            *to = *from;
        }
        self.holds += size;
        size
    }

    /// The header at the beginning of `bytes` and its size, if all of it is there. What is there is
    /// checked byte by byte, so that it makes no difference in how many pieces it came.
    #[inline]
    fn parse(&self, bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let opcode = Opcode::of(first & 0x0f).ok_or(Violation::Opcode(first & 0x0f))?;
        let (fin, compressed) = (first & 0x80 != 0, first & 0x40 != 0);
        let begins = matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & 0x30 != 0 || compressed && !(self.compression && begins) {
            return Err(Violation::ReservedBits(first >> 4 & 0b111));
        }
        if begins && self.within {
            return Err(Violation::Interleaved);
        }
        if opcode == Opcode::Continuation && !self.within {
            return Err(Violation::Continuation);
        }
        if opcode.is_control() && !fin {
            return Err(Violation::FragmentedControl(opcode));
        }

        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let masked = second & 0x80 != 0;
        if masked != self.masked {
            return Err(if masked { Violation::Masked } else { Violation::Unmasked });
        }
        let short = second & 0x7f;
        if opcode.is_control() && short > 125 {
            return Err(Violation::LongControl(opcode));
        }
        let rest = bytes.get(2..).unwrap_or_default();
        let (length, extra) = match short {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (u64::from_be_bytes(*length), 8),
                None => return Ok(None),
            },
            _ => (u64::from(short), 0),
        };
        let shortest = match short {
            126 => length > 125,
            127 => length > 0xffff && length >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(Violation::Length);
        }

        let end = 2 + extra;
        if !masked {
            return Ok(Some((Header { fin, compressed, opcode, key: None, length }, end)));
        }
        let key = rest.get(extra..).and_then(|rest| rest.first_chunk::<4>());
        Ok(key.map(|key| (Header { fin, compressed, opcode, key: Some(*key), length }, end + 4)))
    }
}

//! Why a WebSocket ends: status codes, the body of a close frame, and what a peer can do wrong.

use super::control::MAX_CONTROL;
use super::frame::Opcode;

/// The longest reason of a close frame, in bytes: what its code leaves of a control frame.
pub const MAX_REASON: usize = MAX_CONTROL - 2;

/// Status codes (RFC 6455, section 7.4, and IANA's registry).
pub mod code {
    /// The purpose is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// A server goes down, or a page is left.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke a rule of the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Never sent: a close frame came without a code.
    pub const NO_STATUS: u16 = 1005;
    /// Never sent: no close frame came.
    pub const ABNORMAL: u16 = 1006;
    /// Data are not what their type says: text that is no UTF-8, or what cannot be decompressed.
    pub const INVALID_DATA: u16 = 1007;
    /// The peer does what is not wanted here.
    pub const POLICY_VIOLATION: u16 = 1008;
    /// A message is over the limit.
    pub const TOO_LARGE: u16 = 1009;
    /// The server met something that it did not expect.
    pub const INTERNAL_ERROR: u16 = 1011;

    /// Whether a close frame may carry `code`: those defined for the wire, those registered (3000
    /// and up) and private ones (4000 and up).
    pub const fn may_be_sent(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// What a close frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The status code; [`code::NO_STATUS`] for a frame without one.
    pub code: u16,
    /// The reason, for people; mostly empty.
    pub reason: String,
}

impl Close {
    /// Reads the payload of a close frame (section 5.5.1).
    ///
    /// # Errors
    /// Half a code, a code that may not be sent, or a reason that is not UTF-8.
    pub(super) fn decode(payload: &[u8]) -> Result<Self, Violation> {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            let empty = Self { code: code::NO_STATUS, reason: String::new() };
            return if payload.is_empty() { Ok(empty) } else { Err(Violation::HalfCode) };
        };
        let code = u16::from_be_bytes(*code);
        if !code::may_be_sent(code) {
            return Err(Violation::Code(code));
        }
        let reason = std::str::from_utf8(reason).map_err(|_| Violation::Utf8)?.to_owned();
        Ok(Self { code, reason })
    }
}

/// What a peer did wrong; the connection is failed for it (section 7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A reserved bit is set that no extension gave a meaning (section 5.2).
    #[error("reserved bits {0:#05b} are set")]
    ReservedBits(u8),
    /// A reserved opcode (section 5.2).
    #[error("opcode {0:#x} is reserved")]
    Opcode(u8),
    /// A client's frame without a mask (section 5.1).
    #[error("a client's frame is not masked")]
    Unmasked,
    /// A server's frame with a mask (section 5.1).
    #[error("a server's frame is masked")]
    Masked,
    /// A control frame in fragments (section 5.5).
    #[error("a {0:?} frame is fragmented")]
    FragmentedControl(Opcode),
    /// A control frame with more than 125 bytes (section 5.5).
    #[error("a {0:?} frame has more than {MAX_CONTROL} bytes")]
    LongControl(Opcode),
    /// A length in more bytes than it needs, or over 63 bits (section 5.2).
    #[error("a payload's length is not in its shortest form")]
    Length,
    /// A continuation without a message that it continues (section 5.4).
    #[error("a continuation continues nothing")]
    Continuation,
    /// A message that begins before the last fragment of another (section 5.4).
    #[error("a message begins within another")]
    Interleaved,
    /// A close frame of one byte (section 5.5.1).
    #[error("a close frame has half a code")]
    HalfCode,
    /// A close frame with a code that may not be sent (section 7.4).
    #[error("code {0} may not be sent")]
    Code(u16),
    /// Text, or a close frame's reason, that is not UTF-8 (section 8.1).
    #[error("text is not UTF-8")]
    Utf8,
    /// Compressed data that cannot be decompressed (RFC 7692, section 7.2.2).
    #[error("compressed data are corrupt")]
    Corrupt,
    /// A message over the limit; found before more of it than that is kept.
    #[error("a message is over the limit of {0} bytes")]
    TooLarge(usize),
    /// Too many frames that bring nothing.
    #[error("too many frames without data")]
    Flood,
}

impl Violation {
    /// The status code that tells the peer (section 7.4.1).
    pub fn code(self) -> u16 {
        match self {
            Self::Utf8 | Self::Corrupt => code::INVALID_DATA,
            Self::TooLarge(_) => code::TOO_LARGE,
            Self::Flood => code::POLICY_VIOLATION,
            _ => code::PROTOCOL_ERROR,
        }
    }
}

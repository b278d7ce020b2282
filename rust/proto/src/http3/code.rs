//! Error codes, and who broke what: the peer a connection, the peer a stream, or our own owner.

use std::fmt;

/// An error code as it travels (RFC 9114, section 8.1; RFC 9204, section 6; RFC 9297, section 5.2;
/// draft-ietf-webtrans-http3-15, section 9.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u64);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal $text:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name that the RFCs give it, if they give it one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// A datagram or its stream cannot be.
    DATAGRAM_ERROR = 0x33 "H3_DATAGRAM_ERROR";
    /// Nothing went wrong.
    NO_ERROR = 0x100 "H3_NO_ERROR";
    /// A rule was broken that has no code of its own.
    GENERAL_PROTOCOL_ERROR = 0x101 "H3_GENERAL_PROTOCOL_ERROR";
    /// Something went wrong on this side.
    INTERNAL_ERROR = 0x102 "H3_INTERNAL_ERROR";
    /// A stream was opened that is not taken.
    STREAM_CREATION_ERROR = 0x103 "H3_STREAM_CREATION_ERROR";
    /// A stream that the connection needs was closed.
    CLOSED_CRITICAL_STREAM = 0x104 "H3_CLOSED_CRITICAL_STREAM";
    /// A frame came where it may not.
    FRAME_UNEXPECTED = 0x105 "H3_FRAME_UNEXPECTED";
    /// A frame is not laid out as its type says.
    FRAME_ERROR = 0x106 "H3_FRAME_ERROR";
    /// The peer makes work.
    EXCESSIVE_LOAD = 0x107 "H3_EXCESSIVE_LOAD";
    /// An identifier was used wrongly.
    ID_ERROR = 0x108 "H3_ID_ERROR";
    /// The payload of SETTINGS is wrong.
    SETTINGS_ERROR = 0x109 "H3_SETTINGS_ERROR";
    /// The control stream does not begin with SETTINGS.
    MISSING_SETTINGS = 0x10a "H3_MISSING_SETTINGS";
    /// A request was not looked at.
    REQUEST_REJECTED = 0x10b "H3_REQUEST_REJECTED";
    /// A request or its response is not wanted any more.
    REQUEST_CANCELLED = 0x10c "H3_REQUEST_CANCELLED";
    /// A request ended before it was one.
    REQUEST_INCOMPLETE = 0x10d "H3_REQUEST_INCOMPLETE";
    /// A message is malformed.
    MESSAGE_ERROR = 0x10e "H3_MESSAGE_ERROR";
    /// The connection behind a tunnel failed.
    CONNECT_ERROR = 0x10f "H3_CONNECT_ERROR";
    /// It can only be had over HTTP/1.1.
    VERSION_FALLBACK = 0x110 "H3_VERSION_FALLBACK";
    /// A field section cannot be read.
    QPACK_DECOMPRESSION_FAILED = 0x200 "QPACK_DECOMPRESSION_FAILED";
    /// The peer's encoder stream cannot be read.
    QPACK_ENCODER_STREAM_ERROR = 0x201 "QPACK_ENCODER_STREAM_ERROR";
    /// The peer's decoder stream cannot be read.
    QPACK_DECODER_STREAM_ERROR = 0x202 "QPACK_DECODER_STREAM_ERROR";
    /// A limit of a WebTransport session was broken, or cannot be one.
    WT_FLOW_CONTROL_ERROR = 0x045d_4487 "WT_FLOW_CONTROL_ERROR";
    /// A stream belongs to a WebTransport session that has ended.
    WT_SESSION_GONE = 0x170d_7b68 "WT_SESSION_GONE";
    /// What WebTransport needs was not announced.
    WT_REQUIREMENTS_NOT_MET = 0x212c_0d48 "WT_REQUIREMENTS_NOT_MET";
    /// A stream came before its WebTransport session, and there is no room for it.
    WT_BUFFERED_STREAM_REJECTED = 0x3994_bd84 "WT_BUFFERED_STREAM_REJECTED";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} (0x{:x})", self.0),
            None => write!(f, "0x{:x}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The peer broke a rule of the connection, which ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct ConnectionError {
    /// What the peer is told.
    pub code: Code,
    /// What it did.
    pub reason: &'static str,
}

impl ConnectionError {
    /// An error of `code`.
    pub const fn new(code: Code, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

/// The peer broke a rule of one stream, which ends with it; the others go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct StreamError {
    /// What the peer is told.
    pub code: Code,
    /// What it did.
    pub reason: &'static str,
}

impl StreamError {
    /// An error of `code`.
    pub const fn new(code: Code, reason: &'static str) -> Self {
        Self { code, reason }
    }

    /// A malformed message (RFC 9114, section 4.1.2).
    pub const fn malformed(reason: &'static str) -> Self {
        Self { code: Code::MESSAGE_ERROR, reason }
    }
}

/// Either of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The connection ends.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The stream ends.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// What the owner of a connection asked for cannot be done. The peer is not at fault, and nothing
/// has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// The stream is no exchange of this connection, or not any more.
    #[error("stream {0} is not open")]
    Gone(u64),
    /// It is too early or too late for this.
    #[error("{0}")]
    State(&'static str),
    /// A message that would be malformed.
    #[error("{0}")]
    Malformed(&'static str),
    /// The fields are more than the peer takes.
    #[error("fields of {size} bytes are over the peer's limit of {limit}")]
    TooLarge {
        /// Bytes of names and values, and 32 for each field.
        size: u64,
        /// What the peer announced.
        limit: u64,
    },
    /// More or less content than `content-length` says.
    #[error("the content is not as long as its content-length says")]
    ContentLength,
    /// The peer did not agree to this.
    #[error("the peer did not announce {0}")]
    NotNegotiated(&'static str),
    /// The peer begins nothing new.
    #[error("the peer is going away")]
    GoingAway,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfcs_and_say_their_names() {
        // RFC 9114, section 8.1: in order and without a gap.
        let names = (0x100..=0x110).map(|code| Code(code).name());
        assert!(names.clone().all(|name| name.is_some_and(|name| name.starts_with("H3_"))));
        assert_eq!(Code::MESSAGE_ERROR.to_string(), "H3_MESSAGE_ERROR (0x10e)");
        assert_eq!(Code(0x200).name(), Some("QPACK_DECOMPRESSION_FAILED"));
        assert_eq!(format!("{:?}", Code(7)), "0x7");
        let error = ConnectionError::new(Code::ID_ERROR, "a larger GOAWAY");
        assert_eq!(error.to_string(), "H3_ID_ERROR (0x108): a larger GOAWAY");
    }
}

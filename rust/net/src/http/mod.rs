//! HTTP at the serving end: requests and their answers, whatever version carries them.
//!
//! An *exchange* is one request and its answer. HTTP/1.1 and HTTP/2 are hyper's, run over the plain
//! bytes of a socket in `streams`; HTTP/3 is `jetstream_proto::http3`, run over the streams
//! of a QUIC connection. Neither is visible outside: the owner sees the events below and answers by
//! the exchange's key. What an application is (ASGI) is not known here.

mod bell;
mod connection;
mod fields;
mod h3;
mod http1;
mod http2;
mod outgoing;
mod pipe;
#[cfg(test)]
mod tests;
mod tunnel;
mod turn;

use bytes::Bytes;

pub(crate) use self::bell::Board;
pub(crate) use self::connection::{After, Http, Input};
pub use self::h3::Http3Options;
pub(crate) use self::h3::{Http3, session_request};
pub(crate) use self::turn::{Exchanges, Turn};

/// One exchange of an endpoint. Never given out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeKey(pub u64);

/// The version in which a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1 (RFC 9112).
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
    /// HTTP/3 (RFC 9114).
    Http3,
}

/// Field lines in the order in which they came, those of one name together (RFC 9110, section 5.3),
/// names in lower case: one buffer, and where each name and value ends in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    bytes: Vec<u8>,
    ends: Vec<(u32, u32)>,
}

impl Fields {
    /// Adds a line.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(name);
        let middle = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        self.ends.push((middle, self.bytes.len() as u32));
    }

    /// The lines, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut begin = 0;
        self.ends.iter().map(move |&(middle, end)| {
            let (first, middle, end) = (begin, middle as usize, end as usize);
            begin = end;
            let part = |from, to| self.bytes.get(from..to).unwrap_or_default();
            (part(first, middle), part(middle, end))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// What begins an exchange.
#[derive(Debug)]
pub struct Request {
    /// In which version it came.
    pub version: Version,
    /// The method, as it came: methods are case-sensitive.
    pub method: Vec<u8>,
    /// Whether it came over TLS, or QUIC.
    pub secure: bool,
    /// `:authority`, or the host of HTTP/1.1's absolute form; else the `host` field is the one.
    pub authority: Option<Vec<u8>>,
    /// Path and query as they came, nothing decoded.
    pub target: Vec<u8>,
    /// What the connection is asked to become: `:protocol` of an extended CONNECT (RFC 8441, RFC
    /// 9220), or `websocket` of HTTP/1.1's `Upgrade`.
    pub protocol: Option<Vec<u8>>,
    /// The field lines.
    pub fields: Fields,
    /// It came before the handshake was complete, and may be a copy (RFC 8470).
    pub early: bool,
    /// No body follows. Where one does, its first piece is given without being asked for, unless the
    /// peer waits to be told that it is wanted (`expect: 100-continue`): asking for it tells.
    pub ended: bool,
}

/// Something happened to an exchange.
#[derive(Debug)]
pub enum HttpEvent {
    /// A request came. It is answered by [`Reply`]s.
    Request {
        /// On which connection.
        connection: crate::ConnectionKey,
        /// The new exchange.
        exchange: ExchangeKey,
        /// What is asked.
        request: Box<Request>,
    },
    /// A piece of the request's body, or of what comes through a tunnel. The first is given without
    /// being asked for; the next comes when the owner wants it, and until then the peer is held up.
    Body {
        /// Of which exchange.
        exchange: ExchangeKey,
        /// The piece.
        data: Bytes,
    },
    /// The request's body, or the peer's side of a tunnel, is complete.
    BodyEnded {
        /// Of which exchange.
        exchange: ExchangeKey,
    },
    /// Little of the answer is unsent, and the owner asked to be told.
    Drained {
        /// Of which exchange.
        exchange: ExchangeKey,
    },
    /// The answer has been handed to the transport whole.
    Answered {
        /// Of which exchange; its key means nothing any more.
        exchange: ExchangeKey,
    },
    /// The peer does not wait for the answer any more: it gave the request up, or is gone. As long as
    /// its handler runs it counts among those in progress, so the owner says when that has ended
    /// ([`Hub::http_release`](crate::Hub::http_release)).
    Gone {
        /// Of which exchange; all that can be done with it is to release it.
        exchange: ExchangeKey,
    },
}

/// A part of an answer.
#[derive(Debug)]
pub enum Reply {
    /// An interim answer, 1xx.
    Inform {
        /// Its status.
        status: u16,
        /// Its fields.
        fields: Fields,
    },
    /// The head, and the body as far as it is known.
    Head {
        /// The status, 200 and above.
        status: u16,
        /// The fields.
        fields: Fields,
        /// The beginning of the body, or all of it.
        body: Bytes,
        /// The body is whole.
        end: bool,
    },
    /// Agrees to what [`Request::protocol`] asks: from now on bodies are what goes through the
    /// tunnel. 101 in HTTP/1.1, 200 elsewhere.
    Tunnel {
        /// The fields.
        fields: Fields,
    },
    /// A piece of the body.
    Body {
        /// The piece.
        data: Bytes,
        /// It is the last.
        end: bool,
    },
    /// A part of a file as the rest of the body.
    File {
        /// The file, open for reading.
        file: std::fs::File,
        /// Where to begin.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// Fields behind the body, which end the answer.
    Trailers {
        /// The fields.
        fields: Fields,
    },
    /// Gives the exchange up: the peer sees that the answer is not whole. No event follows.
    Abort,
}

/// Why a part of an answer was not taken. The answer is where it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A name or a value has bytes that fields cannot have (RFC 9110, section 5.5).
    #[error(
        "the field {0:?} cannot be sent: its name or its value has bytes that fields cannot have"
    )]
    Field(String),
    /// A status that cannot stand there.
    #[error("{0} cannot be the status of this part of an answer")]
    Status(u16),
    /// A head behind the head.
    #[error("the answer has begun already")]
    Begun,
    /// A body before the head.
    #[error("the answer has not begun yet")]
    NotBegun,
    /// More or less of a body than was promised (HTTP/3).
    #[error("the body is not as long as its content-length says")]
    Length,
    /// Fields that the peer does not take (HTTP/3).
    #[error("fields of {size} bytes are over the {limit} that the peer takes")]
    TooLarge {
        /// Names and values, and 32 bytes for each field.
        size: u64,
        /// What the peer takes of that.
        limit: u64,
    },
    /// A tunnel, or a WebTransport session, that the peer did not ask for.
    #[error("the peer did not ask for a tunnel, or not for this kind")]
    NotAsked,
    /// The peer gave the request for a WebTransport session up, or is gone.
    #[error("nobody waits for the answer any more")]
    Gone,
}

/// Limits of one connection. Each is finite; `python/jetstream/_limits.py` names and explains them.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Bytes of a request's head: request line, names and values, and 32 for each field.
    pub head: u32,
    /// Field lines of a request.
    pub fields: u32,
    /// Requests in progress at once on one connection (HTTP/2 and HTTP/3).
    pub streams: u32,
    /// Bytes of the body of one request that are held for its handler.
    pub body_window: u32,
    /// Bytes of one answer that are held until the peer takes them; over this the owner waits for
    /// [`HttpEvent::Drained`].
    pub unsent: usize,
    /// A request's head that takes longer is given up.
    pub head_timeout: std::time::Duration,
    /// A connection without a request is closed after so long.
    pub idle_timeout: std::time::Duration,
}

//! What a connection tells its owner, and what it wants of the transport.

use bytes::Bytes;

use super::code::{Code, StreamError};
use super::fields::Fields;
use super::head::{RequestHead, ResponseHead};
use super::priority::Priority;
use super::settings::Settings;

/// What came of the peer. Streams are named by their QUIC ids (RFC 9000, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer's settings, once.
    Settings(Settings),
    /// A request begins (a server's).
    Request {
        /// Its stream, where the response goes.
        stream: u64,
        /// What is asked for.
        head: RequestHead,
        /// How soon the response is wanted.
        priority: Priority,
        /// Nothing follows, and no [`Event::Ended`] either.
        ended: bool,
    },
    /// An interim response, of which there may be several (a client's).
    Interim {
        /// The request's stream.
        stream: u64,
        /// Its status and fields.
        head: ResponseHead,
    },
    /// The response begins (a client's).
    Response {
        /// The request's stream.
        stream: u64,
        /// Its status and fields.
        head: ResponseHead,
        /// Nothing follows, and no [`Event::Ended`] either.
        ended: bool,
    },
    /// Content, as it came.
    Data {
        /// The request's stream.
        stream: u64,
        /// Some of it, never nothing.
        bytes: Bytes,
    },
    /// The trailers.
    Trailers {
        /// The request's stream.
        stream: u64,
        /// Their fields.
        fields: Fields,
    },
    /// The message of the peer is complete.
    Ended {
        /// The request's stream.
        stream: u64,
    },
    /// The peer sends nothing more, and what it sent is not complete. A client's exchange is over;
    /// a server may still answer, or [`abort`](super::Connection::abort).
    Reset {
        /// The request's stream.
        stream: u64,
        /// Why.
        code: Code,
    },
    /// The peer takes nothing more of what we send. A server's exchange is over; a client's response
    /// may still come.
    Stopped {
        /// The request's stream.
        stream: u64,
        /// Why.
        code: Code,
    },
    /// The peer broke a rule in this exchange, which is over.
    Failed {
        /// The request's stream.
        stream: u64,
        /// What it did.
        error: StreamError,
    },
    /// The server goes away and has not looked at this request, which may be sent elsewhere
    /// (RFC 9114, section 5.2). The exchange is over.
    Unprocessed {
        /// The request's stream.
        stream: u64,
    },
    /// The client wants the response to this request sooner or later (RFC 9218, section 7.2).
    Priority {
        /// The request's stream.
        stream: u64,
        /// How soon.
        priority: Priority,
    },
    /// A datagram of this exchange (RFC 9297).
    Datagram {
        /// The request's stream.
        stream: u64,
        /// What is in it.
        payload: Bytes,
    },
    /// The peer goes away (RFC 9114, section 5.2): a server takes no request from this stream on, a
    /// client no push.
    GoingAway {
        /// The first that is not taken.
        id: u64,
    },
    /// A stream of a kind that the owner takes itself, see [`Config`](super::Config). The connection
    /// knows nothing of it from here on.
    Foreign {
        /// The stream.
        stream: u64,
        /// The kind.
        kind: u64,
        /// The integer behind the kind.
        value: u64,
        /// What has come behind that.
        rest: Bytes,
    },
}

/// What the transport is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a unidirectional stream, and tell [`opened_uni`](super::Connection::opened_uni) which it
    /// is. It comes once, first of all: our control stream.
    OpenUni,
    /// Write to a stream.
    Write(u64, Bytes),
    /// End our side of a stream.
    Finish(u64),
    /// Break our side of a stream off.
    Reset(u64, Code),
    /// Ask the peer to break its side of a stream off.
    StopSending(u64, Code),
    /// Send a datagram.
    Datagram(Bytes),
    /// Close the connection; nothing comes after it.
    Close(Code, &'static str),
}

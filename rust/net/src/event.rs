//! What an endpoint has to tell after a turn.

use std::net::SocketAddr;
use std::time::Duration;

use quinn_proto::{ConnectionError, Dir, StreamId};

use crate::connection::ConnectionKey;
use crate::http::HttpEvent;
use crate::lane::LaneKey;
use crate::tls::{PeerRejection, TlsFailure, explain_close, printable_reason};

/// Something happened. Events of one connection come in order.
#[derive(Debug)]
pub enum Event {
    /// Data goes ahead of a connection's handshake, which [`Event::Connected`] ends.
    ///
    /// A client may open lanes from now on. On a server, what arrives on lanes until the handshake
    /// is complete is early data of the peer whose session is resumed. It may have been recorded
    /// and sent by somebody else, who cannot complete the handshake: only what may be done twice
    /// may be done before that.
    Early {
        /// Which connection.
        connection: ConnectionKey,
        /// Whether the peer opened it.
        incoming: bool,
    },
    /// The server has thrown all early data away: the lanes and streams opened so far are gone, and
    /// nothing that was sent on them was read. [`Event::Connected`] follows.
    EarlyRejected {
        /// Which connection.
        connection: ConnectionKey,
    },
    /// A connection's handshake is complete; the peer's identity and the protocol are known.
    Connected {
        /// Which connection.
        connection: ConnectionKey,
        /// Whether the peer opened it.
        incoming: bool,
    },
    /// The server has accepted our certificate too (RFC 9001, section 4.1.2); clients only.
    Confirmed {
        /// Which connection.
        connection: ConnectionKey,
    },
    /// A handshake that the peer began came to nothing; nobody was told of the connection before.
    HandshakeFailed {
        /// The peer's address.
        remote: SocketAddr,
        /// Why, for the log.
        reason: Lost,
    },
    /// A connection is gone, with all its lanes and streams; its key may be given out again.
    Lost {
        /// Which connection.
        connection: ConnectionKey,
        /// Why.
        reason: Lost,
    },
    /// The peer of a WebTransport session asks for its end (WT_DRAIN_SESSION, or GOAWAY beneath it):
    /// all goes on, and the owner begins nothing that takes long.
    Draining {
        /// Which session.
        connection: ConnectionKey,
    },
    /// All who were connected when TLS was changed have been judged by the new one.
    Reviewed {
        /// How many.
        judged: usize,
        /// How many of them were sent away.
        sent_away: usize,
    },
    /// The peer opened a lane.
    LaneOpened {
        /// On which connection.
        connection: ConnectionKey,
        /// The new lane.
        lane: LaneKey,
    },
    /// Whole frames arrived on a lane.
    Frames {
        /// Which lane.
        lane: LaneKey,
        /// A run of them, see `jetstream_proto::frame::frames`.
        run: Vec<u8>,
    },
    /// Nothing more will arrive on a lane.
    LaneEnded {
        /// Which lane; it can still be written to until it is closed.
        lane: LaneKey,
        /// How it ended.
        end: LaneEnd,
    },
    /// Little is unsent on a lane whose owner waits for that.
    LaneDrained {
        /// Which lane.
        lane: LaneKey,
    },
    /// The peer opened a stream that is not a lane.
    StreamOpened {
        /// On which connection.
        connection: ConnectionKey,
        /// The new stream.
        stream: StreamId,
    },
    /// A stream has data, or an end, to read.
    Readable {
        /// On which connection.
        connection: ConnectionKey,
        /// Which stream.
        stream: StreamId,
    },
    /// A stream that was full takes data again, or was stopped by the peer.
    Writable {
        /// On which connection.
        connection: ConnectionKey,
        /// Which stream.
        stream: StreamId,
    },
    /// All that was written to a finished stream has arrived.
    Finished {
        /// On which connection.
        connection: ConnectionKey,
        /// Which stream.
        stream: StreamId,
    },
    /// The peer allows more streams.
    MayOpen {
        /// On which connection.
        connection: ConnectionKey,
        /// Of which kind.
        dir: Dir,
    },
    /// A frame of a lane came as a datagram; it may be any bytes.
    LaneDatagram {
        /// Which lane.
        lane: LaneKey,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Something happened to an exchange of HTTP.
    Http(HttpEvent),
    /// Datagrams can be read.
    Datagram {
        /// On which connection.
        connection: ConnectionKey,
    },
}

/// How a lane's incoming half ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneEnd {
    /// The peer finished it, between two frames.
    Finished,
    /// The peer finished it inside a frame.
    Truncated {
        /// Bytes of the unfinished frame.
        bytes: usize,
    },
    /// The peer gave it up.
    Reset {
        /// The peer's reason.
        code: u64,
    },
    /// The peer stopped reading what we send.
    Stopped {
        /// The peer's reason.
        code: u64,
    },
    /// The peer sent what is no frame.
    Broken(jetstream_proto::frame::FrameError),
    /// The connection that the lane had to itself is gone, or did not come about.
    Lost(Lost),
}

/// Why a connection is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// We closed it.
    Here,
    /// The peer's application closed it.
    Closed {
        /// Its code, see `jetstream_proto::codes`.
        code: u64,
        /// Its reason, bounded and printable.
        reason: String,
    },
    /// The peer's transport closed it: TLS alerts come as 0x100 + alert (RFC 9001, section 4.8).
    Aborted {
        /// The transport's code (RFC 9000, section 20.1).
        code: u64,
        /// Its reason, bounded and printable.
        reason: String,
    },
    /// We refused the peer in the handshake, or found no protocol in common.
    Tls(Box<TlsFailure>),
    /// The peer refused us in the handshake.
    Rejected(PeerRejection),
    /// Our own transport closed it.
    Failed {
        /// The transport's code (RFC 9000, section 20.1).
        code: u64,
        /// Why.
        reason: String,
    },
    /// The peer broke a rule of the protocol on the connection, so we closed it.
    Violated {
        /// What the peer was told, in the protocol's own codes (RFC 9114, section 8.1).
        code: u64,
        /// What the peer did.
        reason: String,
    },
    /// The peer has forgotten the connection, as after a restart.
    Reset,
    /// Nothing was heard for longer than the idle timeout.
    TimedOut,
    /// The handshake was not over in time.
    HandshakeTimedOut {
        /// How much time there was.
        after: Duration,
    },
    /// Its owner gave it up: nothing was heard, while the peer answered on another connection.
    Silent,
    /// The peer speaks no version of QUIC that we do.
    VersionMismatch,
    /// The peer ended the stream of bytes that the connection is, in order. Such a stream tells no
    /// code and no reason.
    Ended,
    /// The stream of bytes that the connection is was cut off.
    Broken {
        /// How.
        reason: String,
    },
    /// The server did not accept a WebTransport session.
    Declined {
        /// With which status.
        status: u16,
    },
    /// The server could not be reached, or ended the connection before it had begun.
    Refused {
        /// Where, and how.
        reason: String,
    },
}

impl Lost {
    /// What a connection's error means; `failure` is what TLS noted, if it failed here.
    pub(crate) fn new(error: ConnectionError, failure: Option<TlsFailure>) -> Self {
        match error {
            ConnectionError::VersionMismatch => Self::VersionMismatch,
            ConnectionError::TransportError(error) => match failure {
                Some(failure) => Self::Tls(Box::new(failure)),
                None => Self::Failed { code: error.code.into(), reason: error.reason },
            },
            ConnectionError::ConnectionClosed(close) => {
                match explain_close(close.error_code, &close.reason) {
                    Some(rejection) => Self::Rejected(rejection),
                    None => Self::Aborted {
                        code: close.error_code.into(),
                        reason: printable_reason(&close.reason),
                    },
                }
            }
            ConnectionError::ApplicationClosed(close) => Self::Closed {
                code: close.error_code.into_inner(),
                reason: printable_reason(&close.reason),
            },
            ConnectionError::Reset => Self::Reset,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::LocallyClosed => Self::Here,
            ConnectionError::CidsExhausted => {
                Self::Failed { code: 1, reason: "connection identifiers are exhausted".to_owned() }
            }
        }
    }
}

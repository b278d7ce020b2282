//! WebTransport sessions on HTTP/3 connections, each a connection of its own to the owner.
//!
//! `jetstream_proto::webtransport` knows what may be said. Requests and CONNECT streams are HTTP/3's
//! (`http::h3::sessions`), which tells here what came of them ([`News`]); streams that belong to
//! sessions are the QUIC connection's, as its own would be (`bearer`). [`Sessions`] is the book that
//! both keep: which sessions there are, whose each stream is, and what waits.

mod access;
mod bearer;
mod directory;
mod sessions;

pub(crate) use self::bearer::{give_up, lane_end, wire_code};
pub(crate) use self::directory::Directory;
pub(crate) use self::sessions::{Arrived, Ask, News, Session, Sessions, directions, prefix};

/// Why a session cannot even be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The connection is none of ours that speaks HTTP/3 with WebTransport, or is gone.
    #[error("sessions need an HTTP/3 connection of ours, with WebTransport enabled")]
    NotHttp3,
    /// As many sessions as there may be are open, or being asked for.
    #[error("there are {0} sessions on the connection, and no more may be")]
    TooMany(usize),
    /// The server goes away and begins nothing new.
    #[error("the server is going away")]
    GoingAway,
    /// A name or a value that fields cannot have, or an authority or a path that requests cannot.
    #[error("{0}")]
    Malformed(&'static str),
}

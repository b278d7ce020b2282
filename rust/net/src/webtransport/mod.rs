//! WebTransport sessions on HTTP/3 connections, each a connection of its own to the owner.

mod access;

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

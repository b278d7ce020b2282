//! WebSocket without I/O (RFC 6455, RFC 7692): a tunnel's bytes in, messages out, and back.
//!
//! The tunnel may be an upgraded HTTP/1.1 connection, or a stream of HTTP/2 (RFC 8441) or HTTP/3
//! (RFC 9220): nothing here knows which. Rules of one frame live in [`frame`], those of messages,
//! pings and the end in [`Connection`], headers of the request in [`handshake`] and [`Deflate`].

mod close;
mod connection;
mod control;
mod deflate;
mod extensions;
pub mod frame;
pub mod handshake;
mod mask;
mod message;
mod negotiation;
#[cfg(test)]
mod tests;
mod utf8;

pub use close::{Close, MAX_REASON, Violation, code};
pub use connection::{Connection, Event, Keys, Limits, SendError, State};
pub use control::MAX_CONTROL;
pub use negotiation::Deflate;

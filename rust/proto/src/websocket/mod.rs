//! WebSocket without I/O (RFC 6455, RFC 7692).
//!
//! The tunnel may be an upgraded HTTP/1.1 connection, or a stream of HTTP/2 (RFC 8441) or HTTP/3
//! (RFC 9220): nothing here knows which. Headers of the request live in [`handshake`] and
//! [`Deflate`].

mod extensions;
pub mod handshake;
mod negotiation;

pub use negotiation::Deflate;

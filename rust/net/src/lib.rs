//! JetStream over real sockets: the QUIC endpoint, TLS and the peer's identity. No Python here.
#![forbid(unsafe_code)]

pub mod identity;
pub mod tls;

//! JetStream over real sockets: the QUIC endpoint, TLS and the peer's identity. No Python here.
//!
//! [`Endpoint`] is driven in turns by whoever owns the event loop; it never blocks, spawns nothing
//! and reads no clock of its own accord.
#![forbid(unsafe_code)]

mod access;
mod config;
mod congestion;
mod connection;
mod datagram;
mod docket;
mod endpoint;
mod event;
pub mod http;
mod hub;
pub mod identity;
mod lane;
mod memory;
mod parting;
mod rebind;
mod reset;
mod review;
mod slab;
mod socket;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
mod timers;
pub mod tls;
mod webtransport;

pub use config::{ConnectOptions, Incoming, ServerOptions, Transport};
pub use connection::{ConnectionKey, Counters, EarlyData};
pub use datagram::Sent;
pub use endpoint::{ConnectError, Endpoint, Progress};
pub use event::{Event, LaneEnd, Lost};
pub use http::{
    ExchangeKey, Fields, Http3Options, HttpEvent, HttpLimits, Reply, ReplyError, Request, Version,
};
pub use hub::{Carrier, Hub};
pub use jetstream_proto::webtransport::Limits as WebTransportLimits;
pub use lane::LaneKey;
pub use memory::Memory;
pub use quinn_proto::{Dir, Side, StreamId};
pub use stream::{Read, Write};
pub use streams::{Credentials, Speaks, StreamLimits, Streams, TcpOptions, TcpServer, UnixAddress};
pub use webtransport::SessionError;

//! The JetStream protocol without I/O: no clock, no socket, no Python, no `unsafe`.
//!
//! Values live in [`wire`], frames in [`frame`], who may talk to whom in [`version`], calls in
//! [`mux`]. Everything here is a state machine over bytes that its caller has read already.
#![forbid(unsafe_code)]

pub mod codes;
pub mod dialect;
pub mod ext;
pub mod fault;
pub mod frame;
pub mod http3;
pub mod limits;
pub mod mux;
#[cfg(test)]
mod random;
pub mod version;
pub mod websocket;
pub mod webtransport;
pub mod wire;

//! The JetStream protocol without I/O: no clock, no socket, no Python, no `unsafe`.
#![forbid(unsafe_code)]

pub mod wire;

//! WebTransport over HTTP/3 without I/O.

mod limits;

pub use limits::Limits;

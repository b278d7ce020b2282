//! WebTransport over HTTP/3 without I/O (draft-ietf-webtrans-http3-15, and what of the drafts before it
//! is in use), for either end.
//!
//! [`super::http3::Connection`] knows requests and which streams are whose by their first bytes; this
//! knows sessions. [`Session`] is one of them: the capsules on its CONNECT stream, its limits and its
//! end. [`Peer`] is what the peer's settings say, [`settings`] what ours do; [`Waiting`] is where
//! streams and datagrams are that come before their session. Codes are in [`code`], the first bytes of
//! streams in [`header`].
//!
//! What they send and want, as of their releases of 2026:
//!
//! | | draft | settings that it sends | what it wants of a server, beside `ENABLE_CONNECT_PROTOCOL` and `H3_DATAGRAM` (0x33) | `:protocol` |
//! |---|---|---|---|---|
//! | Chrome | 02, 07 | 0x2b603742, 0xc671706a | 0x2b603742, or 0xc671706a | `webtransport`, and a field `sec-webtransport-http3-draft02: 1` |
//! | Firefox | 02; 07 and 15 in the latest | 0x2b603742; 0xc671706a, 0x2c7cf000 | one of those | `webtransport` |
//! | Safari 26.4 | 13 or 14 | not published | 0x14e9cd29 of at least 1; if it is more than 1 or 0x2c7cf000 is there, also the three initial limits, or it does not ask or does not send | `webtransport` |
//! | webtransport-go | 15 | all of them | 0x2c7cf000 | `webtransport-h3` |
//! | Rust's h3-webtransport (JetStream's crates) | 02 | 0x2b603742, 0x2b603743 | 0x2b603742 | `webtransport` |
//!
//! So we say all of them, and the initial limits so high that they never count: sessions share the flow
//! control of their QUIC connection and its streams. The limits of the peer count for us where both
//! ends have set some (section 5.1). 0xffd277, which was `H3_DATAGRAM` before RFC 9297, is wanted by
//! none of them any more.
//!
//! Drafts 13 and 14 take flow control to be on when both ends allow more than one session; then a peer
//! that never says any limit would have us wait for ever. As in draft 15, we obey who says one.
//!
//! QUIC has no RESET_STREAM_AT here, so a stream that is reset at once may come without its header; its
//! peer then sees a request that was taken back.

mod capsule;
pub mod code;
mod flow;
pub mod header;
mod limits;
mod session;
pub mod settings;
#[cfg(test)]
mod tests;
mod waiting;

pub use flow::Direction;
pub use limits::Limits;
pub use session::{Event, MAX_REASON, Session};
pub use settings::Peer;
pub use waiting::Waiting;

/// What `:protocol` may be, the older first.
pub const PROTOCOLS: [&[u8]; 2] = [b"webtransport", b"webtransport-h3"];

/// Whether a request asks for a session.
pub fn is_asked(protocol: Option<&[u8]>) -> bool {
    protocol.is_some_and(|protocol| PROTOCOLS.contains(&protocol))
}

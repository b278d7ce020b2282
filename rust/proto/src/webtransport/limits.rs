//! How much WebTransport takes on one HTTP/3 connection, with the reasons.

/// Limits of one connection. Streams, and bytes on them, are bounded by QUIC's flow control and by
/// whoever reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at once, those that are being asked for included; the next is rejected. Browsers open
    /// a connection for each session, unless they are told to share (`allowPooling`), so 16 are those
    /// of a page with many frames. Safari wants to be told more than one, or it counts bytes.
    pub max_sessions: u16,
    /// Bidirectional streams that the peer may have open at once on all sessions together, beside
    /// requests.
    pub streams_bidi: u32,
    /// The same for unidirectional ones.
    pub streams_uni: u32,
    /// Streams that wait for their session; the next is rejected. None of them is read, so each holds
    /// what came with its header in one packet. As many as a browser opens in its first flight:
    /// those of ours open one.
    pub early_streams: u16,
    /// Datagrams that wait for their session; the next is dropped.
    pub early_datagrams: u16,
    /// Bytes of them.
    pub early_bytes: u32,
    /// Bytes of datagrams that one session holds for its reader; older ones are dropped.
    pub datagram_bytes: u32,
    /// Capsules that bring nothing, those of unknown types above all, that a session may send between
    /// others that mean something. Each is skipped and none is kept (RFC 9297, section 3.2). Those
    /// that grease send one or two. Limits that rise although nothing was sent count as well.
    pub idle_capsules: u16,
    /// Bytes that those may have, as they declare them.
    pub idle_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 16,
            streams_bidi: 100,
            streams_uni: 100,
            early_streams: 16,
            early_datagrams: 64,
            early_bytes: 64 << 10,
            datagram_bytes: 64 << 10,
            idle_capsules: 64,
            idle_bytes: 64 << 10,
        }
    }
}

//! How much of everything an HTTP/3 connection takes, with the reasons.

/// Limits of one connection. Concurrent requests are bounded by QUIC's streams, content by QUIC's
/// flow control and by whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one field section: names, values and 32 for each field (RFC 9114, section 4.2.2),
    /// and also its encoded bytes, which no honest encoder makes more. Announced to the peer.
    ///
    /// hyper takes 16 KiB, Envoy 60 KiB, Go 1 MiB. 64 KiB carry a browser's full jar of cookies
    /// (some 50 of 4 KiB do not go together in practice) beside a large token; a hundred requests
    /// at once that all use it up are 6 MiB.
    pub max_field_section: u32,
    /// Fields of one section. Each costs more than its bytes, and an indexed one has only one byte;
    /// Apache and hyper's HTTP/1 take 100.
    pub max_fields: u16,
    /// Settings in the peer's SETTINGS: browsers send fewer than ten.
    pub max_settings: u16,
    /// The value of one PRIORITY_UPDATE, in bytes: `u=7, i` and room for what others define.
    pub max_priority: u16,
    /// Priorities kept for requests that have not come yet (RFC 9218, section 7): as many as
    /// packets are reordered by.
    pub max_early_priorities: u16,
    /// What the peer may do that brings nothing: unknown frames and streams, empty DATA, changes of
    /// priority. Each costs one; content and every request that is answered give back
    /// [`Budget::EARNED`](crate::http3::Budget::EARNED). Requests that it takes back or that are
    /// malformed are counted apart, and only those that are answered give back. Padding and
    /// cancellation are legitimate, and nobody who loads pages comes near a thousand in a row.
    pub idle_work: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_field_section: 64 << 10,
            max_fields: 128,
            max_settings: 64,
            max_priority: 256,
            max_early_priorities: 16,
            idle_work: 1024,
        }
    }
}

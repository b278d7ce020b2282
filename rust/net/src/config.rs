//! Settings of endpoints and connections, and how they become QUIC's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn_proto::congestion::CubicConfig;
use quinn_proto::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::congestion::{Lift, Liftable};
use crate::http::Http3Options;
use crate::tls::{ClientTls, ServerTls};

/// The usual path's largest datagram: Ethernet's 1,500 bytes less IPv6's and UDP's headers.
const PATH_MTU: u16 = 1452;

/// What is probed for on loopback: far below what it carries, because a probe is padded and QUIC
/// looks at padding byte by byte; half a millisecond of it would be spent on each new connection.
const LOOPBACK_MTU: u16 = 8_952;

/// Makes the first probe on loopback, halfway up, the only one.
const LOOPBACK_STEP: u16 = 4_000;

/// Bytes of the handshake (CRYPTO frames) that may come ahead of TLS, for each level of encryption:
/// what arrives in the wrong order waits here. RFC 9000, section 7.5, asks for at least 4,096; this
/// takes a flight with a chain of usual size whose first packet was lost. It is also quinn's own.
const CRYPTO_BUFFER: usize = 16 << 10;

/// Limits of one connection.
#[derive(Debug, Clone)]
pub struct Transport {
    /// A connection that hears nothing for so long is lost.
    pub idle_timeout: Duration,
    /// How often to say something on a quiet connection; `None` lets it fall silent.
    pub keep_alive: Option<Duration>,
    /// Bidirectional streams that the peer may have open at once.
    pub max_streams_bidi: u32,
    /// Unidirectional streams that the peer may have open at once.
    pub max_streams_uni: u32,
    /// Bytes the peer may send on one stream ahead of our reading.
    pub stream_receive_window: u32,
    /// Bytes the peer may send on all streams ahead of our reading.
    pub receive_window: u32,
    /// Bytes that we send ahead of the peer's acknowledging.
    pub send_window: u32,
    /// Unsent bytes over which a lane's requests are not read any more: its peer does not read the
    /// answers, so it may not ask for more of them.
    pub max_unsent: usize,
    /// Bytes of datagrams held for reading; older ones are dropped.
    pub datagram_receive_buffer: usize,
    /// Bytes of datagrams held for sending; older ones are dropped.
    pub datagram_send_buffer: usize,
}

impl Transport {
    /// QUIC's settings for a peer at `remote`, whose congestion window `lift` opens.
    pub(crate) fn quic(&self, remote: IpAddr, lift: &Lift) -> Arc<TransportConfig> {
        let mut discovery = MtuDiscoveryConfig::default();
        let mut quic = TransportConfig::default();
        let mut congestion = CubicConfig::default();
        if remote.to_canonical().is_loopback() {
            discovery.upper_bound(LOOPBACK_MTU).minimum_change(LOOPBACK_STEP);
            // No path that could be congested; with the usual window, pacing would hold a young
            // connection up for every probe.
            congestion.initial_window(LOOPBACK_WINDOW);
        } else {
            discovery.upper_bound(PATH_MTU);
        }
        let cubic = Arc::new(congestion);
        let congestion = Liftable { cubic, lift: lift.clone() };
        quic.congestion_controller_factory(Arc::new(congestion))
            .max_idle_timeout(IdleTimeout::try_from(self.idle_timeout).ok())
            .keep_alive_interval(self.keep_alive)
            .max_concurrent_bidi_streams(self.max_streams_bidi.into())
            .max_concurrent_uni_streams(self.max_streams_uni.into())
            .stream_receive_window(VarInt::from_u32(self.stream_receive_window))
            .receive_window(VarInt::from_u32(self.receive_window))
            .send_window(self.send_window.into())
            .datagram_receive_buffer_size(Some(self.datagram_receive_buffer))
            .datagram_send_buffer_size(self.datagram_send_buffer)
            .crypto_buffer_size(CRYPTO_BUFFER)
            .mtu_discovery_config(Some(discovery));
        Arc::new(quic)
    }
}

/// Bytes on their way at once at the start of a connection over loopback: well below what a socket
/// buffers by default.
const LOOPBACK_WINDOW: u64 = 128 << 10;

/// What becomes of the streams that a peer opens, by the protocol that was agreed (ALPN).
#[derive(Debug, Clone)]
pub enum Incoming {
    /// Bidirectional streams are lanes, with frames of at most `msize` bytes until they are told
    /// otherwise; nothing else is taken.
    Lanes {
        /// Largest frame, header included.
        msize: u32,
    },
    /// Every stream and datagram is handed over as it is.
    Raw,
    /// They are HTTP/3's, which is served: events tell of requests.
    Http(Http3Options),
}

/// How an endpoint serves.
#[derive(Clone)]
pub struct ServerOptions {
    /// TLS; its protocols are the keys of `incoming`.
    pub tls: Arc<ServerTls>,
    /// What to do with streams, by protocol.
    pub incoming: HashMap<Vec<u8>, Incoming>,
    /// Limits of each connection.
    pub transport: Transport,
    /// Connections at once; the next is refused.
    pub max_connections: usize,
    /// Handshakes at once; the next is refused.
    pub max_handshakes: usize,
    /// Handshakes at once over which a newcomer must first prove its address (Retry, RFC 9000,
    /// section 8.1.2).
    pub retry_above: usize,
    /// A handshake that takes longer is given up.
    pub handshake_timeout: Duration,
}

/// How a connection is made.
#[derive(Clone)]
pub struct ConnectOptions {
    /// TLS for this connection.
    pub tls: ClientTls,
    /// What to do with streams that the server opens.
    pub incoming: Incoming,
    /// Limits of the connection.
    pub transport: Transport,
    /// Whether to send data ahead of the handshake, where an earlier visit allows it: data that
    /// somebody who saw it can send once more, see [`crate::tls`].
    pub early_data: bool,
    /// Then nobody waits for the handshake, and it is given up if it takes longer.
    pub handshake_timeout: Duration,
}

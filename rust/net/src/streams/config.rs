//! Settings of ordered streams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::unix::UnixAddress;
use crate::http::HttpLimits;
use crate::tls::{ClientTls, ServerTls};

/// Limits of a hub of streams and of each of its connections.
#[derive(Debug, Clone)]
pub struct StreamLimits {
    /// Largest frame, header included, until a lane is told otherwise.
    pub msize: u32,
    /// A peer that takes nothing that we send for so long is lost; without `keep_alive`, so is one
    /// that sends nothing.
    pub idle_timeout: Duration,
    /// How often the system asks a silent peer whether it is still there (TCP keepalive).
    pub keep_alive: Option<Duration>,
    /// A connection or a handshake that takes longer is given up.
    pub handshake_timeout: Duration,
    /// Connections that peers may have at once; the next is closed at once.
    pub max_connections: usize,
    /// Handshakes of peers at once; who comes next is closed at once.
    pub max_handshakes: usize,
    /// Unsent bytes over which a peer's lane is not read any more.
    pub max_unsent: usize,
    /// Lanes of one connection of ours, each with a socket of its own.
    pub max_lanes: usize,
}

/// How TCP connections are taken.
#[derive(Clone)]
pub struct TcpServer {
    /// TLS. Without it HTTP alone is spoken, with everybody who can reach the socket and sees what
    /// is on the way: something for the loopback interface, behind a proxy.
    pub tls: Option<Arc<ServerTls>>,
    /// Those of its protocols that are spoken on streams.
    pub alpns: Vec<Vec<u8>>,
    /// HTTP, within these limits: with clients that name `h2` or `http/1.1`, if those are among the
    /// protocols, and with clients that name none, if `http/1.1` is.
    pub http: Option<Arc<HttpLimits>>,
}

/// How a TCP connection is made.
#[derive(Clone)]
pub struct TcpOptions {
    /// Where to.
    pub remote: SocketAddr,
    /// Our own address; by default any.
    pub bind: Option<SocketAddr>,
    /// The name that the server's certificate must have.
    pub server_name: String,
    /// TLS.
    pub tls: ClientTls,
}

/// The process at the other end of a Unix socket, as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The process; `None` where it is not visible from here.
    pub pid: Option<u32>,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Where a connection of ours leads, for each of its lanes.
pub(super) enum Target {
    Tcp(TcpOptions, rustls::pki_types::ServerName<'static>),
    Unix(UnixAddress),
}

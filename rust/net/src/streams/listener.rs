//! Sockets that listen.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, Type};

use super::socket::{BACKLOG, Socket};
use super::taker::Speaks;
use super::unix::{self, SocketFile, UnixAddress};
use crate::tls::{ServerTls, StreamAcceptor};

/// How long to wait when the process has no descriptors left for a newcomer.
const PATIENCE: Duration = Duration::from_millis(100);

pub(super) struct Listener {
    socket: Listening,
    /// A newcomer may be waiting.
    pub(super) ready: bool,
    /// Not to be tried before.
    pub(super) again: Option<Instant>,
    /// What is spoken with those who come.
    speaks: Speaks,
}

enum Listening {
    Tcp(TcpListener, Option<StreamAcceptor>),
    /// The file goes with the socket.
    Unix(UnixListener, #[allow(dead_code)] Option<SocketFile>),
}

/// Somebody connected.
pub(super) struct Newcomer {
    pub(super) socket: Socket,
    pub(super) remote: Option<SocketAddr>,
    /// TLS to speak with it.
    pub(super) tls: Option<StreamAcceptor>,
    pub(super) speaks: Speaks,
}

impl Listener {
    pub(super) fn tcp(
        address: SocketAddr,
        tls: Option<StreamAcceptor>,
        speaks: Speaks,
    ) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // Both families on one socket; where the system has no IPv4 this is of no matter.
            let _ = socket.set_only_v6(false);
        }
        // A server that starts again need not wait for the connections of the one before.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        Ok(Self::new(Listening::Tcp(TcpListener::from_std(socket.into()), tls), speaks))
    }

    pub(super) fn unix(address: &UnixAddress, mode: u32, speaks: Speaks) -> io::Result<Self> {
        let (socket, file) = unix::listen(address, mode)?;
        Ok(Self::new(Listening::Unix(UnixListener::from_std(socket.into()), file), speaks))
    }

    fn new(socket: Listening, speaks: Speaks) -> Self {
        Self { socket, ready: true, again: None, speaks }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Listening::Tcp(socket, _) => socket.register(registry, token, Interest::READABLE),
            Listening::Unix(socket, _) => socket.register(registry, token, Interest::READABLE),
        }
    }

    pub(super) fn local(&self) -> Option<SocketAddr> {
        match &self.socket {
            Listening::Tcp(socket, _) => socket.local_addr().ok(),
            Listening::Unix(..) => None,
        }
    }

    /// Speaks with newcomers as `tls` says from now on, and as many protocols as before.
    pub(super) fn set_tls(&mut self, tls: &ServerTls) {
        if let Listening::Tcp(_, Some(acceptor)) = &mut self.socket {
            *acceptor = acceptor.renewed(tls);
        }
    }

    /// Takes one newcomer; `None` if nobody is waiting, or there is no descriptor for one.
    pub(super) fn accept(&mut self, now: Instant) -> Option<Newcomer> {
        loop {
            let accepted = match &self.socket {
                Listening::Tcp(socket, tls) => socket.accept().map(|(socket, remote)| Newcomer {
                    socket: Socket::Tcp(socket),
                    remote: Some(remote),
                    tls: tls.clone(),
                    speaks: self.speaks.clone(),
                }),
                Listening::Unix(socket, _) => socket.accept().map(|(socket, _)| Newcomer {
                    socket: Socket::Unix(socket),
                    remote: None,
                    tls: None,
                    speaks: self.speaks.clone(),
                }),
            };
            match accepted {
                Ok(newcomer) => return Some(newcomer),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => self.ready = false,
                    // Gone again, before it was taken.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => continue,
                    _ => self.again = now.checked_add(PATIENCE),
                },
            }
            return None;
        }
    }
}

//! One socket of an ordered stream, TCP or Unix: how it is made, and what is done with it.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, SockRef, TcpKeepalive, Type};

use super::config::{Credentials, StreamLimits};
use super::unix::{self, UnixAddress};

/// Connections that the kernel holds until they are taken; it may hold fewer.
pub(super) const BACKLOG: i32 = 1024;

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! either {
    ($self:ident, $socket:ident => $call:expr) => {
        match $self {
            Socket::Tcp($socket) => $call,
            Socket::Unix($socket) => $call,
        }
    };
}

impl Socket {
    /// Begins to connect; readiness tells how it went.
    pub(super) fn tcp(remote: SocketAddr, bind: Option<SocketAddr>) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if let Some(address) = bind {
            socket.bind(&SockAddr::from(address))?;
        }
        match socket.connect(&SockAddr::from(remote)) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
            _ => Ok(Self::Tcp(TcpStream::from_std(socket.into()))),
        }
    }

    /// Connects; `None` while the server's backlog is full.
    pub(super) fn unix(address: &UnixAddress) -> io::Result<Option<Self>> {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&address.sock_addr()?) {
            Ok(()) => Ok(Some(Self::Unix(UnixStream::from_std(socket.into())))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        either!(self, socket => socket.register(registry, token, interest))
    }

    /// Whether a connection that was begun has come about.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        let Self::Tcp(socket) = self else { return Ok(true) };
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets what a stream of frames needs. What the system does not know, it goes without.
    pub(super) fn tune(&self, limits: &StreamLimits) {
        let Self::Tcp(socket) = self else { return };
        let _ = socket.set_nodelay(true);
        let socket = SockRef::from(socket);
        if let Some(every) = limits.keep_alive {
            // The system counts in seconds, from 1.
            let every = every.max(Duration::from_secs(1));
            let times = limits.idle_timeout.as_secs() / every.as_secs();
            let keepalive = TcpKeepalive::new()
                .with_time(every)
                .with_interval(every)
                .with_retries(u32::try_from(times).unwrap_or(u32::MAX).max(1));
            let _ = socket.set_tcp_keepalive(&keepalive);
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = socket.set_tcp_user_timeout(Some(limits.idle_timeout));
    }

    /// Says that nothing more is sent.
    pub(super) fn finish(&self) {
        let _ = either!(self, socket => socket.shutdown(Shutdown::Write));
    }

    /// Makes closing mean that the connection was given up, where there is a word for it: the reset
    /// of TCP (RFC 9293, section 3.10.5).
    pub(super) fn give_up(&self) {
        if let Self::Tcp(socket) = self {
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    pub(super) fn remote(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    pub(super) fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    pub(super) fn credentials(&self) -> Option<Credentials> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(socket) => unix::credentials(socket),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, socket => socket.read(buffer))
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, socket => socket.write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, socket => socket.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text of a system's error without its number.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

//! Unix sockets: their names, the files behind them, and who is at the other end.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::config::Credentials;
use super::socket::BACKLOG;

/// The name of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnixAddress {
    /// A file.
    Path(PathBuf),
    /// A name in the kernel only (Linux): without a file, and open to every user of the machine.
    Abstract(Vec<u8>),
}

impl UnixAddress {
    /// A path, or with `@` in front an abstract name.
    pub fn new(name: &Path) -> Self {
        match name.as_os_str().as_bytes().split_first() {
            Some((b'@', rest)) => Self::Abstract(rest.to_vec()),
            _ => Self::Path(name.to_owned()),
        }
    }

    pub(super) fn sock_addr(&self) -> io::Result<SockAddr> {
        match self {
            Self::Path(path) if path.as_os_str().is_empty() => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is empty"))
            }
            Self::Path(path) => SockAddr::unix(path),
            Self::Abstract(name) if cfg!(any(target_os = "linux", target_os = "android")) => {
                let bytes = [b"\0", name.as_slice()].concat();
                SockAddr::unix(OsStr::from_bytes(&bytes))
            }
            Self::Abstract(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "names with @ in front exist on Linux only; write a path",
            )),
        }
    }
}

impl std::fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
        }
    }
}

/// The file of a socket that listens; it is removed with this, unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens. A file that a server left behind is replaced; one at which somebody listens, or that is
/// no socket, is not.
pub(super) fn listen(address: &UnixAddress, mode: u32) -> io::Result<(Socket, Option<SocketFile>)> {
    let name = address.sock_addr()?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.bind(&name) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let UnixAddress::Path(path) = address else { return Err(error) };
            remove_stale(path, &name)?;
            socket.bind(&name)?;
        }
        bound => bound?,
    }
    let file = match address {
        UnixAddress::Abstract(_) => None,
        UnixAddress::Path(path) => {
            let found = fs::symlink_metadata(path)?;
            let file = SocketFile { path: path.clone(), device: found.dev(), inode: found.ino() };
            // Nobody can connect before `listen`, so there is no moment with another mode.
            fs::set_permissions(path, Permissions::from_mode(mode))?;
            Some(file)
        }
    };
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok((socket, file))
}

fn remove_stale(path: &Path, name: &SockAddr) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name that is no socket",
        ));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(name) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        // A full backlog is somebody's, too.
        _ => return Err(io::Error::from(io::ErrorKind::AddrInUse)),
    }
    let now = fs::symlink_metadata(path)?;
    if (now.dev(), now.ino()) != (found.dev(), found.ino()) {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    fs::remove_file(path)
}

/// Who is at the other end; `None` where the system does not tell.
pub(super) fn credentials(socket: &impl AsFd) -> Option<Credentials> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
        let peer = getsockopt(socket, PeerCredentials).ok()?;
        // A process of another PID namespace is 0 here.
        let pid = u32::try_from(peer.pid()).ok().filter(|pid| *pid > 0);
        Some(Credentials { pid, uid: peer.uid(), gid: peer.gid() })
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let (uid, gid) = nix::unistd::getpeereid(socket).ok()?;
        Some(Credentials { pid: None, uid: uid.as_raw(), gid: gid.as_raw() })
    }
}

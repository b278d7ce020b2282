//! One UDP socket: many datagrams a call, in both directions.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use bytes::BytesMut;
use quinn_proto::EcnCodepoint;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockAddr, Type};

/// Datagrams (or trains of them) that one system call takes.
const BATCH: usize = if BATCH_SIZE < 16 { BATCH_SIZE } else { 16 };

/// A train of datagrams that the kernel put together is at most this long.
const SLOT: usize = 65_535;

/// What we ask of the kernel; it gives what it allows.
const KERNEL_BUFFER: usize = 4 << 20;

/// A datagram, and what the kernel said of its way.
pub(crate) struct Arrived {
    pub(crate) remote: SocketAddr,
    /// To which of our addresses it came.
    pub(crate) local: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) bytes: BytesMut,
}

pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    buffer: Vec<u8>,
}

impl Socket {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // Both families on one socket; where the system has no IPv4 this is of no matter.
            let _ = socket.set_only_v6(false);
        }
        socket.bind(&SockAddr::from(address))?;
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { io: socket.into(), state, buffer: Vec::new() })
    }

    pub(crate) fn io(&self) -> &UdpSocket {
        &self.io
    }

    pub(crate) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    pub(crate) fn send(&self, transmit: &quinn_proto::Transmit, bytes: &[u8]) -> io::Result<()> {
        let ecn = transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8));
        self.state.try_send(
            UdpSockRef::from(&self.io),
            &Transmit {
                destination: transmit.destination,
                ecn,
                contents: &bytes[..transmit.size],
                segment_size: transmit.segment_size,
                src_ip: transmit.src_ip,
            },
        )
    }

    /// Takes what one system call gives and hands each datagram to `each`: how many there were, and
    /// whether there may be more.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Arrived)) -> io::Result<(usize, bool)> {
        if self.buffer.is_empty() {
            // Pages that are never filled are never the process's.
            self.buffer = vec![0; BATCH * SLOT];
        }
        let mut metas = [RecvMeta::default(); BATCH];
        let mut slots = self.buffer.chunks_exact_mut(SLOT);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
        let count = match self.state.recv(UdpSockRef::from(&self.io), &mut slices, &mut metas) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((0, false)),
            // What an earlier datagram of ours ran into, told late; it says nothing about now.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok((0, false)),
            Err(error) => return Err(error),
        };
        let mut datagrams = 0;
        for (meta, slice) in metas.iter().zip(&slices).take(count) {
            let train = &slice[..meta.len];
            for datagram in train.chunks(meta.stride.max(1)) {
                datagrams += 1;
                each(Arrived {
                    remote: meta.addr,
                    local: meta.dst_ip,
                    ecn: meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8)),
                    bytes: BytesMut::from(datagram),
                });
            }
        }
        // A call that did not fill its slots has emptied the socket; what comes now, comes with a
        // readiness of its own.
        Ok((datagrams, count == BATCH))
    }
}

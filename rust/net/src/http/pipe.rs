//! Plain bytes between a wire and the state machine of a protocol, in memory.
//!
//! Nobody is woken here: whoever puts bytes in, or makes room, polls the protocol afterwards.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::rt::ReadBufCursor;
use tokio::io::ReadBuf;

/// Bytes that have come and that the protocol has not read, over which the wire is not read any more.
const INBOUND_HIGH: usize = 128 << 10;

/// A buffer that has grown beyond this is not kept once it is empty.
const KEPT: usize = 16 << 10;

/// Both ends of the pipe: hyper and h2 own one of them and let nobody else near it.
#[derive(Debug, Clone, Default)]
pub(super) struct Pipe(Arc<Mutex<Buffers>>);

#[derive(Debug, Default)]
struct Buffers {
    inbound: Vec<u8>,
    /// Bytes of it that have been read.
    read: usize,
    /// How much more of it may be, where that is bounded.
    allowed: Option<usize>,
    /// Nothing more will come.
    over: bool,
    outbound: Vec<u8>,
    /// Bytes of `outbound` over which nothing more is taken.
    room: usize,
    /// Something was not taken for want of room.
    blocked: bool,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the wire's end ----

    /// Puts in what has arrived.
    pub(super) fn push(&self, bytes: &[u8]) {
        self.lock().inbound.extend_from_slice(bytes);
    }

    /// Nothing more arrives.
    pub(super) fn end(&self) {
        self.lock().over = true;
    }

    /// Whether so much has arrived that the wire is not to be read.
    pub(super) fn is_full(&self) -> bool {
        let buffers = self.lock();
        buffers.inbound.len() - buffers.read >= INBOUND_HIGH
    }

    /// Lends an empty buffer for what is written, if there is none, and says how much may be.
    pub(super) fn prepare(&self, spare: &mut Vec<u8>, room: usize) {
        let mut buffers = self.lock();
        buffers.room = room;
        buffers.blocked = false;
        if buffers.outbound.capacity() == 0 {
            std::mem::swap(&mut buffers.outbound, spare);
        }
    }

    /// Lets the protocol read so much, and then find nothing until it is allowed more.
    pub(super) fn allow(&self, bytes: usize) {
        self.lock().allowed = Some(bytes);
    }

    /// Whether there is more that it was not allowed to read.
    pub(super) fn has_withheld(&self) -> bool {
        let buffers = self.lock();
        buffers.allowed == Some(0) && buffers.read < buffers.inbound.len()
    }

    /// Takes out what the protocol has written.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().outbound)
    }

    /// Whether the protocol has more to write than there was room for.
    pub(super) fn is_blocked(&self) -> bool {
        self.lock().blocked
    }

    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        let mut buffers = self.lock();
        buffers.blocked |= buffers.outbound.len() >= buffers.room;
        !buffers.blocked
    }

    /// Looks at what has arrived and leaves it there.
    pub(super) fn peek<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        let buffers = self.lock();
        look(buffers.inbound.get(buffers.read..).unwrap_or_default())
    }

    /// Whether something is waiting to be taken out.
    pub(super) fn has_written(&self) -> bool {
        !self.lock().outbound.is_empty()
    }

    /// Writes past the protocol, which has nothing of its own on the way.
    pub(super) fn write_past(&self, bytes: &[u8]) {
        self.lock().outbound.extend_from_slice(bytes);
    }

    /// Everything that has arrived and was not read.
    pub(super) fn take_inbound(&self) -> Vec<u8> {
        let mut buffers = self.lock();
        let mut bytes = std::mem::take(&mut buffers.inbound);
        bytes.drain(..std::mem::take(&mut buffers.read));
        bytes
    }
}

impl Buffers {
    /// Up to `limit` bytes; `None` if there is none yet, and an empty slice at the end.
    fn read(&mut self, limit: usize, take: impl FnOnce(&[u8])) -> Poll<io::Result<()>> {
        let waiting = self.inbound.get(self.read..).unwrap_or_default();
        if waiting.is_empty() {
            return if self.over { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let count = waiting.len().min(limit).min(self.allowed.unwrap_or(usize::MAX));
        if count == 0 {
            return Poll::Pending;
        }
        take(waiting.get(..count).unwrap_or_default());
        self.read += count;
        if let Some(allowed) = &mut self.allowed {
            *allowed -= count;
        }
        if self.read == self.inbound.len() {
            self.read = 0;
            self.inbound.clear();
            if self.inbound.capacity() > KEPT {
                self.inbound = Vec::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.outbound.len() >= self.room {
            self.blocked = true;
            return Poll::Pending;
        }
        let mut count = 0;
        for slice in slices {
            self.outbound.extend_from_slice(slice);
            count += slice.len();
        }
        Poll::Ready(Ok(count))
    }
}

impl hyper::rt::Read for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.lock().read(buffer.remaining(), |bytes| buffer.put_slice(bytes))
    }
}

impl hyper::rt::Write for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().write(&[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().write(slices)
    }
}

impl tokio::io::AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.lock().read(buffer.remaining(), |bytes| buffer.put_slice(bytes))
    }
}

impl tokio::io::AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().write(&[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().write(slices)
    }
}

//! A lane on a QUIC stream: whole frames in, runs of bytes out, both bounded.

use std::collections::VecDeque;

use bytes::Bytes;
use jetstream_proto::frame::Splitter;
use quinn_proto::{Connection, ReadError, ReadableError, StreamId, WriteError};

use crate::connection::ConnectionKey;
use crate::event::LaneEnd;
use crate::webtransport::wire_code;

/// Unsent bytes under which a lane counts as drained, for an owner that waits to go on writing: what
/// is left keeps the connection busy until the owner has written more.
pub(crate) const UNSENT_LOW: usize = 64 << 10;

/// Bytes of one lane that one turn reads, so that no lane keeps the others waiting.
const READ_PER_TURN: usize = 1 << 20;

/// Names a lane of one endpoint, and no other lane of it ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey(pub u64);

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) connection: ConnectionKey,
    pub(crate) stream: StreamId,
    pub(crate) splitter: Splitter,
    /// Unsent bytes over which it is not read.
    high: usize,
    unsent: VecDeque<Bytes>,
    unsent_bytes: usize,
    finishing: bool,
    /// It is, or will be, finished: that is done once, for it would take back what has not arrived.
    finished: bool,
    /// The owner asked not to be given more for now.
    pub(crate) paused: bool,
    ended: bool,
    /// The owner has forgotten the lane: it goes when all is written.
    pub(crate) released: bool,
    /// The owner wants to be told when little is unsent.
    watched: bool,
    /// What came on it before it was a lane.
    pub(crate) ahead: Bytes,
    /// What its datagrams go by over WebTransport.
    pub(crate) label: Option<u64>,
}

/// What writing a lane came to.
#[derive(Debug, Default)]
pub(crate) struct Wrote {
    /// Reading was held up by what was unsent, and need not be any more.
    pub(crate) resumes: bool,
    /// How many bytes it was.
    pub(crate) bytes: u64,
    /// There is more, and the credit is used up.
    pub(crate) starved: bool,
}

/// What reading a lane gave.
pub(crate) struct Incoming {
    pub(crate) run: Option<Vec<u8>>,
    pub(crate) end: Option<LaneEnd>,
    /// There is more, left for the next turn.
    pub(crate) more: bool,
}

impl Lane {
    pub(crate) fn new(
        connection: ConnectionKey,
        stream: StreamId,
        limit: u32,
        high: usize,
    ) -> Self {
        Self {
            connection,
            stream,
            high,
            splitter: Splitter::new(limit),
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            finishing: false,
            finished: false,
            paused: false,
            ended: false,
            released: false,
            watched: false,
            ahead: Bytes::new(),
            label: None,
        }
    }

    /// Whether the lane's owner, or the peer's not reading, holds up reading.
    pub(crate) fn holds_reading(&self) -> bool {
        self.paused || self.unsent_bytes > self.high
    }

    pub(crate) fn read(&mut self, connection: &mut Connection) -> Incoming {
        let mut incoming = Incoming { run: None, end: None, more: false };
        if self.ended {
            return incoming;
        }
        if self.holds_reading() {
            // That the peer has given the lane up is heard all the same: nobody is left to wait for.
            let reset = connection.recv_stream(self.stream).received_reset();
            incoming.end =
                reset.ok().flatten().map(|code| LaneEnd::Reset { code: code.into_inner() });
            self.ended = incoming.end.is_some();
            return incoming;
        }
        incoming.end = self.read_chunks(connection, &mut incoming.more);
        incoming.run = self.splitter.take();
        self.ended = incoming.end.is_some();
        incoming
    }

    fn read_chunks(&mut self, connection: &mut Connection, more: &mut bool) -> Option<LaneEnd> {
        if let Err(error) = self.splitter.push(&std::mem::take(&mut self.ahead)) {
            return Some(LaneEnd::Broken(error));
        }
        let mut stream = connection.recv_stream(self.stream);
        let mut chunks = match stream.read(true) {
            Ok(chunks) => chunks,
            Err(ReadableError::ClosedStream | ReadableError::IllegalOrderedRead) => return None,
        };
        let mut budget = READ_PER_TURN;
        let end = loop {
            if budget == 0 {
                *more = true;
                break None;
            }
            match chunks.next(budget) {
                Ok(Some(chunk)) => {
                    budget -= chunk.bytes.len();
                    if let Err(error) = self.splitter.push(&chunk.bytes) {
                        break Some(LaneEnd::Broken(error));
                    }
                }
                Ok(None) => {
                    break Some(match self.splitter.unfinished() {
                        0 => LaneEnd::Finished,
                        bytes => LaneEnd::Truncated { bytes },
                    });
                }
                Err(ReadError::Blocked) => break None,
                Err(ReadError::Reset(code)) => {
                    break Some(LaneEnd::Reset { code: code.into_inner() });
                }
            }
        };
        // What was consumed may allow the peer to send more; the next transmit tells it.
        let _ = chunks.finalize();
        end
    }

    pub(crate) fn queue(&mut self, bytes: Vec<u8>) {
        self.unsent_bytes += bytes.len();
        self.unsent.push_back(Bytes::from(bytes));
    }

    pub(crate) fn finish(&mut self) {
        self.finishing |= !std::mem::replace(&mut self.finished, true);
    }

    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Whether there is so much unsent that its drain is worth waiting for; it is told then.
    pub(crate) fn watch_drained(&mut self) -> bool {
        self.watched = self.unsent_bytes >= UNSENT_LOW;
        self.watched
    }

    /// Whether somebody waits for the drain, and it has come.
    pub(crate) fn take_drained(&mut self) -> bool {
        let drained = self.watched && self.unsent_bytes < UNSENT_LOW;
        self.watched &= !drained;
        drained
    }

    pub(crate) fn is_done(&self) -> bool {
        self.released && self.unsent.is_empty() && !self.finishing
    }

    /// Moves what is queued into the stream, as far as flow control and `credit` allow.
    pub(crate) fn write(&mut self, connection: &mut Connection, credit: u64) -> Wrote {
        let held = self.holds_reading();
        let mut wrote = self.write_chunks(connection, credit);
        wrote.resumes = held && !self.holds_reading();
        if !self.unsent.is_empty() {
            return wrote;
        }
        let mut stream = connection.send_stream(self.stream);
        if std::mem::take(&mut self.finishing) && stream.finish().is_err() {
            // The peer has stopped it and expects a reset (RFC 9000, section 3.5); or it is closed
            // already, and this does nothing.
            let done = wire_code(self.connection, jetstream_proto::codes::DONE.into());
            let _ = stream.reset(done);
        }
        wrote
    }

    fn write_chunks(&mut self, connection: &mut Connection, credit: u64) -> Wrote {
        let mut wrote = Wrote::default();
        let mut stream = connection.send_stream(self.stream);
        while let Some(first) = self.unsent.front_mut() {
            let left = credit - wrote.bytes;
            let written = if left >= self.unsent_bytes as u64 {
                stream.write_chunks(self.unsent.make_contiguous())
            } else if left == 0 {
                wrote.starved = true;
                return wrote;
            } else {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(first.len());
                let mut piece = first.slice(..most);
                let written = stream.write_chunks(std::slice::from_mut(&mut piece));
                written.map(|mut written| {
                    drop(first.split_to(written.bytes.min(most)));
                    written.chunks = usize::from(first.is_empty());
                    written
                })
            };
            match written {
                Ok(written) => {
                    wrote.bytes += written.bytes as u64;
                    self.unsent_bytes -= written.bytes;
                    self.unsent.drain(..written.chunks);
                }
                Err(WriteError::Blocked) => return wrote,
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                    // The peer's stop comes as an event of its own; nothing more can arrive there.
                    self.unsent.clear();
                    self.unsent_bytes = 0;
                }
            }
        }
        wrote
    }
}

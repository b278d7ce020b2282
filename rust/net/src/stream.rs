//! Raw streams: what one attempt to read or write came to.

use bytes::Bytes;
use quinn_proto::{Connection, ReadError, ReadableError, StreamId, VarInt, WriteError};

/// What reading a stream gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Some bytes.
    Data(Vec<u8>),
    /// Nothing yet; an event tells when.
    Blocked,
    /// The peer finished the stream; all of it has been read.
    Finished,
    /// The peer gave the stream up.
    Reset(u64),
    /// The stream has been stopped or read to its end before.
    Closed,
}

/// What writing to a stream came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Write {
    /// So many bytes were taken.
    Taken(usize),
    /// Nothing was taken; an event tells when to try again.
    Blocked,
    /// The peer wants no more of it.
    Stopped(u64),
    /// The stream has been finished or reset before.
    Closed,
}

/// Reads up to `limit` bytes. An end that came right behind them is the second value, to be told by
/// the next read: QUIC forgets a stream whose end has been seen.
pub(crate) fn read(
    connection: &mut Connection,
    id: StreamId,
    limit: usize,
) -> (Read, Option<Read>) {
    let mut stream = connection.recv_stream(id);
    let mut chunks = match stream.read(true) {
        Ok(chunks) => chunks,
        Err(ReadableError::ClosedStream | ReadableError::IllegalOrderedRead) => {
            return (Read::Closed, None);
        }
    };
    let mut data = Vec::new();
    let mut end = None;
    while data.len() < limit {
        match chunks.next(limit - data.len()) {
            Ok(Some(chunk)) => data.extend_from_slice(&chunk.bytes),
            Err(ReadError::Blocked) => break,
            Ok(None) => {
                end = Some(Read::Finished);
                break;
            }
            Err(ReadError::Reset(code)) => {
                end = Some(Read::Reset(code.into_inner()));
                break;
            }
        }
    }
    let _ = chunks.finalize();
    if data.is_empty() { (end.unwrap_or(Read::Blocked), None) } else { (Read::Data(data), end) }
}

/// Writes as much of `data` as flow control allows.
pub(crate) fn write(connection: &mut Connection, id: StreamId, data: &mut Bytes) -> Write {
    let length = data.len();
    match connection.send_stream(id).write_chunks(std::slice::from_mut(data)) {
        Ok(written) => Write::Taken(written.bytes.min(length)),
        Err(WriteError::Blocked) => Write::Blocked,
        Err(WriteError::Stopped(code)) => Write::Stopped(code.into_inner()),
        Err(WriteError::ClosedStream) => Write::Closed,
    }
}

/// An application's code as QUIC carries it: at most 62 bits (RFC 9000, section 16).
pub(crate) fn code(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}

//! The part of an answer's body that its transport has not taken.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use http::HeaderMap;

/// Bytes of a file that are read at once, when the peer takes them.
pub(super) const FILE_PIECE: usize = 256 << 10;

/// Unsent bytes under which an answer counts as drained.
pub(super) const UNSENT_LOW: usize = 64 << 10;

#[derive(Debug)]
enum Piece {
    Data(Bytes),
    File { file: File, offset: u64, left: u64 },
    Trailers(Box<HeaderMap>),
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    Data(Bytes),
    Trailers(HeaderMap),
    /// The body is whole.
    End,
    /// The owner has not given more yet.
    Wait,
}

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// The owner has given all.
    ended: bool,
    /// Nobody wants it: the answer to HEAD, or one whose peer is gone.
    discarding: bool,
    /// The owner wants to be told when little is left.
    watched: bool,
}

impl Outgoing {
    pub(super) fn push(&mut self, data: Bytes, end: bool) {
        if self.ended {
            return;
        }
        self.ended = end;
        if !self.discarding && !data.is_empty() {
            self.bytes += data.len();
            self.pieces.push_back(Piece::Data(data));
        }
    }

    pub(super) fn push_file(&mut self, file: File, offset: u64, length: u64) {
        if std::mem::replace(&mut self.ended, true) || self.discarding || length == 0 {
            return;
        }
        self.pieces.push_back(Piece::File { file, offset, left: length });
    }

    pub(super) fn push_trailers(&mut self, trailers: HeaderMap) {
        if std::mem::replace(&mut self.ended, true) || self.discarding || trailers.is_empty() {
            return;
        }
        self.pieces.push_back(Piece::Trailers(Box::new(trailers)));
    }

    /// Takes no more of it, and forgets what there is.
    pub(super) fn discard(&mut self) {
        self.discarding = true;
        self.pieces.clear();
        self.bytes = 0;
    }

    pub(super) fn is_discarding(&self) -> bool {
        self.discarding
    }

    /// Whether nothing is left, and nothing will come.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.pieces.is_empty()
    }

    /// Whether there is something to be taken.
    pub(super) fn has_next(&self) -> bool {
        self.ended || !self.pieces.is_empty()
    }

    /// Bytes of what comes next, as far as it has any.
    pub(super) fn next_size(&self) -> usize {
        match self.pieces.front() {
            Some(Piece::Data(data)) => data.len(),
            Some(Piece::File { left, .. }) => {
                usize::try_from(*left).unwrap_or(FILE_PIECE).min(FILE_PIECE)
            }
            Some(Piece::Trailers(_)) | None => 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the next piece, at most `limit` bytes of it.
    ///
    /// # Errors
    /// A file cannot be read, or is shorter than it was said to be.
    pub(super) fn next(&mut self, limit: usize) -> io::Result<Next> {
        let Some(piece) = self.pieces.front_mut() else {
            return Ok(if self.ended { Next::End } else { Next::Wait });
        };
        if let Piece::File { file, offset, left } = piece {
            let wanted = usize::try_from(*left).unwrap_or(FILE_PIECE).min(FILE_PIECE).min(limit);
            let mut bytes = vec![0; wanted];
            let count = read_at(file, &mut bytes, *offset)?;
            bytes.truncate(count);
            *offset += count as u64;
            *left -= count as u64;
            if *left == 0 {
                self.pieces.pop_front();
            }
            return Ok(Next::Data(bytes.into()));
        }
        if let Piece::Data(data) = piece {
            if data.len() > limit {
                self.bytes -= limit;
                return Ok(Next::Data(data.split_to(limit)));
            }
        }
        match self.pieces.pop_front() {
            Some(Piece::Data(data)) => {
                self.bytes -= data.len();
                Ok(Next::Data(data))
            }
            Some(Piece::Trailers(trailers)) => Ok(Next::Trailers(*trailers)),
            Some(Piece::File { .. }) | None => Ok(Next::Wait),
        }
    }

    /// Whether there is so much that its drain is worth waiting for; it is told then.
    pub(super) fn watch(&mut self) -> bool {
        self.watched = self.bytes >= UNSENT_LOW;
        self.watched
    }

    /// Whether somebody waits for the drain, and it has come.
    pub(super) fn take_drained(&mut self) -> bool {
        let drained = self.watched && self.bytes < UNSENT_LOW;
        self.watched &= !drained;
        drained
    }
}

/// Reads some bytes of a file.
///
/// # Errors
/// It cannot be read, or has none there.
pub(super) fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

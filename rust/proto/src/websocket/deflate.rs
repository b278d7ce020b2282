//! Compressing and decompressing messages (RFC 7692, section 7.2).
//!
//! Contexts are made when they are first needed, because they are large (some 300 KiB to compress,
//! 43 KiB to decompress). Where they may not be taken over to the next message, a connection keeps
//! none: a thread's connections share one to compress with. A sender that refers to what was before
//! its context gets zeros: miniz does not tell.

use std::cell::Cell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::close::Violation;

/// What a flush ends with; it is left out of messages (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Streams that may end within one message. Each end costs a new context, some microseconds for a
/// few bytes; a sender that ends its streams at all does so once in a message.
const MAX_ENDS: u32 = 16;

thread_local! {
    /// A context of some level between two messages, to be reset.
    static SPARE: Cell<Option<(u32, Compress)>> = const { Cell::new(None) };
}

/// Compresses messages, one after another.
#[derive(Debug)]
pub(super) struct Deflater {
    context: Option<Compress>,
    level: u32,
    keep: bool,
}

impl Deflater {
    /// A compressor of `level` 0 to 9 that takes its context over to the next message, or not.
    pub(super) fn new(level: u32, keep: bool) -> Self {
        Self { context: None, level: level.min(9), keep }
    }

    /// Appends `message`, compressed, to `out`. If not, `out` is as it was, and the message has to be
    /// sent as it is: it would only have become larger.
    pub(super) fn compress(&mut self, message: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let mut context = self.context.take().unwrap_or_else(|| self.fresh());
        let flushed = flush(&mut context, message, out);
        let smaller = flushed && out.len() - start < message.len();
        if self.keep && flushed {
            self.context = Some(context);
            return true;
        }
        // A context that failed is not missed: what nobody refers to need not be there.
        if flushed {
            SPARE.set(Some((self.level, context)));
        }
        if !smaller {
            out.truncate(start);
        }
        smaller
    }

    fn fresh(&self) -> Compress {
        match SPARE.take().filter(|(level, _)| !self.keep && *level == self.level) {
            Some((_, mut context)) => {
                context.reset();
                context
            }
            None => Compress::new(Compression::new(self.level), false),
        }
    }
}

fn flush(context: &mut Compress, mut message: &[u8], out: &mut Vec<u8>) -> bool {
    let mut end = out.len();
    loop {
        // What miniz's own bound says: one turn is enough. Not all of the spare capacity, which would
        // be filled with zeros for each message.
        out.resize(end + message.len() + message.len() / 10 + 128, 0);
        let (read, written) = (context.total_in(), context.total_out());
        let room = out.get_mut(end..).unwrap_or_default();
        if context.compress(message, room, FlushCompress::Sync).is_err() {
            return false;
        }
        message = message.get(since(read, context.total_in())..).unwrap_or_default();
        end += since(written, context.total_out());
        if message.is_empty() && end < out.len() {
            break;
        }
    }
    out.truncate(end);
    let flushed = out.ends_with(&TAIL);
    if flushed {
        out.truncate(end - TAIL.len());
    }
    flushed
}

/// How much a context has counted.
fn since(before: u64, now: u64) -> usize {
    usize::try_from(now - before).unwrap_or(usize::MAX)
}

/// Decompresses messages, one after another.
#[derive(Debug)]
pub(super) struct Inflater {
    context: Option<Decompress>,
    keep: bool,
    /// Something of this message is in a stream that has not ended.
    begun: bool,
    ends: u32,
}

impl Inflater {
    /// A decompressor that takes its context over to the next message, or not.
    pub(super) fn new(keep: bool) -> Self {
        Self { context: None, keep, begun: false, ends: 0 }
    }

    /// Decompresses some of `input`, and appends at most so many bytes to `out`. Whether there may be
    /// more.
    ///
    /// # Errors
    /// The data are corrupt. What there is before that is in `out`.
    pub(super) fn step(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        most: usize,
    ) -> Result<bool, Violation> {
        let context = self.context.get_or_insert_with(|| Decompress::new(false));
        let (read, written) = (context.total_in(), context.total_out());
        self.begun |= !input.is_empty();
        let start = out.len();
        out.resize(start + most, 0);
        let room = out.get_mut(start..).unwrap_or_default();
        let status = context.decompress(input, room, FlushDecompress::None);
        let read = since(read, context.total_in());
        let written = since(written, context.total_out());
        out.truncate(start + written);
        *input = input.get(read..).unwrap_or_default();
        match status {
            Err(_) => Err(Violation::Corrupt),
            // A last block is not the last (section 7.2.3.5): another stream may follow.
            Ok(Status::StreamEnd) => {
                self.ends += 1;
                if self.ends > MAX_ENDS {
                    return Err(Violation::Corrupt);
                }
                context.reset(false);
                self.begun = false;
                Ok(!input.is_empty())
            }
            Ok(_) if read == 0 && written == 0 => {
                if input.is_empty() {
                    Ok(false)
                } else {
                    Err(Violation::Corrupt)
                }
            }
            Ok(_) => Ok(!input.is_empty() || written == most),
        }
    }

    /// What the sender left out at the end of a message, to be decompressed before
    /// [`finish`](Self::finish).
    pub(super) fn tail(&self) -> &'static [u8] {
        if self.begun { &TAIL } else { &[] }
    }

    /// A message has ended.
    pub(super) fn finish(&mut self) {
        self.begun = false;
        self.ends = 0;
        if !self.keep {
            self.context = None;
        }
    }
}

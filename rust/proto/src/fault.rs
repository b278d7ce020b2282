//! Faults: the error value that an `Rerror` frame carries.
//!
//! `message string, code option[string], help option[string], url option[string], backtrace`. We
//! send an empty backtrace (a handler's inside is not the caller's business) and keep any that
//! comes.

use std::sync::Arc;
use std::time::Duration;

use crate::frame::{self, FrameError, kind};
use crate::limits::MAX_BACKTRACE_FRAMES;

/// What is said instead of a fault that does not fit into a frame.
const TOO_LARGE: &str = "the error was too large for the peer's msize";

/// What went wrong at the other end, as it chose to say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    /// For a person.
    pub message: String,
    /// For a program; stable.
    pub code: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Where to read more.
    pub url: Option<String>,
    /// Where it happened, if the peer tells.
    pub backtrace: Vec<TraceFrame>,
}

/// By how much the clocks of two ends may differ over the time that a call has, beside a tenth of it.
const CLOCKS_APART: Duration = Duration::from_millis(10);

/// The code with which a called end that goes away ends a stream.
pub const UNAVAILABLE: &str = "jetstream::unavailable";

/// The code with which a called end says that a call's time is over.
pub const DEADLINE_EXCEEDED: &str = "jetstream::deadline_exceeded";

/// One entry of a peer's backtrace. The strings are shared with the peer's table of them, so that a
/// small payload cannot become a large backtrace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceFrame {
    /// The event's or span's message.
    pub message: Arc<str>,
    /// The span's name.
    pub name: Arc<str>,
    /// The logging target.
    pub target: Arc<str>,
    /// The module's path.
    pub module: Arc<str>,
    /// The source file.
    pub file: Arc<str>,
    /// The line in it, from 1; 0 if not known.
    pub line: u16,
    /// Fields by name.
    pub fields: Vec<(Arc<str>, Arc<str>)>,
    /// 0 trace, 1 debug, 2 info, 3 warn, 4 error.
    pub level: u8,
}

/// Why bytes are not a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct FaultError {
    /// What is wrong.
    pub what: &'static str,
    /// Where, counted from the start of the payload.
    pub offset: usize,
}

impl Fault {
    /// Appends the fault's bytes. A string over 65,535 bytes is clipped, at a character, with a
    /// mark: a report of an error must not itself fail.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_string(out, &self.message);
        for field in [&self.code, &self.help, &self.url] {
            match field {
                None => out.push(0),
                Some(text) => {
                    out.push(1);
                    put_string(out, text);
                }
            }
        }
        // An empty backtrace: no interned strings, no frames.
        out.extend_from_slice(&[0, 0, 0, 0]);
    }

    /// Appends a whole `Rerror` frame of at most `limit` bytes, which is no less than
    /// [`MIN_MSIZE`](crate::limits::MIN_MSIZE). A fault that does not fit gives way to one that says
    /// so; it keeps its code if that fits, for a part of a code would be another code.
    pub fn answer(&self, tag: u16, limit: u32, out: &mut Vec<u8>) {
        if self.fits(tag, limit, out).is_ok() {
            return;
        }
        let mut instead = Self { message: TOO_LARGE.to_owned(), ..Self::default() };
        instead.code.clone_from(&self.code);
        if instead.fits(tag, limit, out).is_err() {
            instead.code = None;
            let _ = instead.fits(tag, limit, out);
        }
    }

    fn fits(&self, tag: u16, limit: u32, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let start = frame::begin(out, kind::RERROR, tag);
        self.encode(out);
        frame::finish(out, start, limit)
    }

    /// Whether it ends a stream because the called end goes away, and not because the method failed.
    ///
    /// # Arguments
    /// * `going_away`: whether the called end has said so on the lane (`GOAWAY`), which it does before
    ///   it ends a stream for that. The code alone may be the method's own: that of a server further
    ///   behind.
    pub fn is_of_going_away(&self, going_away: bool) -> bool {
        going_away && self.code.as_deref() == Some(UNAVAILABLE)
    }

    /// Whether it says that the time is over which the caller gave, the called end's clock having been
    /// first by a moment. The code alone may be the method's own: that of a call which it made.
    ///
    /// # Arguments
    /// * `given`: what time the call had; `left`: what is left of it here.
    pub fn is_of_deadline(&self, given: Duration, left: Duration) -> bool {
        left < given / 10 + CLOCKS_APART && self.code.as_deref() == Some(DEADLINE_EXCEEDED)
    }

    /// Reads a fault from the whole payload of an `Rerror` frame.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn decode(payload: &[u8]) -> Result<Self, FaultError> {
        let mut reader = Reader { bytes: payload, offset: 0 };
        let message = reader.string()?;
        let (code, help, url) = (reader.option()?, reader.option()?, reader.option()?);
        let mut table = Vec::new();
        for _ in 0..reader.u16()? {
            table.push(Arc::from(reader.string()?));
        }
        let mut backtrace = Vec::new();
        for _ in 0..reader.u16()? {
            let frame = reader.trace_frame(&table)?;
            if backtrace.len() < MAX_BACKTRACE_FRAMES {
                backtrace.push(frame);
            }
        }
        if reader.offset != payload.len() {
            return Err(reader.error("bytes after the end"));
        }
        Ok(Self { message, code, help, url, backtrace })
    }
}

const CLIPPED: &str = "… (clipped)";

fn put_string(out: &mut Vec<u8>, text: &str) {
    let (kept, mark) = if text.len() <= usize::from(u16::MAX) {
        (text, "")
    } else {
        let mut end = usize::from(u16::MAX) - CLIPPED.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        (&text[..end], CLIPPED)
    };
    // At most u16::MAX by the branch above.
    let length = (kept.len() + mark.len()) as u16;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(kept.as_bytes());
    out.extend_from_slice(mark.as_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, what: &'static str) -> FaultError {
        FaultError { what, offset: self.offset }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], FaultError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let taken = rest.get(..count).ok_or_else(|| self.error("the fault ends too early"))?;
        self.offset += count;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, FaultError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, FaultError> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn string(&mut self) -> Result<String, FaultError> {
        let length = usize::from(self.u16()?);
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(FaultError { what: "not UTF-8", offset: self.offset - length }),
        }
    }

    fn option(&mut self) -> Result<Option<String>, FaultError> {
        match self.u8()? {
            0 => Ok(None),
            1 => self.string().map(Some),
            _ => Err(FaultError { what: "an option that is not 0 or 1", offset: self.offset - 1 }),
        }
    }

    fn interned(&mut self, table: &[Arc<str>]) -> Result<Arc<str>, FaultError> {
        let index = usize::from(self.u16()?);
        let at = self.offset - 2;
        let text = table.get(index);
        text.cloned().ok_or(FaultError { what: "an index past the table of strings", offset: at })
    }

    fn trace_frame(&mut self, table: &[Arc<str>]) -> Result<TraceFrame, FaultError> {
        let message = self.interned(table)?;
        let name = self.interned(table)?;
        let target = self.interned(table)?;
        let module = self.interned(table)?;
        let file = self.interned(table)?;
        let line = self.u16()?;
        let mut fields = Vec::new();
        for _ in 0..self.u16()? {
            fields.push((self.interned(table)?, self.interned(table)?));
        }
        let level = self.u8()?;
        Ok(TraceFrame { message, name, target, module, file, line, fields, level })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn a_server_that_goes_away_has_said_so_before() {
        let fault =
            |code: Option<&str>| Fault { code: code.map(str::to_owned), ..Fault::default() };
        assert!(fault(Some(UNAVAILABLE)).is_of_going_away(true));
        // What the method itself says.
        assert!(!fault(Some(UNAVAILABLE)).is_of_going_away(false));
        assert!(!fault(Some("shop::empty")).is_of_going_away(true));
        assert!(!fault(None).is_of_going_away(true));
    }

    #[test]
    fn a_time_that_is_over_there_is_over_here_but_for_a_moment() {
        let of = |code: &str| Fault { code: Some(code.to_owned()), ..Fault::default() };
        let milliseconds = Duration::from_millis;
        let over = of(DEADLINE_EXCEEDED);
        assert!(over.is_of_deadline(milliseconds(1000), milliseconds(0)));
        assert!(over.is_of_deadline(milliseconds(1000), milliseconds(109)));
        // A call that the method made may have had less time.
        assert!(!over.is_of_deadline(milliseconds(1000), milliseconds(110)));
        assert!(over.is_of_deadline(milliseconds(5), milliseconds(5)));
        assert!(!of("shop::empty").is_of_deadline(milliseconds(5), milliseconds(0)));
        assert!(!Fault::default().is_of_deadline(milliseconds(5), milliseconds(0)));
    }

    #[test]
    fn the_vectors_of_the_rust_crate() {
        let boom = Fault { message: "boom".into(), ..Fault::default() };
        let lost = Fault {
            message: "not found".into(),
            code: Some("app::E404".into()),
            ..Fault::default()
        };
        for (fault, hex) in [
            (boom, "0400626f6f6d00000000000000"),
            (lost, "09006e6f7420666f756e640109006170703a3a45343034000000000000"),
        ] {
            let mut out = Vec::new();
            fault.encode(&mut out);
            assert_eq!(out, bytes(hex));
            assert_eq!(Fault::decode(&out).unwrap(), fault);
        }
    }

    #[test]
    fn a_backtrace_is_kept() {
        let mut out = Vec::new();
        Fault { message: "m".into(), ..Fault::default() }.encode(&mut out);
        out.truncate(out.len() - 4);
        out.extend(bytes("0200 0100 61 0200 6262 0100".replace(' ', "").as_str()));
        out.extend(bytes(
            "0000 0100 0000 0000 0100 2a00 0100 0000 0100 04".replace(' ', "").as_str(),
        ));
        let fault = Fault::decode(&out).unwrap();
        let frame = &fault.backtrace[0];
        assert_eq!((&*frame.message, &*frame.name), ("a", "bb"));
        assert_eq!((frame.line, frame.level), (42, 4));
        assert_eq!(frame.fields, [("a".into(), "bb".into())]);
    }

    #[test]
    fn every_cut_and_every_flip_is_an_answer() {
        let mut out = Vec::new();
        let fault = Fault {
            message: "m".into(),
            code: Some("c".into()),
            help: Some("h".into()),
            url: Some("u".into()),
            ..Fault::default()
        };
        fault.encode(&mut out);
        for end in 0..out.len() {
            assert!(Fault::decode(&out[..end]).is_err(), "cut at {end}");
        }
        for at in 0..out.len() {
            for bit in 0..8 {
                let mut flipped = out.clone();
                flipped[at] ^= 1 << bit;
                let _ = Fault::decode(&flipped);
            }
        }
        out.push(0);
        assert_eq!(Fault::decode(&out).unwrap_err().what, "bytes after the end");
    }

    #[test]
    fn an_answer_fits_whatever_is_too_long() {
        let limit = crate::limits::MIN_MSIZE;
        let long = || "x".repeat(5000);
        let short = |code: Option<&str>| Fault {
            message: TOO_LARGE.into(),
            code: code.map(Into::into),
            ..Fault::default()
        };
        let coded = Fault { message: "m".into(), code: Some("c".into()), ..Fault::default() };
        for (fault, told) in [
            (coded.clone(), coded.clone()),
            (Fault { message: long(), ..coded.clone() }, short(Some("c"))),
            (Fault { help: Some(long()), ..coded.clone() }, short(Some("c"))),
            (Fault { url: Some(long()), ..coded.clone() }, short(Some("c"))),
            (Fault { code: Some(long()), ..coded }, short(None)),
        ] {
            let mut out = b"before".to_vec();
            fault.answer(7, limit, &mut out);
            assert!(out.len() <= 6 + limit as usize);
            let mut frames = frame::frames(&out[6..]);
            let found = frames.next().unwrap();
            assert_eq!((found.kind, found.tag), (kind::RERROR, 7));
            assert_eq!(Fault::decode(found.payload).unwrap(), told);
            assert!(frames.next().is_none());
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_clipped_at_a_character() {
        let fault = Fault { message: "é".repeat(40_000), ..Fault::default() };
        let mut out = Vec::new();
        fault.encode(&mut out);
        let seen = Fault::decode(&out).unwrap();
        assert!(seen.message.ends_with(CLIPPED) && seen.message.len() <= 65535);
    }
}

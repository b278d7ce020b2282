//! One session: what comes and goes on its CONNECT stream, and how it ends (sections 4.7, 5 and 6).

use std::collections::VecDeque;

use bytes::Bytes;

use super::capsule::{self, CODE};
use super::flow::{Direction, Flow};
use super::limits::Limits;
use super::settings::Peer;
use crate::http3::capsule::DATAGRAM;
use crate::http3::frame::{Reader, Step};
use crate::http3::{Code, StreamError, varint};

/// The longest reason of a close, in bytes (section 6).
pub const MAX_REASON: usize = 1024;

/// What the peer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It asks for the end of the session; all goes on.
    Draining,
    /// A datagram came as a capsule (RFC 9297, section 3.5).
    Datagram(Bytes),
    /// It allows more streams, of which there were none left.
    MayOpen(Direction),
    /// It allows more bytes, of which there were none left.
    MaySend,
    /// It ended the session. Nothing more comes, and our side of the CONNECT stream is to be ended.
    Closed {
        /// Its code.
        code: u32,
        /// Its reason.
        reason: String,
    },
    /// It broke a rule. The session is over, and its CONNECT stream is to be reset with the error's
    /// code.
    Failed(StreamError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The peer has ended it: no byte may follow.
    Closed,
    /// We have, or the peer has broken a rule: whatever comes is of no matter.
    Over,
}

/// One session, without I/O: the content of its CONNECT stream goes in, [`Event`]s come out, and what
/// is to be sent there.
#[derive(Debug)]
pub struct Session {
    state: State,
    reader: Reader,
    flow: Flow,
    limits: Limits,
    /// Capsules that mean nothing, and their bytes, since one that meant something.
    idle: u16,
    idle_bytes: u64,
    /// The peer asked for the end, and we did.
    is_draining: bool,
    has_drained: bool,
    out: Vec<u8>,
    events: VecDeque<Event>,
}

impl Session {
    /// A session that has been accepted, with a peer of these settings.
    pub fn new(peer: &Peer, limits: Limits) -> Self {
        Self {
            state: State::Open,
            reader: Reader::default(),
            flow: Flow::new(peer),
            limits,
            idle: 0,
            idle_bytes: 0,
            is_draining: false,
            has_drained: false,
            out: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The next thing that the peer did.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What is to be sent on the CONNECT stream, if there is anything.
    pub fn take_output(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out).into())
    }

    /// Bytes of a capsule that has come in part.
    pub fn held(&self) -> usize {
        self.reader.held()
    }

    // ---- what comes ----

    /// Content of the CONNECT stream came, in any pieces.
    pub fn received(&mut self, mut bytes: Bytes) {
        while self.state == State::Open {
            let Some(step) = self.reader.next(&mut bytes) else { return };
            if let Err(error) = self.take(step) {
                self.fail(error);
            }
        }
        if self.state == State::Closed && !bytes.is_empty() {
            self.fail(StreamError::malformed("content behind the end of a session"));
        }
    }

    /// The peer's side of the CONNECT stream ended: without a word that is code 0 and no reason.
    pub fn finished(&mut self) {
        if self.state != State::Open {
            return;
        }
        if self.reader.is_between() {
            self.end(0, String::new());
        } else {
            // RFC 9297, section 3.3.
            self.fail(StreamError::malformed("a capsule that is cut off"));
        }
    }

    fn fail(&mut self, error: StreamError) {
        self.state = State::Over;
        self.reader = Reader::default();
        self.events.push_back(Event::Failed(error));
    }

    fn end(&mut self, code: u32, reason: String) {
        self.state = State::Closed;
        self.out.clear();
        self.events.push_back(Event::Closed { code, reason });
    }

    fn take(&mut self, step: Step) -> Result<(), StreamError> {
        match step {
            Step::Begin { kind, length } => match capsule::limit(kind)? {
                None => self.skip(length),
                Some(most) if length > most as u64 => Err(capsule::too_long(kind)),
                Some(_) => {
                    self.reader.keep();
                    Ok(())
                }
            },
            Step::Whole { kind, payload } => self.hear(kind, payload),
            Step::Piece(_) => Ok(()),
        }
    }

    /// One brings nothing. Its bytes are counted before any of them is read.
    fn skip(&mut self, bytes: u64) -> Result<(), StreamError> {
        self.idle = self.idle.saturating_add(1);
        self.idle_bytes = self.idle_bytes.saturating_add(bytes);
        if self.idle > self.limits.idle_capsules
            || self.idle_bytes > u64::from(self.limits.idle_bytes)
        {
            const MUCH: StreamError =
                StreamError::new(Code::EXCESSIVE_LOAD, "too many capsules that mean nothing");
            return Err(MUCH);
        }
        Ok(())
    }

    fn earn(&mut self) {
        (self.idle, self.idle_bytes) = (0, 0);
    }

    fn hear(&mut self, kind: u64, value: Bytes) -> Result<(), StreamError> {
        match kind {
            DATAGRAM => {
                self.earn();
                self.events.push_back(Event::Datagram(value));
            }
            capsule::CLOSE => {
                let (code, reason) = value
                    .split_first_chunk::<CODE>()
                    .ok_or(StreamError::malformed("an end without a code"))?;
                let reason = std::str::from_utf8(reason)
                    .map_err(|_| StreamError::malformed("a reason that is not UTF-8"))?;
                self.end(u32::from_be_bytes(*code), reason.to_owned());
            }
            capsule::DRAIN if std::mem::replace(&mut self.is_draining, true) => self.skip(0)?,
            capsule::DRAIN => self.events.push_back(Event::Draining),
            _ => {
                const NOT_ONE: StreamError =
                    StreamError::malformed("a capsule that is not one integer");
                self.hear_limit(kind, varint::whole(&value).ok_or(NOT_ONE)?)?;
            }
        }
        Ok(())
    }

    fn hear_limit(&mut self, kind: u64, limit: u64) -> Result<(), StreamError> {
        let (direction, event) = match kind {
            capsule::MAX_DATA => {
                if self.flow.more_data(limit)? {
                    self.earn();
                    self.events.push_back(Event::MaySend);
                    return Ok(());
                }
                return self.skip(0);
            }
            capsule::MAX_STREAMS_BIDI => (Direction::Both, Event::MayOpen(Direction::Both)),
            capsule::MAX_STREAMS_UNI => (Direction::One, Event::MayOpen(Direction::One)),
            // That our limits hold it up: they never do.
            _ => return self.skip(0),
        };
        if self.flow.more_streams(direction, limit)? {
            self.earn();
            self.events.push_back(event);
            return Ok(());
        }
        self.skip(0)
    }

    // ---- what goes ----

    /// Bytes that may be sent on all streams now, their headers aside.
    pub fn credit(&self) -> u64 {
        if self.is_open() { self.flow.credit() } else { 0 }
    }

    /// So many were sent.
    pub fn sent(&mut self, bytes: u64) {
        self.flow.sent(bytes);
        // New limits follow.
        self.earn();
    }

    /// Something waits for more credit: [`Event::MaySend`] tells of it.
    pub fn starve(&mut self) {
        if self.is_open() {
            self.flow.starve(&mut self.out);
        }
    }

    /// Whether a stream may be opened now; if not, [`Event::MayOpen`] tells when, or it is over.
    pub fn may_open(&mut self, direction: Direction) -> bool {
        self.is_open() && self.flow.may_open(direction, &mut self.out)
    }

    /// One was opened.
    pub fn opened(&mut self, direction: Direction) {
        self.flow.opened(direction);
        self.earn();
    }

    /// Asks the peer for the end of the session, once.
    pub fn drain(&mut self) {
        if self.is_open() && !std::mem::replace(&mut self.has_drained, true) {
            crate::http3::capsule::encode(capsule::DRAIN, &[], &mut self.out);
        }
    }

    /// Ends the session: what is to be sent is the last of it, and then the CONNECT stream's end. A
    /// reason that is too long is cut between two characters.
    pub fn close(&mut self, code: u32, reason: &str) {
        if !self.is_open() {
            return;
        }
        self.state = State::Over;
        self.reader = Reader::default();
        // Nothing and the end say the same (section 6).
        if code != 0 || !reason.is_empty() {
            let cut =
                (0..=reason.len().min(MAX_REASON)).rev().find(|at| reason.is_char_boundary(*at));
            let reason = reason.get(..cut.unwrap_or(0)).unwrap_or_default();
            let value = [&code.to_be_bytes(), reason.as_bytes()].concat();
            crate::http3::capsule::encode(capsule::CLOSE, &value, &mut self.out);
        }
    }
}

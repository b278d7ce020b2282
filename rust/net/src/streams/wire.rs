//! One socket and the lane on it: whole frames in, runs of bytes out, both bounded.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::time::{Duration, Instant};

use jetstream_proto::frame::FrameError;

use super::config::StreamLimits;
use super::socket::{Socket, plain};
use super::taker::{Speaks, Taker};
use crate::event::{LaneEnd, Lost};
use crate::http::Http;
use crate::lane::UNSENT_LOW;
use crate::tls::StreamTls;

/// Unsent bytes over which a lane's requests are not read any more: its peer does not read the
/// answers, so it may not ask for more of them.
const UNSENT_HIGH: usize = 1 << 20;

/// Bytes of one socket that one turn reads, so that no lane keeps the others waiting.
const READ_PER_TURN: usize = 1 << 20;

/// Bytes that one turn writes to one socket.
const WRITE_PER_TURN: usize = 1 << 20;

/// Bytes that are encrypted ahead of what the socket takes.
const ENCRYPT_AHEAD: usize = 256 << 10;

/// Runs of frames that one system call writes.
const SLICES: usize = 64;

/// A buffer larger than this is not used again.
const SPENT_KEPT: usize = 512 << 10;

/// How long a socket that has said its last is kept, so that what is still on its way to us does not
/// make the system reset the connection, and our last words with it.
pub(super) const LINGER: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not begun; or the server's backlog is full, and it is tried again soon.
    Waiting,
    /// The connection is coming about.
    Dialling,
    /// TLS is coming about.
    Handshake,
    Open,
    /// Only the key is still taken, until the owner has seen the end.
    Gone,
}

/// How reading a wire ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The peer sends no more, and said so; it may still read.
    Lane(LaneEnd),
    /// The wire is of no use any more.
    Wire(Lost),
}

#[derive(Debug)]
pub(super) struct Wire {
    /// The connection it belongs to; `None` before there is one, and when it is only winding up.
    pub(super) link: Option<u32>,
    /// The peer opened it.
    pub(super) incoming: bool,
    pub(super) phase: Phase,
    pub(super) socket: Option<Socket>,
    pub(super) tls: Option<Box<StreamTls>>,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The system said that an end, or an error, waits behind what can be read.
    pub(super) end_in_sight: bool,
    /// The peer neither sends nor reads any more.
    pub(super) hung_up: bool,
    pub(super) taker: Taker,
    /// What was wrong with what came before it was known who takes it.
    pub(super) wrong: Option<FrameError>,
    /// What the listening socket of an incoming one speaks.
    pub(super) speaks: Speaks,
    /// The lane is in its owner's hands.
    pub(super) owned: bool,
    /// The owner asked not to be given more for now.
    pub(super) paused: bool,
    /// Nobody wants what still arrives.
    pub(super) discarding: bool,
    pub(super) read_over: bool,
    /// To be told when the owner has had the chance to give the lane up by itself.
    pub(super) ending: Option<Ending>,
    /// Why nothing can be written any more; told when what was sent before has been read.
    pub(super) broken: Option<Lost>,
    unsent: VecDeque<Vec<u8>>,
    /// A buffer that is empty again.
    spent: Option<Vec<u8>>,
    /// Bytes of the first of them that are gone already.
    gone: usize,
    unsent_bytes: usize,
    /// Bytes that were encrypted since all that was encrypted was sent.
    encrypted: usize,
    pub(super) finishing: bool,
    said_end: bool,
    pub(super) write_over: bool,
    /// When the phase, or what is left of it, has taken too long.
    pub(super) deadline: Option<Instant>,
    /// When to do again what could not be done, or to take silence for consent.
    pub(super) again: Option<Instant>,
    pub(super) heard: Option<Instant>,
    /// The owner wants to be told when little is unsent.
    watched: bool,
    /// Since when HTTP has had so many bytes for a peer that does not take them.
    pub(super) stalled: Option<(Instant, usize)>,
    /// By which TLS the peer was judged last, see `review`.
    pub(super) generation: u32,
    pub(super) queued: bool,
    pub(super) armed: Option<Instant>,
}

impl Wire {
    pub(super) fn new(taker: Taker) -> Self {
        Self {
            link: None,
            incoming: false,
            phase: Phase::Waiting,
            socket: None,
            tls: None,
            readable: false,
            writable: false,
            end_in_sight: false,
            hung_up: false,
            taker,
            wrong: None,
            speaks: Speaks::default(),
            owned: false,
            paused: false,
            discarding: false,
            read_over: false,
            ending: None,
            broken: None,
            unsent: VecDeque::new(),
            spent: None,
            gone: 0,
            unsent_bytes: 0,
            encrypted: 0,
            finishing: false,
            said_end: false,
            write_over: false,
            deadline: None,
            again: None,
            heard: None,
            watched: false,
            stalled: None,
            generation: 0,
            queued: false,
            armed: None,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Handshake | Phase::Open)
    }

    /// Bytes queued that the socket has not taken.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.unsent_bytes + self.encrypted
    }

    /// Whether the lane's owner, or the peer's not reading, holds up reading.
    fn holds_reading(&self) -> bool {
        let unread = self.incoming && self.unsent_bytes() > UNSENT_HIGH;
        let full = self.taker.http().is_some_and(Http::holds_reading);
        !self.discarding && self.broken.is_none() && (self.paused || unread || full)
    }

    /// Whether the peer has gone while it was not read.
    pub(super) fn is_deaf(&self) -> bool {
        self.is_up()
            && !self.read_over
            && self.holds_reading()
            && (self.hung_up || self.end_in_sight)
    }

    /// Whether a turn's bound left something to read.
    pub(super) fn has_more_to_read(&self) -> bool {
        self.is_up() && self.readable && !self.read_over && !self.holds_reading()
    }

    /// When it is due, if nothing else happens.
    pub(super) fn due(&self, limits: &StreamLimits) -> Option<Instant> {
        let silent = self.falls_silent(limits);
        let heard = self.heard.filter(|_| silent);
        let silence = heard.and_then(|heard| heard.checked_add(limits.idle_timeout));
        let (stalls, http) = (self.stalls(limits), self.http_due());
        [self.deadline, self.again, silence, stalls, http].into_iter().flatten().min()
    }

    /// When a peer that takes nothing of what HTTP has for it is lost. The system knows this of TCP,
    /// but not of Unix sockets.
    pub(super) fn stalls(&self, limits: &StreamLimits) -> Option<Instant> {
        let (since, _) = self.stalled.filter(|_| self.phase == Phase::Open)?;
        since.checked_add(limits.idle_timeout)
    }

    /// When HTTP on it has waited for too long.
    pub(super) fn http_due(&self) -> Option<Instant> {
        let serves = self.phase == Phase::Open && !self.finishing && self.unsent_bytes == 0;
        self.taker.http().filter(|_| serves).and_then(Http::due)
    }

    /// Whether silence means that the peer is gone. HTTP has a clock of its own.
    fn falls_silent(&self, limits: &StreamLimits) -> bool {
        limits.keep_alive.is_none() && self.phase == Phase::Open && self.taker.http().is_none()
    }

    /// Whether nothing was heard for too long.
    pub(super) fn is_silent(&self, limits: &StreamLimits, now: Instant) -> bool {
        self.falls_silent(limits)
            && self
                .heard
                .is_some_and(|heard| now.saturating_duration_since(heard) >= limits.idle_timeout)
    }

    /// Whether there is so much unsent that its drain is worth waiting for; it is told then.
    pub(super) fn watch_drained(&mut self) -> bool {
        self.watched = self.unsent_bytes() >= UNSENT_LOW;
        self.watched
    }

    /// Whether somebody waits for the drain, and it has come.
    pub(super) fn take_drained(&mut self) -> bool {
        let drained = self.watched && self.unsent_bytes() < UNSENT_LOW;
        self.watched &= !drained;
        drained
    }

    /// A buffer that is empty again and may be used for something else.
    pub(super) fn take_spent(&mut self) -> Option<Vec<u8>> {
        let mut spent = self.spent.take().filter(|spent| spent.capacity() <= SPENT_KEPT)?;
        spent.clear();
        Some(spent)
    }

    // ---- in ----

    /// Reads what there is, up to a bound: how many bytes, and the end if it was reached.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: Instant) -> (usize, Option<Ending>) {
        let mut total = 0;
        while self.has_more_to_read() && total < READ_PER_TURN {
            let Some(socket) = self.socket.as_mut() else { break };
            match socket.read(buffer) {
                Ok(0) => return (total, Some(self.at_end())),
                Ok(count) => {
                    total += count;
                    self.heard = Some(now);
                    // A read that did not fill the buffer has emptied the socket; what comes now,
                    // comes with a readiness of its own.
                    self.readable = count == buffer.len() || self.end_in_sight;
                    if let Some(ending) = self.take(buffer.get(..count).unwrap_or_default()) {
                        return (total, Some(ending));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    if let Some(lost) = self.broken.take() {
                        return (total, Some(Ending::Wire(lost)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let lost = self.broken.take().unwrap_or_else(|| lost(&error));
                    return (total, Some(Ending::Wire(lost)));
                }
            }
        }
        (total, None)
    }

    fn take(&mut self, bytes: &[u8]) -> Option<Ending> {
        if self.discarding {
            return None;
        }
        let taker = &mut self.taker;
        let mut wrong: Option<FrameError> = None;
        let mut sink = |plain: &[u8]| {
            if wrong.is_none() {
                wrong = taker.push(plain).err();
            }
        };
        let outcome = match &mut self.tls {
            Some(tls) => tls.read(bytes, sink),
            None => {
                sink(bytes);
                Ok(())
            }
        };
        match (outcome, wrong) {
            (_, Some(error)) => Some(Ending::Lane(LaneEnd::Broken(error))),
            (Err(lost), None) => Some(Ending::Wire(lost)),
            (Ok(()), None) if self.tls.as_mut().is_some_and(|tls| tls.is_closed()) => {
                Some(Ending::Lane(self.taker.end()))
            }
            (Ok(()), None) => None,
        }
    }

    /// No more bytes come.
    fn at_end(&mut self) -> Ending {
        if let Some(lost) = self.broken.take() {
            return Ending::Wire(lost);
        }
        if self.discarding {
            return Ending::Wire(Lost::Ended);
        }
        let inside = self.taker.end() != LaneEnd::Finished;
        let cut = |reason: &str| Ending::Wire(Lost::Broken { reason: reason.to_owned() });
        match &self.tls {
            Some(tls) if tls.is_handshaking() => Ending::Wire(Lost::Ended),
            // Anybody on the way could have made this end.
            Some(_) => cut("it was cut off; the peer had not said that it would end"),
            None if self.hung_up && inside => cut("the peer ended it inside a frame"),
            None if self.hung_up => Ending::Wire(Lost::Ended),
            None => Ending::Lane(self.taker.end()),
        }
    }

    // ---- out ----

    pub(super) fn queue(&mut self, bytes: Vec<u8>) {
        if self.finishing || self.write_over || bytes.is_empty() {
            return;
        }
        self.unsent_bytes += bytes.len();
        self.unsent.push_back(bytes);
    }

    /// Writes what the socket takes, up to a bound. True if the bound was reached, or reading was
    /// held up by what was unsent and need not be any more.
    pub(super) fn write(&mut self) -> bool {
        if !self.is_up() || !self.writable || self.write_over {
            return false;
        }
        let held = self.holds_reading();
        let outcome = if self.tls.is_some() { self.write_encrypted() } else { self.write_plain() };
        match outcome {
            Ok(more) => more || (held && !self.holds_reading()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                held && !self.holds_reading()
            }
            Err(error) => {
                // What the peer said before it stopped listening says more about why.
                self.broken = Some(lost(&error));
                self.drop_unsent();
                self.write_over = true;
                self.readable = true;
                true
            }
        }
    }

    fn write_plain(&mut self) -> io::Result<bool> {
        let mut budget = WRITE_PER_TURN;
        while self.unsent_bytes > 0 {
            if budget == 0 {
                return Ok(true);
            }
            let Some(socket) = self.socket.as_mut() else { return Ok(false) };
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            let mut skip = self.gone;
            for (slice, bytes) in slices.iter_mut().zip(&self.unsent) {
                *slice = IoSlice::new(bytes.get(skip..).unwrap_or_default());
                skip = 0;
                count += 1;
            }
            let written = match socket.write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            budget = budget.saturating_sub(written);
            self.advance(written);
        }
        self.end_if_asked()?;
        Ok(false)
    }

    fn write_encrypted(&mut self) -> io::Result<bool> {
        let mut budget = WRITE_PER_TURN;
        loop {
            self.encrypt()?;
            let (Some(tls), Some(socket)) = (self.tls.as_mut(), self.socket.as_mut()) else {
                return Ok(false);
            };
            if !tls.wants_write() {
                // Before the handshake is over, what is queued waits.
                let waits = self.phase != Phase::Open && !self.unsent.is_empty();
                if waits || (self.unsent.is_empty() && !self.end_if_asked()?) {
                    return Ok(false);
                }
                continue;
            }
            if budget == 0 {
                return Ok(true);
            }
            match tls.write_to(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => budget = budget.saturating_sub(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if !tls.wants_write() {
                self.encrypted = 0;
            }
        }
    }

    fn encrypt(&mut self) -> io::Result<()> {
        if self.phase != Phase::Open {
            return Ok(());
        }
        while self.encrypted < ENCRYPT_AHEAD {
            let Some(front) = self.unsent.front() else { break };
            let rest = front.get(self.gone..).unwrap_or_default();
            let plain = rest.get(..ENCRYPT_AHEAD - self.encrypted).unwrap_or(rest);
            let count = plain.len();
            if let Some(tls) = self.tls.as_mut() {
                tls.encrypt(plain)?;
            }
            self.encrypted += count;
            self.advance(count);
        }
        Ok(())
    }

    fn advance(&mut self, written: usize) {
        self.unsent_bytes -= written;
        let mut gone = self.gone + written;
        while let Some(front) = self.unsent.front() {
            if gone < front.len() {
                break;
            }
            gone -= front.len();
            self.spent = self.unsent.pop_front();
        }
        self.gone = gone;
    }

    /// Everything is written: if nothing more follows, the peer is told. True if that has to be
    /// written first.
    fn end_if_asked(&mut self) -> io::Result<bool> {
        if !self.finishing || self.write_over {
            return Ok(false);
        }
        if let (Some(tls), false) = (self.tls.as_mut(), self.said_end) {
            self.said_end = true;
            tls.close();
            return Ok(true);
        }
        if let Some(socket) = &self.socket {
            socket.finish();
        }
        self.write_over = true;
        Ok(false)
    }

    fn drop_unsent(&mut self) {
        self.unsent = VecDeque::new();
        self.unsent_bytes = 0;
        self.encrypted = 0;
        self.gone = 0;
    }

    // ---- the end ----

    /// Only says its last from here on, for a moment.
    pub(super) fn wind_up(&mut self, now: Instant) {
        self.link = None;
        self.owned = false;
        self.discarding = true;
        self.finishing = true;
        self.again = None;
        self.deadline = now.checked_add(LINGER);
        if self.phase != Phase::Open {
            self.drop_unsent();
        }
    }

    /// Is gone, now.
    pub(super) fn bury(&mut self) {
        self.phase = Phase::Gone;
        self.link = None;
        self.owned = false;
        self.socket = None;
        self.tls = None;
        self.ending = None;
        self.deadline = None;
        self.again = None;
        self.taker = Taker::lane(0);
        self.spent = None;
        self.drop_unsent();
    }
}

/// What an error of a socket means.
fn lost(error: &io::Error) -> Lost {
    match error.kind() {
        io::ErrorKind::TimedOut => Lost::TimedOut,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Lost::Broken { reason: "the peer gave it up (connection reset)".to_owned() }
        }
        _ => Lost::Broken { reason: plain(error) },
    }
}

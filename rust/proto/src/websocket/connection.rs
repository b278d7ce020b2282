//! One WebSocket from its handshake to its end: messages, pings, closing (RFC 6455, sections 5.5 to
//! 7).

use std::borrow::Cow;
use std::fmt;

use super::close::{Close, MAX_REASON, Violation, code};
use super::control::{Control, MAX_CONTROL};
use super::deflate::{Deflater, Inflater};
use super::frame::{Header, MAX_HEADER, Opcode, Piece, Reader};
use super::mask;
use super::message::Assembly;
use super::negotiation::Deflate;

/// What a peer may make this end do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest message that is received, in bytes, decompressed. 16 MiB, as ASGI servers have it.
    pub message: usize,
    /// Frames that bring nothing (pings, pongs that nobody asked for, empty fragments): so many may
    /// come in a row. Each frame of data makes up for one, [`Connection::replenish`] for all. An empty
    /// message is a message: whoever queues messages has to count it as more than its bytes.
    pub idle_frames: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 16 << 20, idle_frames: 1024 }
    }
}

/// What has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'i> {
    /// A message of text; borrowed from the input if it lies there in one piece.
    Text(Cow<'i, str>),
    /// A message of bytes; likewise.
    Binary(Cow<'i, [u8]>),
    /// The answer to the last [`Connection::ping`].
    Pong,
    /// The peer's last word. After this there is no event.
    Closed(Close),
    /// The peer broke a rule. After this there is no event; what [`Connection::flush`] writes tells
    /// the peer, and then the tunnel is to be ended, without waiting for an answer.
    Failed(Violation),
}

/// How far a connection has come (section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Messages go both ways.
    Open,
    /// One end has said its last word, and the other has not.
    Closing,
    /// Nothing is to be sent any more, and nothing will be read: the tunnel is to be ended, by the
    /// server first.
    Closed,
}

/// Why something cannot be sent; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// One of the ends has closed.
    #[error("the WebSocket is closing or closed")]
    Closed,
    /// The code is not for close frames.
    #[error("code {0} may not be sent: use 1000 to 1003, 1007 to 1014, or 3000 to 4999")]
    Code(u16),
    /// The reason does not fit.
    #[error("a reason of {0} bytes is over the limit of {MAX_REASON}")]
    Reason(usize),
    /// The payload of a ping does not fit.
    #[error("a ping of {0} bytes is over the limit of {MAX_CONTROL}")]
    Ping(usize),
}

/// Where a client's masks come from: they have to be unpredictable (section 10.3), which is nothing
/// that can be made here.
pub type Keys = Box<dyn FnMut() -> [u8; 4] + Send>;

/// One end of a WebSocket.
///
/// Bytes of the tunnel go through [`read`](Self::read) until it gives no event; then, if the tunnel
/// takes more bytes, [`flush`](Self::flush) writes what has to be answered. The other methods append
/// to the bytes that leave by the tunnel.
pub struct Connection {
    limits: Limits,
    reader: Reader,
    assembly: Assembly,
    control: Control,
    idle: u32,
    keys: Option<Keys>,
    deflater: Option<Deflater>,
    threshold: usize,
    /// The ping that has not been answered.
    ping: Option<Control>,
    /// What `flush` writes. An answer to an older ping gives way to a newer one (section 5.5.3).
    pong: Option<Control>,
    farewell: Option<(u16, Cow<'static, str>)>,
    /// A close frame has been written.
    sent: bool,
    /// No more is read.
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    Closed(u16),
    Failed,
}

impl Connection {
    /// The server's end, with the compression that was agreed on, if any.
    pub fn server(limits: Limits, deflate: Option<Deflate>) -> Self {
        Self::new(limits, deflate, None)
    }

    /// The client's end; `keys` gives the mask of each frame.
    pub fn client(limits: Limits, deflate: Option<Deflate>, keys: Keys) -> Self {
        Self::new(limits, deflate, Some(keys))
    }

    fn new(limits: Limits, deflate: Option<Deflate>, keys: Option<Keys>) -> Self {
        let inflater = deflate.map(|deflate| Inflater::new(deflate.peer_context));
        Self {
            limits,
            reader: Reader::new(keys.is_none(), deflate.is_some()),
            assembly: Assembly::new(limits.message, inflater),
            control: Control::new(),
            idle: limits.idle_frames,
            keys,
            deflater: deflate.map(|deflate| Deflater::new(deflate.level, deflate.own_context)),
            threshold: deflate.map_or(usize::MAX, |deflate| deflate.threshold.max(1)),
            ping: None,
            pong: None,
            farewell: None,
            sent: false,
            end: None,
        }
    }

    // What has come.

    /// The next event in `input`, whose beginning is taken and whose masks are removed in place. None
    /// when all of it has been taken.
    ///
    /// After this end has closed, messages are passed over while the peer's close frame is waited for.
    #[inline]
    pub fn read<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Event<'i>> {
        while self.end.is_none() {
            let outcome = match self.reader.next(input) {
                Ok(Some(piece)) if self.sent => self.pass(&piece),
                Ok(Some(piece)) if piece.header.opcode.is_control() => self.control(&piece),
                Ok(Some(piece)) => self.data(piece),
                Ok(None) => return None,
                Err(violation) => Err(violation),
            };
            match outcome {
                Ok(None) => {}
                Ok(event) => return event,
                Err(violation) => return Some(self.fail(violation)),
            }
        }
        *input = &mut [];
        None
    }

    /// Time has passed: idle frames are counted from the beginning. Once a second is often enough.
    pub fn replenish(&mut self) {
        self.idle = self.limits.idle_frames;
    }

    /// How far the connection has come.
    pub fn state(&self) -> State {
        match (&self.end, self.sent) {
            (None, false) => State::Open,
            (Some(_), true) => State::Closed,
            _ => State::Closing,
        }
    }

    /// The code with which the connection ended, for its owner, when the tunnel has: the peer's, or
    /// [`code::ABNORMAL`] if the peer sent no close frame (section 7.1.5).
    pub fn close_code(&self) -> u16 {
        match self.end {
            Some(End::Closed(code)) => code,
            _ => code::ABNORMAL,
        }
    }

    /// Bytes that are kept of a message that has not ended.
    pub fn held(&self) -> usize {
        self.assembly.held()
    }

    #[inline]
    fn data<'i>(&mut self, piece: Piece<'i>) -> Result<Option<Event<'i>>, Violation> {
        let Piece { header, first, last, payload } = piece;
        if first {
            self.assembly.begin(&header)?;
            if header.length == 0 && !header.fin {
                self.spend()?;
            } else {
                self.idle = self.limits.idle_frames.min(self.idle.saturating_add(1));
            }
            let plain = !header.compressed && header.fin && last;
            match header.opcode {
                Opcode::Text if plain => {
                    let text = std::str::from_utf8(payload).map_err(|_| Violation::Utf8)?;
                    return Ok(Some(Event::Text(Cow::Borrowed(text))));
                }
                Opcode::Binary if plain => return Ok(Some(Event::Binary(Cow::Borrowed(payload)))),
                _ => {}
            }
        }
        self.assembly.push(payload)?;
        if last && header.fin { self.assembly.finish().map(Some) } else { Ok(None) }
    }

    fn control<'i>(&mut self, piece: &Piece<'i>) -> Result<Option<Event<'i>>, Violation> {
        if piece.first {
            self.control = Control::new();
        }
        self.control.push(piece.payload);
        if !piece.last {
            return Ok(None);
        }
        match piece.header.opcode {
            Opcode::Close => {
                let close = Close::decode(self.control.payload())?;
                self.farewell = Some((close.code, Cow::Borrowed("")));
                return Ok(Some(self.closed(close)));
            }
            Opcode::Ping => {
                self.spend()?;
                self.pong = Some(self.control);
            }
            _ => {
                let sent = self.ping.as_ref();
                if sent.is_some_and(|ping| ping.payload() == self.control.payload()) {
                    self.ping = None;
                    return Ok(Some(Event::Pong));
                }
                self.spend()?;
            }
        }
        Ok(None)
    }

    /// Looks only for the peer's close frame.
    fn pass<'i>(&mut self, piece: &Piece<'i>) -> Result<Option<Event<'i>>, Violation> {
        if piece.header.opcode != Opcode::Close {
            return Ok(None);
        }
        if piece.first {
            self.control = Control::new();
        }
        self.control.push(piece.payload);
        if !piece.last {
            return Ok(None);
        }
        let close = Close::decode(self.control.payload())?;
        Ok(Some(self.closed(close)))
    }

    fn closed<'i>(&mut self, close: Close) -> Event<'i> {
        self.end = Some(End::Closed(close.code));
        self.forget();
        Event::Closed(close)
    }

    fn fail<'i>(&mut self, violation: Violation) -> Event<'i> {
        self.end = Some(End::Failed);
        self.forget();
        if !self.sent {
            self.farewell = Some((violation.code(), Cow::Owned(violation.to_string())));
        }
        Event::Failed(violation)
    }

    fn forget(&mut self) {
        self.assembly.clear();
        self.deflater = None;
        self.pong = None;
    }

    fn spend(&mut self) -> Result<(), Violation> {
        self.idle = self.idle.checked_sub(1).ok_or(Violation::Flood)?;
        Ok(())
    }

    // What is sent.

    /// Appends a message of text.
    ///
    /// # Errors
    /// One of the ends has closed.
    #[inline]
    pub fn text(&mut self, message: &str, out: &mut Vec<u8>) -> Result<(), SendError> {
        self.message(Opcode::Text, message.as_bytes(), out)
    }

    /// Appends a message of bytes.
    ///
    /// # Errors
    /// One of the ends has closed.
    #[inline]
    pub fn binary(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), SendError> {
        self.message(Opcode::Binary, message, out)
    }

    /// Appends a ping; [`Event::Pong`] is the answer to the last one.
    ///
    /// # Errors
    /// `payload` is over [`MAX_CONTROL`], or one of the ends has closed.
    pub fn ping(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), SendError> {
        self.check_open()?;
        if payload.len() > MAX_CONTROL {
            return Err(SendError::Ping(payload.len()));
        }
        self.ping = Some(Control::of(payload));
        self.frame(Opcode::Ping, payload, out);
        Ok(())
    }

    /// Appends a close frame, the last frame of this end. No message is delivered after it; how long
    /// the peer's is waited for is for the owner to decide, who has a clock. A `code` of
    /// [`code::NO_STATUS`] stands for a frame without code and reason.
    ///
    /// # Errors
    /// `code` may not be sent, `reason` is over [`MAX_REASON`], or one of the ends has closed.
    pub fn close(&mut self, code: u16, reason: &str, out: &mut Vec<u8>) -> Result<(), SendError> {
        self.check_open()?;
        if !code::may_be_sent(code) && (code != code::NO_STATUS || !reason.is_empty()) {
            return Err(SendError::Code(code));
        }
        if reason.len() > MAX_REASON {
            return Err(SendError::Reason(reason.len()));
        }
        self.write_close(code, reason, out);
        self.forget();
        Ok(())
    }

    /// Appends what answers the peer: the pong for its last ping, or a close frame.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(pong) = self.pong.take() {
            self.frame(Opcode::Pong, pong.payload(), out);
        }
        if let Some((code, reason)) = self.farewell.take() {
            self.write_close(code, &reason, out);
        }
    }

    /// Whether [`flush`](Self::flush) has anything to write.
    pub fn wants_flush(&self) -> bool {
        self.pong.is_some() || self.farewell.is_some()
    }

    fn check_open(&self) -> Result<(), SendError> {
        if self.sent || self.end.is_some() { Err(SendError::Closed) } else { Ok(()) }
    }

    #[inline]
    fn message(
        &mut self,
        opcode: Opcode,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        self.check_open()?;
        if message.len() < self.threshold || !self.compressed(opcode, message, out) {
            self.frame(opcode, message, out);
        }
        Ok(())
    }

    #[inline]
    fn frame(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        let key = self.keys.as_mut().map(|keys| keys());
        out.reserve(MAX_HEADER + payload.len());
        Header { key, ..Header::whole(opcode, payload.len()) }.encode(out);
        let start = out.len();
        out.extend_from_slice(payload);
        if let Some(key) = key {
            mask::apply(out.get_mut(start..).unwrap_or_default(), key);
        }
    }

    fn compressed(&mut self, opcode: Opcode, message: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(deflater) = &mut self.deflater else { return false };
        let start = out.len();
        // The header needs the length of what follows it. As much is left for it as the message
        // would need as it is, which is right but for some sizes.
        let key = self.keys.as_mut().map(|keys| keys());
        let guess = Header { key, ..Header::whole(opcode, message.len()) };
        guess.encode(out);
        let payload = out.len();
        if !deflater.compress(message, out) {
            out.truncate(start);
            return false;
        }
        if let Some(key) = key {
            mask::apply(out.get_mut(payload..).unwrap_or_default(), key);
        }
        let mut header = Vec::with_capacity(MAX_HEADER);
        let length = (out.len() - payload) as u64;
        Header { compressed: true, length, ..guess }.encode(&mut header);
        out.splice(start..payload, header);
        true
    }

    fn write_close(&mut self, code: u16, reason: &str, out: &mut Vec<u8>) {
        let mut body = Control::new();
        if code != code::NO_STATUS {
            body.push(&code.to_be_bytes());
            body.push(reason.as_bytes());
        }
        self.frame(Opcode::Close, body.payload(), out);
        self.sent = true;
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("server", &self.keys.is_none())
            .field("state", &self.state())
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

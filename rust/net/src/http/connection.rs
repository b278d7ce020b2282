//! One connection of HTTP on a wire, whatever version it speaks.
//!
//! The wire puts plain bytes in and takes plain bytes out; sockets, TLS, limits of connections and
//! their end are the wire's. In between, [`Http::poll`] looks at the protocol.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use http::HeaderValue;

use super::bell::{Bell, Board};
use super::http1::{Http1, Step};
use super::http2::Http2;
use super::pipe::Pipe;
use super::tunnel::Tunnel;
use super::turn::Turn;
use super::{HttpLimits, Reply, ReplyError};

/// How often one look at a connection polls its protocol, so that it does not keep others waiting.
const POLLS: usize = 16;

/// With what HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is said to a peer whose request's head does not come.
const TIMED_OUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Which version a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
    /// What its first bytes say.
    Either,
}

/// What becomes of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It goes on.
    Nothing,
    /// Another look is due, although nothing may happen.
    Again,
    /// It ends when all is written.
    Finish,
    /// It is given up.
    GiveUp,
}

enum Protocol {
    Undecided,
    One(Box<Http1>),
    Two(Box<Http2>),
    Tunnel(Tunnel),
    Over,
}

pub(crate) struct Http {
    protocol: Protocol,
    pipe: Pipe,
    bell: Arc<Bell>,
    waker: Waker,
    limits: Arc<HttpLimits>,
    /// Something happened that the protocol has not seen.
    dirty: bool,
    /// Since when it has had no exchange, or something of the next one's head.
    since: Instant,
    /// Something of the next exchange's head has come.
    begun: bool,
    /// Whether it had an exchange when it was looked at last.
    busy: bool,
    /// The end was reached while a tunnel still had something for its owner.
    leaving: bool,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("bell", &self.bell).finish_non_exhaustive()
    }
}

impl Http {
    pub(crate) fn new(
        wire: u64,
        input: Input,
        limits: Arc<HttpLimits>,
        board: &Board,
        now: Instant,
    ) -> Self {
        let bell = Bell::new(wire, board);
        let pipe = Pipe::default();
        let protocol = match input {
            Input::Either => Protocol::Undecided,
            Input::Two => {
                Protocol::Two(Box::new(Http2::new(pipe.clone(), limits.clone(), bell.clone())))
            }
            Input::One => Protocol::One(Box::new(Http1::new(pipe.clone(), &limits))),
        };
        Self {
            protocol,
            pipe,
            waker: Waker::from(bell.clone()),
            bell,
            limits,
            dirty: true,
            since: now,
            begun: true,
            busy: false,
            leaving: false,
        }
    }

    // ---- the wire's side ----

    /// Takes plain bytes that arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // What comes behind the end is nobody's.
        if !matches!(self.protocol, Protocol::Over) {
            self.dirty = true;
            self.pipe.push(bytes);
        }
    }

    /// Nothing more arrives. True if all that is left is to end the wire.
    pub(crate) fn end(&mut self) -> bool {
        self.dirty = true;
        self.pipe.end();
        match &mut self.protocol {
            Protocol::Tunnel(tunnel) => {
                tunnel.end();
                false
            }
            _ => true,
        }
    }

    /// Whether the wire is not to be read for now.
    pub(crate) fn holds_reading(&self) -> bool {
        self.pipe.is_full()
    }

    /// Whether there is something to look at.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty || self.pipe.has_written()
    }

    /// Whether more is to be written once there is room.
    pub(crate) fn is_blocked(&self) -> bool {
        self.pipe.is_blocked()
    }

    /// There is room again.
    pub(crate) fn unblock(&mut self) {
        self.dirty = true;
    }

    /// What is to be written to the wire.
    pub(crate) fn take_written(&mut self) -> Vec<u8> {
        self.pipe.take()
    }

    fn is_idle(&self) -> bool {
        match &self.protocol {
            Protocol::One(http) => http.is_idle(),
            Protocol::Two(http) => http.is_idle(),
            Protocol::Tunnel(_) => false,
            Protocol::Undecided | Protocol::Over => true,
        }
    }

    /// When it has been without an exchange, or with half a head, for too long; or when the peer has
    /// to take more of an answer.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.busy {
            return match &self.protocol {
                Protocol::Two(http) => http.due(),
                _ => None,
            };
        }
        let limits = &self.limits;
        let begins = match &self.protocol {
            // Between its exchanges there is more to say than heads.
            Protocol::Two(http) => http.is_beginning(),
            _ => self.begun,
        };
        let patience = if begins { limits.head_timeout } else { limits.idle_timeout };
        self.since.checked_add(patience)
    }

    /// It is due.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.dirty = true;
        match &mut self.protocol {
            Protocol::Two(http) if self.busy => {
                http.expire(now);
                return;
            }
            Protocol::Two(http) if !http.is_beginning() && !self.leaving => {
                self.leaving = true;
                http.leave();
                return;
            }
            Protocol::One(_) if self.begun && !self.leaving => self.pipe.write_past(TIMED_OUT),
            _ => {}
        }
        self.protocol = Protocol::Over;
    }

    /// Looks at the protocol until it has nothing to do, or for long enough.
    pub(crate) fn poll(&mut self, turn: &mut Turn<'_>) -> After {
        self.dirty = false;
        // hyper keeps nothing back of what comes before a tunnel: it is asked once more.
        let tunnels = matches!(&self.protocol, Protocol::One(http) if http.is_tunnel());
        self.pipe.prepare(turn.spare, if tunnels { usize::MAX } else { turn.room });
        self.bell.attend(true);
        let mut after = After::Again;
        for _ in 0..POLLS {
            self.bell.answer();
            after = self.poll_once(turn);
            if after != After::Again {
                break;
            }
        }
        self.bell.attend(false);
        self.bell.answer();
        self.dirty |= after == After::Again;
        self.keep_time(turn.now);
        after
    }

    fn poll_once(&mut self, turn: &mut Turn<'_>) -> After {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        let step = match &mut self.protocol {
            Protocol::Undecided => {
                self.decide();
                return if matches!(self.protocol, Protocol::Undecided) {
                    After::Nothing
                } else {
                    After::Again
                };
            }
            Protocol::One(http) => http.poll(&mut cx, turn),
            Protocol::Two(http) => http.poll(&mut cx, turn),
            Protocol::Tunnel(tunnel) => tunnel.poll(turn),
            Protocol::Over => Step::Over,
        };
        match step {
            Step::Pending if self.bell.is_rung() => After::Again,
            Step::Pending => After::Nothing,
            Step::Over if self.becomes_tunnel() => After::Again,
            Step::Over => After::Finish,
            Step::Broken => After::GiveUp,
        }
    }

    fn decide(&mut self) {
        let Some(two) = self.pipe.peek(|bytes| match bytes.get(..PREFACE.len()) {
            Some(first) => Some(first == PREFACE),
            None if PREFACE.starts_with(bytes) => None,
            None => Some(false),
        }) else {
            return;
        };
        let pipe = self.pipe.clone();
        self.protocol = if two {
            Protocol::Two(Box::new(Http2::new(pipe, self.limits.clone(), self.bell.clone())))
        } else {
            Protocol::One(Box::new(Http1::new(pipe, &self.limits)))
        };
    }

    fn becomes_tunnel(&mut self) -> bool {
        let Protocol::One(http) = &mut self.protocol else { return false };
        if !http.is_tunnel() {
            return false;
        }
        if let Protocol::One(http) = std::mem::replace(&mut self.protocol, Protocol::Over) {
            if let Some((key, first, outgoing)) = http.into_tunnel() {
                let tunnel = Tunnel::new(key, first, outgoing, self.pipe.clone());
                self.protocol = Protocol::Tunnel(tunnel);
            }
        }
        true
    }

    fn keep_time(&mut self, now: Instant) {
        let busy = !self.is_idle();
        if std::mem::replace(&mut self.busy, busy) && !busy {
            self.since = now;
            self.begun = false;
        }
    }

    /// Notes that what was said last is still on its way.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.since = now;
    }

    /// Notes that bytes came in a time without an exchange.
    pub(crate) fn begin(&mut self, now: Instant) {
        if !self.busy && !std::mem::replace(&mut self.begun, true) {
            self.since = now;
        }
    }

    /// Ends when what is in progress is answered; at once if nothing is.
    pub(crate) fn leave(&mut self) {
        self.dirty = true;
        self.leaving = true;
        match &mut self.protocol {
            Protocol::One(http) => http.leave(),
            Protocol::Two(http) => http.leave(),
            Protocol::Undecided => self.protocol = Protocol::Over,
            Protocol::Tunnel(_) | Protocol::Over => {}
        }
    }

    /// The connection is no more: whoever waits for it is told.
    pub(crate) fn abandon(&mut self, turn: &mut Turn<'_>) {
        match &mut self.protocol {
            Protocol::One(http) => http.abandon(turn),
            Protocol::Two(http) => http.abandon(turn),
            Protocol::Tunnel(tunnel) => tunnel.abandon(turn),
            Protocol::Undecided | Protocol::Over => {}
        }
        self.protocol = Protocol::Over;
    }

    // ---- the owner's side ----

    /// The handler of an exchange whose peer was gone has ended.
    pub(crate) fn release(&mut self) {
        if let Protocol::Two(http) = &mut self.protocol {
            self.dirty = true;
            http.release();
        }
    }

    pub(crate) fn reply(
        &mut self,
        slot: u32,
        reply: Reply,
        date: impl FnOnce() -> HeaderValue,
    ) -> Result<(), ReplyError> {
        self.dirty = true;
        match &mut self.protocol {
            Protocol::One(http) => http.reply(reply, &self.pipe),
            Protocol::Two(http) => http.reply(slot, reply, &date()),
            Protocol::Tunnel(tunnel) => tunnel.reply(reply),
            Protocol::Undecided | Protocol::Over => Ok(()),
        }
    }

    pub(crate) fn want_body(&mut self, slot: u32) {
        self.dirty = true;
        match &mut self.protocol {
            Protocol::One(http) => http.want_body(),
            Protocol::Two(http) => http.want_body(slot),
            Protocol::Tunnel(tunnel) => tunnel.want_body(),
            Protocol::Undecided | Protocol::Over => {}
        }
    }

    pub(crate) fn unsent(&self, slot: u32) -> usize {
        match &self.protocol {
            Protocol::One(http) => http.unsent(),
            Protocol::Two(http) => http.unsent(slot),
            Protocol::Tunnel(tunnel) => tunnel.unsent(),
            Protocol::Undecided | Protocol::Over => 0,
        }
    }

    pub(crate) fn watch(&mut self, slot: u32) -> bool {
        match &mut self.protocol {
            Protocol::One(http) => http.watch(),
            Protocol::Two(http) => http.watch(slot),
            Protocol::Tunnel(tunnel) => tunnel.watch(),
            Protocol::Undecided | Protocol::Over => false,
        }
    }
}

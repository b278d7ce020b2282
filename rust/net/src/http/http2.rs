//! HTTP/2 by h2: many exchanges side by side on one connection.
//!
//! This is the crate that hyper itself takes for it. It is driven here without hyper between, which
//! would make a task of each request and has no word for interim answers: an answer is handed over
//! where it is given, and only exchanges that wait for their peer are looked at again.

mod stalls;
mod stream;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderValue, Method, Response, StatusCode, header};

use self::stalls::Stalls;
use self::stream::{Answer, Stream};
use super::bell::Bell;
use super::fields::expects_continue;
use super::http1::Step;
use super::outgoing::Outgoing;
use super::pipe::Pipe;
use super::turn::Turn;
use super::{HttpLimits, Reply, ReplyError, Request, Version};

/// Streams that the peer resets before they are taken, after which it is told to calm down: rapid
/// reset (CVE-2023-44487). h2's own default, written down.
const PENDING_RESETS: usize = 20;

/// Streams that we reset for what the peer did wrong, after which the same: MadeYouReset
/// (CVE-2025-8671). h2's own default, written down.
const ERROR_RESETS: usize = 1024;

/// Bodies of so many requests may be held at once before others on the connection wait.
const BODIES: u32 = 16;

/// The most that the bodies on one connection hold.
const BODIES_MAX: u32 = 8 << 20;

/// Bytes that h2 reads before what came of bodies is taken from it.
const READ: usize = 32 << 10;

/// The most that so many bytes may cost of h2's budget for small frames of bodies, one byte in each:
/// only frames that nobody takes from it, as nobody knows of their requests yet, use it up.
const FRAMES: usize = READ / 10 * 256;

/// Bytes of one answer that h2 holds until they are written.
const SEND_BUFFER: usize = 256 << 10;

pub(super) struct Http2 {
    state: State,
    pipe: Pipe,
    limits: Arc<HttpLimits>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Exchanges in progress.
    open: usize,
    /// Those whose peer is gone, and whose handler may still run.
    gone: usize,
    stalls: Stalls,
    rung: Rung,
    bell: Arc<Bell>,
}

enum State {
    Beginning(Box<Handshake<Pipe, Bytes>>, bool),
    Open(Box<Connection<Pipe, Bytes>>),
    Over,
}

struct Slot {
    waker: Waker,
    bell: Arc<SlotBell>,
    stream: Option<Stream>,
}

// ---- which exchanges want to be looked at ----

type Rung = Arc<Mutex<Vec<u32>>>;

struct SlotBell {
    slot: u32,
    queued: AtomicBool,
    rung: Rung,
    bell: Arc<Bell>,
}

impl Wake for SlotBell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.rung.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
            self.bell.ring();
        }
    }
}

impl Http2 {
    pub(super) fn new(pipe: Pipe, limits: Arc<HttpLimits>, bell: Arc<Bell>) -> Self {
        let window = limits.body_window;
        let shared = window.saturating_mul(BODIES).min(BODIES_MAX).max(window);
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(limits.head)
            .initial_window_size(window)
            .initial_connection_window_size(shared)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(FRAMES.max(shared as usize / 2))
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(Some(ERROR_RESETS))
            .enable_connect_protocol();
        let state = State::Beginning(Box::new(builder.handshake(pipe.clone())), false);
        Self {
            state,
            pipe,
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            open: 0,
            gone: 0,
            stalls: Stalls::default(),
            rung: Rung::default(),
            bell,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open == 0
    }

    /// Whether its peer has yet to say what it speaks.
    pub(super) fn is_beginning(&self) -> bool {
        matches!(self.state, State::Beginning(..))
    }

    /// Takes no more exchanges, and ends with the last.
    pub(super) fn leave(&mut self) {
        match &mut self.state {
            State::Beginning(_, leaving) => *leaving = true,
            // Whoever has asked meanwhile is told that it was not heard (RFC 9113, section 6.8).
            State::Open(connection) if self.open == 0 => {
                connection.abrupt_shutdown(Reason::NO_ERROR)
            }
            State::Open(connection) => connection.graceful_shutdown(),
            State::Over => {}
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>) -> Step {
        self.pipe.allow(READ);
        if let State::Beginning(handshake, leaving) = &mut self.state {
            let leaving = *leaving;
            match Pin::new(handshake).poll(cx) {
                Poll::Pending => return Step::Pending,
                Poll::Ready(Ok(connection)) => {
                    self.state = State::Open(Box::new(connection));
                    if leaving {
                        self.leave();
                    }
                }
                Poll::Ready(Err(_)) => self.state = State::Over,
            }
        }
        if !self.accept(cx, turn) {
            return Step::Over;
        }
        let mut rung =
            std::mem::take(&mut *self.rung.lock().unwrap_or_else(PoisonError::into_inner));
        for slot in rung.drain(..) {
            self.look(slot, turn);
        }
        // The same buffer again, if nothing rang meanwhile.
        let mut next = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_empty() {
            *next = rung;
        }
        if self.pipe.has_withheld() {
            cx.waker().wake_by_ref();
        }
        Step::Pending
    }

    /// Moves what can be moved on the connection, and takes new exchanges. False if it is over.
    fn accept(&mut self, cx: &mut Context<'_>, turn: &mut Turn<'_>) -> bool {
        loop {
            let State::Open(connection) = &mut self.state else { return false };
            // Handlers are counted and not streams: a stream that was reset is none any more.
            if self.open + self.gone >= self.limits.streams as usize {
                return connection.poll_closed(cx).is_pending();
            }
            match connection.poll_accept(cx) {
                Poll::Pending => return true,
                Poll::Ready(Some(Ok((request, respond)))) => self.welcome(request, respond, turn),
                Poll::Ready(Some(Err(_)) | None) => {
                    self.state = State::Over;
                    return false;
                }
            }
        }
    }

    fn welcome(
        &mut self,
        request: http::Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        turn: &mut Turn<'_>,
    ) {
        let (parts, incoming) = request.into_parts();
        let protocol = parts.extensions.get::<h2::ext::Protocol>();
        let refusal = if parts.headers.len() > self.limits.fields as usize {
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        } else if parts.method == Method::CONNECT && protocol.is_none() {
            // Nothing is reached through here (RFC 9110, section 9.3.6).
            Some(StatusCode::NOT_IMPLEMENTED)
        } else {
            None
        };
        if let Some(status) = refusal {
            let mut response = Response::new(());
            *response.status_mut() = status;
            response.headers_mut().insert(header::DATE, turn.date());
            let _ = respond.send_response(response, true);
            return;
        }
        let index = self.place();
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        let mut cx = Context::from_waker(&slot.waker);
        if respond.poll_reset(&mut cx).is_ready() {
            // Its peer has thought better of it before anybody knew.
            self.free.push(index);
            return;
        }
        let ended = incoming.is_end_stream();
        let expects = !ended && expects_continue(&parts.headers);
        let protocol = protocol.map(|protocol| protocol.as_str().as_bytes().to_vec());
        let asks = protocol.is_some();
        let asked = Request::of(Version::Http2, turn.secure, &parts, protocol, ended);
        let key = turn.begin(index, asked);
        self.open += 1;
        slot.stream = Some(Stream {
            key,
            incoming: (!ended).then_some(incoming),
            held: BytesMut::new(),
            is_whole: false,
            wanted: !expects && !ended,
            expects,
            asked: asks,
            bodyless: parts.method == Method::HEAD,
            answer: Answer::Awaited(respond),
            outgoing: Outgoing::default(),
            taken: 0,
            is_blocked: false,
            stall: None,
        });
        if !ended {
            slot.bell.wake_by_ref();
        }
    }

    fn place(&mut self) -> u32 {
        if let Some(index) = self.free.pop() {
            return index;
        }
        let slot = self.slots.len() as u32;
        let (rung, bell) = (self.rung.clone(), self.bell.clone());
        let bell = Arc::new(SlotBell { slot, queued: AtomicBool::new(false), rung, bell });
        self.slots.push(Slot { waker: bell.clone().into(), bell, stream: None });
        slot
    }

    /// Looks at one exchange: whether its peer still waits, its body, its answer.
    fn look(&mut self, index: u32, turn: &mut Turn<'_>) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        slot.bell.queued.store(false, Ordering::Relaxed);
        let mut cx = Context::from_waker(&slot.waker);
        let Some(stream) = &mut slot.stream else { return };
        stream.read_body(&mut cx, turn);
        let taken = stream.taken;
        stream.write_body(&mut cx);
        self.stalls.on_taken(stream.taken - taken);
        if stream.outgoing.take_drained() {
            turn.drained(stream.key);
        }
        if stream.is_waited_for(&mut cx) {
            if stream.is_blocked && stream.stall.is_none() {
                self.note_stall(index, turn.now);
            }
            return;
        }
        match stream.answer {
            Answer::Done => turn.answered(stream.key),
            Answer::Aborted => turn.forget(stream.key),
            Answer::Awaited(_) | Answer::Begun(_) | Answer::Refused => {
                turn.gone(stream.key);
                self.gone += 1;
            }
        }
        slot.stream = None;
        self.open -= 1;
        self.free.push(index);
        if self.open == 0 {
            self.stalls.clear();
        }
    }

    /// The handler of one whose peer was gone has ended.
    pub(super) fn release(&mut self) {
        self.gone = self.gone.saturating_sub(1);
    }

    /// The connection is no more.
    pub(super) fn abandon(&mut self, turn: &mut Turn<'_>) {
        for stream in self.slots.iter_mut().filter_map(|slot| slot.stream.take()) {
            match stream.answer {
                Answer::Aborted => turn.forget(stream.key),
                Answer::Done => turn.answered(stream.key),
                _ => turn.gone(stream.key),
            }
        }
        self.open = 0;
        self.stalls.clear();
    }

    fn stream(&mut self, index: u32) -> Option<&mut Stream> {
        self.slots.get_mut(index as usize)?.stream.as_mut()
    }

    /// Has an exchange looked at when the connection is.
    fn ring(&self, index: u32) {
        if let Some(slot) = self.slots.get(index as usize) {
            slot.bell.wake_by_ref();
        }
    }

    pub(super) fn want_body(&mut self, index: u32) {
        let Some(stream) = self.stream(index) else { return };
        stream.want_body();
        self.ring(index);
    }

    pub(super) fn unsent(&self, index: u32) -> usize {
        let slot = self.slots.get(index as usize);
        let stream = slot.and_then(|slot| slot.stream.as_ref());
        stream.map_or(0, |stream| stream.outgoing.bytes())
    }

    pub(super) fn watch(&mut self, index: u32) -> bool {
        self.stream(index).is_some_and(|stream| stream.outgoing.watch())
    }

    pub(super) fn reply(
        &mut self,
        index: u32,
        reply: Reply,
        date: &HeaderValue,
    ) -> Result<(), ReplyError> {
        let Some(stream) = self.stream(index) else { return Ok(()) };
        stream.reply(reply, date)?;
        self.ring(index);
        Ok(())
    }
}

//! WebSockets: what goes through the tunnel of an exchange, as messages.
//!
//! The protocol is `jetstream_proto::websocket`'s. Here are the application's side of it (ASGI,
//! "WebSocket"), and the clock: pings, and how long a farewell is waited for.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jetstream_net::{Fields, Reply as Part, Request, Version};
use jetstream_proto::websocket::{self, Connection, Deflate, Event, Limits, State, code};
use pyo3::exceptions::{PyConnectionResetError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::exchange::Phase;
use super::message::{Message, bytes_of};
use super::{Exchange, Site};
use crate::shared::{Shared, lock};

/// What a queued message costs beside its bytes.
const MESSAGE: usize = 64;

/// How long the peer's farewell is waited for.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long frames that bring nothing are counted together.
const COUNTED: Duration = Duration::from_secs(1);

/// The code of a server that goes away and comes back (IANA's registry).
const SERVICE_RESTART: u16 = 1012;

/// A message that has not been taken.
enum Queued {
    Text(String),
    Binary(Vec<u8>),
}

impl Queued {
    fn cost(&self) -> usize {
        MESSAGE
            + match self {
                Self::Text(text) => text.len(),
                Self::Binary(bytes) => bytes.len(),
            }
    }
}

/// How far a WebSocket is.
enum Stage {
    /// The application has not said whether it takes it.
    Asked,
    /// Messages go both ways, as long as the connection is open.
    Open(Box<Connection>),
    /// It was not taken, or is over.
    Closed,
}

pub(super) struct Socket {
    stage: Stage,
    /// The application has been told of it.
    told: bool,
    /// Compression that the client offers and we take, and how to say so.
    deflate: Option<(Deflate, String)>,
    queue: VecDeque<Queued>,
    queued: usize,
    /// What has come and was not read, from `read` on: there were messages enough.
    input: Vec<u8>,
    read: usize,
    /// The peer is held up.
    paused: bool,
    /// Nothing more comes through the tunnel.
    ended: bool,
    /// How it ended.
    end: Option<(u16, String)>,
    /// The next ping.
    ping: Option<Instant>,
    /// When the last one must have been answered.
    pong: Option<Instant>,
    /// When the peer's farewell must have come.
    farewell: Option<Instant>,
    /// How long an answer to a ping is waited for.
    patience: Duration,
    transit: Transit,
    /// When frames that bring nothing were last counted from the beginning.
    counted: Instant,
}

/// How far that is on its way which the peer has to answer.
#[derive(Default)]
struct Transit {
    /// Bytes that were given to the tunnel.
    given: u64,
    /// As many as had been when what is to be answered was among them.
    mark: u64,
    /// As many as the tunnel had let go when the clock was last looked at.
    moved: u64,
}

impl Transit {
    /// What is to be answered is among the next `bytes`.
    fn set_mark(&mut self, bytes: usize) {
        self.mark = self.given + bytes as u64;
    }

    /// Whether the peer needs more time: it has not got what it has to answer, and takes what is
    /// before it.
    fn goes_on(&mut self, unsent: usize) -> bool {
        let moved = self.given.saturating_sub(unsent as u64);
        let before = std::mem::replace(&mut self.moved, moved);
        before < self.mark && before < moved
    }
}

/// What becomes of a tunnel after it was looked at.
#[derive(Default)]
struct Outcome {
    out: Vec<u8>,
    /// The tunnel ends.
    end: bool,
    /// More is wanted.
    want: bool,
}

impl Socket {
    pub(super) fn new(deflate: Option<(Deflate, String)>, patience: Duration) -> Self {
        Self {
            stage: Stage::Asked,
            told: false,
            deflate,
            queue: VecDeque::new(),
            queued: 0,
            input: Vec::new(),
            read: 0,
            paused: false,
            ended: false,
            end: None,
            ping: None,
            pong: None,
            farewell: None,
            patience,
            transit: Transit::default(),
            counted: Instant::now(),
        }
    }

    pub(super) fn is_asked(&self) -> bool {
        matches!(self.stage, Stage::Asked)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// It was open, and nothing more can be sent.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some() && !self.is_asked()
    }

    /// It has ended, or cannot come about any more.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some()
    }

    fn close(&mut self) {
        self.stage = Stage::Closed;
    }

    /// The tunnel has ended, or is gone. What it brought is read first.
    pub(super) fn on_gone(&mut self) {
        self.ended = true;
        if !self.is_behind() {
            self.finish();
        }
    }

    /// The peer sends no more, before it was told anything.
    pub(super) fn on_half_closed(&mut self) {
        self.end.get_or_insert((code::ABNORMAL, String::new()));
    }

    /// Whether there is something that has come and was not read.
    fn is_behind(&self) -> bool {
        self.is_open() && self.read < self.input.len()
    }

    pub(super) fn finish(&mut self) {
        let code = match &self.stage {
            Stage::Open(connection) => connection.close_code(),
            _ => code::ABNORMAL,
        };
        self.end.get_or_insert((code, String::new()));
        self.close();
    }

    fn push(&mut self, data: Bytes) {
        if self.read < self.input.len() {
            self.input.extend_from_slice(&data);
        } else {
            (self.input, self.read) = (Vec::from(data), 0);
        }
    }

    /// Reads what has come, until so many bytes of messages are held. Pings are answered if that is
    /// not `held_up`: the answer to a later one will do.
    fn pump(&mut self, window: usize, held_up: bool) -> Outcome {
        let Stage::Open(connection) = &mut self.stage else { return Outcome::default() };
        if self.counted.elapsed() >= COUNTED {
            self.counted = Instant::now();
            connection.replenish();
        }
        let size = self.input.len();
        let mut input = self.input.get_mut(self.read..).unwrap_or_default();
        // A message may be far bigger than what came of it. Once we have closed, none is held any more.
        while self.queued <= window || connection.state() != State::Open {
            let Some(event) = connection.read(&mut input) else { break };
            let message = match event {
                Event::Text(text) => Queued::Text(text.into_owned()),
                Event::Binary(bytes) => Queued::Binary(bytes.into_owned()),
                Event::Pong => {
                    self.pong = None;
                    continue;
                }
                Event::Closed(close) => {
                    self.end.get_or_insert((close.code, close.reason));
                    continue;
                }
                Event::Failed(violation) => {
                    self.end.get_or_insert((code::ABNORMAL, violation.to_string()));
                    continue;
                }
            };
            self.queued += message.cost();
            self.queue.push_back(message);
        }
        self.read = size - input.len();
        if self.read == size {
            (self.input, self.read) = (Vec::new(), 0);
        }
        let mut out = Vec::new();
        if !held_up || connection.state() != State::Open {
            connection.flush(&mut out);
        }
        let mut end = connection.state() == State::Closed;
        self.paused = self.queued > window && connection.state() == State::Open;
        if end {
            self.stage = Stage::Closed;
        } else if self.ended && !self.is_behind() {
            self.finish();
            end = true;
        }
        self.stay();
        Outcome { out, end, want: !self.paused && !end }
    }

    /// Whoever sends something, or was not heard, has all the time again to answer a ping.
    fn stay(&mut self) {
        if self.pong.is_some() {
            self.pong = Instant::now().checked_add(self.patience);
        }
    }

    /// Says the last word. True if there was anything to say.
    fn farewell(&mut self, code: u16, reason: &str, now: Instant, out: &mut Vec<u8>) -> bool {
        let Stage::Open(connection) = &mut self.stage else { return false };
        if connection.close(code, reason, out).is_err() {
            return false;
        }
        self.wait_for_farewell(out.len(), now);
        true
    }

    /// The application takes no more of them.
    fn forget_messages(&mut self) {
        self.queue = VecDeque::new();
        self.queued = 0;
    }

    /// The peer is to answer the last of the next `bytes`.
    fn wait_for_farewell(&mut self, bytes: usize, now: Instant) {
        self.transit.set_mark(bytes);
        self.farewell = now.checked_add(FAREWELL);
        (self.ping, self.pong) = (None, None);
    }

    fn due(&self) -> Option<Instant> {
        [self.ping, self.pong, self.farewell].into_iter().flatten().min()
    }
}

/// What a request to open a WebSocket comes to before the application is asked.
pub(super) fn welcome(site: &Site, request: &Request) -> Result<(Socket, Vec<String>), u16> {
    if request.protocol.as_deref() != Some(b"websocket") {
        return Err(501);
    }
    let values = |wanted: &'static [u8]| {
        request.fields.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| value)
    };
    let version = values(b"sec-websocket-version").next().unwrap_or_default();
    websocket::handshake::check_version(version).map_err(|_| 426_u16)?;
    if request.version != Version::Http11 && request.ended {
        // What would be the tunnel has ended.
        return Err(400);
    }
    if request.version == Version::Http11 {
        let key = values(b"sec-websocket-key").next().unwrap_or_default();
        websocket::handshake::accept_key(key).map_err(|_| 400_u16)?;
    }
    let names = websocket::handshake::subprotocols(values(b"sec-websocket-protocol"));
    let names = names.map_err(|_| 400_u16)?.into_iter().map(str::to_owned).collect();
    let deflate = match site.websocket.compression {
        true => {
            let offers = values(b"sec-websocket-extensions");
            Deflate::default().accept(offers).map_err(|_| 400_u16)?
        }
        false => None,
    };
    Ok((Socket::new(deflate, site.websocket.pong), names))
}

impl Exchange {
    // ---- what happens ----

    /// Bytes have come. Whoever is not at the top of a turn has those who wait woken `soon`.
    pub(super) fn on_tunnel_data(&self, py: Python<'_>, data: Bytes, soon: bool) -> PyResult<()> {
        let held_up = self.is_held_up()?;
        let outcome = {
            let mut inner = lock(&self.inner);
            let Some(socket) = &mut inner.socket else { return Ok(()) };
            socket.push(data);
            socket.pump(self.site.websocket.window, held_up)
        };
        self.settle(py, outcome)?;
        if soon { self.wake_receivers_soon(py) } else { self.wake_receivers(py) }
    }

    /// Whether the peer takes so little that pings are not answered; it is told when it takes more.
    fn is_held_up(&self) -> PyResult<bool> {
        let shared = self.shared();
        let mut hub = shared.hub()?;
        Ok(hub.http_unsent(self.key) > self.site.unsent && hub.http_watch(self.key))
    }

    /// The peer has taken what was sent.
    pub(super) fn on_tunnel_drained(&self, py: Python<'_>) -> PyResult<()> {
        let mut out = Vec::new();
        if let Some(Stage::Open(connection)) =
            lock(&self.inner).socket.as_mut().map(|socket| &mut socket.stage)
        {
            connection.flush(&mut out);
        }
        self.settle(py, Outcome { out, ..Outcome::default() })
    }

    pub(super) fn on_tunnel_ended(&self, py: Python<'_>) -> PyResult<()> {
        {
            let mut inner = lock(&self.inner);
            let Some(socket) = &mut inner.socket else { return Ok(()) };
            if socket.is_asked() {
                // It cannot be accepted any more, and can still be denied.
                socket.on_half_closed();
                drop(inner);
                return self.wake_receivers(py);
            }
            socket.on_gone();
            if socket.is_behind() {
                // The application takes messages before.
                return Ok(());
            }
        }
        self.settle(py, Outcome { end: true, ..Outcome::default() })?;
        self.wake_receivers(py)
    }

    /// The WebSocket does not come about, and its answer is whole.
    pub(super) fn on_denied(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(socket) = &mut lock(&self.inner).socket {
            socket.end.get_or_insert((code::ABNORMAL, String::new()));
        }
        self.wake_receivers_soon(py)
    }

    fn settle(&self, py: Python<'_>, outcome: Outcome) -> PyResult<()> {
        let Outcome { out, end, want } = outcome;
        let shared = self.shared();
        if !out.is_empty() || end {
            self.note_given(out.len());
            self.reply(py, Part::Body { data: out.into(), end })?;
        }
        if end {
            lock(&self.inner).phase = Phase::Over;
            self.wake_all_soon(py)?;
        }
        if want {
            shared.hub()?.http_want_body(self.key);
        }
        Ok(())
    }

    // ---- messages to the application ----

    pub(super) fn next_of_socket<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        enum Next {
            Connect,
            Message(Queued),
            Disconnect(u16, String),
            Nothing,
        }
        let (next, goes_on) = {
            let inner = &mut *lock(&self.inner);
            let Some(socket) = &mut inner.socket else { return Ok(None) };
            let next = if !std::mem::replace(&mut socket.told, true) {
                Next::Connect
            } else if let Some(message) = socket.queue.pop_front() {
                socket.queued -= message.cost();
                Next::Message(message)
            } else if let Some((code, reason)) = &socket.end {
                Next::Disconnect(*code, reason.clone())
            } else {
                Next::Nothing
            };
            let window = self.site.websocket.window;
            let goes_on = socket.paused && socket.queued <= window / 2;
            (next, goes_on)
        };
        if goes_on {
            self.go_on(py)?;
        }
        let message = PyDict::new(py);
        let kind = intern!(py, "type");
        match next {
            Next::Connect => message.set_item(kind, intern!(py, "websocket.connect"))?,
            Next::Message(Queued::Text(text)) => {
                message.set_item(kind, intern!(py, "websocket.receive"))?;
                message.set_item(intern!(py, "text"), PyString::new(py, &text))?;
            }
            Next::Message(Queued::Binary(bytes)) => {
                message.set_item(kind, intern!(py, "websocket.receive"))?;
                message.set_item(intern!(py, "bytes"), PyBytes::new(py, &bytes))?;
            }
            Next::Disconnect(code, reason) => {
                message.set_item(kind, intern!(py, "websocket.disconnect"))?;
                message.set_item(intern!(py, "code"), code)?;
                message.set_item(intern!(py, "reason"), reason)?;
            }
            Next::Nothing => return Ok(None),
        }
        Ok(Some(message.into_any()))
    }

    /// Reads what was left for later, and has more sent.
    fn go_on(&self, py: Python<'_>) -> PyResult<()> {
        let held_up = self.is_held_up()?;
        let outcome = match &mut lock(&self.inner).socket {
            Some(socket) => socket.pump(self.site.websocket.window, held_up),
            None => return Ok(()),
        };
        self.settle(py, outcome)?;
        self.shared().schedule(py)
    }

    // ---- messages of the application ----

    pub(super) fn accept(&self, py: Python<'_>, message: &Message<'_, '_>) -> PyResult<bool> {
        let mut fields = self.usual_fields();
        if let Some(name) = message.get(intern!(py, "subprotocol"))? {
            fields.push(b"sec-websocket-protocol", name.extract::<String>()?.as_bytes());
        }
        message.headers(&mut fields)?;
        let deflate = {
            let inner = &mut *lock(&self.inner);
            let socket = asked(&mut inner.socket, "websocket.accept")?;
            if !matches!(inner.phase, Phase::Silent) {
                let why = "websocket.accept was sent when the answer has begun already";
                return Err(PyRuntimeError::new_err(why));
            }
            socket.deflate.take()
        };
        let deflate = deflate.map(|(deflate, answer)| {
            fields.push(b"sec-websocket-extensions", answer.as_bytes());
            deflate
        });
        let shared = self.shared();
        let told = shared.hub()?.http_reply(self.key, Part::Tunnel { fields });
        told.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let limits = Limits { message: self.site.websocket.message, ..Limits::default() };
        let connection = Box::new(Connection::server(limits, deflate));
        let early = {
            let mut inner = lock(&self.inner);
            inner.status = if self.version == Version::Http11 { 101 } else { 200 };
            if let Some(socket) = &mut inner.socket {
                socket.stage = Stage::Open(connection);
                let ping = self.site.websocket.ping;
                socket.ping = ping.and_then(|every| Instant::now().checked_add(every));
            }
            inner.take_body()
        };
        for data in early {
            // The task that accepts runs now, and another one may wait for a message.
            self.on_tunnel_data(py, data, true)?;
        }
        shared.hub()?.http_want_body(self.key);
        self.arm()?;
        if shared.is_draining() {
            // The others were told before this one was open.
            self.go_away(py)?;
        }
        shared.schedule(py)?;
        Ok(false)
    }

    pub(super) fn send_message(&self, py: Python<'_>, message: &Message<'_, '_>) -> PyResult<bool> {
        let text = message.get(intern!(py, "text"))?;
        let bytes = message.get(intern!(py, "bytes"))?;
        let mut out = Vec::new();
        let sent = {
            // What it is to be is known before the lock is taken: no Python runs under it.
            let text = text.as_ref().map(|text| text.cast::<PyString>()).transpose();
            let text = text.map_err(|_| PyTypeError::new_err("'text' of a message must be str"))?;
            let text = text.map(|text| text.to_str()).transpose()?;
            let bytes = match (text, &bytes) {
                (None, Some(bytes)) => Some(bytes_of(bytes)?),
                _ => None,
            };
            let mut inner = lock(&self.inner);
            let socket = open(&mut inner.socket)?;
            match (text, bytes) {
                (Some(text), _) => socket.text(text, &mut out),
                (None, Some(bytes)) => socket.binary(&bytes, &mut out),
                (None, None) => {
                    return Err(PyValueError::new_err("websocket.send needs 'text' or 'bytes'"));
                }
            }
        };
        sent.map_err(|_| gone())?;
        // Whoever sends without a pause never lets the event come that tells of it.
        if self.shared().hub()?.http_is_gone(self.key) {
            return Err(gone());
        }
        self.tell(py, out.into())
    }

    /// Sends something through the tunnel. True if so much is unsent that the sender is to wait.
    fn tell(&self, py: Python<'_>, data: Bytes) -> PyResult<bool> {
        let shared = self.shared();
        self.note_given(data.len());
        let full = {
            let mut hub = shared.hub()?;
            let told = hub.http_reply(self.key, Part::Body { data, end: false });
            told.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
            hub.http_unsent(self.key) > self.site.unsent && hub.http_watch(self.key)
        };
        shared.schedule(py)?;
        Ok(full)
    }

    fn note_given(&self, bytes: usize) {
        if let Some(socket) = &mut lock(&self.inner).socket {
            socket.transit.given += bytes as u64;
        }
    }

    pub(super) fn close_message(
        &self,
        py: Python<'_>,
        message: &Message<'_, '_>,
    ) -> PyResult<bool> {
        let code = match message.get(intern!(py, "code"))? {
            Some(code) => code.extract()?,
            None => code::NORMAL,
        };
        let reason = match message.get(intern!(py, "reason"))? {
            Some(reason) => reason.extract::<String>()?,
            None => String::new(),
        };
        let refused = {
            let mut inner = lock(&self.inner);
            let inner = &mut *inner;
            match &mut inner.socket {
                Some(socket) if socket.is_asked() && !matches!(inner.phase, Phase::Over) => true,
                Some(_) => false,
                None => return Err(PyRuntimeError::new_err("this is no WebSocket")),
            }
        };
        if refused {
            self.refuse(py, 403)?;
            self.on_denied(py)?;
            return Ok(false);
        }
        let mut out = Vec::new();
        {
            let mut inner = lock(&self.inner);
            let connection = open(&mut inner.socket)?;
            let closed = connection.close(code, &reason, &mut out);
            closed.map_err(|error| match error {
                websocket::SendError::Closed => gone(),
                other => PyValueError::new_err(other.to_string()),
            })?;
            if let Some(socket) = &mut inner.socket {
                socket.end.get_or_insert((code, reason));
                socket.wait_for_farewell(out.len(), Instant::now());
                socket.forget_messages();
            }
        }
        self.arm()?;
        self.tell(py, out.into())?;
        self.hear_farewell(py)?;
        self.wake_receivers_soon(py)?;
        Ok(false)
    }

    // ---- the end, and the clock ----

    /// The application has ended. True if the tunnel is left to say goodbye.
    pub(super) fn leave_socket(&self, py: Python<'_>, failed: bool) -> PyResult<bool> {
        let code = if failed { code::INTERNAL_ERROR } else { code::NORMAL };
        if let Some(socket) = &mut lock(&self.inner).socket {
            socket.forget_messages();
        }
        self.say_goodbye(py, code, "")
    }

    /// The server goes away.
    pub(super) fn go_away(&self, py: Python<'_>) -> PyResult<()> {
        if !self.say_goodbye(py, SERVICE_RESTART, "")? {
            return Ok(());
        }
        if let Some(socket) = &mut lock(&self.inner).socket {
            socket.end.get_or_insert((SERVICE_RESTART, String::new()));
        }
        self.wake_all_soon(py)
    }

    fn say_goodbye(&self, py: Python<'_>, code: u16, reason: &str) -> PyResult<bool> {
        let mut out = Vec::new();
        {
            let mut inner = lock(&self.inner);
            let gone = inner.gone;
            let socket = inner.socket.as_mut().filter(|socket| socket.is_open() && !gone);
            let Some(socket) = socket else { return Ok(false) };
            socket.farewell(code, reason, Instant::now(), &mut out);
        }
        self.arm()?;
        if !out.is_empty() {
            self.tell(py, out.into())?;
        }
        self.hear_farewell(py)?;
        Ok(true)
    }

    /// A peer that was held up is heard again: its farewell comes behind what nobody takes.
    fn hear_farewell(&self, py: Python<'_>) -> PyResult<()> {
        let held = lock(&self.inner).socket.as_ref().is_some_and(|socket| socket.paused);
        if held { self.go_on(py) } else { Ok(()) }
    }

    /// Has the clock looked at again when it is due.
    fn arm(&self) -> PyResult<()> {
        let due = lock(&self.inner).socket.as_ref().and_then(|socket| socket.due());
        if let Some(at) = due {
            self.shared().add_exchange_timer(self.key, at);
        }
        Ok(())
    }

    /// Something is due.
    pub(super) fn on_timer(&self, py: Python<'_>, now: Instant) -> PyResult<()> {
        let mut out = Vec::new();
        let unsent = self.shared().hub()?.http_unsent(self.key);
        let lost = {
            let mut inner = lock(&self.inner);
            let Some(socket) = &mut inner.socket else { return Ok(()) };
            let over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if over(socket.pong) && (socket.paused || socket.transit.goes_on(unsent)) {
                // It is not heard, or has not got the ping.
                socket.pong = now.checked_add(socket.patience);
            }
            if over(socket.farewell) && socket.transit.goes_on(unsent) {
                // What the application had sent before is not cut off.
                socket.farewell = now.checked_add(FAREWELL);
            }
            if over(socket.farewell) || over(socket.pong) {
                let text = if over(socket.pong) { "no answer to a ping" } else { "" };
                socket.end.get_or_insert((code::ABNORMAL, text.to_owned()));
                socket.close();
                true
            } else {
                if over(socket.ping) {
                    socket.ping = self.site.websocket.ping.and_then(|every| now.checked_add(every));
                    if let Stage::Open(connection) = &mut socket.stage {
                        let payload = unpredictable();
                        let is_due = socket.pong.is_none() && !socket.paused;
                        if is_due && connection.ping(&payload, &mut out).is_ok() {
                            socket.pong = now.checked_add(socket.patience);
                            socket.transit.set_mark(out.len());
                        }
                    }
                }
                false
            }
        };
        if lost {
            lock(&self.inner).phase = Phase::Over;
            self.reply(py, Part::Abort)?;
            self.wake_all(py)?;
            return self.forget_if_left(py);
        }
        if !out.is_empty() {
            self.tell(py, out.into())?;
        }
        self.arm()
    }
}

fn asked<'a>(socket: &'a mut Option<Box<Socket>>, what: &str) -> PyResult<&'a mut Socket> {
    match socket {
        Some(socket) if socket.end.is_some() && !socket.is_open() => Err(gone()),
        Some(socket) if socket.is_asked() => Ok(socket),
        Some(_) => Err(PyRuntimeError::new_err(format!("{what} was sent twice"))),
        None => Err(PyRuntimeError::new_err(format!("{what} is for WebSockets"))),
    }
}

fn open(socket: &mut Option<Box<Socket>>) -> PyResult<&mut Connection> {
    let Some(socket) = socket else {
        return Err(PyRuntimeError::new_err("this is no WebSocket"));
    };
    match &mut socket.stage {
        Stage::Open(connection) => Ok(connection),
        Stage::Asked if socket.end.is_none() => {
            Err(PyRuntimeError::new_err("nothing can be sent before websocket.accept"))
        }
        Stage::Asked | Stage::Closed => Err(gone()),
    }
}

/// What only an answer to a ping can repeat.
fn unpredictable() -> [u8; 8] {
    // A keyed hash, and the key is the system's.
    RandomState::new().hash_one(Instant::now()).to_be_bytes()
}

/// As the specification has it since 2.4.
pub(super) fn gone() -> PyErr {
    PyConnectionResetError::new_err("the WebSocket is closed")
}

impl Shared {
    pub(crate) fn expire_exchanges(self: &Arc<Self>, py: Python<'_>, now: Instant) -> PyResult<()> {
        loop {
            let Some(key) = lock(&self.state).exchange_timers.expired(now) else { return Ok(()) };
            if let Some(found) = self.exchange(py, jetstream_net::ExchangeKey(key)) {
                found.get().on_timer(py, now)?;
            }
        }
    }
}

/// The answer to a request that cannot become a WebSocket.
pub(super) fn refusal_fields(status: u16, fields: &mut Fields) {
    if status == 426 {
        let version = websocket::handshake::VERSION;
        fields.push(b"sec-websocket-version", version.as_bytes());
    }
}

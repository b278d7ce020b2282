//! One exchange: what has come for the application, and how far its answer is.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jetstream_net::{ExchangeKey, Fields, Reply as Part, Request, Version};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::awaiting::For;
use super::websocket::{self, Socket};
use super::{Site, Waiting, message};
use crate::answer::is_cancelled;
use crate::handling::Errand;
use crate::reply::Reply;
use crate::shared::{Shared, lock};
use crate::subscription::Ready;
use crate::waiting::cancel_task;

/// The head of an answer, which waits for the beginning of the body.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) fields: Fields,
    pub(super) length: Option<u64>,
    pub(super) trailers: bool,
}

/// How far an answer is.
pub(super) enum Phase {
    /// Nothing has been said.
    Silent,
    /// The head is known and has not left.
    Held(Head),
    /// The head has left.
    Body {
        /// What the head said is to come.
        left: Option<u64>,
        /// Something comes behind the body.
        trailers: bool,
    },
    /// The body is whole, and fields come behind it.
    Trailers(Fields),
    /// It is whole, or was given up.
    Over,
}

pub(super) struct Inner {
    /// Pieces of the request's body that have not been taken.
    body: VecDeque<Bytes>,
    /// The body is whole.
    ended: bool,
    /// The application has been told so.
    told: bool,
    /// The peer is gone.
    pub(super) gone: bool,
    pub(super) phase: Phase,
    pub(super) status: u16,
    receivers: Vec<Py<Reply>>,
    drainers: Vec<Py<Reply>>,
    /// The application's task, where it has one: the loop holds tasks weakly.
    task: Option<Py<PyAny>>,
    /// The application has ended.
    left: bool,
    scope: Option<Py<PyDict>>,
    /// What it becomes, if it is to become one.
    pub(super) socket: Option<Box<Socket>>,
}

impl Inner {
    /// All who wait for something.
    fn take_waiters(&mut self) -> Vec<Py<Reply>> {
        let mut waiters = std::mem::take(&mut self.receivers);
        waiters.append(&mut self.drainers);
        waiters
    }

    /// What has come and was not taken.
    pub(super) fn take_body(&mut self) -> VecDeque<Bytes> {
        std::mem::take(&mut self.body)
    }
}

/// A request and its answer; `receive` and `send` are what the application gets.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    pub(super) site: Arc<Site>,
    pub(super) key: ExchangeKey,
    pub(super) version: Version,
    /// The answer to HEAD has no body, whatever its head says.
    pub(super) bodiless: bool,
    /// It is to become a WebSocket.
    pub(super) is_socket: bool,
    pub(super) inner: Mutex<Inner>,
}

/// What the next message is.
enum Next {
    Body(Bytes, bool),
    Disconnect,
    Nothing,
}

impl Exchange {
    pub(super) fn new(
        shared: Arc<Shared>,
        site: Arc<Site>,
        key: ExchangeKey,
        request: &Request,
    ) -> Self {
        Self {
            shared,
            site,
            key,
            version: request.version,
            bodiless: request.method == b"HEAD",
            is_socket: false,
            inner: Mutex::new(Inner {
                body: VecDeque::new(),
                ended: request.ended,
                told: false,
                gone: false,
                phase: Phase::Silent,
                status: 0,
                receivers: Vec::new(),
                drainers: Vec::new(),
                task: None,
                left: false,
                scope: None,
                socket: None,
            }),
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    pub(super) fn set_socket(&mut self, mut socket: Socket) {
        self.is_socket = true;
        let mut inner = lock(&self.inner);
        if inner.ended && self.version != Version::Http11 {
            // It came with the request; one of HTTP/1.1 always ends before its tunnel begins.
            socket.on_half_closed();
        }
        inner.socket = Some(Box::new(socket));
    }

    pub(super) fn keep_scope(&self, scope: Py<PyDict>) {
        lock(&self.inner).scope = Some(scope);
    }

    pub(super) fn keep_task(&self, task: Py<PyAny>) {
        lock(&self.inner).task = Some(task);
    }

    // ---- what happens ----

    pub(super) fn on_body(&self, py: Python<'_>, data: Bytes) -> PyResult<()> {
        let receivers = {
            let mut inner = lock(&self.inner);
            if inner.socket.as_ref().is_some_and(|socket| socket.is_open()) {
                drop(inner);
                return self.on_tunnel_data(py, data, false);
            }
            inner.body.push_back(data);
            std::mem::take(&mut inner.receivers)
        };
        wake(py, receivers)
    }

    pub(super) fn on_body_ended(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_socket {
            return self.on_tunnel_ended(py);
        }
        let receivers = {
            let mut inner = lock(&self.inner);
            inner.ended = true;
            std::mem::take(&mut inner.receivers)
        };
        wake(py, receivers)
    }

    pub(super) fn on_drained(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_socket {
            self.on_tunnel_drained(py)?;
        }
        let drainers = std::mem::take(&mut lock(&self.inner).drainers);
        wake(py, drainers)
    }

    /// The answer has left. The application hears of a disconnect now, and nothing is left to drain.
    pub(super) fn on_answered(&self, py: Python<'_>) -> PyResult<()> {
        self.wake_all(py)?;
        self.forget_if_left(py)
    }

    pub(super) fn on_gone(&self, py: Python<'_>) -> PyResult<()> {
        if lock(&self.inner).left {
            // A WebSocket that its application has left.
            self.shared.hub()?.http_release(self.key);
            return self.forget_if_left(py);
        }
        let waiters = self.note_gone();
        wake(py, waiters)
    }

    /// The peer is gone; those who are to be told.
    fn note_gone(&self) -> Vec<Py<Reply>> {
        let mut inner = lock(&self.inner);
        inner.gone = true;
        inner.body.clear();
        if let Some(socket) = &mut inner.socket {
            socket.on_gone();
        }
        inner.take_waiters()
    }

    /// The application has ended before, and so has the tunnel that it left.
    pub(super) fn forget_if_left(&self, py: Python<'_>) -> PyResult<()> {
        if !lock(&self.inner).left {
            return Ok(());
        }
        let removed = lock(&self.shared.state).exchanges.remove(&self.key);
        drop(removed);
        self.shared.schedule(py)
    }

    pub(super) fn wake_receivers(&self, py: Python<'_>) -> PyResult<()> {
        let receivers = std::mem::take(&mut lock(&self.inner).receivers);
        wake(py, receivers)
    }

    pub(super) fn wake_receivers_soon(&self, py: Python<'_>) -> PyResult<()> {
        let receivers = std::mem::take(&mut lock(&self.inner).receivers);
        wake_soon(py, receivers)
    }

    /// Also those who wait for the drain: it is over.
    pub(super) fn wake_all(&self, py: Python<'_>) -> PyResult<()> {
        let waiters = lock(&self.inner).take_waiters();
        wake(py, waiters)
    }

    pub(super) fn wake_all_soon(&self, py: Python<'_>) -> PyResult<()> {
        let waiters = lock(&self.inner).take_waiters();
        wake_soon(py, waiters)
    }

    /// The endpoint is closed; the application is not waited for.
    pub(super) fn cut_off(&self, py: Python<'_>) -> PyResult<()> {
        // Whoever closes an endpoint is a task itself, so others are stepped by the loop.
        let waiters = self.note_gone();
        wake_soon(py, waiters)?;
        let task = lock(&self.inner).task.as_ref().map(|task| task.clone_ref(py));
        if let Some(task) = task {
            cancel_task(py, &task);
        }
        Ok(())
    }

    /// The loop is gone, and nobody is left to be told.
    pub(crate) fn forget(&self) {
        let held = {
            let mut inner = lock(&self.inner);
            let waiters =
                (std::mem::take(&mut inner.receivers), std::mem::take(&mut inner.drainers));
            (waiters, inner.task.take(), inner.scope.take())
        };
        drop(held);
    }

    // ---- what the application awaits ----

    pub(super) fn add_waiter(&self, what: For, reply: Py<Reply>) {
        let mut inner = lock(&self.inner);
        let waiters = match what {
            For::Message => &mut inner.receivers,
            For::Drain => &mut inner.drainers,
        };
        // Whoever has given up waiting is not kept.
        let all = std::mem::take(waiters).into_iter();
        let (over, mut rest): (Vec<_>, Vec<_>) = all.partition(|waiter| waiter.get().is_over());
        rest.push(reply);
        *waiters = rest;
        drop(inner);
        drop(over);
    }

    /// The next message, if there is one.
    pub(super) fn next_message<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.is_socket {
            return self.next_of_socket(py);
        }
        let (next, wants) = {
            let inner = &mut *lock(&self.inner);
            let next = if inner.gone || matches!(inner.phase, Phase::Over) {
                Next::Disconnect
            } else if let Some(data) = inner.body.pop_front() {
                inner.told = inner.ended && inner.body.is_empty();
                Next::Body(data, !inner.told)
            } else if inner.ended && !std::mem::replace(&mut inner.told, true) {
                Next::Body(Bytes::new(), false)
            } else {
                Next::Nothing
            };
            let wants = !inner.ended && inner.body.is_empty() && !matches!(next, Next::Disconnect);
            (next, wants)
        };
        if wants {
            self.shared.hub()?.http_want_body(self.key);
            self.shared.schedule(py)?;
        }
        match next {
            Next::Body(data, more) => message::request(py, &data, more).map(Some),
            Next::Disconnect => message::disconnect(py).map(Some),
            Next::Nothing => Ok(None),
        }
    }

    /// Whether there is nothing more to be said of a request.
    fn is_disconnected(&self) -> bool {
        let inner = lock(&self.inner);
        !self.is_socket && (inner.gone || matches!(inner.phase, Phase::Over))
    }

    /// Whether what was sent is on its way, or nobody waits for it.
    ///
    /// # Errors
    /// It was sent through a WebSocket, which has ended meanwhile.
    pub(super) fn drained(&self) -> PyResult<bool> {
        if lock(&self.inner).socket.as_ref().is_some_and(|socket| socket.has_ended()) {
            return Err(websocket::gone());
        }
        Ok(lock(&self.inner).gone || !self.shared.hub()?.http_watch(self.key))
    }

    // ---- the end ----

    /// Says something without the application.
    pub(super) fn refuse(&self, py: Python<'_>, status: u16) -> PyResult<()> {
        let mut fields = self.usual_fields();
        websocket::refusal_fields(status, &mut fields);
        fields.push(b"content-type", b"text/plain; charset=utf-8");
        let body = Bytes::from_static(match status {
            400 => b"Bad Request",
            403 => b"Forbidden",
            425 => b"Too Early",
            426 => b"Upgrade Required",
            501 => b"Not Implemented",
            503 => b"Service Unavailable",
            _ => b"Internal Server Error",
        });
        {
            let mut inner = lock(&self.inner);
            if let Some(socket) = &mut inner.socket {
                socket.finish();
            }
            inner.phase = Phase::Over;
            inner.status = status;
        }
        self.reply(py, Part::Head { status, fields, body, end: true })
    }

    pub(super) fn reply(&self, py: Python<'_>, part: Part) -> PyResult<()> {
        {
            let mut hub = self.shared.hub()?;
            // What is made here can be sent, unless its peer takes no fields of that size.
            if hub.http_reply(self.key, part).is_err() {
                let _ = hub.http_reply(self.key, Part::Abort);
            }
        }
        self.shared.schedule(py)
    }

    /// The application has returned.
    pub(super) fn returned(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let complaint = {
            let inner = lock(&this.inner);
            let open = inner.socket.as_ref().is_some_and(|socket| !socket.is_asked());
            match inner.phase {
                _ if inner.gone || open => None,
                Phase::Over => None,
                Phase::Silent => Some("the application returned without an answer"),
                _ => Some("the application returned before its answer was whole"),
            }
        };
        if let Some(complaint) = complaint {
            this.complain(slf.py(), &pyo3::exceptions::PyRuntimeError::new_err(complaint))?;
        }
        Self::end(slf, false)
    }

    /// The application has raised.
    pub(super) fn raised(slf: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        let (this, py) = (slf.get(), slf.py());
        if error.is_instance_of::<PyException>(py) {
            this.complain(py, &error)?;
            return Self::end(slf, true);
        }
        Self::end(slf, true)?;
        // Somebody wants the whole program to end; a cancelled task is not that.
        if is_cancelled(py, &error) { Ok(()) } else { Err(error) }
    }

    /// The log is told of a failure.
    fn complain(&self, py: Python<'_>, error: &PyErr) -> PyResult<()> {
        let gone = {
            let inner = lock(&self.inner);
            // A WebSocket may also end in order.
            inner.gone || inner.socket.as_ref().is_some_and(|socket| socket.is_over())
        };
        self.site.failed.bind(py).call1((error.value(py), gone)).map(drop)
    }

    /// The application has ended: what is not whole is made good, or given up.
    fn end(slf: &Bound<'_, Self>, failed: bool) -> PyResult<()> {
        let (this, py) = (slf.get(), slf.py());
        let leaving = this.is_socket && this.leave_socket(py, failed)?;
        if leaving {
            // Somebody has to see the tunnel to its end.
            lock(&this.shared.state).exchanges.insert(this.key, slf.clone().unbind());
        }
        this.conclude(py, leaving)
    }

    fn conclude(&self, py: Python<'_>, leaving: bool) -> PyResult<()> {
        let (phase, gone, receivers, scope) = {
            let mut inner = lock(&self.inner);
            inner.left = leaving;
            let phase = std::mem::replace(&mut inner.phase, Phase::Over);
            inner.body.clear();
            (phase, inner.gone, std::mem::take(&mut inner.receivers), inner.scope.take())
        };
        wake_soon(py, receivers)?;
        if gone {
            self.shared.hub()?.http_release(self.key);
            self.shared.schedule(py)?;
        } else {
            match phase {
                Phase::Over => {}
                _ if leaving => {}
                Phase::Silent | Phase::Held(_) => self.refuse(py, 500)?,
                Phase::Body { .. } | Phase::Trailers(_) => self.reply(py, Part::Abort)?,
            }
        }
        match (&self.site.access, scope) {
            (Some(access), Some(scope)) => {
                let status = lock(&self.inner).status;
                access.bind(py).call1((scope, status)).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Fields that every answer has.
    pub(super) fn usual_fields(&self) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in &self.site.headers {
            fields.push(name, value);
        }
        fields
    }

    /// Says where HTTP/3 is spoken, where the application does not do so itself.
    pub(super) fn add_alt_svc(&self, fields: &mut Fields) {
        let Some(value) = &self.site.alt_svc else { return };
        let said =
            |fields: &Fields| fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"alt-svc"));
        if self.version != Version::Http3 && !said(fields) {
            fields.push(b"alt-svc", value);
        }
    }
}

/// An application that waits.
pub(super) struct Running(pub(super) Py<Exchange>);

impl Errand for Running {
    fn returned(&self, py: Python<'_>, _: &Bound<'_, PyAny>) -> PyResult<()> {
        Exchange::returned(self.0.bind(py))
    }

    fn raised(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        Exchange::raised(self.0.bind(py), error)
    }

    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let exchange = self.0.get();
        let (task, left) = {
            let mut inner = lock(&exchange.inner);
            (inner.task.take(), inner.left)
        };
        // A tunnel that its application has left is seen to its end.
        let removed = match left {
            true => None,
            false => lock(&exchange.shared.state).exchanges.remove(&exchange.key),
        };
        drop((task, removed));
        exchange.shared.handlers.fetch_sub(1, Ordering::Relaxed);
        if exchange.shared.is_draining() {
            exchange.shared.schedule(py)?;
        }
        Ok(())
    }

    fn what(&self) -> String {
        "a request".to_owned()
    }
}

/// Steps those who wait, at once: from the top of a turn.
fn wake(py: Python<'_>, waiters: Vec<Py<Reply>>) -> PyResult<()> {
    for waiter in waiters {
        Reply::complete_now(waiter.bind(py), Ok(py.None().into_bound(py)))?;
    }
    Ok(())
}

/// Has those who wait stepped by the loop: from anywhere.
fn wake_soon(py: Python<'_>, waiters: Vec<Py<Reply>>) -> PyResult<()> {
    for waiter in waiters {
        Reply::complete_soon(waiter.bind(py), Ok(py.None().into_bound(py)))?;
    }
    Ok(())
}

#[pymethods]
impl Exchange {
    /// The next message to the application. It is taken when it is awaited: what is cancelled before
    /// has taken none.
    fn receive<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if slf.get().is_disconnected() {
            // As often as it is asked.
            return Ready::of(message::disconnect(py)?);
        }
        let waiting = Waiting::new(slf.clone().unbind(), For::Message);
        Ok(Bound::new(py, waiting)?.into_any())
    }

    /// A message of the application.
    fn send<'py>(
        slf: &Bound<'py, Self>,
        message: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if slf.get().take(py, message)? {
            let waiting = Waiting::new(slf.clone().unbind(), For::Drain);
            return Ok(Bound::new(py, waiting)?.into_any());
        }
        Ready::none(py)
    }
}

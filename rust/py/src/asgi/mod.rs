//! ASGI: an application answers requests of HTTP. <https://asgi.readthedocs.io>
//!
//! The scope is made here, the application's first step is taken at once (see
//! [`crate::handling`]), and its `receive` and `send` are methods of an [`Exchange`]. Lifespan,
//! proxies and logs are Python's.

mod awaiting;
mod exchange;
mod message;
mod scope;
mod send;
mod session;
mod websocket;

use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use jetstream_net::{ConnectionKey, Event, ExchangeKey, HttpEvent, Request, Version};
use jetstream_proto::webtransport::is_asked;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

pub(crate) use self::awaiting::Waiting;
pub(crate) use self::exchange::Exchange;
use self::exchange::Running;
pub(crate) use self::scope::Origin;
pub(crate) use self::session::SessionRequest;
use crate::connection::Connection;
use crate::handling::{Context, Step, Suspended};
use crate::shared::{Shared, State, lock, vectorcall};

/// An application, and how it is served.
#[derive(FromPyObject)]
pub(crate) struct Site {
    /// The application.
    app: Py<PyAny>,
    /// What its lifespan left for each request.
    state: Option<Py<PyDict>>,
    /// Where it is mounted.
    root_path: String,
    /// Makes of a connection what the scopes of its requests have in common: one for HTTP, one for
    /// WebSockets.
    describe: Py<PyAny>,
    /// Is told of an application that failed: `failed(scope, error, gone)`.
    failed: Py<PyAny>,
    /// Is told of each answer, if anybody wants to know: `access(scope, status)`.
    access: Option<Py<PyAny>>,
    /// Fields of every answer.
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where HTTP/3 is spoken, for those who do not speak it.
    alt_svc: Option<Vec<u8>>,
    /// Requests that are answered at once; more are sent away.
    concurrency: Option<usize>,
    /// Bytes of one answer over which the application waits.
    unsent: usize,
    websocket: WebSockets,
    /// Is told of requests for WebTransport sessions, where they are taken: `(scope, request)`.
    webtransport: Option<Py<PyAny>>,
}

/// How WebSockets are spoken; of `Limits`, but for the compression.
#[derive(FromPyObject)]
struct WebSockets {
    /// Whether messages may be compressed.
    compression: bool,
    /// Bytes of a message.
    message: usize,
    /// Bytes of messages that are held for the application.
    window: usize,
    /// Between pings.
    ping: Option<Duration>,
    /// Until a ping is answered.
    pong: Duration,
}

/// What is left of what a turn has to deliver.
pub(crate) type Rest = Peekable<IntoIter<Event>>;

impl Shared {
    pub(crate) fn set_site(&self, site: Site) {
        lock(&self.state).site = Some(Arc::new(site));
    }

    pub(crate) fn on_http(
        self: &Arc<Self>,
        py: Python<'_>,
        event: HttpEvent,
        rest: &mut Rest,
    ) -> PyResult<()> {
        match event {
            HttpEvent::Request { connection, exchange, request } => {
                self.on_request(py, connection, exchange, *request, rest)
            }
            HttpEvent::Body { exchange, data } => match self.exchange(py, exchange) {
                Some(found) => found.get().on_body(py, data),
                None => Ok(()),
            },
            HttpEvent::BodyEnded { exchange } => match self.exchange(py, exchange) {
                Some(found) => found.get().on_body_ended(py),
                None => Ok(()),
            },
            HttpEvent::Drained { exchange } => match self.exchange(py, exchange) {
                Some(found) => found.get().on_drained(py),
                None => Ok(()),
            },
            HttpEvent::Answered { exchange } => match self.exchange(py, exchange) {
                Some(found) => found.get().on_answered(py),
                None => Ok(()),
            },
            HttpEvent::Gone { exchange } => match self.exchange(py, exchange) {
                Some(found) => found.get().on_gone(py),
                None => {
                    // Its handler has ended.
                    self.hub()?.http_release(exchange);
                    Ok(())
                }
            },
        }
    }

    fn exchange(&self, py: Python<'_>, key: ExchangeKey) -> Option<Py<Exchange>> {
        lock(&self.state).exchanges.get(&key).map(|found| found.clone_ref(py))
    }

    fn on_request(
        self: &Arc<Self>,
        py: Python<'_>,
        connection: ConnectionKey,
        key: ExchangeKey,
        request: Request,
        rest: &mut Rest,
    ) -> PyResult<()> {
        let Some(site) = lock(&self.state).site.clone() else { return Ok(()) };
        let connection = self.connection(py, connection)?;
        if is_asked(request.protocol.as_deref()) {
            return self.on_session_request(py, &site, &connection, key, &request);
        }
        let mut exchange = Exchange::new(self.clone(), site.clone(), key, &request);
        // What has come of the body already spares the application a wait.
        while let Some(Event::Http(event)) = rest.peek() {
            match event {
                HttpEvent::Body { exchange, .. } | HttpEvent::BodyEnded { exchange }
                    if *exchange == key => {}
                _ => break,
            }
            match rest.next() {
                Some(Event::Http(HttpEvent::Body { data, .. })) => exchange.on_body(py, data)?,
                _ => exchange.on_body_ended(py)?,
            }
        }
        let refuse = |exchange: &Exchange, status| -> PyResult<()> {
            exchange.refuse(py, status)?;
            let Some(access) = &site.access else { return Ok(()) };
            // As if the application had been asked: what is no WebSocket goes by its method.
            let is_socket = request.protocol.as_deref() == Some(b"websocket");
            let names = is_socket.then(Vec::new);
            let scope = scope::make(py, &site, &connection, &request, names)?;
            access.bind(py).call1((scope, status)).map(drop)
        };
        if let Some(status) = self.refusal(&site, &request) {
            return refuse(&exchange, status);
        }
        let mut subprotocols = None;
        if request.protocol.is_some() {
            match websocket::welcome(&site, &request) {
                Ok((socket, names)) => {
                    exchange.set_socket(socket);
                    subprotocols = Some(names);
                }
                Err(status) => return refuse(&exchange, status),
            }
        }
        let scope = match scope::make(py, &site, &connection, &request, subprotocols) {
            Ok(scope) => scope,
            Err(error) => {
                exchange.refuse(py, 500)?;
                return Err(error);
            }
        };
        if site.access.is_some() {
            exchange.keep_scope(scope.clone().unbind());
        }
        let exchange = Bound::new(py, exchange)?;
        let receive = exchange.getattr(intern!(py, "receive"))?;
        let send = exchange.getattr(intern!(py, "send"))?;
        let context = Context::copy(py)?;
        let called = vectorcall(site.app.bind(py), &[scope.into_any(), receive, send]);
        let coroutine = match called.and_then(|called| steppable(&called)) {
            Ok(coroutine) => coroutine.unbind(),
            Err(error) => return Exchange::raised(&exchange, error),
        };
        let mut ready = self.take_ready_task(py)?;
        let stepped = ready.first_step(py, &coroutine, &context)?;
        let ended = match stepped {
            Step::Returned(_) => Exchange::returned(&exchange),
            Step::Raised(error) => Exchange::raised(&exchange, error),
            Step::Yielded(value) => {
                self.handlers.fetch_add(1, Ordering::Relaxed);
                lock(&self.state).exchanges.insert(key, exchange.clone().unbind());
                let suspended = Suspended { coroutine, context, yielded: value.unbind() };
                return ready.give(py, suspended, |task| {
                    exchange.get().keep_task(task);
                    Box::new(Running(exchange.unbind()))
                });
            }
        };
        drop((coroutine, context, exchange));
        if let Some(ready) = ready.if_untouched(py)? {
            self.put_ready_task(py, ready)?;
        }
        ended
    }

    /// Somebody asks for a WebTransport session: Python decides, in its own time.
    fn on_session_request(
        self: &Arc<Self>,
        py: Python<'_>,
        site: &Arc<Site>,
        connection: &Bound<'_, Connection>,
        key: ExchangeKey,
        request: &Request,
    ) -> PyResult<()> {
        let asked = Bound::new(py, SessionRequest::new(self.clone(), site, key))?;
        let decide = match &site.webtransport {
            Some(decide) if !self.is_draining() => decide,
            Some(_) => return asked.get().refuse(py, 503),
            None => return asked.get().refuse(py, 501),
        };
        let told = scope::make(py, site, connection, request, Some(Vec::new()))
            .and_then(|scope| decide.bind(py).call1((scope, asked.clone())).map(drop));
        if told.is_err() {
            asked.get().refuse(py, 500)?;
        }
        told
    }

    /// Has the clock of an exchange looked at.
    fn add_exchange_timer(&self, key: ExchangeKey, at: Instant) {
        let mut state = lock(&self.state);
        let State { exchange_timers, exchanges, .. } = &mut *state;
        let is_live = |key| exchanges.contains_key(&ExchangeKey(key));
        exchange_timers.push(at, key.0, exchanges.len(), is_live);
    }

    /// Tells those who would stay for as long as anybody talks with them.
    pub(crate) fn drain_exchanges(&self, py: Python<'_>) -> PyResult<()> {
        let all: Vec<_> =
            lock(&self.state).exchanges.values().map(|found| found.clone_ref(py)).collect();
        for exchange in all {
            exchange.get().go_away(py)?;
        }
        Ok(())
    }

    /// The status of a request that is answered without asking the application.
    fn refusal(&self, site: &Site, request: &Request) -> Option<u16> {
        // What cannot be undone is not done for what may be a copy (RFC 8470, section 5.2).
        let safe = matches!(&request.method[..], b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE");
        if request.early && !safe {
            return Some(425);
        }
        let busy = site.concurrency?;
        (self.handlers.load(Ordering::Relaxed) >= busy).then_some(503)
    }

    /// Nobody will be told of what happens to the exchanges.
    pub(crate) fn close_exchanges(&self, py: Python<'_>) -> PyResult<()> {
        let all: Vec<_> = std::mem::take(&mut lock(&self.state).exchanges).into_values().collect();
        for exchange in all {
            exchange.get().cut_off(py)?;
        }
        Ok(())
    }
}

/// Something that can be stepped: a coroutine is; what merely can be awaited gives one.
fn steppable<'py>(awaitable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: a live object.
    if unsafe { pyo3::ffi::PyCoro_CheckExact(awaitable.as_ptr()) } != 0 {
        return Ok(awaitable.clone());
    }
    if awaitable.hasattr(intern!(awaitable.py(), "send"))? {
        return Ok(awaitable.clone());
    }
    awaitable.call_method0(intern!(awaitable.py(), "__await__"))
}

fn version_text(version: Version) -> &'static str {
    match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
        Version::Http3 => "3",
    }
}

//! A call as a coroutine: nothing happens until it is awaited, and it is awaited once.

use std::ffi::CStr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};

use jetstream_proto::ext::Metadata;
use jetstream_proto::mux::Ticket;
use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning};
use pyo3::prelude::*;
use pyo3::types::{PyMappingProxy, PyTuple};

use crate::caller::{CallerLane, Waiter};
use crate::channel::ChannelMethod;
use crate::coroutine::{Coroutine, Step, thrown};
use crate::feed::{self, Feed};
use crate::reply::Reply;
use crate::shared::{LIVE_CALLS, at_drop, lock};
use crate::subscription::metadata_mapping;

enum State {
    /// Not awaited yet.
    Fresh {
        arguments: Py<PyTuple>,
        timeout: f64,
        stream: Option<Py<PyAny>>,
    },
    /// Its frame is on its way.
    Waiting {
        reply: Arc<Py<Reply>>,
        ticket: Ticket,
        streaming: Option<Box<Streaming>>,
    },
    Over,
}

/// What a call with a stream from the caller has beside.
struct Streaming {
    /// Its own lane, or that of the channel.
    lane: Arc<CallerLane>,
    feed: Feed,
}

/// One call of a remote method.
#[pyclass(frozen, freelist = 1024, module = "jetstream._core")]
pub(crate) struct Call {
    method: Py<ChannelMethod>,
    state: Mutex<State>,
    metadata: OnceLock<Metadata>,
}

impl Call {
    pub(crate) fn new(
        method: Py<ChannelMethod>,
        arguments: Py<PyTuple>,
        timeout: f64,
        stream: Option<Py<PyAny>>,
    ) -> Self {
        LIVE_CALLS.fetch_add(1, Ordering::Relaxed);
        let state = Mutex::new(State::Fresh { arguments, timeout, stream });
        Self { method, state, metadata: OnceLock::new() }
    }

    fn start(
        &self,
        py: Python<'_>,
        arguments: &Py<PyTuple>,
        timeout: f64,
        stream: Option<Py<PyAny>>,
    ) -> PyResult<State> {
        let method = self.method.bind(py);
        let shared = method.get().lane();
        let made = Bound::new(py, Reply::new(shared.shared().clone()))?;
        let reply = Arc::new(made.unbind());
        let waiter = Waiter::Reply(reply.clone());
        let Some(stream) = stream else {
            let ticket = shared.start(py, method, arguments.bind(py), timeout, waiter, None)?;
            return Ok(State::Waiting { reply, ticket, streaming: None });
        };
        let lane = shared.for_stream(py)?.unwrap_or_else(|| shared.clone());
        let flow = Arc::new(feed::Flow::default());
        let feed = Some(flow.clone());
        let ticket = lane.start(py, method, arguments.bind(py), timeout, waiter, feed)?;
        let feed = Feed::start(py, &lane, ticket, method, flow, stream)?;
        let streaming = Some(Box::new(Streaming { lane, feed }));
        Ok(State::Waiting { reply, ticket, streaming })
    }

    fn keep_metadata(&self) {
        if let State::Waiting { reply, .. } = &*lock(&self.state) {
            self.set_metadata(reply);
        }
    }

    fn set_metadata(&self, reply: &Py<Reply>) {
        if let Some(metadata) = reply.get().take_metadata() {
            let _ = self.metadata.set(metadata);
        }
    }

    /// As the interpreter does for a coroutine of its own.
    fn warn_unawaited(&self) {
        at_drop(|py| {
            let message = format!("call of '{}' was never awaited\0", self.method.get().what);
            let Ok(message) = CStr::from_bytes_until_nul(message.as_bytes()) else { return };
            if let Err(error) = PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), message, 1) {
                error.write_unraisable(py, None);
            }
        });
    }

    fn give_up(&self, py: Python<'_>) {
        if let Some(begun) = self.leave() {
            begun.give_up(py);
        }
    }

    /// What is to be given up, if it has begun.
    fn leave(&self) -> Option<Begun> {
        let state = std::mem::replace(&mut *lock(&self.state), State::Over);
        let State::Waiting { ticket, streaming, .. } = state else { return None };
        let (lane, feed) = match streaming {
            None => (self.method.get().lane().clone(), None),
            Some(streaming) => (streaming.lane, Some(streaming.feed)),
        };
        Some(Begun { lane, ticket, feed })
    }
}

/// A call that was sent, or a subscription, as far as giving it up goes.
pub(crate) struct Begun {
    pub(crate) lane: Arc<CallerLane>,
    pub(crate) ticket: Ticket,
    pub(crate) feed: Option<Feed>,
}

impl Begun {
    /// Nobody waits for it any more.
    pub(crate) fn give_up(self, py: Python<'_>) {
        self.lane.abandon(py, self.ticket);
        if let Some(feed) = self.feed {
            feed.stop(py);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        LIVE_CALLS.fetch_sub(1, Ordering::Relaxed);
        match &*lock(&self.state) {
            State::Over => return,
            State::Fresh { .. } => self.warn_unawaited(),
            State::Waiting { .. } => {}
        }
        if let Some(begun) = self.leave() {
            let shared = begun.lane.shared().clone();
            shared.bury(|py| begun.give_up(py));
        }
    }
}

impl Coroutine for Call {
    fn step<'py>(&self, py: Python<'py>) -> PyResult<Step<'py>> {
        let state = std::mem::replace(&mut *lock(&self.state), State::Over);
        match state {
            State::Fresh { arguments, timeout, stream } => {
                let waiting = self.start(py, &arguments, timeout, stream)?;
                let State::Waiting { reply, .. } = &waiting else {
                    return Err(PyRuntimeError::new_err("a call that waits for nothing"));
                };
                let waits = reply.bind(py).clone().into_any();
                *lock(&self.state) = waiting;
                Ok(Step::Waits(waits))
            }
            State::Waiting { reply, ticket, streaming } => match reply.get().take(py) {
                Some(outcome) => {
                    self.set_metadata(&reply);
                    let lane = match &streaming {
                        Some(streaming) => &streaming.lane,
                        None => self.method.get().lane(),
                    };
                    if outcome.is_err() {
                        // It may be our task that was cancelled, and not the call that failed.
                        lane.abandon(py, ticket);
                    }
                    if let Some(streaming) = streaming {
                        streaming.feed.stop(py);
                    }
                    outcome.map(|value| Step::Done(value.into_bound(py)))
                }
                None => {
                    let is_taken = reply.get().has_waiter();
                    let waits = reply.bind(py).clone().into_any();
                    *lock(&self.state) = State::Waiting { reply, ticket, streaming };
                    if is_taken {
                        let what = &self.method.get().what;
                        return Err(PyRuntimeError::new_err(format!(
                            "another task is waiting for this call of {what} already"
                        )));
                    }
                    // Something other than the reply woke the task; wait again.
                    waits.cast::<Reply>()?.get().block();
                    Ok(Step::Waits(waits))
                }
            },
            State::Over => Err(PyRuntimeError::new_err("cannot reuse already awaited call")),
        }
    }
}

#[pymethods]
impl Call {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.next(py)
    }

    fn send<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let _ = value;
        self.next(py)
    }

    #[pyo3(signature = (exception, value=None, traceback=None))]
    fn throw<'py>(
        &self,
        py: Python<'py>,
        exception: &Bound<'py, PyAny>,
        value: Option<&Bound<'py, PyAny>>,
        traceback: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = traceback;
        // This may be the call's own failure, which its task throws in.
        self.keep_metadata();
        self.give_up(py);
        Err(thrown(exception, value)?)
    }

    fn close(&self, py: Python<'_>) {
        self.give_up(py);
    }

    /// What the method said beside its result; empty before it has answered.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMappingProxy>> {
        match self.metadata.get() {
            Some(metadata) => metadata_mapping(py, metadata),
            None => metadata_mapping(py, &Metadata::default()),
        }
    }

    fn __repr__(&self) -> String {
        let state = match &*lock(&self.state) {
            State::Fresh { .. } => "not awaited",
            State::Waiting { .. } => "in flight",
            State::Over => "over",
        };
        format!("<call of {}, {state}>", self.method.get().what)
    }

    #[getter]
    fn __name__(&self) -> String {
        self.method.get().what.rsplit('.').next().unwrap_or_default().to_owned()
    }

    #[getter]
    fn __qualname__(&self) -> String {
        self.method.get().what.clone()
    }
}

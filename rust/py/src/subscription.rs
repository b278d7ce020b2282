//! A subscription at the calling end: items as they come, and a result at the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use jetstream_proto::ext::{self, INITIAL_WINDOW, Metadata};
use jetstream_proto::frame;
use jetstream_proto::limits::FRAME_HEADER;
use jetstream_proto::mux::{Receiving, Ticket};
use pyo3::exceptions::PyRuntimeError;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyMappingProxy, PyTuple};

use crate::call::Begun;
use crate::caller::Waiter;
use crate::channel::ChannelMethod;
use crate::coroutine::{Coroutine, Step, thrown};
use crate::errors;
use crate::feed::{self, Feed};
use crate::inbox::{Inbox, NextItem, Taker};
use crate::shared::{LIVE_CALLS, Shared, at_drop, lock};

/// What the lane gives and the subscription takes.
pub(crate) struct Flow {
    pub(crate) inbox: Inbox,
    pub(crate) window: Mutex<Receiving>,
    pub(crate) result: Mutex<Option<Py<PyAny>>>,
    pub(crate) metadata: Mutex<Metadata>,
    /// The lane is not read until items have been taken.
    pub(crate) paused: AtomicBool,
    ticket: OnceLock<Ticket>,
    /// The type of its items' frames, where only the latest counts.
    lossy: bool,
    /// The number of the latest.
    latest: Mutex<Option<u32>>,
}

impl Flow {
    fn new(window: u32, lossy: bool) -> Self {
        Self {
            lossy,
            latest: Mutex::new(None),
            inbox: Inbox::default(),
            window: Mutex::new(Receiving::new(window.max(INITIAL_WINDOW))),
            result: Mutex::new(None),
            metadata: Mutex::new(Metadata::default()),
            paused: AtomicBool::new(false),
            ticket: OnceLock::new(),
        }
    }

    pub(crate) fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// Whether an item is later than all that came; if so, it is the latest from now on.
    pub(crate) fn is_later(&self, number: u32) -> bool {
        let mut latest = lock(&self.latest);
        let later = latest.is_none_or(|last| ext::is_later(number, last));
        if later {
            *latest = Some(number);
        }
        later
    }

    /// A value as the frame that it is when it does not come as a datagram.
    pub(crate) fn item_frame(&self, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(FRAME_HEADER + value.len());
        let start = frame::begin(&mut out, ext::LOSSY, 0);
        out.extend_from_slice(value);
        // It came in a frame, so it fits one.
        let _ = frame::finish(&mut out, start, u32::MAX);
        out
    }

    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.ticket.get().copied()
    }
}

enum State {
    /// No item has been asked for yet.
    Fresh {
        arguments: Py<PyTuple>,
        timeout: f64,
        stream: Option<Py<PyAny>>,
    },
    Running(Begun),
    Over,
}

/// Items of a remote method.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct Subscription {
    method: Py<ChannelMethod>,
    flow: Arc<Flow>,
    state: Mutex<State>,
}

impl Subscription {
    pub(crate) fn new(
        method: Py<ChannelMethod>,
        arguments: Py<PyTuple>,
        timeout: f64,
        stream: Option<Py<PyAny>>,
    ) -> Self {
        LIVE_CALLS.fetch_add(1, Ordering::Relaxed);
        let window = method.get().lane().settings().stream_window;
        let lossy = method.get().lossy;
        let state = Mutex::new(State::Fresh { arguments, timeout, stream });
        Self { method, flow: Arc::new(Flow::new(window, lossy)), state }
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
        let own = shared.for_stream(py)?;
        let lane = own.unwrap_or_else(|| shared.clone());
        let waiter = Waiter::Stream(self.flow.clone());
        let flow = stream.as_ref().map(|_| Arc::new(feed::Flow::default()));
        let arguments = arguments.bind(py);
        let ticket = lane.start(py, method, arguments, timeout, waiter, flow.clone())?;
        let _ = self.flow.ticket.set(ticket);
        let feed = match stream.zip(flow) {
            Some((stream, flow)) => Some(Feed::start(py, &lane, ticket, method, flow, stream)?),
            None => None,
        };
        Ok(State::Running(Begun { lane, ticket, feed }))
    }

    /// Ends the method, if it runs; what has not been taken is forgotten.
    fn stop(&self, py: Python<'_>) {
        self.abandon(py);
        self.flow.inbox.close();
    }

    /// The same, and another task that waits for an item sees the end.
    fn stop_taking(&self, py: Python<'_>) -> PyResult<()> {
        self.abandon(py);
        self.flow.inbox.cancel(py)
    }

    fn abandon(&self, py: Python<'_>) {
        if let Some(begun) = self.leave() {
            begun.give_up(py);
        }
    }

    /// What is to be given up, if it has begun.
    fn leave(&self) -> Option<Begun> {
        match std::mem::replace(&mut *lock(&self.state), State::Over) {
            State::Running(begun) => Some(begun),
            State::Fresh { .. } | State::Over => None,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        LIVE_CALLS.fetch_sub(1, Ordering::Relaxed);
        if let Some(begun) = self.leave() {
            let shared = begun.lane.shared().clone();
            shared.bury(|py| begun.give_up(py));
        }
        at_drop(|_| self.flow.inbox.close());
    }
}

impl Taker for Subscription {
    fn inbox(&self) -> &Inbox {
        &self.flow.inbox
    }

    fn shared(&self) -> &Arc<Shared> {
        self.method.get().lane().shared()
    }

    fn begin(&self, py: Python<'_>) -> PyResult<()> {
        let fresh = {
            let mut state = lock(&self.state);
            match &*state {
                State::Fresh { .. } => std::mem::replace(&mut *state, State::Over),
                State::Running(_) | State::Over => return Ok(()),
            }
        };
        let State::Fresh { arguments, timeout, stream } = fresh else { return Ok(()) };
        match self.start(py, &arguments, timeout, stream) {
            Ok(running) => {
                *lock(&self.state) = running;
                Ok(())
            }
            Err(error) => {
                // It never began: there is nothing to wait for.
                self.flow.inbox.fail(py, &error);
                Err(error)
            }
        }
    }

    fn decode<'py>(&self, py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        self.method.get().decode_item(py, payload)
    }

    fn took(&self, py: Python<'_>, size: usize) -> PyResult<()> {
        if self.flow.is_lossy() {
            // Counted when it came: nobody waits for it to be taken.
            return Ok(());
        }
        let grant = lock(&self.flow.window).took(size);
        if grant.is_none() && !self.flow.paused.load(Ordering::Relaxed) {
            return Ok(());
        }
        let running = match &*lock(&self.state) {
            State::Running(begun) => Some((begun.lane.clone(), begun.ticket)),
            _ => None,
        };
        match running {
            Some((lane, ticket)) => lane.took(py, ticket, &self.flow, grant),
            None => Ok(()),
        }
    }

    fn give_up(&self, py: Python<'_>) {
        self.stop(py);
    }

    fn fail(&self, py: Python<'_>, error: &PyErr) {
        self.flow.inbox.fail(py, error);
        self.abandon(py);
    }

    fn left(&self, py: Python<'_>) -> PyErr {
        errors::given_up(py, &self.method.get().what)
    }
}

fn as_taker<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a dyn Taker> {
    object.cast::<Subscription>().ok().map(|found| found.get() as &dyn Taker)
}

/// Metadata as Python sees it: a mapping that cannot be changed.
pub(crate) fn metadata_mapping<'py>(
    py: Python<'py>,
    metadata: &Metadata,
) -> PyResult<Bound<'py, PyMappingProxy>> {
    let dict = PyDict::new(py);
    for (key, value) in &metadata.0 {
        dict.set_item(key, PyBytes::new(py, value))?;
    }
    Ok(PyMappingProxy::new(py, dict.as_mapping()))
}

#[pymethods]
impl Subscription {
    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, NextItem>> {
        NextItem::make(slf.as_any(), as_taker)
    }

    /// What the method returned, when it has.
    #[getter]
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(result) = &*lock(&self.flow.result) {
            return Ok(result.clone_ref(py));
        }
        match self.flow.inbox.failure(py) {
            Some(error) => Err(error),
            None if self.flow.inbox.is_left() => Err(self.left(py)),
            None => Err(PyRuntimeError::new_err(format!(
                "{} has not ended: its result comes after its last item",
                self.method.get().what
            ))),
        }
    }

    /// What the method said beside its items and its result.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMappingProxy>> {
        let metadata = lock(&self.flow.metadata).clone();
        metadata_mapping(py, &metadata)
    }

    /// Ends the method; does not wait.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        self.stop_taking(py)
    }

    /// The same, as generators have it.
    fn aclose<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Ready>> {
        self.stop_taking(py)?;
        Bound::new(py, Ready { value: py.None() })
    }

    fn __aenter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Ready>> {
        Bound::new(slf.py(), Ready { value: slf.into_any().unbind() })
    }

    #[pyo3(signature = (*_exception))]
    fn __aexit__<'py>(
        &self,
        py: Python<'py>,
        _exception: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, Ready>> {
        self.stop_taking(py)?;
        Bound::new(py, Ready { value: py.None() })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.flow.inbox.traverse(&visit)
    }

    fn __clear__(&self) {
        self.flow.inbox.clear();
    }

    fn __repr__(&self) -> String {
        let state = match &*lock(&self.state) {
            State::Fresh { .. } => "not begun",
            State::Running(_) => "running",
            State::Over => "over",
        };
        format!("<subscription to {}, {state}>", self.method.get().what)
    }
}

/// An awaitable that does not wait.
#[pyclass(frozen, freelist = 64, module = "jetstream._core")]
pub(crate) struct Ready {
    value: Py<PyAny>,
}

impl Ready {
    pub(crate) fn of(value: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
        let py = value.py();
        Ok(Bound::new(py, Self { value: value.unbind() })?.into_any())
    }

    /// The one that has nothing to tell.
    pub(crate) fn none(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        static MADE: PyOnceLock<Py<Ready>> = PyOnceLock::new();
        let made = MADE.get_or_try_init(py, || Py::new(py, Self { value: py.None() }))?;
        Ok(made.bind(py).clone().into_any())
    }
}

impl Coroutine for Ready {
    fn step<'py>(&self, py: Python<'py>) -> PyResult<Step<'py>> {
        Ok(Step::Done(self.value.bind(py).clone()))
    }
}

#[pymethods]
impl Ready {
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
        exception: &Bound<'py, PyAny>,
        value: Option<&Bound<'py, PyAny>>,
        traceback: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = traceback;
        Err(thrown(exception, value)?)
    }

    #[allow(clippy::unused_self)] // a coroutine has it
    fn close(&self) {}
}

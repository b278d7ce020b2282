//! What a call waits for: a future in asyncio's sense, made for one waiter.
//!
//! `asyncio.Future` tells its waiter through the loop: a handle, a context, one more pass. A reply
//! arrives inside a turn, where no task runs, so the task that waits can be stepped at once; what
//! it sends next then leaves in the same turn. Only what a task asks of what it waits for is here
//! (the duck type of `asyncio.isfuture`); a call itself is a coroutine and no future.

use std::sync::{Arc, Mutex};

use jetstream_proto::ext::Metadata;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::handling::enter_context;
use crate::shared::{Shared, lock};

enum Outcome {
    Value(Py<PyAny>),
    Error(PyErr),
    /// With the message of `Task.cancel`, by which some know a cancellation of their own again.
    Cancelled(Option<Py<PyAny>>),
}

#[derive(Default)]
struct State {
    blocking: bool,
    outcome: Option<Outcome>,
    /// The task's wake-up and its context.
    callback: Option<(Py<PyAny>, Option<Py<PyAny>>)>,
    metadata: Option<Metadata>,
}

/// The pending answer of one call.
#[pyclass(frozen, freelist = 1024, module = "jetstream._core")]
pub(crate) struct Reply {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

impl Reply {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, state: Mutex::new(State { blocking: true, ..State::default() }) }
    }

    /// Completes the reply and steps the waiting task at once. Only from the top of a turn, where
    /// no other task runs.
    pub(crate) fn complete_now(
        slf: &Bound<'_, Self>,
        outcome: PyResult<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        match slf.get().set(outcome) {
            Some((callback, Some(context))) => {
                let called =
                    enter_context(context.bind(slf.py()), || callback.call1(slf.py(), (slf,)))?;
                called.map(drop)
            }
            Some((callback, None)) => callback.call1(slf.py(), (slf,)).map(drop),
            None => Ok(()),
        }
    }

    /// Completes the reply and lets the loop wake the waiting task: from anywhere.
    pub(crate) fn complete_soon(
        slf: &Bound<'_, Self>,
        outcome: PyResult<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let woken = slf.get().set(outcome);
        slf.get().call_soon(slf, woken)
    }

    /// Fails the reply and lets the loop wake the waiting task: from anywhere.
    pub(crate) fn fail_soon(slf: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        Self::complete_soon(slf, Err(error))
    }

    fn set(&self, outcome: PyResult<Bound<'_, PyAny>>) -> Option<(Py<PyAny>, Option<Py<PyAny>>)> {
        let mut state = lock(&self.state);
        if state.outcome.is_some() {
            return None;
        }
        state.outcome = Some(match outcome {
            Ok(value) => Outcome::Value(value.unbind()),
            Err(error) => Outcome::Error(error),
        });
        state.callback.take()
    }

    fn call_soon(
        &self,
        slf: &Bound<'_, Self>,
        callback: Option<(Py<PyAny>, Option<Py<PyAny>>)>,
    ) -> PyResult<()> {
        let Some((callback, context)) = callback else { return Ok(()) };
        let py = slf.py();
        let event_loop = self.shared.event_loop(py);
        if event_loop.call_method0(intern!(py, "is_closed"))?.is_truthy()? {
            // Nobody is left to be woken.
            return Ok(());
        }
        let kwargs = PyDict::new(py);
        kwargs.set_item(intern!(py, "context"), context)?;
        event_loop.call_method(intern!(py, "call_soon"), (callback, slf), Some(&kwargs)).map(drop)
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_over(&self) -> bool {
        lock(&self.state).outcome.is_some()
    }

    /// Whether a task waits for it.
    pub(crate) fn has_waiter(&self) -> bool {
        lock(&self.state).callback.is_some()
    }

    /// What came, if something has.
    pub(crate) fn take(&self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        match lock(&self.state).outcome.as_ref()? {
            Outcome::Value(value) => Some(Ok(value.clone_ref(py))),
            Outcome::Error(error) => Some(Err(error.clone_ref(py))),
            Outcome::Cancelled(message) => Some(Err(cancelled(py, message.as_ref()))),
        }
    }

    /// What the peer says beside its answer.
    pub(crate) fn set_metadata(&self, metadata: Metadata) {
        lock(&self.state).metadata = Some(metadata);
    }

    pub(crate) fn take_metadata(&self) -> Option<Metadata> {
        lock(&self.state).metadata.take()
    }

    /// Nobody will complete this; the waiting task is let go.
    pub(crate) fn forget(&self) {
        let callback = lock(&self.state).callback.take();
        drop(callback);
    }

    /// Something waits for this again.
    pub(crate) fn block(&self) {
        lock(&self.state).blocking = true;
    }
}

fn cancelled(py: Python<'_>, message: Option<&Py<PyAny>>) -> PyErr {
    let class = py.import("asyncio").and_then(|asyncio| asyncio.getattr("CancelledError"));
    let made = class.and_then(|class| match message {
        Some(message) => class.call1((message,)),
        None => class.call0(),
    });
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

#[pymethods]
impl Reply {
    #[getter]
    fn _asyncio_future_blocking(&self) -> bool {
        lock(&self.state).blocking
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        lock(&self.state).blocking = blocking;
    }

    fn get_loop<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.shared.event_loop(py).clone()
    }

    #[pyo3(signature = (callback, *, context=None))]
    fn add_done_callback(
        slf: &Bound<'_, Self>,
        callback: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let done = {
            let mut state = lock(&slf.get().state);
            if state.outcome.is_none() {
                state.callback = Some((callback.clone_ref(slf.py()), context));
                return Ok(());
            }
            context
        };
        slf.get().call_soon(slf, Some((callback, done)))
    }

    fn remove_done_callback(&self, callback: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = callback.py();
        let known = lock(&self.state).callback.as_ref().map(|(known, _)| known.clone_ref(py));
        let same = match known {
            Some(known) => known.bind(py).eq(callback)?,
            None => false,
        };
        let removed = if same { lock(&self.state).callback.take() } else { None };
        Ok(usize::from(removed.is_some()))
    }

    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let callback = {
            let mut state = lock(&slf.get().state);
            if state.outcome.is_some() {
                return Ok(false);
            }
            state.outcome = Some(Outcome::Cancelled(msg));
            state.callback.take()
        };
        slf.get().call_soon(slf, callback)?;
        Ok(true)
    }

    fn done(&self) -> bool {
        lock(&self.state).outcome.is_some()
    }

    fn cancelled(&self) -> bool {
        matches!(lock(&self.state).outcome, Some(Outcome::Cancelled(_)))
    }

    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.take(py).unwrap_or_else(|| {
            Err(pyo3::exceptions::PyRuntimeError::new_err("the reply has not come"))
        })
    }

    fn exception(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match &lock(&self.state).outcome {
            Some(Outcome::Error(error)) => Ok(Some(error.value(py).clone().into_any().unbind())),
            Some(Outcome::Cancelled(message)) => Err(cancelled(py, message.as_ref())),
            _ => Ok(None),
        }
    }
}

//! A call as a coroutine: nothing happens until it is awaited, and it is awaited once.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use jetstream_proto::mux::Ticket;
use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning, PyStopIteration};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::channel::ChannelMethod;
use crate::inbox::thrown;
use crate::reply::Reply;
use crate::shared::{LIVE_CALLS, lock};

enum State {
    /// Not awaited yet.
    Fresh {
        arguments: Py<PyTuple>,
        timeout: f64,
    },
    /// Its frame is on its way.
    Waiting {
        reply: Py<Reply>,
        ticket: Ticket,
    },
    Over,
}

/// One call of a remote method.
#[pyclass(frozen, freelist = 1024, module = "jetstream._core")]
pub(crate) struct Call {
    method: Py<ChannelMethod>,
    state: Mutex<State>,
}

/// What a step of the call came to.
enum Step {
    Waits(Py<PyAny>),
    Done(Py<PyAny>),
}

impl Call {
    pub(crate) fn new(method: Py<ChannelMethod>, arguments: Py<PyTuple>, timeout: f64) -> Self {
        LIVE_CALLS.fetch_add(1, Ordering::Relaxed);
        Self { method, state: Mutex::new(State::Fresh { arguments, timeout }) }
    }

    fn step(&self, py: Python<'_>) -> PyResult<Step> {
        let state = std::mem::replace(&mut *lock(&self.state), State::Over);
        match state {
            State::Fresh { arguments, timeout } => {
                let method = self.method.bind(py);
                let started = method.get().lane().start(py, method, arguments.bind(py), timeout)?;
                let (reply, ticket) = started;
                let waits = reply.clone().into_any().unbind();
                *lock(&self.state) = State::Waiting { reply: reply.unbind(), ticket };
                Ok(Step::Waits(waits))
            }
            State::Waiting { reply, ticket } => match reply.get().take(py) {
                Some(Ok(value)) => Ok(Step::Done(value)),
                Some(Err(error)) => {
                    self.method.get().lane().abandon(ticket);
                    Err(error)
                }
                None => {
                    // Something other than the reply woke the task; wait again.
                    reply.get().block();
                    let waits = reply.clone_ref(py).into_any();
                    *lock(&self.state) = State::Waiting { reply, ticket };
                    Ok(Step::Waits(waits))
                }
            },
            State::Over => Err(PyRuntimeError::new_err("cannot reuse already awaited call")),
        }
    }

    /// As the interpreter does for a coroutine of its own.
    fn warn_unawaited(&self) {
        Python::attach(|py| {
            let message = format!("call of '{}' was never awaited\0", self.method.get().what);
            let Ok(message) = CStr::from_bytes_until_nul(message.as_bytes()) else { return };
            if let Err(error) = PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), message, 1) {
                error.write_unraisable(py, None);
            }
        });
    }

    fn give_up(&self) {
        let state = std::mem::replace(&mut *lock(&self.state), State::Over);
        if let State::Waiting { ticket, .. } = state {
            self.method.get().lane().abandon(ticket);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        LIVE_CALLS.fetch_sub(1, Ordering::Relaxed);
        if matches!(&*lock(&self.state), State::Fresh { .. }) {
            self.warn_unawaited();
        }
        self.give_up();
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

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.step(py)? {
            Step::Waits(reply) => Ok(reply),
            Step::Done(value) => Err(PyStopIteration::new_err((value,))),
        }
    }

    fn send(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let _ = value;
        self.__next__(py)
    }

    #[pyo3(signature = (exception, value=None, traceback=None))]
    fn throw<'py>(
        &self,
        exception: &Bound<'py, PyAny>,
        value: Option<&Bound<'py, PyAny>>,
        traceback: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = traceback;
        self.give_up();
        Err(thrown(exception, value)?)
    }

    fn close(&self) {
        self.give_up();
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

/// Gives the class the slots by which the interpreter steps a coroutine of its own: a result is
/// handed over as it is, where PyO3's `__next__` would make a `StopIteration` around it.
pub(crate) fn install_slots(py: Python<'_>) {
    let class = py.get_type::<Call>().as_type_ptr();
    // SAFETY: a class of this module, before anybody has an instance; a heap type has its own
    // `tp_as_async`, and the interpreter reads both slots at each use.
    unsafe {
        (*class).tp_iternext = Some(call_next);
        if let Some(slots) = (*class).tp_as_async.as_mut() {
            slots.am_send = Some(call_send);
        }
        ffi::PyType_Modified(class);
    }
}

/// Steps the call behind `object`; an error is set where it is not `Some`.
fn stepped(object: *mut ffi::PyObject) -> Option<Step> {
    let step = AssertUnwindSafe(|| {
        Python::attach(|py| {
            // SAFETY: the slots are only those of `Call`, so the object is one, and alive.
            let call =
                unsafe { Bound::from_borrowed_ptr(py, object).cast_into_unchecked::<Call>() };
            match call.get().step(py) {
                Ok(step) => Some(step),
                Err(error) => {
                    error.restore(py);
                    None
                }
            }
        })
    });
    catch_unwind(step).unwrap_or_else(|_| {
        Python::attach(|py| {
            PyRuntimeError::new_err("jetstream panicked; this is a bug").restore(py);
        });
        None
    })
}

unsafe extern "C" fn call_send(
    object: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    let (value, outcome) = match stepped(object) {
        Some(Step::Waits(reply)) => (reply.into_ptr(), ffi::PySendResult::PYGEN_NEXT),
        Some(Step::Done(value)) => (value.into_ptr(), ffi::PySendResult::PYGEN_RETURN),
        None => (std::ptr::null_mut(), ffi::PySendResult::PYGEN_ERROR),
    };
    // SAFETY: the interpreter gives a place for the result.
    unsafe { *result = value };
    outcome
}

unsafe extern "C" fn call_next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    match stepped(object) {
        Some(Step::Waits(reply)) => reply.into_ptr(),
        Some(Step::Done(value)) => {
            Python::attach(|py| stop_iteration(value.bind(py)));
            std::ptr::null_mut()
        }
        None => std::ptr::null_mut(),
    }
}

/// Raises `StopIteration(value)` as generators do: `None` needs no exception at all, and a tuple
/// or an exception would be taken apart if it were not wrapped.
fn stop_iteration(value: &Bound<'_, PyAny>) {
    if value.is_none() {
        return;
    }
    let apart = value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<pyo3::exceptions::PyBaseException>();
    if apart {
        PyStopIteration::new_err((value.clone().unbind(),)).restore(value.py());
    } else {
        // SAFETY: both are live objects.
        unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, value.as_ptr()) };
    }
}

//! What an application awaits when what it asks for is not there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::ffi;
use pyo3::prelude::*;

use super::Exchange;
use crate::inbox::thrown;
use crate::reply::Reply;
use crate::shared::lock;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// The next message to the application.
    Message,
    /// Little is unsent.
    Drain,
}

/// A coroutine that waits for something to happen to an exchange.
#[pyclass(frozen, freelist = 256, module = "jetstream._core")]
pub(crate) struct Waiting {
    exchange: Py<Exchange>,
    what: For,
    reply: Mutex<Option<Py<Reply>>>,
}

enum Step<'py> {
    Waits(Bound<'py, PyAny>),
    Done(Bound<'py, PyAny>),
}

impl Waiting {
    pub(super) fn new(exchange: Py<Exchange>, what: For) -> Self {
        Self { exchange, what, reply: Mutex::new(None) }
    }

    fn step<'py>(&self, py: Python<'py>) -> PyResult<Step<'py>> {
        let waited = lock(&self.reply).take();
        if let Some(waited) = waited {
            // Cancelled, or thrown away with the endpoint.
            waited.get().take(py).transpose()?;
        }
        let exchange = self.exchange.get();
        let done = match self.what {
            For::Message => exchange.next_message(py)?,
            For::Drain => exchange.drained()?.then(|| py.None().into_bound(py)),
        };
        if let Some(done) = done {
            return Ok(Step::Done(done));
        }
        let reply = Bound::new(py, Reply::new(exchange.shared()))?;
        exchange.add_waiter(self.what, reply.clone().unbind());
        *lock(&self.reply) = Some(reply.clone().unbind());
        Ok(Step::Waits(reply.into_any()))
    }

    fn forget(&self) {
        let reply = lock(&self.reply).take();
        if let Some(reply) = reply {
            reply.get().forget();
        }
    }
}

#[pymethods]
impl Waiting {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.step(py)? {
            Step::Waits(reply) => Ok(reply),
            Step::Done(value) => Err(PyStopIteration::new_err((value.unbind(),))),
        }
    }

    fn send<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
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
        self.forget();
        Err(thrown(exception, value)?)
    }

    fn close(&self) {
        self.forget();
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        match self.what {
            For::Message => "receive",
            For::Drain => "send",
        }
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        self.__name__()
    }
}

/// Gives the class the slot by which the interpreter steps a coroutine of its own.
pub(crate) fn install_slots(py: Python<'_>) {
    let class = py.get_type::<Waiting>().as_type_ptr();
    // SAFETY: a class of this module, before anybody has an instance; a heap type has its own
    // `tp_as_async`, and the interpreter reads the slot at each use.
    unsafe {
        if let Some(slots) = (*class).tp_as_async.as_mut() {
            slots.am_send = Some(waiting_send);
        }
        ffi::PyType_Modified(class);
    }
}

unsafe extern "C" fn waiting_send(
    object: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    let step = AssertUnwindSafe(|| {
        Python::attach(|py| {
            // SAFETY: the slot is only that of `Waiting`, so the object is one, and alive.
            let waiting =
                unsafe { Bound::from_borrowed_ptr(py, object).cast_into_unchecked::<Waiting>() };
            match waiting.get().step(py) {
                Ok(Step::Waits(reply)) => (reply.into_ptr(), ffi::PySendResult::PYGEN_NEXT),
                Ok(Step::Done(value)) => (value.into_ptr(), ffi::PySendResult::PYGEN_RETURN),
                Err(error) => {
                    error.restore(py);
                    (std::ptr::null_mut(), ffi::PySendResult::PYGEN_ERROR)
                }
            }
        })
    });
    let (value, outcome) = catch_unwind(step).unwrap_or_else(|_| {
        Python::attach(|py| {
            PyRuntimeError::new_err("jetstream panicked; this is a bug").restore(py);
        });
        (std::ptr::null_mut(), ffi::PySendResult::PYGEN_ERROR)
    });
    // SAFETY: the interpreter gives a place for the result.
    unsafe { *result = value };
    outcome
}

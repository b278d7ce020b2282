//! A call as a coroutine: nothing happens until it is awaited, and it is awaited once.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use jetstream_proto::mux::Ticket;
use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::channel::ChannelMethod;
use crate::shared::{LIVE_CALLS, lock};

enum State {
    /// Not awaited yet.
    Fresh {
        arguments: Py<PyTuple>,
        timeout: f64,
    },
    /// Its frame is on its way; `future` is the iterator of the future that the reply resolves.
    Waiting {
        future: Py<PyAny>,
        ticket: Ticket,
    },
    Over,
}

/// One call of a remote method.
#[pyclass(frozen, module = "jetstream._core.call")]
pub(crate) struct Call {
    method: Py<ChannelMethod>,
    state: Mutex<State>,
}

impl Call {
    pub(crate) fn new(method: Py<ChannelMethod>, arguments: Py<PyTuple>, timeout: f64) -> Self {
        LIVE_CALLS.fetch_add(1, Ordering::Relaxed);
        Self { method, state: Mutex::new(State::Fresh { arguments, timeout }) }
    }

    fn start(
        &self,
        py: Python<'_>,
        arguments: &Bound<'_, PyTuple>,
        timeout: f64,
    ) -> PyResult<Py<PyAny>> {
        let method = self.method.bind(py);
        let (future, ticket) = method.get().lane().start(py, method, arguments, timeout)?;
        let future = future.try_iter()?.into_any().unbind();
        *lock(&self.state) = State::Waiting { future: future.clone_ref(py), ticket };
        Ok(future)
    }

    /// The iterator of the future, starting the call if need be.
    fn advance(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let state = std::mem::replace(&mut *lock(&self.state), State::Over);
        match state {
            State::Fresh { arguments, timeout } => self.start(py, arguments.bind(py), timeout),
            State::Waiting { future, ticket } => {
                let iterator = future.clone_ref(py);
                *lock(&self.state) = State::Waiting { future, ticket };
                Ok(iterator)
            }
            State::Over => Err(PyRuntimeError::new_err("cannot reuse already awaited call")),
        }
    }

    fn give_up(&self) -> bool {
        match std::mem::replace(&mut *lock(&self.state), State::Over) {
            State::Waiting { ticket, .. } => {
                self.method.get().lane().abandon(ticket);
                true
            }
            State::Fresh { .. } | State::Over => false,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        LIVE_CALLS.fetch_sub(1, Ordering::Relaxed);
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

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let iterator = self.advance(py)?;
        let mut result = std::ptr::null_mut();
        // SAFETY: both pointers are live objects; the result is a new reference unless an error
        // is set.
        let sent = unsafe {
            pyo3::ffi::PyIter_Send(iterator.as_ptr(), pyo3::ffi::Py_None(), &raw mut result)
        };
        match sent {
            pyo3::ffi::PySendResult::PYGEN_NEXT => {
                // SAFETY: a new reference by the contract of PyIter_Send.
                unsafe { Bound::from_owned_ptr_or_err(py, result) }
            }
            pyo3::ffi::PySendResult::PYGEN_RETURN => {
                *lock(&self.state) = State::Over;
                // SAFETY: a new reference by the contract of PyIter_Send.
                let value = unsafe { Bound::from_owned_ptr_or_err(py, result) }?;
                Err(PyStopIteration::new_err((value.unbind(),)))
            }
            pyo3::ffi::PySendResult::PYGEN_ERROR => {
                let error = PyErr::fetch(py);
                self.give_up();
                Err(error)
            }
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
        self.give_up();
        let raised = match (value, exception.is_instance_of::<pyo3::types::PyType>()) {
            (Some(value), true) if !value.is_none() => value.clone(),
            (_, true) => exception.call0()?,
            _ => exception.clone(),
        };
        Err(PyErr::from_value(raised))
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

    fn __del__(&self, py: Python<'_>) -> PyResult<()> {
        if matches!(&*lock(&self.state), State::Fresh { .. }) {
            let message = format!("call of '{}' was never awaited\0", self.method.get().what);
            if let Ok(message) = std::ffi::CStr::from_bytes_until_nul(message.as_bytes()) {
                PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), message, 1)?;
            }
        }
        Ok(())
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

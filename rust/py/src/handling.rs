//! A handler's coroutine inside its task: what it comes to becomes a frame.
//!
//! A task calls its coroutine's steps; this one stands between, so that the end of the handler is
//! seen without a callback, and the task itself ends clean.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use pyo3::exceptions::{PyException, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use crate::dispatch::{ServiceLane, is_cancelled};
use crate::service::ServiceMethod;
use crate::shared::lock;

/// The coroutine of one request that is being answered.
#[pyclass(frozen, module = "jetstream._core.handling")]
pub(crate) struct Handling {
    lane: Arc<ServiceLane>,
    method: Py<ServiceMethod>,
    tag: u16,
    coroutine: Py<PyAny>,
    slot: Mutex<Option<usize>>,
    over: AtomicBool,
}

impl Handling {
    pub(crate) fn new(
        lane: Arc<ServiceLane>,
        method: Py<ServiceMethod>,
        tag: u16,
        coroutine: Py<PyAny>,
    ) -> Self {
        Self { lane, method, tag, coroutine, slot: Mutex::new(None), over: AtomicBool::new(false) }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(crate) fn set_slot(&self, slot: usize) {
        *lock(&self.slot) = Some(slot);
    }

    fn end(&self, py: Python<'_>) -> PyResult<()> {
        if self.over.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let slot = lock(&self.slot).take();
        self.lane.release(py, slot)
    }

    fn returned(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.lane.on_result(py, self.method.get(), self.tag, value)?;
        self.end(py)
    }

    fn raised(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        let passes = is_cancelled(py, &error) || !error.is_instance_of::<PyException>(py);
        let kept = error.clone_ref(py);
        let answered = self.lane.on_error(py, self.method.get(), self.tag, error);
        self.end(py)?;
        if passes {
            return Err(kept);
        }
        answered
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        if !self.is_over() {
            // The loop ended before the handler did.
            Python::attach(|py| {
                if let Err(error) = self.end(py) {
                    error.write_unraisable(py, None);
                }
            });
        }
    }
}

#[pymethods]
impl Handling {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// One step of the handler; `None` ends the task.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut result = std::ptr::null_mut();
        // SAFETY: both pointers are live objects; the result is a new reference unless an error
        // is set.
        let sent = unsafe {
            pyo3::ffi::PyIter_Send(self.coroutine.as_ptr(), pyo3::ffi::Py_None(), &raw mut result)
        };
        match sent {
            pyo3::ffi::PySendResult::PYGEN_NEXT => {
                // SAFETY: a new reference by the contract of PyIter_Send.
                unsafe { Bound::from_owned_ptr_or_err(py, result) }.map(Some)
            }
            pyo3::ffi::PySendResult::PYGEN_RETURN => {
                // SAFETY: a new reference by the contract of PyIter_Send.
                let value = unsafe { Bound::from_owned_ptr_or_err(py, result) }?;
                self.returned(py, &value).map(|()| None)
            }
            pyo3::ffi::PySendResult::PYGEN_ERROR => {
                self.raised(py, PyErr::fetch(py)).map(|()| None)
            }
        }
    }

    fn send<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let _ = value;
        match self.__next__(py)? {
            Some(value) => Ok(value),
            None => Err(PyStopIteration::new_err(())),
        }
    }

    #[pyo3(signature = (*exception))]
    fn throw<'py>(
        &self,
        py: Python<'py>,
        exception: &Bound<'py, pyo3::types::PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let thrown = self.coroutine.bind(py).call_method1(intern!(py, "throw"), exception.clone());
        match thrown {
            Ok(value) => Ok(value),
            Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
                let value = error.value(py).getattr(intern!(py, "value"))?;
                self.returned(py, &value)?;
                Err(PyStopIteration::new_err(()))
            }
            Err(error) => {
                self.raised(py, error)?;
                Err(PyStopIteration::new_err(()))
            }
        }
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let closed = self.coroutine.bind(py).call_method0(intern!(py, "close"));
        self.end(py)?;
        closed.map(drop)
    }

    fn __repr__(&self) -> String {
        format!("<answering {}>", self.method.get().what)
    }

    // What debuggers and `Task.get_stack()` look for in a coroutine is the handler's own.

    #[getter]
    fn __name__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.coroutine.bind(py).getattr(intern!(py, "__name__"))
    }

    #[getter]
    fn __qualname__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.coroutine.bind(py).getattr(intern!(py, "__qualname__"))
    }

    #[getter]
    fn cr_frame<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.coroutine.bind(py).getattr(intern!(py, "cr_frame"))
    }

    #[getter]
    fn cr_code<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.coroutine.bind(py).getattr(intern!(py, "cr_code"))
    }

    #[getter]
    fn cr_running<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.coroutine.bind(py).getattr(intern!(py, "cr_running"))
    }

    #[getter]
    fn cr_await<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.coroutine.bind(py).getattr(intern!(py, "cr_await"))
    }
}

/// A task for the coroutine; where the interpreter can (3.12), its first steps run at once.
pub(crate) fn make_task<'py>(
    py: Python<'py>,
    event_loop: &Bound<'py, PyAny>,
    coroutine: &Bound<'py, Handling>,
) -> PyResult<Bound<'py, PyAny>> {
    static TASK: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static EAGER: PyOnceLock<bool> = PyOnceLock::new();
    let class = TASK.import(py, "asyncio", "Task")?;
    let eager = *EAGER.get_or_init(py, || py.version_info() >= (3, 12));
    let kwargs = PyDict::new(py);
    kwargs.set_item(intern!(py, "loop"), event_loop)?;
    if eager {
        kwargs.set_item(intern!(py, "eager_start"), true)?;
    }
    class.call((coroutine,), Some(&kwargs))
}

//! How the interpreter steps coroutines that are classes of ours.
//!
//! By the slots that generators have: a result is handed over as it is, where PyO3's `__next__` would
//! make a `StopIteration` around it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyTuple, PyType};
use pyo3::{PyClass, ffi};

/// What a step came to.
pub(crate) enum Step<'py> {
    /// The task is to wait for this.
    Waits(Bound<'py, PyAny>),
    /// The coroutine has returned this.
    Done(Bound<'py, PyAny>),
}

/// A coroutine.
pub(crate) trait Coroutine: PyClass<Frozen = True> + Sync {
    fn step<'py>(&self, py: Python<'py>) -> PyResult<Step<'py>>;

    /// For `__next__` and `send`, where somebody calls them by name.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.step(py)? {
            Step::Waits(waited) => Ok(waited),
            Step::Done(value) => Err(PyStopIteration::new_err((value.unbind(),))),
        }
    }
}

/// Gives a class its slots.
pub(crate) fn install_slots<T: Coroutine>(py: Python<'_>) {
    let class = py.get_type::<T>().as_type_ptr();
    // SAFETY: a class of this module, before anybody has an instance; a heap type has its own
    // `tp_as_async`, and the interpreter reads both slots at each use.
    unsafe {
        (*class).tp_iternext = Some(next::<T>);
        if let Some(slots) = (*class).tp_as_async.as_mut() {
            slots.am_send = Some(send::<T>);
        }
        ffi::PyType_Modified(class);
    }
}

/// Steps the coroutine behind `object`: what it waits for, what it returned, or an error that is set.
fn stepped<T: Coroutine>(object: *mut ffi::PyObject) -> (*mut ffi::PyObject, ffi::PySendResult) {
    let step = AssertUnwindSafe(|| {
        Python::attach(|py| {
            // SAFETY: the slots are only those of `T`, so the object is one, and alive.
            let coroutine =
                unsafe { Bound::from_borrowed_ptr(py, object).cast_into_unchecked::<T>() };
            match coroutine.get().step(py) {
                Ok(Step::Waits(waited)) => (waited.into_ptr(), ffi::PySendResult::PYGEN_NEXT),
                Ok(Step::Done(value)) => (value.into_ptr(), ffi::PySendResult::PYGEN_RETURN),
                Err(error) => {
                    error.restore(py);
                    (std::ptr::null_mut(), ffi::PySendResult::PYGEN_ERROR)
                }
            }
        })
    });
    catch_unwind(step).unwrap_or_else(|_| {
        Python::attach(|py| {
            PyRuntimeError::new_err("jetstream panicked; this is a bug").restore(py);
        });
        (std::ptr::null_mut(), ffi::PySendResult::PYGEN_ERROR)
    })
}

unsafe extern "C" fn send<T: Coroutine>(
    object: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    let (value, outcome) = stepped::<T>(object);
    // SAFETY: the interpreter gives a place for the result.
    unsafe { *result = value };
    outcome
}

unsafe extern "C" fn next<T: Coroutine>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let (value, outcome) = stepped::<T>(object);
    if outcome != ffi::PySendResult::PYGEN_RETURN {
        return value;
    }
    Python::attach(|py| {
        // SAFETY: `stepped` gives us the value.
        stop_iteration(&unsafe { Bound::from_owned_ptr(py, value) });
    });
    std::ptr::null_mut()
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

/// The exception that `throw` was given, in any of the forms that it takes.
pub(crate) fn thrown(
    exception: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyErr> {
    let raised = match (value, exception.is_instance_of::<PyType>()) {
        (Some(value), true) if !value.is_none() => value.clone(),
        (_, true) => exception.call0()?,
        _ => exception.clone(),
    };
    Ok(PyErr::from_value(raised))
}

//! The deadline of the call that is being answered, as its handler and the calls made inside see it.
//!
//! A context variable (PEP 567) holds it, so that it goes where the handler's code goes: into the
//! tasks that it makes, and into the calls, which inherit what is left. It is a time of
//! `time.monotonic()`, the clock of `Instant` on the systems that this runs on.

use std::time::Instant;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::handling::Context;

fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static MADE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || {
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        class.call1(("jetstream_deadline",)).map(Bound::unbind)
    };
    MADE.get_or_try_init(py, make).map(|made| made.bind(py))
}

/// The deadline that holds in the current context, in seconds of `time.monotonic()`.
pub(crate) fn current(py: Python<'_>) -> PyResult<Option<f64>> {
    let mut value = std::ptr::null_mut();
    // SAFETY: a live context variable; the value is a new reference, or null where it has none.
    let found = unsafe {
        let variable = variable(py)?.as_ptr();
        if ffi::PyContextVar_Get(variable, std::ptr::null_mut(), &raw mut value) < 0 {
            return Err(PyErr::fetch(py));
        }
        Bound::from_owned_ptr_or_opt(py, value)
    };
    found.map_or(Ok(None), |value| value.extract())
}

/// Sets the deadline of the current context.
fn set(py: Python<'_>, deadline: Option<f64>) -> PyResult<()> {
    let value = deadline.into_pyobject(py)?;
    // SAFETY: both are live objects; the token is a new reference, or null with an error set.
    let token = unsafe {
        let token = ffi::PyContextVar_Set(variable(py)?.as_ptr(), value.as_ptr());
        Bound::from_owned_ptr_or_err(py, token)?
    };
    drop(token);
    Ok(())
}

/// A copy of the current context in which `deadline` holds.
pub(crate) fn context(py: Python<'_>, deadline: Option<f64>) -> PyResult<Context> {
    let context = Context::copy(py)?;
    context.run(py, || set(py, deadline))??;
    Ok(context)
}

/// A moment in seconds of `time.monotonic()`.
pub(crate) fn seconds(py: Python<'_>, at: Instant) -> PyResult<f64> {
    static ANCHOR: PyOnceLock<(Instant, f64)> = PyOnceLock::new();
    let read = || {
        let seconds = py.import("time")?.call_method0("monotonic")?.extract()?;
        PyResult::Ok((Instant::now(), seconds))
    };
    let (anchor, seconds) = ANCHOR.get_or_try_init(py, read)?;
    Ok(match at.checked_duration_since(*anchor) {
        Some(after) => seconds + after.as_secs_f64(),
        None => seconds - anchor.duration_since(at).as_secs_f64(),
    })
}

/// The deadline of the call that is being answered here, in seconds of `time.monotonic()`.
#[pyfunction]
pub(crate) fn current_deadline(py: Python<'_>) -> PyResult<Option<f64>> {
    current(py)
}

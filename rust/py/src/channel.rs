//! A channel's methods: what Python calls, and what a call is made of.

use std::sync::Arc;

use jetstream_net::StreamId;
use jetstream_proto::version::Version;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::call::Call;
use crate::caller::CallerLane;
use crate::codec::{ArgumentsPlan, Plan};
use crate::connection::Connection;

/// A lane that we call on.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct Lane {
    pub(crate) caller: Arc<CallerLane>,
}

#[pymethods]
impl Lane {
    /// Opens a lane for a service; `stream` is one that the user opened.
    #[new]
    #[pyo3(signature = (connection, version, *, msize, max_concurrent, stream=None))]
    fn new(
        py: Python<'_>,
        connection: &Bound<'_, Connection>,
        version: &str,
        msize: u32,
        max_concurrent: u16,
        stream: Option<u64>,
    ) -> PyResult<Self> {
        let version =
            Version::parse(version).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let connection = connection.get();
        connection.shared.check()?;
        let caller =
            CallerLane::new(&connection.shared, connection.key(), version, msize, max_concurrent);
        connection.fail_if_lost(py)?;
        match stream {
            None => caller.open(py, connection)?,
            Some(stream) => {
                let id: StreamId = crate::connection::stream_id(stream);
                caller.adopt(py, id)?;
            }
        }
        Ok(Self { caller })
    }

    /// Ends the lane: calls in flight fail.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.caller.shared().check()?;
        self.caller.close(py)
    }

    /// (calls that hold a tag, calls that wait for one)
    #[getter]
    fn load(&self) -> (usize, usize) {
        self.caller.load()
    }

    /// Whether calls on this lane can only fail.
    #[getter]
    fn failed(&self) -> bool {
        self.caller.is_failed()
    }
}

/// A method of a channel. It has a dictionary for the docstring of its own.
#[pyclass(frozen, dict, module = "jetstream._core")]
pub(crate) struct ChannelMethod {
    lane: Arc<CallerLane>,
    /// `Echo.put`: for paths and errors.
    pub(crate) what: String,
    pub(crate) index: u8,
    arguments: Py<ArgumentsPlan>,
    count: usize,
    result: Py<Plan>,
    timeout: f64,
    /// `(args, kwargs) -> args`: keywords and defaults, for calls that are not plain.
    bind: Py<PyAny>,
    #[pyo3(get, name = "__name__")]
    name: String,
}

impl ChannelMethod {
    pub(crate) fn lane(&self) -> &Arc<CallerLane> {
        &self.lane
    }

    pub(crate) fn encode(
        &self,
        py: Python<'_>,
        arguments: &Bound<'_, PyTuple>,
        out: &mut Vec<u8>,
    ) -> PyResult<()> {
        self.arguments.get().encode_each(py, arguments.iter_borrowed(), out, &self.what)
    }

    pub(crate) fn decode<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        self.result.get().decode_from(py, data, &self.what)
    }
}

/// Seconds, or none for ever.
pub(crate) fn seconds(timeout: &Bound<'_, PyAny>) -> PyResult<f64> {
    if timeout.is_none() {
        return Ok(f64::INFINITY);
    }
    let seconds: f64 = timeout.extract().map_err(|_| {
        PyTypeError::new_err("timeout must be a number of seconds, or None for no limit")
    })?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err("timeout must not be negative"));
    }
    Ok(seconds)
}

#[pymethods]
impl ChannelMethod {
    #[new]
    #[pyo3(signature = (lane, what, index, arguments, result, timeout, bind))]
    #[allow(clippy::too_many_arguments)] // one place in Python makes these
    fn new(
        lane: &Bound<'_, Lane>,
        what: String,
        index: u8,
        arguments: Py<ArgumentsPlan>,
        result: Py<Plan>,
        timeout: &Bound<'_, PyAny>,
        bind: Py<PyAny>,
    ) -> PyResult<Self> {
        if usize::from(index) >= jetstream_proto::limits::MAX_METHODS {
            return Err(PyValueError::new_err("too many methods for one service"));
        }
        let name = what.rsplit('.').next().unwrap_or_default().to_owned();
        let count = arguments.get().len();
        Ok(Self {
            lane: lane.get().caller.clone(),
            what,
            index,
            arguments,
            count,
            result,
            timeout: seconds(timeout)?,
            bind,
            name,
        })
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Call>> {
        let py = slf.py();
        let method = slf.get();
        let (arguments, timeout) = match kwargs {
            None if args.len() == method.count => (args.clone(), method.timeout),
            _ => {
                let kwargs = match kwargs {
                    Some(kwargs) => kwargs.copy()?,
                    None => PyDict::new(py),
                };
                let name = intern!(py, "timeout");
                let timeout = match kwargs.get_item(name)? {
                    Some(timeout) => {
                        kwargs.del_item(name)?;
                        seconds(&timeout)?
                    }
                    None => method.timeout,
                };
                let bound = if kwargs.is_empty() && args.len() == method.count {
                    args.clone()
                } else {
                    method.bind.bind(py).call1((args, kwargs))?.cast_into::<PyTuple>()?
                };
                (bound, timeout)
            }
        };
        Bound::new(py, Call::new(slf.clone().unbind(), arguments.unbind(), timeout))
    }

    fn __repr__(&self) -> String {
        format!("<remote method {}>", self.what)
    }
}

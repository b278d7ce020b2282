//! A channel's methods: what Python calls, and what a call is made of.

use std::sync::Arc;

use jetstream_net::StreamId;
use jetstream_proto::ext::Metadata;
use jetstream_proto::version::Version;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::call::Call;
use crate::caller::{Agreed, CallerLane, Settings};
use crate::codec::{ArgumentsPlan, Plan};
use crate::connection::Connection;
use crate::errors;
use crate::subscription::Subscription;

/// The limits that matter on a lane.
#[derive(FromPyObject)]
struct LaneLimits {
    msize: u32,
    stream_window: u32,
    max_metadata: usize,
    max_waiting: usize,
}

/// A lane that we call on.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct Lane {
    pub(crate) caller: Arc<CallerLane>,
}

#[pymethods]
impl Lane {
    /// Opens a lane for a service; `stream` is one that the user opened.
    #[new]
    #[pyo3(signature = (connection, version, *, limits, max_concurrent, stream=None,
        extension=true, default_time=None, stays_up=false, assumed=None))]
    #[allow(clippy::too_many_arguments)] // one place in Python makes these
    fn new(
        py: Python<'_>,
        connection: &Bound<'_, Connection>,
        version: &str,
        limits: LaneLimits,
        max_concurrent: u16,
        stream: Option<u64>,
        extension: bool,
        default_time: Option<f64>,
        stays_up: bool,
        assumed: Option<(u32, bool)>,
    ) -> PyResult<Self> {
        let version =
            Version::parse(version).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let connection = connection.get();
        connection.shared.check()?;
        let settings = Settings {
            version,
            msize: limits.msize,
            max_concurrent,
            extension,
            default_time: default_time.unwrap_or(f64::INFINITY),
            stays_up,
            own_lanes: stream.is_none(),
            assumed: assumed.map(|(limit, extension)| Agreed { limit, extension }),
            stream_window: limits.stream_window,
            max_metadata: limits.max_metadata,
            max_waiting: limits.max_waiting,
        };
        if stays_up && connection.is_lost() {
            return Ok(Self { caller: CallerLane::new(&connection.shared, None, settings) });
        }
        connection.fail_if_lost(py)?;
        if !connection.shared.hub()?.can_open_lane(connection.key()) {
            return Err(errors::cannot_open_lane());
        }
        let key = Some(connection.key());
        let caller = CallerLane::new(&connection.shared, key, settings);
        match stream {
            None => caller.open(py, connection)?,
            Some(stream) => {
                let id: StreamId = crate::connection::stream_id(stream);
                caller.adopt(py, connection, id)?;
            }
        }
        caller.fail_if_over(py)?;
        Ok(Self { caller })
    }

    /// Ends the lane: calls in flight fail.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.caller.shared().check()?;
        self.caller.close(py)
    }

    /// Ends the lane for a reason that is not its owner's: calls fail with that.
    fn end(&self, py: Python<'_>, why: Option<&str>) -> PyResult<()> {
        self.caller.shared().check()?;
        match why {
            Some(why) => self.caller.give_out(py, why),
            None => self.caller.close(py),
        }
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

    /// Whether the connection is gone and the lane waits for another.
    #[getter]
    fn detached(&self) -> bool {
        self.caller.is_detached()
    }

    /// (largest frame, whether the extension is spoken), once the server has answered.
    #[getter]
    fn agreed(&self) -> Option<(u32, bool)> {
        self.caller.agreed().map(|agreed| (agreed.limit, agreed.extension))
    }

    /// Goes on over another connection, if it waits for one.
    fn attach(&self, py: Python<'_>, connection: &Bound<'_, Connection>) -> PyResult<()> {
        self.caller.shared().check()?;
        self.caller.attach(py, connection.get())
    }

    /// Without a connection, lets calls fail at once unless they wait for one.
    fn suspend(&self, py: Python<'_>, why: &str) -> PyResult<()> {
        self.caller.shared().check()?;
        self.caller.suspend(py, why)
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
    /// How many arguments there are, a stream from the caller among them.
    count: usize,
    result: Py<Plan>,
    /// Of the items of a subscription.
    items: Option<Py<Plan>>,
    /// Which argument is a stream from the caller, and its items.
    inbound: Option<(usize, Py<Plan>)>,
    pub(crate) idempotent: bool,
    /// Whether only the latest of its items counts.
    pub(crate) lossy: bool,
    pub(crate) metadata: Metadata,
    /// Whether a call must fail where the metadata cannot be sent.
    pub(crate) metadata_required: bool,
    /// Whether a call waits for a connection, however long there is none.
    pub(crate) wait_for_ready: bool,
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

    pub(crate) fn decode_item<'py>(
        &self,
        py: Python<'py>,
        data: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        let plan = self.items.as_ref().unwrap_or(&self.result);
        plan.get().decode_from(py, data, &self.what)
    }

    /// The plan of the items that the caller sends.
    pub(crate) fn inbound_plan(&self) -> Option<&Py<Plan>> {
        self.inbound.as_ref().map(|(_, plan)| plan)
    }

    /// Puts keywords and defaults where they belong, and the timeout aside.
    fn bind<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<(Bound<'py, PyTuple>, f64)> {
        let py = args.py();
        let Some(kwargs) = kwargs else {
            return Ok(match args.len() == self.count {
                true => (args.clone(), self.timeout),
                false => (self.bound(args, &PyDict::new(py))?, self.timeout),
            });
        };
        let kwargs = kwargs.copy()?;
        let name = intern!(py, "timeout");
        let timeout = match kwargs.get_item(name)? {
            Some(timeout) => {
                kwargs.del_item(name)?;
                seconds(&timeout)?
            }
            None => self.timeout,
        };
        let plain = kwargs.is_empty() && args.len() == self.count;
        Ok((if plain { args.clone() } else { self.bound(args, &kwargs)? }, timeout))
    }

    fn bound<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        Ok(self.bind.bind(args.py()).call1((args, kwargs))?.cast_into::<PyTuple>()?)
    }

    /// Takes the stream from the caller out of the arguments.
    fn split<'py>(
        &self,
        arguments: Bound<'py, PyTuple>,
    ) -> PyResult<(Bound<'py, PyTuple>, Option<Py<PyAny>>)> {
        let Some((at, _)) = self.inbound else { return Ok((arguments, None)) };
        let stream = arguments.get_item(at)?.unbind();
        let values = arguments.iter().enumerate().filter(|(index, _)| *index != at);
        let values: Vec<_> = values.map(|(_, value)| value).collect();
        Ok((PyTuple::new(arguments.py(), values)?, Some(stream)))
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

/// Metadata as Python has it: pairs of a key and bytes.
type Entries = Vec<(String, Vec<u8>)>;

/// Metadata that may be sent on a lane.
fn fitting(lane: &CallerLane, metadata: Entries) -> PyResult<Metadata> {
    let metadata = Metadata(metadata);
    metadata
        .check(lane.settings().max_metadata)
        .map_err(|error| PyValueError::new_err(format!("metadata: {error}")))?;
    Ok(metadata)
}

#[pymethods]
impl ChannelMethod {
    #[new]
    #[pyo3(signature = (lane, what, index, arguments, result, timeout, bind, *, items=None,
        inbound=None, idempotent=false, lossy=false, metadata=Vec::new(), metadata_required=true,
        wait_for_ready=false))]
    #[allow(clippy::too_many_arguments)] // one place in Python makes these
    fn new(
        lane: &Bound<'_, Lane>,
        what: String,
        index: u8,
        arguments: Py<ArgumentsPlan>,
        result: Py<Plan>,
        timeout: &Bound<'_, PyAny>,
        bind: Py<PyAny>,
        items: Option<Py<Plan>>,
        inbound: Option<(usize, Py<Plan>)>,
        idempotent: bool,
        lossy: bool,
        metadata: Entries,
        metadata_required: bool,
        wait_for_ready: bool,
    ) -> PyResult<Self> {
        if usize::from(index) >= jetstream_proto::limits::MAX_METHODS {
            return Err(PyValueError::new_err("too many methods for one service"));
        }
        let name = what.rsplit('.').next().unwrap_or_default().to_owned();
        let count = arguments.get().len() + usize::from(inbound.is_some());
        let caller = lane.get().caller.clone();
        let metadata = fitting(&caller, metadata)?;
        Ok(Self {
            lane: caller,
            what,
            index,
            arguments,
            count,
            result,
            items,
            inbound,
            idempotent,
            lossy,
            metadata,
            metadata_required,
            wait_for_ready,
            timeout: seconds(timeout)?,
            bind,
            name,
        })
    }

    /// A `Call` to await, or a `Subscription` to iterate over.
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let method = slf.get();
        let (arguments, timeout) = method.bind(args, kwargs)?;
        let (arguments, stream) = method.split(arguments)?;
        let (this, arguments) = (slf.clone().unbind(), arguments.unbind());
        if method.items.is_some() {
            let made = Subscription::new(this, arguments, timeout, stream);
            return Ok(Bound::new(py, made)?.into_any());
        }
        Ok(Bound::new(py, Call::new(this, arguments, timeout, stream))?.into_any())
    }

    /// The same method, saying something else beside its arguments.
    fn with_metadata(
        &self,
        py: Python<'_>,
        metadata: Entries,
        metadata_required: bool,
    ) -> PyResult<Self> {
        let inbound = self.inbound.as_ref().map(|(at, plan)| (*at, plan.clone_ref(py)));
        Ok(Self {
            lane: self.lane.clone(),
            what: self.what.clone(),
            index: self.index,
            arguments: self.arguments.clone_ref(py),
            count: self.count,
            result: self.result.clone_ref(py),
            items: self.items.as_ref().map(|plan| plan.clone_ref(py)),
            inbound,
            idempotent: self.idempotent,
            lossy: self.lossy,
            wait_for_ready: self.wait_for_ready,
            metadata: fitting(&self.lane, metadata)?,
            metadata_required,
            timeout: self.timeout,
            bind: self.bind.clone_ref(py),
            name: self.name.clone(),
        })
    }

    fn __repr__(&self) -> String {
        format!("<remote method {}>", self.what)
    }
}

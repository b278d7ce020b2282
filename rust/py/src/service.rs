//! What a server serves, as tables that Python filled in once.

use std::collections::HashMap;

use jetstream_proto::dialect::Dialect;
use jetstream_proto::ext::INITIAL_WINDOW;
use jetstream_proto::version::Version;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::codec::{ArgumentsPlan, Plan};

/// How a method is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Called in the loop; its result is the answer.
    Direct,
    /// Called in the loop; what it returns is awaited in a task of its own.
    Task,
}

/// One method of a served implementation.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct ServiceMethod {
    /// `Echo.put`: for paths and logs.
    pub(crate) what: String,
    pub(crate) index: u8,
    pub(crate) function: Py<PyAny>,
    pub(crate) arguments: Py<ArgumentsPlan>,
    /// Of what it returns, at the end of its items if it has any.
    pub(crate) result: Py<Plan>,
    /// The items that it gives.
    pub(crate) stream: Option<Py<Plan>>,
    /// The items of the argument that is a stream from the caller.
    pub(crate) inbound: Option<Py<Plan>>,
    /// Where that goes among the arguments, the context not counted.
    pub(crate) inbound_at: Option<usize>,
    /// Whether only the latest of its items counts.
    pub(crate) lossy: bool,
    pub(crate) style: Style,
    /// Where the context goes among the arguments, if the method wants it.
    pub(crate) context_at: Option<usize>,
    /// Whether running it twice comes to the same as running it once.
    pub(crate) idempotent: bool,
}

impl ServiceMethod {
    /// Whether it gives or takes a stream: it runs for as long as that does.
    pub(crate) fn is_stream(&self) -> bool {
        self.stream.is_some() || self.inbound.is_some()
    }
}

#[pymethods]
impl ServiceMethod {
    #[new]
    #[pyo3(signature = (what, index, function, arguments, result, *, task, context_at=None,
        idempotent=false, stream=None, inbound=None, inbound_at=None, lossy=false))]
    #[allow(clippy::too_many_arguments)] // one place in Python makes these
    fn new(
        what: String,
        index: u8,
        function: Py<PyAny>,
        arguments: Py<ArgumentsPlan>,
        result: Py<Plan>,
        task: bool,
        context_at: Option<usize>,
        idempotent: bool,
        stream: Option<Py<Plan>>,
        inbound: Option<Py<Plan>>,
        inbound_at: Option<usize>,
        lossy: bool,
    ) -> Self {
        let style = if task { Style::Task } else { Style::Direct };
        Self {
            what,
            index,
            function,
            arguments,
            result,
            stream,
            inbound,
            inbound_at,
            lossy,
            style,
            context_at,
            idempotent,
        }
    }

    #[getter]
    fn what(&self) -> &str {
        &self.what
    }
}

/// A served implementation: a name, a version and its methods in order of declaration.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct ServiceTable {
    pub(crate) version: Version,
    pub(crate) methods: Vec<Py<ServiceMethod>>,
}

#[pymethods]
impl ServiceTable {
    #[new]
    fn new(version: &str, methods: Vec<Py<ServiceMethod>>) -> PyResult<Self> {
        let version =
            Version::parse(version).map_err(|error| PyValueError::new_err(error.to_string()))?;
        if methods.len() > jetstream_proto::limits::MAX_METHODS {
            return Err(PyValueError::new_err("too many methods for one service"));
        }
        Ok(Self { version, methods })
    }

    #[getter]
    fn version(&self) -> String {
        self.version.to_string()
    }
}

/// The limits that matter to whoever serves.
#[derive(Clone, Copy, FromPyObject)]
pub(crate) struct ServiceLimits {
    pub(crate) msize: u32,
    pub(crate) max_handlers: usize,
    pub(crate) max_subscriptions: usize,
    pub(crate) max_queued: usize,
    pub(crate) max_unsent: usize,
    pub(crate) max_metadata: usize,
    pub(crate) stream_window: u32,
    pub(crate) inbound_window: u32,
}

impl ServiceLimits {
    /// Those of a lane that is for no service yet: no request gets as far as to meet them.
    pub(crate) const NONE: Self = Self {
        msize: 0,
        max_handlers: usize::MAX,
        max_subscriptions: 0,
        max_queued: 0,
        max_unsent: 0,
        max_metadata: 0,
        stream_window: INITIAL_WINDOW,
        inbound_window: INITIAL_WINDOW,
    };
}

/// All that one end serves, and the limits it serves under.
pub(crate) struct Services {
    pub(crate) by_name: HashMap<String, Py<ServiceTable>>,
    pub(crate) limits: ServiceLimits,
    /// Makes the context of a call from `(connection, what, deadline, metadata)`, the last two of
    /// which may be left out.
    pub(crate) make_context: Py<PyAny>,
    /// Turns an exception into `(message, code, help, url)`, logging what is not meant for the
    /// caller.
    pub(crate) explain: Py<PyAny>,
    /// Makes the session on a connection.
    pub(crate) make_session: Py<PyAny>,
}

impl Services {
    pub(crate) fn new(
        by_name: HashMap<String, Py<ServiceTable>>,
        limits: &ServiceLimits,
        make_context: Py<PyAny>,
        explain: Py<PyAny>,
        make_session: Py<PyAny>,
    ) -> Self {
        Self { by_name, limits: *limits, make_context, explain, make_session }
    }

    /// The service that a connection of this protocol is for, if for one alone.
    pub(crate) fn under(
        &self,
        py: Python<'_>,
        protocol: Option<&[u8]>,
    ) -> Option<(Py<ServiceTable>, Dialect)> {
        let named = Version::parse(std::str::from_utf8(protocol?).ok()?).ok()?;
        let table = self.by_name.get(&named.name)?;
        let dialect = Dialect::under(protocol, &table.get().version).ok()?;
        Some((table.clone_ref(py), dialect))
    }
}

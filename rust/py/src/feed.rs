//! A stream from the caller: a task that takes items from the caller's iterator and sends them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use jetstream_proto::ext::{self, INITIAL_WINDOW};
use jetstream_proto::mux::{Sending, Ticket};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use crate::caller::CallerLane;
use crate::channel::ChannelMethod;
use crate::errors;
use crate::shared::{lock, resolve};

/// How much may be sent of the stream, and who waits to send more.
pub(crate) struct Flow {
    sending: Mutex<Sending>,
    /// The request has left; before that there is nothing for items to belong to.
    begun: AtomicBool,
    waiter: Mutex<Option<Py<PyAny>>>,
    /// The task, weakly: it has this, too.
    task: OnceLock<Py<PyWeakrefReference>>,
    /// The task has been told that the call is over, or is the one that says so.
    stopped: AtomicBool,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            sending: Mutex::new(Sending::new(INITIAL_WINDOW)),
            begun: AtomicBool::new(false),
            waiter: Mutex::new(None),
            task: OnceLock::new(),
            stopped: AtomicBool::new(false),
        }
    }
}

impl Flow {
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    pub(crate) fn granted(&self, bytes: u32) {
        lock(&self.sending).granted(bytes);
    }

    fn is_open(&self) -> bool {
        self.begun.load(Ordering::Relaxed) && lock(&self.sending).is_open()
    }

    /// The call is over: what the iterator still has is not wanted, and it is closed. Whoever says
    /// so first counts; a second word would disturb what the iterator does at its end.
    pub(crate) fn stop(&self, py: Python<'_>) {
        if self.stopped.swap(true, Ordering::Relaxed) {
            return;
        }
        let Some(task) = self.task.get().and_then(|task| task.bind(py).upgrade()) else { return };
        if let Err(error) = task.call_method0(intern!(py, "cancel")) {
            error.write_unraisable(py, Some(&task));
        }
    }

    /// Lets the feeding task go on, if it may.
    pub(crate) fn wake(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_open() {
            return Ok(());
        }
        match lock(&self.waiter).take() {
            Some(future) => resolve(py, future.bind(py), py.None()),
            None => Ok(()),
        }
    }
}

/// The task that feeds one call, kept because the loop holds tasks weakly.
pub(crate) struct Feed {
    flow: Arc<Flow>,
    task: Py<PyAny>,
}

impl Feed {
    pub(crate) fn start(
        py: Python<'_>,
        lane: &Arc<CallerLane>,
        ticket: Ticket,
        method: &Bound<'_, ChannelMethod>,
        flow: Arc<Flow>,
        stream: Py<PyAny>,
    ) -> PyResult<Self> {
        static FEED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let feed = FEED.get_or_try_init(py, || {
            py.import("jetstream._feeding")?.getattr("feed").map(Bound::unbind)
        })?;
        let method = method.clone().unbind();
        let fed = flow.clone();
        let outlet = Bound::new(py, FeedOutlet { lane: lane.clone(), ticket, method, flow: fed })?;
        let coroutine = feed.bind(py).call1((outlet, stream))?;
        let event_loop = lane.shared().event_loop(py);
        let task = event_loop.call_method1(intern!(py, "create_task"), (coroutine,))?;
        let _ = flow.task.set(PyWeakrefReference::new(&task)?.unbind());
        Ok(Self { flow, task: task.unbind() })
    }

    /// The call is over; what the iterator still has is not wanted.
    pub(crate) fn stop(self, py: Python<'_>) {
        self.flow.stop(py);
        drop(self.task);
    }
}

/// Where the feeding task puts its items.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct FeedOutlet {
    lane: Arc<CallerLane>,
    ticket: Ticket,
    method: Py<ChannelMethod>,
    flow: Arc<Flow>,
}

#[pymethods]
impl FeedOutlet {
    /// `None` when an item may be sent; else what to wait for.
    fn ready<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.flow.is_open() {
            return Ok(None);
        }
        let future = self.lane.shared().create_future(py)?;
        *lock(&self.flow.waiter) = Some(future.clone().unbind());
        Ok(Some(future))
    }

    /// Sends an item; false if the call is over.
    fn send(&self, py: Python<'_>, item: &Bound<'_, PyAny>) -> PyResult<bool> {
        let method = self.method.get();
        let Some(plan) = method.inbound_plan() else {
            return Err(errors::misuse("a method without a stream; this is a bug"));
        };
        let encode = |out: &mut Vec<u8>| plan.get().encode_into(py, item, out, &method.what);
        match self.lane.send_item(py, self.ticket, &method.what, encode)? {
            Some(size) => {
                lock(&self.flow.sending).sent(size);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Says that there are no more items.
    fn end(&self, py: Python<'_>) -> PyResult<()> {
        self.lane.send_empty(py, self.ticket, ext::TEND)
    }

    /// The caller's iterator raised: the call ends with that.
    fn fail(&self, py: Python<'_>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        // The task closes the iterator itself.
        self.flow.stopped.store(true, Ordering::Relaxed);
        self.lane.give_up(py, self.ticket, PyErr::from_value(error.clone()))
    }
}

//! A stream from the caller, as the method that it is for iterates over it.

use std::sync::{Arc, Mutex};

use jetstream_proto::ext::INITIAL_WINDOW;
use jetstream_proto::frame;
use jetstream_proto::limits::FRAME_HEADER;
use jetstream_proto::mux::Receiving;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::dispatch::ServiceLane;
use crate::errors;
use crate::inbox::{Inbox, NextItem, Taker};
use crate::service::ServiceMethod;
use crate::shared::{Shared, lock};

struct Window {
    receiving: Receiving,
    /// The caller has said that there is no more, or nobody takes any more.
    ended: bool,
}

/// Gives the items of one stream from the caller.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct Inlet {
    lane: Arc<ServiceLane>,
    method: Py<ServiceMethod>,
    tag: u16,
    inbox: Inbox,
    window: Mutex<Window>,
}

impl Inlet {
    pub(crate) fn new(
        lane: &Arc<ServiceLane>,
        method: Py<ServiceMethod>,
        tag: u16,
        window: u32,
    ) -> Self {
        let window = Window { receiving: Receiving::new(window), ended: false };
        let inbox = Inbox::default();
        Self { lane: lane.clone(), method, tag, inbox, window: Mutex::new(window) }
    }

    /// What to grant at once of a window, beside what every stream may send.
    pub(crate) fn first_grant(window: u32) -> Option<u32> {
        window.checked_sub(INITIAL_WINDOW).filter(|grant| *grant > 0)
    }

    /// Adds a run of items.
    ///
    /// # Errors
    /// How the peer broke the rules.
    pub(crate) fn arrived(&self, items: &[u8]) -> Result<(), &'static str> {
        {
            let mut window = lock(&self.window);
            if window.ended {
                return Err("items after the end of their stream");
            }
            for frame in frame::frames(items) {
                if !window.receiving.arrived(frame.payload.len() + FRAME_HEADER) {
                    return Err("more items than were granted");
                }
            }
        }
        self.inbox.push(items.to_vec());
        Ok(())
    }

    /// The caller says that there is no more.
    ///
    /// # Errors
    /// How the peer broke the rules.
    pub(crate) fn ended(&self, py: Python<'_>) -> Result<(), &'static str> {
        if std::mem::replace(&mut lock(&self.window).ended, true) {
            return Err("a second end of a stream");
        }
        self.inbox.end(py, None);
        Ok(())
    }

    /// The lane's other half is gone, and with it what the caller has not sent.
    pub(crate) fn broken(&self, py: Python<'_>) {
        if !std::mem::replace(&mut lock(&self.window).ended, true) {
            let why = "the caller ended the lane before its stream";
            self.inbox.end(py, Some(errors::connection_lost(why.to_owned())));
        }
    }

    /// The caller is gone: what still comes is not taken, and whoever reads on is told.
    pub(crate) fn leave(&self) {
        self.inbox.close();
    }

    /// The request has been answered: nobody takes any more.
    pub(crate) fn close(&self) {
        lock(&self.window).ended = true;
        self.inbox.close();
    }

    /// Steps the handler, if it waits for an item. Only from the top of a turn.
    pub(crate) fn wake(&self, py: Python<'_>) -> PyResult<()> {
        self.inbox.wake_now(py)
    }
}

impl Taker for Inlet {
    fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.lane.shared
    }

    fn begin(&self, _py: Python<'_>) -> PyResult<()> {
        Ok(())
    }

    fn decode<'py>(&self, py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let method = self.method.get();
        let Some(inbound) = &method.inbound else {
            return Err(errors::misuse("a method without a stream; this is a bug"));
        };
        inbound.get().decode_from(py, payload, &method.what)
    }

    fn took(&self, py: Python<'_>, size: usize) -> PyResult<()> {
        let grant = {
            let mut window = lock(&self.window);
            if window.ended { None } else { window.receiving.took(size) }
        };
        match grant {
            Some(grant) => self.lane.grant(py, self.tag, grant),
            None => Ok(()),
        }
    }

    // What was not taken is there for the next who asks, until the method ends.
    fn give_up(&self, _py: Python<'_>) {}

    fn fail(&self, _py: Python<'_>, _error: &PyErr) {}

    fn left(&self) -> PyErr {
        errors::closed(&format!("the stream from the caller of {}", self.method.get().what))
    }
}

fn as_taker<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a dyn Taker> {
    object.cast::<Inlet>().ok().map(|found| found.get() as &dyn Taker)
}

#[pymethods]
impl Inlet {
    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, NextItem>> {
        NextItem::make(slf.as_any(), as_taker)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.inbox.traverse(&visit)
    }

    fn __clear__(&self) {
        self.inbox.clear();
    }

    fn __repr__(&self) -> String {
        format!("<stream from the caller of {}>", self.method.get().what)
    }
}

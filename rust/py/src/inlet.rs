//! A stream from the caller, as the method that it is for iterates over it.

use std::sync::{Arc, Mutex};

use jetstream_proto::frame;
use jetstream_proto::limits::FRAME_HEADER;
use jetstream_proto::mux::{Arrived, Budget, Share};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::dispatch::ServiceLane;
use crate::errors;
use crate::inbox::{Inbox, NextItem, Taker};
use crate::service::ServiceMethod;
use crate::shared::{Shared, lock};

struct Window {
    share: Share,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The caller has said that there is no more, or nobody takes any more.
    Ended,
    /// There was no room for an item: the method is told, and what still comes is not kept.
    Refused,
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
        share: Share,
    ) -> Self {
        let window = Window { share, state: State::Open };
        let inbox = Inbox::default();
        Self { lane: lane.clone(), method, tag, inbox, window: Mutex::new(window) }
    }

    fn budget(&self) -> &Mutex<Budget> {
        self.lane.budget()
    }

    /// The method begins: what to grant beside what every stream may send.
    pub(crate) fn first_grant(&self) -> Option<u32> {
        let mut window = lock(&self.window);
        match window.state {
            State::Open => window.share.widen(&mut lock(self.budget())),
            State::Ended | State::Refused => None,
        }
    }

    /// Adds a run of items.
    ///
    /// # Errors
    /// How the peer broke the rules.
    pub(crate) fn arrived(&self, py: Python<'_>, items: &[u8]) -> Result<(), &'static str> {
        {
            let mut window = lock(&self.window);
            match window.state {
                State::Open => {}
                State::Ended => return Err("items after the end of their stream"),
                State::Refused => return Ok(()),
            }
            let mut budget = lock(self.budget());
            for frame in frame::frames(items) {
                let size = frame.payload.len() + FRAME_HEADER;
                match window.share.arrived(size, &mut budget) {
                    Arrived::Held => {}
                    Arrived::NotGranted => return Err("more items than were granted"),
                    Arrived::NoRoom => {
                        window.state = State::Refused;
                        let full = Full::of(&budget, size);
                        drop((budget, window));
                        self.inbox.end(py, Some(full.error(py)));
                        return Ok(());
                    }
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
        match std::mem::replace(&mut lock(&self.window).state, State::Ended) {
            State::Open => self.inbox.end(py, None),
            State::Ended => return Err("a second end of a stream"),
            State::Refused => {}
        }
        Ok(())
    }

    /// The lane's other half is gone, and with it what the caller has not sent.
    pub(crate) fn broken(&self, py: Python<'_>) {
        if std::mem::replace(&mut lock(&self.window).state, State::Ended) == State::Open {
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
        self.inbox.close();
        let mut window = lock(&self.window);
        window.state = State::Ended;
        window.share.end(&mut lock(self.budget()));
    }

    /// Steps the handler, if it waits for an item. Only from the top of a turn.
    pub(crate) fn wake(&self, py: Python<'_>) -> PyResult<()> {
        self.inbox.wake_now(py)
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        lock(&self.window).share.end(&mut lock(self.lane.budget()));
    }
}

/// There is no room for another stream from the caller, or for an item of one.
pub(crate) struct Full {
    wanted: u64,
    most: u64,
}

impl Full {
    /// As a budget stands, of which so much more is wanted.
    pub(crate) fn of(budget: &Budget, more: usize) -> Self {
        Self { wanted: budget.used().saturating_add(more as u64), most: budget.most() }
    }

    pub(crate) fn error(&self, py: Python<'_>) -> PyErr {
        let limit = "bytes of streams from the caller that are held for one connection";
        errors::over_limit(py, limit, self.wanted, self.most, "inbound_window")
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
            match window.state {
                State::Open => window.share.took(size, &mut lock(self.budget())),
                State::Ended | State::Refused => None,
            }
        };
        match grant {
            Some(grant) => self.lane.grant(py, self.tag, grant),
            None => Ok(()),
        }
    }

    // What was not taken is there for the next who asks, until the method ends.
    fn give_up(&self, _py: Python<'_>) {}

    fn fail(&self, _py: Python<'_>, _error: &PyErr) {}

    fn left(&self, _py: Python<'_>) -> PyErr {
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

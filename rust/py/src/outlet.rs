//! Where a subscription's items go: into the lane's buffer, at the pace at which they are taken.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use jetstream_proto::frame;
use jetstream_proto::mux::Sending;
use pyo3::exceptions::asyncio::CancelledError;
use pyo3::prelude::*;

use crate::dispatch::ServiceLane;
use crate::errors;
use crate::lossy::Lossy;
use crate::service::ServiceMethod;
use crate::shared::{lock, resolve};

/// The part of `max_unsent` over which the streams of a lane wait: with its default 256 KiB, about as
/// much as a connection sends in one turn. More would only be held, and answers have the rest.
const STREAM_SHARE: usize = 4;

/// Bytes of a stream after which the loop gets its turn: what was written leaves then, and the peer
/// works on it while the next is made.
const YIELD_AFTER: usize = 64 << 10;

#[derive(Default)]
struct Flow {
    /// What the peer still takes, where it says so.
    window: Option<Sending>,
    /// Written since the loop had its turn.
    written: usize,
    /// Whoever waits for the window to open.
    waiter: Option<Py<PyAny>>,
}

/// Items are taken.
const OPEN: u8 = 0;
/// Nobody wants them any more. Whoever makes them has been cancelled, and hears it again with each
/// item, if need be: a generator that went on all the same would wait for a window that nobody opens.
const GIVEN_UP: u8 = 1;
/// The request has been answered.
const CLOSED: u8 = 2;

/// Takes the items of one subscription.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct Outlet {
    lane: Arc<ServiceLane>,
    method: Py<ServiceMethod>,
    tag: u16,
    flow: Mutex<Flow>,
    state: AtomicU8,
    lossy: Mutex<Lossy>,
}

/// How full a lane is.
pub(crate) struct Fill {
    /// Bytes that leave at the end of this turn.
    pub(crate) queued: usize,
    /// Streams wait for the lane to drain.
    pub(crate) congested: bool,
}

impl Outlet {
    pub(crate) fn new(
        lane: &Arc<ServiceLane>,
        method: Py<ServiceMethod>,
        tag: u16,
        window: Option<Sending>,
    ) -> Self {
        let flow = Mutex::new(Flow { window, ..Flow::default() });
        let state = AtomicU8::new(OPEN);
        Self { lane: lane.clone(), method, tag, flow, state, lossy: Mutex::default() }
    }

    pub(crate) fn lane(&self) -> &Arc<ServiceLane> {
        &self.lane
    }

    pub(crate) fn method(&self) -> &Py<ServiceMethod> {
        &self.method
    }

    pub(crate) fn tag(&self) -> u16 {
        self.tag
    }

    pub(crate) fn lossy(&self) -> &Mutex<Lossy> {
        &self.lossy
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Relaxed) == CLOSED
    }

    /// Whether the peer takes an item, as far as it says.
    pub(crate) fn window_is_open(&self) -> bool {
        lock(&self.flow).window.is_none_or(|window| window.is_open())
    }

    pub(crate) fn count_sent(&self, size: usize) {
        if let Some(window) = &mut lock(&self.flow).window {
            window.sent(size);
        }
    }

    /// The request has been answered; nothing may follow.
    pub(crate) fn close(&self) {
        self.state.store(CLOSED, Ordering::Relaxed);
    }

    /// Whoever makes the items is being cancelled: none is taken from now on.
    pub(crate) fn give_up(&self) {
        let _ = self.state.compare_exchange(OPEN, GIVEN_UP, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn check_open(&self) -> PyResult<()> {
        let what = &self.method.get().what;
        match self.state.load(Ordering::Relaxed) {
            OPEN => Ok(()),
            GIVEN_UP => Err(CancelledError::new_err(format!("{what}: nobody takes its items"))),
            _ => Err(errors::misuse(&format!("{what} has ended: it takes no more items"))),
        }
    }

    /// The peer takes more.
    pub(crate) fn granted(&self, py: Python<'_>, bytes: u32) -> PyResult<()> {
        let waiter = {
            let mut flow = lock(&self.flow);
            let Some(window) = &mut flow.window else { return Ok(()) };
            window.granted(bytes);
            if window.is_open() { flow.waiter.take() } else { None }
        };
        match waiter {
            Some(waiter) => resolve(py, waiter.bind(py), py.None()),
            None => Ok(()),
        }
    }

    /// What to wait for before the next item, if for anything.
    fn pace<'py>(
        &self,
        py: Python<'py>,
        size: usize,
        fill: &Fill,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let shut = {
            let mut flow = lock(&self.flow);
            flow.written += size;
            let shut = flow.window.as_mut().is_some_and(|window| {
                window.sent(size);
                !window.is_open()
            });
            if !shut {
                let full = fill.congested || fill.queued > self.lane.stream_high();
                if flow.written < YIELD_AFTER && !full {
                    return Ok(None);
                }
            }
            flow.written = 0;
            shut
        };
        let shared = &self.lane.shared;
        let future = shared.create_future(py)?;
        if shut {
            lock(&self.flow).waiter = Some(future.clone().unbind());
        } else if !self.lane.wait_drained(&future, fill.queued)? {
            shared.after_turn(py, future.clone().unbind())?;
        }
        Ok(Some(future))
    }
}

#[pymethods]
impl Outlet {
    /// Sends an item. What it returns is to be awaited before the next one, unless it is `None`.
    fn send<'py>(
        slf: &Bound<'py, Self>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let this = slf.get();
        this.lane.shared.check()?;
        let method = this.method.get();
        this.check_open()?;
        if method.lossy {
            return Self::send_lossy(slf, item);
        }
        let Some(stream) = &method.stream else {
            return Err(errors::misuse("a method without items; this is a bug"));
        };
        // The lane's buffer is taken out meanwhile: encoding may run Python code that sends, too.
        let (mut out, limit, side) = this.lane.take_out()?;
        let start = frame::begin(&mut out, this.lane.dialect.reply(method.index), this.tag);
        let encoded = stream.get().encode_into(py, item, &mut out, &method.what);
        let finished = encoded.and_then(|()| {
            let finished = frame::finish(&mut out, start, limit);
            finished.map_err(|error| errors::result_too_large(py, &method.what, error, side))
        });
        if finished.is_err() {
            out.truncate(start);
        }
        let size = out.len() - start;
        let fill = this.lane.put_out(py, out)?;
        finished?;
        this.pace(py, size, &fill)
    }

    /// Sends what has been kept for a later moment, before the end.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.lane.shared.check()?;
        self.finish_lossy(py)
    }

    fn __repr__(&self) -> String {
        format!("<outlet of {}>", self.method.get().what)
    }
}

impl ServiceLane {
    /// The frames that leave at the end of this turn, to add to them: with the largest frame that
    /// the peer takes, and whose limit that is.
    pub(crate) fn take_out(&self) -> PyResult<(Vec<u8>, u32, &'static str)> {
        let mut inner = lock(&self.inner);
        if inner.is_over() {
            return Err(errors::closed("the lane"));
        }
        let side = inner.side();
        Ok((std::mem::take(&mut inner.out), inner.limit, side))
    }

    pub(crate) fn put_out(self: &Arc<Self>, py: Python<'_>, mut out: Vec<u8>) -> PyResult<Fill> {
        let (fill, clean) = {
            let mut inner = lock(&self.inner);
            if inner.is_over() {
                return Err(errors::closed("the lane"));
            }
            if !inner.out.is_empty() {
                out.append(&mut inner.out);
            }
            inner.out = out;
            let fill = Fill { queued: inner.out.len(), congested: inner.congested };
            (fill, !std::mem::replace(&mut inner.dirty, true))
        };
        if clean {
            self.enlist(py)?;
        }
        Ok(fill)
    }

    /// Unsent bytes over which streams wait.
    fn stream_high(&self) -> usize {
        self.max_unsent() / STREAM_SHARE
    }

    /// Has `future` done when little is unsent; false if that is so when this turn has ended.
    fn wait_drained(&self, future: &Bound<'_, PyAny>, queued: usize) -> PyResult<bool> {
        let mut hub = self.shared.hub()?;
        if hub.lane_unsent(self.key) + queued <= self.stream_high() || !hub.watch_drained(self.key)
        {
            return Ok(false);
        }
        drop(hub);
        let mut inner = lock(&self.inner);
        inner.congested = true;
        inner.draining.push(future.clone().unbind());
        Ok(true)
    }

    /// Little is unsent now.
    pub(crate) fn on_drained(&self, py: Python<'_>) -> PyResult<()> {
        let waiting = {
            let mut inner = lock(&self.inner);
            inner.congested = false;
            std::mem::take(&mut inner.draining)
        };
        for future in waiting {
            resolve(py, future.bind(py), py.None())?;
        }
        Ok(())
    }
}

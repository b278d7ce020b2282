//! The receiving end of a stream: items that have arrived, and the one task that takes them.
//!
//! Items stay as the bytes they came in until they are taken: what is held is counted in bytes, and
//! nothing is decoded that nobody takes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use jetstream_proto::frame;
use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyStopAsyncIteration};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::coroutine::{Coroutine, Step, thrown};
use crate::reply::Reply;
use crate::shared::{Shared, lock};

/// Bytes of a run up to which others are added to it. Beside its bytes a run costs an allocation and
/// its place in a queue, some 100 bytes; so it is to be many times that.
const SMALL_RUN: usize = 4 << 10;

/// A run of whole frames, all items, and how far they have been taken.
struct Run {
    bytes: Vec<u8>,
    position: usize,
}

#[derive(Default)]
struct State {
    runs: VecDeque<Run>,
    held: usize,
    waiter: Option<Py<Reply>>,
    /// Why no more comes, told when all before it has been taken: `None` inside for the end.
    end: Option<Option<Error>>,
    /// The error that ended it, also after it has been told.
    failure: Option<Error>,
    /// Its taker left before the end.
    left: bool,
}

/// An error as an object that can be visited: once it has been raised, its traceback leads to
/// whoever has the stream.
type Error = Py<PyBaseException>;

/// Items that have arrived and have not been taken.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
}

/// What taking came to.
enum Taken<'py> {
    Item(Bound<'py, PyAny>),
    End(Option<PyErr>),
    /// There was more, and nobody will know.
    Left,
    Empty,
}

impl Inbox {
    /// Adds a run of frames that are all items.
    pub(crate) fn push(&self, bytes: Vec<u8>) {
        let mut state = lock(&self.state);
        if state.end.is_none() {
            state.held += bytes.len();
            match state.runs.back_mut() {
                // Items that come one by one cost no more than those that come together.
                Some(run) if run.bytes.len() + bytes.len() <= SMALL_RUN => {
                    run.bytes.extend_from_slice(&bytes);
                }
                _ => state.runs.push_back(Run { bytes, position: 0 }),
            }
        }
    }

    /// Puts one item in the place of all that have not been taken.
    pub(crate) fn replace(&self, bytes: Vec<u8>) {
        let mut state = lock(&self.state);
        if state.end.is_none() {
            state.held = bytes.len();
            state.runs.clear();
            state.runs.push_back(Run { bytes, position: 0 });
        }
    }

    /// Says that no more comes; the first word stands.
    pub(crate) fn end(&self, py: Python<'_>, error: Option<PyErr>) {
        let error = error.map(|error| error.into_value(py));
        let mut state = lock(&self.state);
        if state.end.is_none() {
            state.failure = error.as_ref().map(|error| error.clone_ref(py));
            state.end = Some(error);
        }
    }

    /// Ends it with an error that has been told already.
    pub(crate) fn fail(&self, py: Python<'_>, error: &PyErr) {
        let error = error.clone_ref(py).into_value(py);
        let runs = {
            let mut state = lock(&self.state);
            state.failure = Some(error);
            state.end = Some(None);
            state.held = 0;
            std::mem::take(&mut state.runs)
        };
        drop(runs);
    }

    /// Whether its taker left before the end.
    pub(crate) fn is_left(&self) -> bool {
        lock(&self.state).left
    }

    /// The error that ended it, if one did.
    pub(crate) fn failure(&self, py: Python<'_>) -> Option<PyErr> {
        let failure = lock(&self.state).failure.as_ref().map(|error| error.clone_ref(py));
        failure.map(|failure| PyErr::from_value(failure.into_bound(py).into_any()))
    }

    /// Shows the garbage collector what is held, for the one object that this belongs to.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Somebody who holds the lock is at work here: nothing of it is garbage.
        let Ok(state) = self.state.try_lock() else { return Ok(()) };
        if let Some(Some(error)) = &state.end {
            visit.call(error)?;
        }
        match &state.failure {
            Some(error) => visit.call(error),
            None => Ok(()),
        }
    }

    /// Lets go what is held: it is garbage.
    pub(crate) fn clear(&self) {
        let held = {
            let mut state = lock(&self.state);
            (state.end.replace(None), state.failure.take())
        };
        drop(held);
    }

    /// Forgets what has not been taken, and ends: nobody takes any more. Whoever does all the same is
    /// told so, unless nothing but the end was left to be taken.
    pub(crate) fn close(&self) {
        let (runs, end, waiter) = {
            let mut state = lock(&self.state);
            state.left |= !state.runs.is_empty() || !matches!(state.end, Some(None));
            state.held = 0;
            let end = state.end.replace(None);
            (std::mem::take(&mut state.runs), end, state.waiter.take())
        };
        drop((runs, end, waiter));
    }

    /// Ends it, and lets whoever waits for an item see the end.
    pub(crate) fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let waiter = lock(&self.state).waiter.take();
        self.close();
        match waiter {
            Some(waiter) => Reply::complete_soon(waiter.bind(py), Ok(py.None().into_bound(py))),
            None => Ok(()),
        }
    }

    /// Bytes that have not been taken.
    pub(crate) fn held(&self) -> usize {
        lock(&self.state).held
    }

    /// Steps the waiting task, if there is something for it. Only from the top of a turn.
    pub(crate) fn wake_now(&self, py: Python<'_>) -> PyResult<()> {
        match self.ready_waiter() {
            Some(waiter) => Reply::complete_now(waiter.bind(py), Ok(py.None().into_bound(py))),
            None => Ok(()),
        }
    }

    /// Lets the loop wake the waiting task, if there is something for it: from anywhere.
    pub(crate) fn wake_soon(&self, py: Python<'_>) -> PyResult<()> {
        match self.ready_waiter() {
            Some(waiter) => Reply::complete_soon(waiter.bind(py), Ok(py.None().into_bound(py))),
            None => Ok(()),
        }
    }

    fn ready_waiter(&self) -> Option<Py<Reply>> {
        let mut state = lock(&self.state);
        if state.runs.is_empty() && state.end.is_none() {
            return None;
        }
        state.waiter.take()
    }

    /// Whether a task waits for an item.
    fn has_waiter(&self) -> bool {
        lock(&self.state).waiter.as_ref().is_some_and(|waiter| waiter.get().has_waiter())
    }

    fn forget_waiter(&self) {
        let waiter = lock(&self.state).waiter.take();
        drop(waiter);
    }

    /// Takes the next item; `decode` makes it of a payload, and no lock is held meanwhile. The
    /// second value is the item's size on the wire, header included.
    fn take<'py>(
        &self,
        py: Python<'py>,
        decode: impl FnOnce(&[u8]) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<(Taken<'py>, usize)> {
        // The one who takes holds the run meanwhile; there is only one.
        let mut run = {
            let mut state = lock(&self.state);
            match state.runs.pop_front() {
                Some(run) => run,
                None => {
                    let left = state.left;
                    return Ok(match &mut state.end {
                        Some(_) if left => (Taken::Left, 0),
                        // An error is told once; after it there is just nothing more.
                        Some(end) => {
                            let error = end.take().map(|error| error.into_bound(py).into_any());
                            (Taken::End(error.map(PyErr::from_value)), 0)
                        }
                        None => (Taken::Empty, 0),
                    });
                }
            }
        };
        let mut frames = frame::frames(&run.bytes[run.position..]);
        let Some(frame) = frames.next() else {
            return Err(PyRuntimeError::new_err("a run of items without one; this is a bug"));
        };
        let made = decode(frame.payload);
        let size = frames.position();
        run.position += size;
        let mut state = lock(&self.state);
        state.held = state.held.saturating_sub(size);
        if run.position < run.bytes.len() {
            state.runs.push_front(run);
        }
        drop(state);
        Ok((Taken::Item(made?), size))
    }
}

/// What takes from an inbox: a subscription at the calling end, a stream from the caller at the
/// other.
pub(crate) trait Taker {
    fn inbox(&self) -> &Inbox;
    fn shared(&self) -> &Arc<Shared>;
    /// Makes sure that items come at all.
    fn begin(&self, py: Python<'_>) -> PyResult<()>;
    fn decode<'py>(&self, py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>>;
    /// An item of that size has been taken.
    fn took(&self, py: Python<'_>, size: usize) -> PyResult<()>;
    /// Whoever waited for an item has been cancelled.
    fn give_up(&self, py: Python<'_>);
    /// An item could not be read.
    fn fail(&self, py: Python<'_>, error: &PyErr);
    /// What to tell those who take after somebody left.
    fn left(&self, py: Python<'_>) -> PyErr;
}

fn taken() -> PyErr {
    PyRuntimeError::new_err(
        "another task is waiting for the next item already: a stream has one taker",
    )
}

/// What a step towards the next item came to.
fn step<'py>(py: Python<'py>, taker: &dyn Taker, waited: bool) -> PyResult<Step<'py>> {
    if !waited {
        taker.begin(py)?;
    }
    let inbox = taker.inbox();
    match inbox.take(py, |payload| taker.decode(py, payload)) {
        Ok((Taken::Item(item), size)) => {
            taker.took(py, size)?;
            Ok(Step::Done(item))
        }
        Ok((Taken::End(None), _)) => Err(PyStopAsyncIteration::new_err(())),
        Ok((Taken::End(Some(error)), _)) => Err(error),
        Ok((Taken::Left, _)) => Err(taker.left(py)),
        Ok((Taken::Empty, _)) => {
            let waiter = Bound::new(py, Reply::new(taker.shared().clone()))?;
            let mut state = lock(&inbox.state);
            if state.waiter.is_some() {
                return Err(taken());
            }
            state.waiter = Some(waiter.clone().unbind());
            drop(state);
            Ok(Step::Waits(waiter.into_any()))
        }
        Err(error) => {
            // An item that cannot be read ends the stream: what follows it could be no better.
            taker.fail(py, &error);
            Err(error)
        }
    }
}

/// The awaitable of one `__anext__`.
#[pyclass(frozen, freelist = 256, module = "jetstream._core")]
pub(crate) struct NextItem {
    taker: Py<PyAny>,
    as_taker: AsTaker,
    waited: std::sync::atomic::AtomicBool,
}

/// How the object behind a [`NextItem`] is a [`Taker`].
type AsTaker = for<'a> fn(&'a Bound<'_, PyAny>) -> Option<&'a dyn Taker>;

impl NextItem {
    pub(crate) fn make<'py>(
        taker: &Bound<'py, PyAny>,
        as_taker: AsTaker,
    ) -> PyResult<Bound<'py, Self>> {
        let waited = std::sync::atomic::AtomicBool::new(false);
        let made =
            Bound::new(taker.py(), Self { taker: taker.clone().unbind(), as_taker, waited })?;
        // The garbage collector knows only those that did not come from the free list.
        // SAFETY: a live object of a class that is collected, with its value in place.
        unsafe {
            if ffi::PyObject_GC_IsTracked(made.as_ptr()) == 0 {
                ffi::PyObject_GC_Track(made.as_ptr().cast());
            }
        }
        Ok(made)
    }
}

impl Coroutine for NextItem {
    fn step<'py>(&self, py: Python<'py>) -> PyResult<Step<'py>> {
        let object = self.taker.bind(py);
        let Some(taker) = (self.as_taker)(object) else {
            return Err(PyRuntimeError::new_err("no stream; this is a bug"));
        };
        let waited = self.waited.swap(true, std::sync::atomic::Ordering::Relaxed);
        if waited {
            if taker.inbox().has_waiter() {
                return Err(taken());
            }
            // Something else than an item may have woken the task.
            taker.inbox().forget_waiter();
        }
        step(py, taker, waited)
    }
}

#[pymethods]
impl NextItem {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.next(py)
    }

    fn send<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let _ = value;
        self.next(py)
    }

    #[pyo3(signature = (exception, value=None, traceback=None))]
    fn throw<'py>(
        &self,
        py: Python<'py>,
        exception: &Bound<'py, PyAny>,
        value: Option<&Bound<'py, PyAny>>,
        traceback: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = traceback;
        if let Some(taker) = (self.as_taker)(self.taker.bind(py)) {
            taker.inbox().forget_waiter();
            taker.give_up(py);
        }
        Err(thrown(exception, value)?)
    }

    // A task may have this for its coroutine, and whoever has the stream may have the task.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.taker)
    }

    fn close(&self, py: Python<'_>) {
        if let Some(taker) = (self.as_taker)(self.taker.bind(py)) {
            taker.inbox().forget_waiter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_that_come_one_by_one_cost_no_more_than_those_that_come_together() {
        let inbox = Inbox::default();
        for size in [11, 7, SMALL_RUN - 1, 2 * SMALL_RUN, 300, SMALL_RUN] {
            for _ in 0..1000 {
                inbox.push(vec![0; size]);
            }
            let held = inbox.held();
            assert_eq!(held, 1000 * size);
            let state = lock(&inbox.state);
            let cost: usize =
                state.runs.iter().map(|run| run.bytes.capacity() + size_of::<Run>()).sum();
            assert!(cost < 2 * held, "{cost} bytes for items of {held}");
            drop(state);
            *lock(&inbox.state) = State::default();
        }
    }
}

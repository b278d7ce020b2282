//! Handlers that wait: who they are, and what ends them before they end themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use jetstream_proto::mux;
use pyo3::intern;
use pyo3::prelude::*;

use crate::dispatch::ServiceLane;
use crate::outlet::Outlet;
use crate::shared::lock;

/// Who cancelled a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its caller.
    Caller,
    /// Its deadline.
    Deadline,
    /// The server, which goes away.
    Shutdown,
}

/// A handler that waits.
struct Waiting {
    /// Its task, kept because the loop holds tasks weakly.
    task: Py<PyAny>,
    tag: u16,
    /// Tells it from those that had its place before.
    serial: u64,
    /// Where its items go, if it is a stream.
    outlet: Option<Py<Outlet>>,
    why: Option<Why>,
    /// The tags of those who asked to cancel it, to be answered when it has ended.
    cancels: Vec<u16>,
}

/// The handlers of one lane that wait.
#[derive(Default)]
pub(crate) struct Handlers {
    slots: Vec<Option<Waiting>>,
    free: Vec<usize>,
    by_tag: HashMap<u16, usize>,
    serial: u64,
}

impl Handlers {
    fn keep(&mut self, task: Py<PyAny>, tag: u16, outlet: Option<Py<Outlet>>) -> (usize, u64) {
        self.serial += 1;
        let serial = self.serial;
        let cancels = Vec::new();
        let waiting = Some(Waiting { task, tag, serial, outlet, why: None, cancels });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = waiting;
                slot
            }
            None => {
                self.slots.push(waiting);
                self.slots.len() - 1
            }
        };
        self.by_tag.insert(tag, slot);
        (slot, serial)
    }

    fn take(&mut self, slot: usize) -> Option<Waiting> {
        let waiting = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        if self.by_tag.get(&waiting.tag) == Some(&slot) {
            self.by_tag.remove(&waiting.tag);
        }
        Some(waiting)
    }

    fn of_tag(&mut self, tag: u16) -> Option<&mut Waiting> {
        let slot = *self.by_tag.get(&tag)?;
        self.slots.get_mut(slot)?.as_mut()
    }

    fn at(&self, slot: usize) -> Option<&Waiting> {
        self.slots.get(slot)?.as_ref()
    }

    pub(crate) fn why(&self, slot: usize) -> Option<Why> {
        self.at(slot)?.why
    }

    /// Whether a handler waits under this tag, and whether it is a stream.
    pub(crate) fn streams(&self, tag: u16) -> Option<bool> {
        self.at(*self.by_tag.get(&tag)?).map(|waiting| waiting.outlet.is_some())
    }

    pub(crate) fn outlet(&self, py: Python<'_>, tag: u16) -> Option<Py<Outlet>> {
        let waiting = self.at(*self.by_tag.get(&tag)?)?;
        waiting.outlet.as_ref().map(|outlet| outlet.clone_ref(py))
    }

    /// Somebody asks, under the tag `by`, to cancel the handler of `tag`. Its task, if nobody has
    /// cancelled it before.
    pub(crate) fn cancel(&mut self, py: Python<'_>, tag: u16, by: u16) -> Option<Py<PyAny>> {
        let waiting = self.of_tag(tag)?;
        waiting.cancels.push(by);
        waiting.end(py, Why::Caller)
    }

    fn expire(&mut self, py: Python<'_>, slot: usize, serial: u64) -> Option<Py<PyAny>> {
        let waiting = self.slots.get_mut(slot)?.as_mut()?;
        if waiting.serial != serial {
            return None;
        }
        waiting.end(py, Why::Deadline)
    }

    fn end_streams(&mut self, py: Python<'_>) -> Vec<Py<PyAny>> {
        let streams = self.slots.iter_mut().flatten().filter(|waiting| waiting.outlet.is_some());
        streams.filter_map(|waiting| waiting.end(py, Why::Shutdown)).collect()
    }

    pub(crate) fn tasks(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.slots.iter().flatten().map(|waiting| waiting.task.clone_ref(py)).collect()
    }
}

impl Waiting {
    fn end(&mut self, py: Python<'_>, why: Why) -> Option<Py<PyAny>> {
        if self.why.is_some() {
            return None;
        }
        self.why = Some(why);
        if let Some(outlet) = &self.outlet {
            outlet.get().give_up();
        }
        Some(self.task.clone_ref(py))
    }
}

/// Cancels a task; what that raises is nobody's here.
pub(crate) fn cancel_task(py: Python<'_>, task: &Py<PyAny>) {
    if let Err(error) = task.call_method0(py, intern!(py, "cancel")) {
        error.write_unraisable(py, Some(task.bind(py)));
    }
}

impl ServiceLane {
    /// Keeps the task of a handler that waits, and has it cancelled at its deadline.
    pub(crate) fn keep_task(
        &self,
        task: Py<PyAny>,
        tag: u16,
        outlet: Option<Py<Outlet>>,
        deadline: Option<Instant>,
    ) -> usize {
        let (slot, serial) = lock(&self.inner).handlers.keep(task, tag, outlet);
        if let Some(at) = deadline {
            self.shared.add_handler_deadline(self.key, (slot, serial), at);
        }
        slot
    }

    /// A handler's task is over, whatever it came to.
    pub(crate) fn release_task(self: &Arc<Self>, py: Python<'_>, slot: usize) -> PyResult<()> {
        let (task, told) = {
            let inner = &mut *lock(&self.inner);
            let mut waiting = inner.handlers.take(slot);
            let cancels = waiting.as_mut().map(|w| (w.tag, std::mem::take(&mut w.cancels)));
            let told = cancels.is_some_and(|(target, cancels)| {
                for tag in &cancels {
                    inner.callee.finish(*tag);
                    if !inner.is_over() {
                        mux::cancelled(*tag, target, &mut inner.out);
                    }
                }
                !cancels.is_empty()
            });
            (waiting, told)
        };
        drop(task);
        if told {
            self.mark_dirty(py)?;
        }
        self.connection.get().running.fetch_sub(1, Ordering::Relaxed);
        let handlers = self.shared.handlers.fetch_sub(1, Ordering::Relaxed);
        let parked = lock(&self.inner).is_parked;
        if parked || handlers == 1 {
            self.shared.schedule(py)?;
        }
        self.finish_if_done(py)
    }

    /// Whether the handler is the one that had this deadline.
    pub(crate) fn is_waiting(&self, (slot, serial): (usize, u64)) -> bool {
        let inner = lock(&self.inner);
        inner.handlers.at(slot).is_some_and(|waiting| waiting.serial == serial)
    }

    /// The deadline of a handler has passed, unless it ended before.
    pub(crate) fn expire(&self, py: Python<'_>, (slot, serial): (usize, u64)) {
        let (task, tag) = {
            let mut inner = lock(&self.inner);
            let task = inner.handlers.expire(py, slot, serial);
            (task, inner.handlers.at(slot).map(|waiting| waiting.tag))
        };
        if let Some((task, tag)) = task.zip(tag) {
            cancel_task(py, &task);
            self.leave_inlet(py, tag);
        }
    }

    /// The caller of a request is gone, and sends no more of its stream. A handler that swallows its
    /// cancellation and reads on hears so, and does not wait for ever.
    pub(crate) fn leave_inlet(&self, py: Python<'_>, tag: u16) {
        if let Some(inlet) = self.inlet(py, tag) {
            inlet.get().leave();
        }
    }

    /// Ends the streams that run: they would go on for as long as anybody listens.
    pub(crate) fn end_streams(&self, py: Python<'_>) {
        let tasks = lock(&self.inner).handlers.end_streams(py);
        for task in tasks {
            cancel_task(py, &task);
        }
    }
}

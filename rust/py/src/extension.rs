//! The frames of the extension `.x1`, and cancellation, at the called end.

use std::sync::{Arc, Mutex};

use jetstream_proto::ext::{self, ExtError, Head};
use jetstream_proto::frame::{Frame, kind};
use jetstream_proto::limits::NO_TAG;
use jetstream_proto::mux::{self, Budget, Cancel, Share};
use pyo3::prelude::*;

use crate::dispatch::{Next, Phase, Run, ServiceLane};
use crate::inlet::{Full, Inlet};
use crate::service::ServiceMethod;
use crate::shared::lock;
use crate::waiting::cancel_task;

/// To whom a cancellation goes.
enum Target {
    /// A handler that waits: its task, unless it has been cancelled before.
    Waiting(Option<Py<PyAny>>),
    /// A request that had not begun and does not any more.
    Parked,
    /// It has been answered already.
    Over,
    Wrong(String),
}

impl ServiceLane {
    /// A frame that is no request.
    pub(crate) fn on_other(
        self: &Arc<Self>,
        py: Python<'_>,
        frame: Frame<'_>,
        run: &mut Run,
    ) -> PyResult<Next> {
        if frame.kind == kind::TCANCEL && self.may_cancel() {
            return self.on_cancel(py, frame, run);
        }
        if frame.kind == kind::TVERSION && self.dialect.version_is_a_call() {
            return self.on_version_call(py, frame, run);
        }
        if !self.is_extended() {
            return self.wrong(py, &format!("a frame of type {} is no request", frame.kind));
        }
        let handled = match frame.kind {
            ext::TMETA => self.on_head(frame),
            ext::TEND => return self.on_end_of_items(py, frame),
            ext::CREDIT => return self.on_credit(py, frame),
            ext::TIME => match ext::decode_time(frame.payload) {
                Ok(time) => {
                    lock(&self.inner).time = time;
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            },
            ext::LABEL => self.on_label(frame),
            kind => Err(format!("a frame of type {kind} is no request")),
        };
        match handled {
            Ok(()) => Ok(Next::Go),
            Err(why) => self.wrong(py, &why),
        }
    }

    fn on_label(&self, frame: Frame<'_>) -> Result<(), String> {
        let label = ext::decode_label(frame.payload).map_err(|error| error.to_string())?;
        let mut hub = self.shared.hub().map_err(|error| error.to_string())?;
        match hub.label_lane(self.key, label) {
            true => Ok(()),
            false => Err(format!("the label {label}, which another lane has")),
        }
    }

    fn on_head(&self, frame: Frame<'_>) -> Result<(), String> {
        let limit = self.service_limits().max_metadata;
        let head = match Head::decode(frame.payload, limit) {
            // The request that follows is answered with that, and nothing else is the worse for it.
            Err(error) if !matches!(error, ExtError::TooLarge { .. }) => {
                return Err(error.to_string());
            }
            head => head,
        };
        let mut inner = lock(&self.inner);
        inner.callee.announce(frame.tag).map_err(|error| error.to_string())?;
        inner.head = Some(head.map(Box::new));
        Ok(())
    }

    // ---- cancellation ----

    /// Whether the peer may cancel anything: without the extension, only streams.
    fn may_cancel(&self) -> bool {
        let streams = |method: &Py<ServiceMethod>| method.get().stream.is_some();
        self.is_extended()
            || match &lock(&self.inner).phase {
                Phase::Open(table) => table.get().methods.iter().any(streams),
                _ => false,
            }
    }

    fn on_cancel(
        self: &Arc<Self>,
        py: Python<'_>,
        frame: Frame<'_>,
        run: &mut Run,
    ) -> PyResult<Next> {
        let Some(cancel) = Cancel::decode(frame.payload) else {
            return self.wrong(py, "a malformed Tcancel");
        };
        if cancel.binding != 0 {
            let why = format!("a Tcancel for lane {}, which is not this one", cancel.binding);
            return self.wrong(py, &why);
        }
        match self.target(py, frame.tag, cancel.target) {
            Target::Waiting(task) => {
                if let Some(task) = task {
                    cancel_task(py, &task);
                }
                self.leave_inlet(py, cancel.target);
            }
            Target::Parked => {
                self.close_inlet(cancel.target);
                mux::ended(cancel.target, &mut run.answers);
                mux::cancelled(frame.tag, cancel.target, &mut run.answers);
            }
            Target::Over => mux::cancelled(frame.tag, cancel.target, &mut run.answers),
            Target::Wrong(why) => return self.wrong(py, &why),
        }
        Ok(Next::Go)
    }

    /// Whom the cancellation under the tag `by` means. That is answered after its target, and its
    /// tag is taken until then.
    fn target(&self, py: Python<'_>, by: u16, tag: u16) -> Target {
        let inner = &mut *lock(&self.inner);
        if let Err(error) = inner.callee.begin(by) {
            return Target::Wrong(error.to_string());
        }
        let Phase::Open(table) = &inner.phase else { return Target::Over };
        let methods = &table.get().methods;
        let parked = inner.parking.get_mut(tag).and_then(|parked| {
            methods.get(usize::from(parked.index)).map(|method| method.get().stream.is_some())
        });
        let streams = inner.handlers.streams(tag).or(parked);
        if streams == Some(false) && !self.is_extended() {
            return Target::Wrong(format!(
                "a Tcancel for the request under tag {tag}, which is no stream"
            ));
        }
        if parked.is_some() {
            inner.parking.remove(tag);
            inner.callee.finish(tag);
            inner.callee.finish(by);
            return Target::Parked;
        }
        if streams.is_some() {
            return Target::Waiting(inner.handlers.cancel(py, tag, by));
        }
        inner.callee.finish(by);
        Target::Over
    }

    // ---- streams from the caller ----

    /// What the streams of the connection may hold.
    pub(crate) fn budget(&self) -> &Mutex<Budget> {
        let budget = || Mutex::new(Budget::new(self.service_limits().inbound_window));
        self.connection.get().inbound.get_or_init(budget)
    }

    /// Begins to take the stream of a request, as far as every stream may come unasked: it may be
    /// some time until the method begins.
    ///
    /// # Errors
    /// There is no room for another stream.
    pub(crate) fn take_stream(
        self: &Arc<Self>,
        py: Python<'_>,
        method: &Py<ServiceMethod>,
        tag: u16,
    ) -> PyResult<()> {
        let window = self.service_limits().stream_window;
        let share = {
            let budget = &mut *lock(self.budget());
            Share::begin(window, budget)
                .ok_or_else(|| Full::of(budget, ext::INITIAL_WINDOW as usize))
        };
        let share = share.map_err(|full| full.error(py))?;
        let inlet = Py::new(py, Inlet::new(self, method.clone_ref(py), tag, share))?;
        lock(&self.inner).inlets.insert(tag, inlet);
        Ok(())
    }

    /// Lets the caller send more of a stream.
    pub(crate) fn grant(self: &Arc<Self>, py: Python<'_>, tag: u16, bytes: u32) -> PyResult<()> {
        {
            let mut inner = lock(&self.inner);
            if inner.is_over() {
                return Ok(());
            }
            ext::credit(tag, bytes, &mut inner.out);
        }
        self.mark_dirty(py)
    }

    pub(crate) fn inlet(&self, py: Python<'_>, tag: u16) -> Option<Py<Inlet>> {
        lock(&self.inner).inlets.get(&tag).map(|inlet| inlet.clone_ref(py))
    }

    /// A request has been answered: what still comes of its stream is not wanted.
    pub(crate) fn close_inlet(&self, tag: u16) {
        let inlet = {
            let mut inner = lock(&self.inner);
            if inner.inlets.is_empty() {
                return;
            }
            inner.inlets.remove(&tag)
        };
        if let Some(inlet) = inlet {
            inlet.get().close();
        }
    }

    /// The peer sends no more on this lane: streams that have not ended will not.
    pub(crate) fn break_inlets(&self, py: Python<'_>) -> PyResult<()> {
        let inlets: Vec<Py<Inlet>> =
            lock(&self.inner).inlets.values().map(|inlet| inlet.clone_ref(py)).collect();
        for inlet in inlets {
            inlet.get().broken(py);
            inlet.get().wake(py)?;
        }
        Ok(())
    }

    /// A run of items under one tag.
    pub(crate) fn on_items(
        self: &Arc<Self>,
        py: Python<'_>,
        frame: Frame<'_>,
        items: &[u8],
    ) -> PyResult<Next> {
        match self.stream_of(py, frame) {
            Ok(Some(inlet)) => match inlet.get().arrived(py, items) {
                Ok(()) => {
                    inlet.get().wake(py)?;
                    Ok(Next::Go)
                }
                Err(why) => self.wrong(py, &format!("{why}, under tag {}", frame.tag)),
            },
            Ok(None) => Ok(Next::Go),
            Err(Wrong::Over) => Ok(Next::Stop),
            Err(Wrong::Frame(why)) => self.wrong(py, &why),
        }
    }

    fn on_end_of_items(self: &Arc<Self>, py: Python<'_>, frame: Frame<'_>) -> PyResult<Next> {
        if !frame.payload.is_empty() {
            return self.wrong(py, "the end of a stream carries nothing");
        }
        match self.stream_of(py, frame) {
            Ok(Some(inlet)) => match inlet.get().ended(py) {
                Ok(()) => {
                    inlet.get().wake(py)?;
                    Ok(Next::Go)
                }
                Err(why) => self.wrong(py, &format!("{why}, under tag {}", frame.tag)),
            },
            Ok(None) => Ok(Next::Go),
            Err(Wrong::Over) => Ok(Next::Stop),
            Err(Wrong::Frame(why)) => self.wrong(py, &why),
        }
    }

    /// The stream that a frame belongs to; none if it crossed the answer of its request.
    fn stream_of(&self, py: Python<'_>, frame: Frame<'_>) -> Result<Option<Py<Inlet>>, Wrong> {
        let wrong = |why: String| Err(Wrong::Frame(why));
        let mut inner = lock(&self.inner);
        match inner.phase {
            Phase::Over => return Err(Wrong::Over),
            Phase::Silent => {
                return wrong("the first frame on a lane must be a Tversion".to_owned());
            }
            Phase::Open(_) => {}
        }
        if !self.is_extended() {
            return wrong(format!("a frame of type {} is no request", frame.kind));
        }
        inner.callee.go_on(None).map_err(|error| Wrong::Frame(error.to_string()))?;
        match inner.inlets.get(&frame.tag) {
            Some(inlet) => Ok(Some(inlet.clone_ref(py))),
            None if inner.callee.is_running(frame.tag) => {
                wrong(format!("items for the request under tag {}, which takes none", frame.tag))
            }
            None => Ok(None),
        }
    }

    // ---- streams to the caller ----

    /// The peer takes more of a stream.
    fn on_credit(self: &Arc<Self>, py: Python<'_>, frame: Frame<'_>) -> PyResult<Next> {
        let bytes = match ext::decode_credit(frame.payload) {
            Ok(bytes) => bytes,
            Err(error) => return self.wrong(py, &error.to_string()),
        };
        let (outlet, wrong) = {
            let mut inner = lock(&self.inner);
            if let Some(parked) = inner.parking.get_mut(frame.tag) {
                parked.credit = parked.credit.saturating_add(bytes);
                return Ok(Next::Go);
            }
            let outlet = inner.handlers.outlet(py, frame.tag);
            let wrong = outlet.is_none() && inner.callee.is_running(frame.tag);
            (outlet, wrong)
        };
        if wrong {
            let why = format!("a credit for the request under tag {}, no stream", frame.tag);
            return self.wrong(py, &why);
        }
        // Without an outlet it crossed the stream's end.
        if let Some(outlet) = outlet {
            outlet.get().granted(py, bytes)?;
        }
        Ok(Next::Go)
    }

    // ---- going away ----

    /// Begins nothing more: tells a peer that understands it, and ends the streams that run.
    pub(crate) fn go_away(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let mut dropped = Vec::new();
        let told = {
            let inner = &mut *lock(&self.inner);
            let told = matches!(inner.phase, Phase::Open(_)) && self.is_extended() && !inner.gone;
            if told {
                inner.gone = true;
                // When all that has begun is answered, the lane ends. So the peer knows of every
                // request without an answer that it was not begun.
                inner.finishing = true;
                ext::empty(ext::GOAWAY, NO_TAG, &mut inner.out);
                for parked in inner.parking.clear() {
                    ext::empty(ext::GOAWAY, parked.tag, &mut inner.out);
                    inner.callee.finish(parked.tag);
                    dropped.extend(inner.inlets.remove(&parked.tag));
                }
            }
            told
        };
        for inlet in dropped {
            inlet.get().close();
        }
        self.end_streams(py);
        if told {
            self.mark_dirty(py)?;
            self.finish_if_done(py)?;
        }
        Ok(())
    }
}

enum Wrong {
    /// The lane is over already.
    Over,
    Frame(String),
}

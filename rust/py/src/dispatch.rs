//! The called end of a lane: frames to methods, results to frames.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};

use jetstream_net::{LaneEnd, LaneKey};
use jetstream_proto::codes;
use jetstream_proto::fault::Fault;
use jetstream_proto::frame::{self, Frame, FrameError, kind};
use jetstream_proto::limits::MIN_MSIZE;
use jetstream_proto::mux::Callee;
use jetstream_proto::version::{self, Offer, Version};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::connection::Connection;
use crate::errors;
use crate::handling::{Context, Step};
use crate::service::{ServiceMethod, ServiceTable, Services, Style};
use crate::shared::{LIVE_LANES, Role, Shared, lock, vectorcall};

/// Answers of one lane over which its requests wait until the peer has taken some.
const ANSWERS_HIGH: usize = 1 << 20;

enum Phase {
    /// Nothing has been said yet.
    Silent,
    Open(Py<ServiceTable>),
    /// Refused, broken or lost; nothing more is answered.
    Over,
}

struct Inner {
    phase: Phase,
    callee: Callee,
    /// Frames that leave at the end of this turn.
    out: Vec<u8>,
    dirty: bool,
    /// The largest frame that the peer takes.
    limit: u32,
    /// Runs of frames, and how far they have been handled, that wait.
    parked: VecDeque<(Vec<u8>, usize)>,
    is_parked: bool,
    /// The peer has finished: when the last answer is out, the lane is.
    finishing: bool,
    /// Tasks of the handlers that have not ended, by slot.
    tasks: Vec<Option<Py<PyAny>>>,
    free: Vec<usize>,
}

/// A lane that the peer opened, and what is being answered on it.
pub(crate) struct ServiceLane {
    shared: Arc<Shared>,
    key: LaneKey,
    connection: Py<Connection>,
    services: OnceLock<Arc<Services>>,
    inner: Mutex<Inner>,
}

impl Drop for ServiceLane {
    fn drop(&mut self) {
        LIVE_LANES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a handled frame means for those after it.
enum Next {
    Go,
    /// The lane is over.
    Stop,
}

impl ServiceLane {
    pub(crate) fn new(shared: Arc<Shared>, key: LaneKey, connection: Py<Connection>) -> Arc<Self> {
        LIVE_LANES.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            shared,
            key,
            connection,
            services: OnceLock::new(),
            inner: Mutex::new(Inner {
                phase: Phase::Silent,
                callee: Callee::default(),
                out: Vec::new(),
                dirty: false,
                limit: MIN_MSIZE,
                parked: VecDeque::new(),
                is_parked: false,
                finishing: false,
                tasks: Vec::new(),
                free: Vec::new(),
            }),
        })
    }

    pub(crate) fn connection(&self) -> &Py<Connection> {
        &self.connection
    }

    pub(crate) fn take_frames(&self) -> Option<(LaneKey, Vec<u8>)> {
        let mut inner = lock(&self.inner);
        inner.dirty = false;
        (!inner.out.is_empty()).then(|| (self.key, std::mem::take(&mut inner.out)))
    }

    fn mark_dirty(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        if std::mem::replace(&mut lock(&self.inner).dirty, true) {
            return Ok(());
        }
        self.shared.mark_dirty(py, Role::Service(self.clone()))
    }

    // ---- frames ----

    pub(crate) fn on_frames(self: &Arc<Self>, py: Python<'_>, run: Vec<u8>) -> PyResult<()> {
        {
            let mut inner = lock(&self.inner);
            if inner.is_parked {
                inner.parked.push_back((run, 0));
                return Ok(());
            }
        }
        self.handle_run(py, run, 0)
    }

    /// Handles the frames of a run from `position` on, until it must wait.
    fn handle_run(self: &Arc<Self>, py: Python<'_>, run: Vec<u8>, position: usize) -> PyResult<()> {
        // Answers of methods that are called at once are gathered here and join the lane's own
        // buffer together.
        let mut answers = Vec::new();
        let mut outcome = Ok(());
        let mut frames = frame::frames(&run[position..]);
        let mut waits = None;
        loop {
            if self.must_wait(&answers) {
                waits = Some(position + frames.position());
                break;
            }
            let Some(frame) = frames.next() else { break };
            match self.on_frame(py, frame, &mut answers) {
                Ok(Next::Go) => {}
                Ok(Next::Stop) => break,
                Err(error) => {
                    // Something that is not an error of the method: the interpreter is told, the
                    // frames after this one are handled in the next turn.
                    outcome = Err(error);
                    waits = Some(position + frames.position());
                    break;
                }
            }
        }
        if !answers.is_empty() {
            let mut inner = lock(&self.inner);
            if inner.out.is_empty() {
                inner.out = answers;
            } else {
                inner.out.append(&mut answers);
            }
            drop(inner);
            self.mark_dirty(py)?;
        }
        if let Some(at) = waits.filter(|at| *at < run.len()) {
            self.park(run, at)?;
        }
        outcome
    }

    fn must_wait(&self, answers: &[u8]) -> bool {
        if answers.len() > ANSWERS_HIGH {
            return true;
        }
        let running = self.connection.get().running.load(Ordering::Relaxed);
        self.services.get().is_some_and(|services| running >= services.max_handlers)
    }

    /// Keeps the rest of a run and stops reading the lane until it can be handled.
    fn park(self: &Arc<Self>, run: Vec<u8>, at: usize) -> PyResult<()> {
        {
            let mut inner = lock(&self.inner);
            inner.parked.push_front((run, at));
            inner.is_parked = true;
        }
        self.shared.hub()?.pause_lane(self.key, true);
        self.shared.park(self.clone());
        Ok(())
    }

    /// Goes on with what was parked, if it may.
    pub(crate) fn resume(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        loop {
            let unsent = self.shared.hub()?.lane_unsent(self.key) + lock(&self.inner).out.len();
            if unsent > ANSWERS_HIGH || self.must_wait(&[]) {
                self.shared.park(self.clone());
                return Ok(());
            }
            let next = {
                let mut inner = lock(&self.inner);
                if matches!(inner.phase, Phase::Over) {
                    inner.parked.clear();
                }
                let next = inner.parked.pop_front();
                // Cleared before the run is handled: handling may park it again.
                inner.is_parked = false;
                next
            };
            let Some((run, at)) = next else { break };
            self.handle_run(py, run, at)?;
            let mut inner = lock(&self.inner);
            if inner.is_parked {
                // Handling parked the rest, and registered it.
                return Ok(());
            }
            inner.is_parked = !inner.parked.is_empty();
        }
        self.shared.hub()?.pause_lane(self.key, false);
        self.shared.schedule(py)
    }

    fn on_frame(
        self: &Arc<Self>,
        py: Python<'_>,
        frame: Frame<'_>,
        answers: &mut Vec<u8>,
    ) -> PyResult<Next> {
        let table = {
            let inner = lock(&self.inner);
            match &inner.phase {
                Phase::Over => return Ok(Next::Stop),
                Phase::Silent => None,
                Phase::Open(table) => Some(table.clone_ref(py)),
            }
        };
        let Some(table) = table else { return self.on_first(py, frame, answers) };
        let Some(index) = kind::method_of_request(frame.kind) else {
            self.break_off(py, &format!("a frame of type {} is no request", frame.kind))?;
            return Ok(Next::Stop);
        };
        let Some(method) = table.get().methods.get(usize::from(index)) else {
            let service = &table.get().version.name;
            let fault = Fault {
                message: format!("{service} has no method {index} (type {})", frame.kind),
                code: Some("jetstream::unknown_method".to_owned()),
                ..Fault::default()
            };
            self.answer_fault(frame.tag, &fault, answers);
            return Ok(Next::Go);
        };
        let begun = lock(&self.inner).callee.begin(frame.tag);
        if let Err(error) = begun {
            self.break_off(py, &error.to_string())?;
            return Ok(Next::Stop);
        }
        self.call(py, method.bind(py), frame, answers)?;
        Ok(Next::Go)
    }

    /// The first frame says which service the lane is for.
    fn on_first(
        self: &Arc<Self>,
        py: Python<'_>,
        frame: Frame<'_>,
        answers: &mut Vec<u8>,
    ) -> PyResult<Next> {
        if frame.kind != kind::TVERSION {
            self.break_off(py, "the first frame on a lane must be a Tversion")?;
            return Ok(Next::Stop);
        }
        let asked = match Offer::decode(frame.payload) {
            Ok(offer) => offer,
            Err(error) => {
                self.break_off(py, &format!("a malformed Tversion: {error}"))?;
                return Ok(Next::Stop);
            }
        };
        let Some(services) = self.shared.services() else {
            self.refuse(frame.tag, codes::UNKNOWN_SERVICE, answers);
            return Ok(Next::Go);
        };
        let client = Version::parse(&asked.version).ok();
        let table = client.as_ref().and_then(|client| services.by_name.get(&client.name));
        match (client.as_ref(), table) {
            (Some(client), Some(table)) if table.get().version.serves(client) => {
                let limit = asked.msize.min(services.msize);
                if limit < MIN_MSIZE {
                    self.refuse(frame.tag, codes::VERSION_REFUSED, answers);
                    return Ok(Next::Go);
                }
                let version = table.get().version.to_string();
                Offer { msize: limit, version }.encode(kind::RVERSION, frame.tag, answers);
                let mut inner = lock(&self.inner);
                inner.limit = limit;
                inner.phase = Phase::Open(table.clone_ref(py));
                drop(inner);
                self.shared.hub()?.set_lane_limit(self.key, limit);
                let _ = self.services.set(services);
            }
            (_, None) => self.refuse(frame.tag, codes::UNKNOWN_SERVICE, answers),
            _ => self.refuse(frame.tag, codes::VERSION_REFUSED, answers),
        }
        Ok(Next::Go)
    }

    fn refuse(&self, tag: u16, code: u32, answers: &mut Vec<u8>) {
        let unknown = Offer { msize: 0, version: version::UNKNOWN.to_owned() };
        unknown.encode(kind::RVERSION, tag, answers);
        let mut inner = lock(&self.inner);
        inner.phase = Phase::Over;
        drop(inner);
        if let Ok(mut hub) = self.shared.hub() {
            // The answer is queued first, the end and the code follow it.
            hub.write_lane(self.key, std::mem::take(answers));
            hub.refuse_lane(self.key, code);
        }
    }

    // ---- methods ----

    fn call(
        self: &Arc<Self>,
        py: Python<'_>,
        method: &Bound<'_, ServiceMethod>,
        frame: Frame<'_>,
        answers: &mut Vec<u8>,
    ) -> PyResult<()> {
        let called = method.get();
        let mut arguments = Vec::with_capacity(called.arguments.get().len() + 1);
        let decoded =
            called.arguments.get().decode_from(py, frame.payload, &called.what, &mut |_, value| {
                arguments.push(value);
            });
        let result = decoded.and_then(|()| {
            if let Some(at) = called.context_at {
                let context = self.make_context(py, called)?;
                arguments.insert(at.min(arguments.len()), context);
            }
            let function = called.function.bind(py);
            match called.style {
                // What a handler sets in its context is not the next one's business.
                Style::Direct => Context::copy(py)?.run(py, || vectorcall(function, &arguments))?,
                Style::Task => vectorcall(function, &arguments),
            }
        });
        match (result, called.style) {
            (Ok(value), Style::Direct) => self.answer(py, called, frame.tag, &value, answers),
            (Ok(awaitable), Style::Task) => self.spawn(py, method, frame.tag, awaitable, answers),
            (Err(error), _) => self.answer_error(py, called, frame.tag, error, answers),
        }
    }

    fn make_context<'py>(
        &self,
        py: Python<'py>,
        method: &ServiceMethod,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.services.get() {
            Some(services) => {
                services.make_context.bind(py).call1((&self.connection, method.what.as_str()))
            }
            None => Ok(py.None().into_bound(py)),
        }
    }

    /// Runs a coroutine: to its end if it does not wait, else in a task that is its own.
    fn spawn(
        self: &Arc<Self>,
        py: Python<'_>,
        method: &Bound<'_, ServiceMethod>,
        tag: u16,
        coroutine: Bound<'_, PyAny>,
        answers: &mut Vec<u8>,
    ) -> PyResult<()> {
        let called = method.get();
        let context = Context::copy(py)?;
        let coroutine = coroutine.unbind();
        let mut ready = self.shared.take_ready_task(py)?;
        let answered = match ready.first_step(py, &coroutine, &context)? {
            Step::Returned(value) => self.answer(py, called, tag, &value, answers),
            Step::Raised(error) => self.answer_error(py, called, tag, error, answers),
            Step::Yielded(value) => {
                self.connection.get().running.fetch_add(1, Ordering::Relaxed);
                self.shared.handlers.fetch_add(1, Ordering::Relaxed);
                let waiting = (coroutine, context, value.unbind());
                return ready.give(py, self, method.clone().unbind(), tag, waiting);
            }
        };
        // Whatever the handler held of its task goes with it.
        drop((coroutine, context));
        if let Some(ready) = ready.if_untouched(py)? {
            self.shared.put_ready_task(ready);
        }
        answered
    }

    /// Keeps the task of a handler that waits: the loop holds tasks weakly.
    pub(crate) fn keep_task(&self, task: Py<PyAny>) -> usize {
        let mut inner = lock(&self.inner);
        match inner.free.pop() {
            Some(slot) => {
                inner.tasks[slot] = Some(task);
                slot
            }
            None => {
                inner.tasks.push(Some(task));
                inner.tasks.len() - 1
            }
        }
    }

    /// A handler in a task has ended with a result.
    pub(crate) fn on_result(
        self: &Arc<Self>,
        py: Python<'_>,
        method: &Py<ServiceMethod>,
        tag: u16,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let mut answers = Vec::new();
        self.answer(py, method.get(), tag, value, &mut answers)?;
        self.send(py, answers)
    }

    /// A handler in a task has ended with an exception.
    pub(crate) fn on_error(
        self: &Arc<Self>,
        py: Python<'_>,
        method: &Py<ServiceMethod>,
        tag: u16,
        error: PyErr,
    ) -> PyResult<()> {
        let mut answers = Vec::new();
        self.answer_error(py, method.get(), tag, error, &mut answers)?;
        self.send(py, answers)
    }

    fn send(self: &Arc<Self>, py: Python<'_>, mut answers: Vec<u8>) -> PyResult<()> {
        let mut inner = lock(&self.inner);
        if matches!(inner.phase, Phase::Over) {
            return Ok(());
        }
        if inner.out.is_empty() {
            inner.out = answers;
        } else {
            inner.out.append(&mut answers);
        }
        drop(inner);
        self.mark_dirty(py)
    }

    /// A handler's task is over, whatever it came to.
    pub(crate) fn release_task(self: &Arc<Self>, py: Python<'_>, slot: usize) -> PyResult<()> {
        let task = {
            let mut inner = lock(&self.inner);
            inner.free.push(slot);
            inner.tasks.get_mut(slot).and_then(Option::take)
        };
        drop(task);
        self.connection.get().running.fetch_sub(1, Ordering::Relaxed);
        let handlers = self.shared.handlers.fetch_sub(1, Ordering::Relaxed);
        let parked = lock(&self.inner).is_parked;
        if parked || handlers == 1 {
            self.shared.schedule(py)?;
        }
        self.finish_if_done(py)
    }

    fn answer(
        &self,
        py: Python<'_>,
        method: &ServiceMethod,
        tag: u16,
        value: &Bound<'_, PyAny>,
        answers: &mut Vec<u8>,
    ) -> PyResult<()> {
        let start = frame::begin(answers, kind::reply(method.index), tag);
        let encoded = method.result.get().encode_into(py, value, answers, &method.what);
        let limit = lock(&self.inner).limit;
        let finished = match encoded {
            Ok(()) => frame::finish(answers, start, limit)
                .map_err(|error| errors::too_large(py, &method.what, error, "peer")),
            Err(error) => {
                answers.truncate(start);
                Err(error)
            }
        };
        match finished {
            Ok(()) => {
                lock(&self.inner).callee.finish(tag);
                Ok(())
            }
            Err(error) => self.answer_error(py, method, tag, error, answers),
        }
    }

    /// Tells the caller what it may know of an exception. What is no `Exception` is told and
    /// passed on, because it is meant for the interpreter.
    fn answer_error(
        &self,
        py: Python<'_>,
        method: &ServiceMethod,
        tag: u16,
        error: PyErr,
        answers: &mut Vec<u8>,
    ) -> PyResult<()> {
        let fault = match self.explain(py, method, &error) {
            Ok(fault) => fault,
            Err(failed) => {
                failed.write_unraisable(py, None);
                internal(&method.what)
            }
        };
        self.answer_fault(tag, &fault, answers);
        if error.is_instance_of::<pyo3::exceptions::PyException>(py) || is_cancelled(py, &error) {
            Ok(())
        } else {
            Err(error)
        }
    }

    fn explain(&self, py: Python<'_>, method: &ServiceMethod, error: &PyErr) -> PyResult<Fault> {
        let Some(services) = self.services.get() else { return Ok(internal(&method.what)) };
        type Told = (String, Option<String>, Option<String>, Option<String>);
        let told = services.explain.bind(py).call1((method.what.as_str(), error.value(py)))?;
        let (message, code, help, url) = told.extract::<Told>()?;
        Ok(Fault { message, code, help, url, backtrace: Vec::new() })
    }

    fn answer_fault(&self, tag: u16, fault: &Fault, answers: &mut Vec<u8>) {
        let limit = {
            let mut inner = lock(&self.inner);
            inner.callee.finish(tag);
            inner.limit
        };
        let start = frame::begin(answers, kind::RERROR, tag);
        fault.encode(answers);
        if let Err(FrameError::TooLarge { .. }) = frame::finish(answers, start, limit) {
            // The smallest limit carries this one.
            let start = frame::begin(answers, kind::RERROR, tag);
            let message = "the error was too large for the peer's msize".to_owned();
            Fault { message, code: fault.code.clone(), ..Fault::default() }.encode(answers);
            let _ = frame::finish(answers, start, u32::MAX);
        }
    }

    // ---- the end ----

    /// The peer broke the rules: the lane goes, the connection and its other lanes stay.
    fn break_off(self: &Arc<Self>, py: Python<'_>, why: &str) -> PyResult<()> {
        self.shared.log_violation(py, &self.connection, why)?;
        self.end(py);
        self.shared.unbind_lane(self.key);
        self.shared.hub()?.abort_lane(self.key, codes::PROTOCOL);
        Ok(())
    }

    pub(crate) fn on_end(self: &Arc<Self>, py: Python<'_>, end: &LaneEnd) -> PyResult<()> {
        match end {
            LaneEnd::Finished => {
                // The peer asks no more; what it has asked is still answered.
                lock(&self.inner).finishing = true;
                self.finish_if_done(py)
            }
            LaneEnd::Truncated { .. } | LaneEnd::Broken(_) => {
                let why = match end {
                    LaneEnd::Broken(error) => error.to_string(),
                    _ => "the lane ended inside a frame".to_owned(),
                };
                self.break_off(py, &why)
            }
            LaneEnd::Reset { .. } | LaneEnd::Stopped { .. } => {
                self.end(py);
                self.shared.unbind_lane(self.key);
                self.shared.hub()?.abort_lane(self.key, codes::DONE);
                Ok(())
            }
        }
    }

    fn finish_if_done(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let (done, out) = {
            let mut inner = lock(&self.inner);
            let done = inner.finishing && inner.callee.running() == 0 && inner.parked.is_empty();
            if done {
                inner.finishing = false;
                inner.phase = Phase::Over;
            }
            let out = if done { std::mem::take(&mut inner.out) } else { Vec::new() };
            (done, out)
        };
        if !done {
            return Ok(());
        }
        self.shared.unbind_lane(self.key);
        let mut hub = self.shared.hub()?;
        if !out.is_empty() {
            hub.write_lane(self.key, out);
        }
        hub.finish_lane(self.key);
        drop(hub);
        self.shared.retire(self.key);
        self.shared.schedule(py)
    }

    pub(crate) fn on_lost(self: &Arc<Self>, py: Python<'_>) {
        self.end(py);
    }

    /// Nobody is left to answer: handlers that run are cancelled.
    fn end(&self, py: Python<'_>) {
        let tasks: Vec<Py<PyAny>> = {
            let mut inner = lock(&self.inner);
            inner.phase = Phase::Over;
            inner.out = Vec::new();
            inner.parked.clear();
            inner.tasks.iter().flatten().map(|task| task.clone_ref(py)).collect()
        };
        for task in tasks {
            if let Err(error) = task.call_method0(py, "cancel") {
                error.write_unraisable(py, Some(task.bind(py)));
            }
        }
    }
}

fn internal(what: &str) -> Fault {
    Fault {
        message: format!("{what} failed"),
        code: Some("jetstream::internal".to_owned()),
        ..Fault::default()
    }
}

pub(crate) fn is_cancelled(py: Python<'_>, error: &PyErr) -> bool {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS
        .import(py, "asyncio", "CancelledError")
        .is_ok_and(|class| error.get_type(py).is_subclass(class).unwrap_or(false))
}

//! Requests to answers: arguments, the method, and what it came to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jetstream_proto::ext::{self, FOREVER, Head, INITIAL_WINDOW, Metadata};
use jetstream_proto::fault::Fault;
use jetstream_proto::frame::{self, kind};
use jetstream_proto::limits::FRAME_HEADER;
use jetstream_proto::mux::{self, Sending};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use crate::deadline;
use crate::dispatch::{Run, ServiceLane};
use crate::errors;
use crate::faults;
use crate::handling::{Context, Errand, Step, Suspended};
use crate::outlet::Outlet;
use crate::service::{ServiceMethod, Style};
use crate::shared::{lock, vectorcall};
use crate::subscription::metadata_mapping;
use crate::waiting::Why;

/// A request as it came.
pub(crate) struct Asked<'a> {
    pub(crate) tag: u16,
    pub(crate) payload: &'a [u8],
    /// What was said before it.
    pub(crate) head: Option<Box<Head>>,
    /// Microseconds from its arrival until its caller gives up.
    pub(crate) time_left: u64,
    /// What its caller has granted of the items already.
    pub(crate) credit: u32,
}

/// What an answer is to.
pub(crate) struct Question {
    pub(crate) method: Py<ServiceMethod>,
    pub(crate) tag: u16,
    /// The method's `Context`, which may say more.
    pub(crate) context: Option<Py<PyAny>>,
    /// Where its items went.
    pub(crate) outlet: Option<Py<Outlet>>,
    /// Its place among the streams of its connection, if it is one.
    pub(crate) _seat: Option<Seat>,
}

/// A place among the streams of a connection, until whoever has it has ended.
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Seat {
    /// Takes one of `most`; how many it would have been if there is none.
    fn take(taken: &Arc<AtomicUsize>, most: usize) -> Result<Self, usize> {
        let before = taken.fetch_add(1, Ordering::Relaxed);
        let seat = Self(taken.clone());
        if before < most { Ok(seat) } else { Err(before + 1) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When a request must have been answered, and the context (PEP 567) that says so.
struct Surroundings {
    context: Context,
    at: Option<Instant>,
    seconds: Option<f64>,
}

/// A method that waits.
struct Answering {
    lane: Arc<ServiceLane>,
    question: Question,
    /// Where the lane keeps its task.
    slot: usize,
}

impl Errand for Answering {
    fn returned(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.lane.on_result(py, &self.question, value)
    }

    fn raised(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        self.lane.on_error(py, &self.question, self.slot, error)
    }

    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.lane.release_task(py, self.slot)
    }

    fn what(&self) -> String {
        self.question.method.get().what.clone()
    }
}

impl ServiceLane {
    // ---- methods ----

    pub(crate) fn call(
        self: &Arc<Self>,
        py: Python<'_>,
        method: &Bound<'_, ServiceMethod>,
        mut asked: Asked<'_>,
        run: &mut Run,
    ) -> PyResult<()> {
        let called = method.get();
        let tag = asked.tag;
        let at = until(&asked, run);
        if asked.time_left == 0 || (run.late && at.is_some_and(|at| at <= Instant::now())) {
            let fault = faults::deadline_exceeded(&called.what);
            self.answer_fault(tag, &fault, &mut run.answers);
            return Ok(());
        }
        let seat = match called.is_stream().then(|| self.take_seat(py, called)).transpose() {
            Ok(seat) => seat,
            Err(error) => {
                self.refuse_request(py, called, tag, &error, run);
                return Ok(());
            }
        };
        let method = method.clone().unbind();
        let mut question = Question { method, tag, context: None, outlet: None, _seat: seat };
        let mut arguments = Vec::with_capacity(called.arguments.get().len() + 3);
        let decoded =
            called.arguments.get().decode_from(py, asked.payload, &called.what, &mut |_, value| {
                arguments.push(value);
            });
        let prepared = decoded.and_then(|()| {
            let around = surroundings(py, &asked, at, run)?;
            if called.inbound.is_some() || called.stream.is_some() {
                // What it sends at once comes behind what was answered before.
                self.flush(py, run)?;
                self.add_streams(py, &mut asked, &mut question, &mut arguments)?;
            }
            if let Some(place) = called.context_at {
                let context = self.make_context(py, called, &mut asked, &around)?;
                question.context = Some(context.clone().unbind());
                arguments.insert(place.min(arguments.len()), context);
            }
            if let Some(outlet) = &question.outlet {
                arguments.insert(0, outlet.bind(py).clone().into_any());
            }
            Ok(around)
        });
        let around = match prepared {
            Ok(around) => around,
            Err(error) => return self.answer_error(py, &question, error, &mut run.answers),
        };
        let function = called.function.bind(py);
        match called.style {
            // What a handler sets in its context is not the next one's business.
            Style::Direct => match around.context.run(py, || vectorcall(function, &arguments))? {
                Ok(value) => self.answer(py, &question, &value, &mut run.answers),
                Err(error) => self.answer_error(py, &question, error, &mut run.answers),
            },
            Style::Task => match vectorcall(function, &arguments) {
                Ok(awaitable) => {
                    drop(arguments);
                    self.spawn(py, question, awaitable, around, run)
                }
                Err(error) => self.answer_error(py, &question, error, &mut run.answers),
            },
        }
    }

    /// A place among the streams of the connection. They run for as long as anybody listens, or
    /// sends, so they have a limit of their own and leave the handlers to the calls.
    fn take_seat(&self, py: Python<'_>, method: &ServiceMethod) -> PyResult<Seat> {
        let most = self.service_limits().max_subscriptions;
        Seat::take(&self.connection.get().streams, most).map_err(|count| {
            let limit = format!("streams that run for one connection, with {}", method.what);
            errors::over_limit(py, &limit, count as u64, most as u64, "max_subscriptions")
        })
    }

    /// Adds a stream from the caller to the arguments, and makes the place for items to the caller.
    fn add_streams<'py>(
        self: &Arc<Self>,
        py: Python<'py>,
        asked: &mut Asked<'_>,
        question: &mut Question,
        arguments: &mut Vec<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let called = question.method.get();
        if let (Some(place), Some(inlet)) = (called.inbound_at, self.inlet(py, asked.tag)) {
            if let Some(grant) = inlet.get().first_grant() {
                self.grant(py, asked.tag, grant)?;
            }
            let inlet = inlet.into_bound(py).into_any();
            arguments.insert(place.min(arguments.len()), inlet);
        }
        if called.stream.is_some() {
            let window = self.is_extended().then(|| {
                let mut window = Sending::new(INITIAL_WINDOW);
                window.granted(asked.credit);
                window
            });
            let method = question.method.clone_ref(py);
            question.outlet = Some(Py::new(py, Outlet::new(self, method, asked.tag, window))?);
        }
        Ok(())
    }

    fn make_context<'py>(
        &self,
        py: Python<'py>,
        method: &ServiceMethod,
        asked: &mut Asked<'_>,
        around: &Surroundings,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(services) = self.services.get() else { return Ok(py.None().into_bound(py)) };
        let make = services.make_context.bind(py);
        let metadata = match asked.head.take() {
            Some(head) if !head.metadata.0.is_empty() => Some(head.metadata),
            _ => None,
        };
        let what = method.what.as_str();
        match (metadata, around.seconds) {
            (None, None) => make.call1((&self.connection, what)),
            (None, seconds) => make.call1((&self.connection, what, seconds)),
            (Some(metadata), seconds) => {
                let metadata = metadata_mapping(py, &metadata)?;
                make.call1((&self.connection, what, seconds, metadata))
            }
        }
    }

    /// Runs a coroutine: to its end if it does not wait, else in a task that is its own.
    fn spawn(
        self: &Arc<Self>,
        py: Python<'_>,
        question: Question,
        coroutine: Bound<'_, PyAny>,
        around: Surroundings,
        run: &mut Run,
    ) -> PyResult<()> {
        let context = around.context;
        let coroutine = coroutine.unbind();
        let mut ready = self.shared.take_ready_task(py)?;
        let stepped = ready.first_step(py, &coroutine, &context)?;
        if question.outlet.is_some() {
            run.queued = lock(&self.inner).out.len();
        }
        let answered = match stepped {
            Step::Returned(value) => self.answer(py, &question, &value, &mut run.answers),
            Step::Raised(error) => self.answer_error(py, &question, error, &mut run.answers),
            Step::Yielded(value) => {
                self.connection.get().running.fetch_add(1, Ordering::Relaxed);
                self.shared.handlers.fetch_add(1, Ordering::Relaxed);
                let suspended = Suspended { coroutine, context, yielded: value.unbind() };
                return ready.give(py, suspended, |task| {
                    let outlet = question.outlet.as_ref().map(|outlet| outlet.clone_ref(py));
                    let slot = self.keep_task(task, question.tag, outlet, around.at);
                    Box::new(Answering { lane: self.clone(), question, slot })
                });
            }
        };
        // Whatever the handler held of its task goes with it.
        drop((coroutine, context));
        if let Some(ready) = ready.if_untouched(py)? {
            self.shared.put_ready_task(py, ready)?;
        }
        answered
    }

    /// A handler in a task has ended with a result.
    pub(crate) fn on_result(
        self: &Arc<Self>,
        py: Python<'_>,
        question: &Question,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let mut answers = Vec::new();
        // What is no `Exception` passes on to the loop, behind the answer.
        let passed = self.answer(py, question, value, &mut answers);
        self.send(py, answers).and(passed)
    }

    /// A handler in a task, which the lane keeps in `slot`, has ended with an exception.
    pub(crate) fn on_error(
        self: &Arc<Self>,
        py: Python<'_>,
        question: &Question,
        slot: usize,
        error: PyErr,
    ) -> PyResult<()> {
        let mut answers = Vec::new();
        let why = lock(&self.inner).handlers.why(slot);
        let mut passed = Ok(());
        match why.filter(|_| is_cancelled(py, &error)) {
            None => passed = self.answer_error(py, question, error, &mut answers),
            Some(why) => {
                let what = &question.method.get().what;
                match why {
                    Why::Caller => {
                        self.over(question);
                        mux::ended(question.tag, &mut answers);
                    }
                    Why::Deadline => {
                        self.fault(question, &faults::deadline_exceeded(what), &mut answers);
                    }
                    Why::Shutdown => {
                        self.fault(question, &faults::unavailable(what), &mut answers);
                    }
                }
            }
        }
        self.send(py, answers).and(passed)
    }

    fn send(self: &Arc<Self>, py: Python<'_>, answers: Vec<u8>) -> PyResult<()> {
        let mut inner = lock(&self.inner);
        if inner.is_over() {
            return Ok(());
        }
        inner.add(answers);
        drop(inner);
        self.mark_dirty(py)
    }

    // ---- answers ----

    fn answer(
        &self,
        py: Python<'_>,
        question: &Question,
        value: &Bound<'_, PyAny>,
        answers: &mut Vec<u8>,
    ) -> PyResult<()> {
        let method = question.method.get();
        let (limit, side) = {
            let inner = lock(&self.inner);
            (inner.limit, inner.side())
        };
        let before = answers.len();
        let finished = self.add_metadata(py, question, limit, answers).and_then(|()| {
            let kind = if method.stream.is_some() {
                kind::RDONE
            } else {
                self.dialect.reply(method.index)
            };
            let start = frame::begin(answers, kind, question.tag);
            if method.stream.is_some() {
                answers.push(self.dialect.request(method.index));
            }
            method.result.get().encode_into(py, value, answers, &method.what)?;
            frame::finish(answers, start, limit)
                .map_err(|error| errors::result_too_large(py, &method.what, error, side))
        });
        match finished {
            Ok(()) => {
                self.over(question);
                Ok(())
            }
            Err(error) => {
                answers.truncate(before);
                self.answer_error(py, question, error, answers)
            }
        }
    }

    /// The request is answered: its tag is free, and what belonged to it ends.
    fn over(&self, question: &Question) {
        if let Some(outlet) = &question.outlet {
            outlet.get().close();
        }
        self.answered(question.tag);
    }

    fn answered(&self, tag: u16) {
        let streams = {
            let mut inner = lock(&self.inner);
            inner.callee.finish(tag);
            !inner.inlets.is_empty()
        };
        if streams {
            self.close_inlet(tag);
        }
    }

    /// Adds what the method says beside its answer, where the caller understands it.
    fn add_metadata(
        &self,
        py: Python<'_>,
        question: &Question,
        limit: u32,
        answers: &mut Vec<u8>,
    ) -> PyResult<()> {
        let Some(context) = &question.context else { return Ok(()) };
        if !self.is_extended() {
            return Ok(());
        }
        let said = context.bind(py).getattr(intern!(py, "_reply_metadata"))?;
        if said.is_none() {
            return Ok(());
        }
        let what = &question.method.get().what;
        let metadata = reply_metadata(&said, what)?;
        if metadata.0.is_empty() {
            return Ok(());
        }
        let most = self.service_limits().max_metadata;
        metadata.check(most.min((limit as usize).saturating_sub(FRAME_HEADER))).map_err(
            |error| {
                PyValueError::new_err(format!(
                    "{what}: the reply's metadata cannot be sent: {error}"
                ))
            },
        )?;
        ext::reply_head(question.tag, &metadata, answers);
        Ok(())
    }

    /// Tells the caller what it may know of an exception. What is no `Exception` is told and
    /// passed on, because it is meant for the interpreter.
    fn answer_error(
        &self,
        py: Python<'_>,
        question: &Question,
        error: PyErr,
        answers: &mut Vec<u8>,
    ) -> PyResult<()> {
        let method = question.method.get();
        let fault = match self.explain(py, method, &error) {
            Ok(fault) => fault,
            Err(failed) => {
                failed.write_unraisable(py, None);
                faults::internal(&method.what)
            }
        };
        let limit = lock(&self.inner).limit;
        if let Err(unsaid) = self.add_metadata(py, question, limit, answers) {
            // The fault goes without it; the log is told.
            if let Err(failed) = self.explain(py, method, &unsaid) {
                failed.write_unraisable(py, None);
            }
        }
        self.fault(question, &fault, answers);
        if error.is_instance_of::<pyo3::exceptions::PyException>(py) || is_cancelled(py, &error) {
            Ok(())
        } else {
            Err(error)
        }
    }

    fn fault(&self, question: &Question, fault: &Fault, answers: &mut Vec<u8>) {
        if let Some(outlet) = &question.outlet {
            outlet.get().close();
        }
        self.answer_fault(question.tag, fault, answers);
    }

    pub(crate) fn explain(
        &self,
        py: Python<'_>,
        method: &ServiceMethod,
        error: &PyErr,
    ) -> PyResult<Fault> {
        let Some(services) = self.services.get() else { return Ok(faults::internal(&method.what)) };
        type Told = (String, Option<String>, Option<String>, Option<String>);
        let value = error.value(py);
        if let Some(traceback) = error.traceback(py) {
            value.setattr(intern!(py, "__traceback__"), traceback)?;
        }
        let told = services.explain.bind(py).call1((method.what.as_str(), value))?;
        let (message, code, help, url) = told.extract::<Told>()?;
        Ok(Fault { message, code, help, url, backtrace: Vec::new() })
    }

    /// Answers a request with a fault.
    pub(crate) fn answer_fault(&self, tag: u16, fault: &Fault, answers: &mut Vec<u8>) {
        self.answered(tag);
        let limit = lock(&self.inner).limit;
        fault.answer(tag, limit, answers);
    }
}

/// When a request must have been answered.
fn until(asked: &Asked<'_>, run: &Run) -> Option<Instant> {
    match asked.time_left {
        FOREVER => None,
        left => run.arrived.checked_add(Duration::from_micros(left)),
    }
}

/// The context that a request is answered in. Those of one run of frames that have the lane's own
/// time share a deadline, and the context that it was set in.
fn surroundings(
    py: Python<'_>,
    asked: &Asked<'_>,
    at: Option<Instant>,
    run: &mut Run,
) -> PyResult<Surroundings> {
    let Some(until) = at else {
        return Ok(Surroundings { context: Context::copy(py)?, at, seconds: None });
    };
    if asked.head.is_some() {
        let seconds = deadline::seconds(py, until)?;
        let context = deadline::context(py, Some(seconds))?;
        return Ok(Surroundings { context, at, seconds: Some(seconds) });
    }
    if run.base.is_none() {
        let seconds = deadline::seconds(py, until)?;
        run.base = Some((deadline::context(py, Some(seconds))?, seconds));
    }
    match &run.base {
        Some((base, seconds)) => {
            Ok(Surroundings { context: base.again(py)?, at, seconds: Some(*seconds) })
        }
        None => Ok(Surroundings { context: Context::copy(py)?, at, seconds: None }),
    }
}

/// Metadata as a method left it in its context.
fn reply_metadata(said: &Bound<'_, PyAny>, what: &str) -> PyResult<Metadata> {
    let pairs = said.cast::<PyDict>()?.iter().map(|(key, value)| {
        let pair = key.extract::<String>().and_then(|key| Ok((key, value.extract::<Vec<u8>>()?)));
        pair.map_err(|_| {
            let message = format!("{what}: the reply's metadata maps str to bytes");
            pyo3::exceptions::PyTypeError::new_err(message)
        })
    });
    Ok(Metadata(pairs.collect::<PyResult<_>>()?))
}

pub(crate) fn is_cancelled(py: Python<'_>, error: &PyErr) -> bool {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS
        .import(py, "asyncio", "CancelledError")
        .is_ok_and(|class| error.get_type(py).is_subclass(class).unwrap_or(false))
}

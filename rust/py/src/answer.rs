//! Requests to answers: arguments, the method, and what it came to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jetstream_proto::fault::Fault;
use jetstream_proto::frame::{self, Frame, FrameError, kind};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::dispatch::{Phase, ServiceLane};
use crate::errors;
use crate::handling::{Context, Step};
use crate::service::{ServiceMethod, Style};
use crate::shared::{lock, vectorcall};

impl ServiceLane {
    // ---- methods ----

    pub(crate) fn call(
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

    fn send(self: &Arc<Self>, py: Python<'_>, answers: Vec<u8>) -> PyResult<()> {
        let mut inner = lock(&self.inner);
        if matches!(inner.phase, Phase::Over) {
            return Ok(());
        }
        inner.add(answers);
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
        let (limit, side) = {
            let inner = lock(&self.inner);
            (inner.limit, if inner.limit_is_ours { "here" } else { "peer" })
        };
        let finished = match encoded {
            Ok(()) => frame::finish(answers, start, limit)
                .map_err(|error| errors::too_large(py, &method.what, error, side)),
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
        let value = error.value(py);
        if let Some(traceback) = error.traceback(py) {
            value.setattr(intern!(py, "__traceback__"), traceback)?;
        }
        let told = services.explain.bind(py).call1((method.what.as_str(), value))?;
        let (message, code, help, url) = told.extract::<Told>()?;
        Ok(Fault { message, code, help, url, backtrace: Vec::new() })
    }

    pub(crate) fn answer_fault(&self, tag: u16, fault: &Fault, answers: &mut Vec<u8>) {
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

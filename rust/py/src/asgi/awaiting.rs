//! What an application awaits when what it asks for is not there.

use std::sync::Mutex;

use pyo3::prelude::*;

use super::Exchange;
use crate::coroutine::{Coroutine, Step, thrown};
use crate::reply::Reply;
use crate::shared::lock;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// The next message to the application.
    Message,
    /// Little is unsent.
    Drain,
}

/// A coroutine that waits for something to happen to an exchange.
#[pyclass(frozen, freelist = 256, module = "jetstream._core")]
pub(crate) struct Waiting {
    exchange: Py<Exchange>,
    what: For,
    reply: Mutex<Option<Py<Reply>>>,
}

impl Waiting {
    pub(super) fn new(exchange: Py<Exchange>, what: For) -> Self {
        Self { exchange, what, reply: Mutex::new(None) }
    }

    fn forget(&self) {
        let reply = lock(&self.reply).take();
        if let Some(reply) = reply {
            reply.get().forget();
        }
    }
}

impl Coroutine for Waiting {
    fn step<'py>(&self, py: Python<'py>) -> PyResult<Step<'py>> {
        let waited = lock(&self.reply).take();
        if let Some(waited) = waited {
            // Cancelled, or thrown away with the endpoint.
            waited.get().take(py).transpose()?;
        }
        let exchange = self.exchange.get();
        let done = match self.what {
            For::Message => exchange.next_message(py)?,
            For::Drain => exchange.drained()?.then(|| py.None().into_bound(py)),
        };
        if let Some(done) = done {
            return Ok(Step::Done(done));
        }
        let reply = Bound::new(py, Reply::new(exchange.shared()))?;
        exchange.add_waiter(self.what, reply.clone().unbind());
        *lock(&self.reply) = Some(reply.clone().unbind());
        Ok(Step::Waits(reply.into_any()))
    }
}

#[pymethods]
impl Waiting {
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
        exception: &Bound<'py, PyAny>,
        value: Option<&Bound<'py, PyAny>>,
        traceback: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = traceback;
        self.forget();
        Err(thrown(exception, value)?)
    }

    fn close(&self) {
        self.forget();
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        match self.what {
            For::Message => "receive",
            For::Drain => "send",
        }
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        self.__name__()
    }
}

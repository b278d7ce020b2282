//! Handlers that are `async def`, and the tasks they run in.
//!
//! A handler must find itself in a task from its first step: `asyncio.current_task()`, timeouts
//! and context variables count on it. But most handlers return without ever waiting, and a task
//! costs more than they do. So one task stands ready; a handler's first step runs at once, with
//! that task entered as the current one and in a context of its own, which is what eager tasks do
//! (CPython 3.12, `eager_task_factory`), on every version. If the handler returns, the task was
//! only lent, and stands ready for the next, provided that nobody can tell: no reference to it was
//! kept, and nobody cancelled it. If the handler waits, the task is its own from then on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use pyo3::exceptions::{PyException, PyStopIteration};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::answer::is_cancelled;
use crate::shared::{Shared, lock, resolve, vectorcall};

/// What a handler is run for: who is told what it came to.
pub(crate) trait Errand: Send + Sync {
    /// It has returned.
    fn returned(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()>;

    /// It has raised.
    fn raised(&self, py: Python<'_>, error: PyErr) -> PyResult<()>;

    /// Its task is over, whatever it came to. Told once, and last.
    fn release(&self, py: Python<'_>) -> PyResult<()>;

    /// What is done, for people.
    fn what(&self) -> String;
}

/// A handler that waits after its first step.
pub(crate) struct Suspended {
    pub(crate) coroutine: Py<PyAny>,
    pub(crate) context: Context,
    /// What it waits for.
    pub(crate) yielded: Py<PyAny>,
}

/// A handler that waits, and whom to tell when it ends.
struct Request {
    errand: Box<dyn Errand>,
    coroutine: Py<PyAny>,
    context: Context,
    /// What the handler's first step yielded, until the task asks for it.
    yielded: Option<Py<PyAny>>,
}

enum State {
    /// The task has not taken its first step.
    New,
    /// The task waits for this future until a handler needs it.
    Ready(Py<PyAny>),
    /// The task runs a handler.
    Running(Box<Request>),
    Over,
}

/// A handler as its task finds it.
enum Running {
    /// Its first step yielded this, and the task has not seen it yet.
    Yielded(Py<PyAny>),
    /// It waits for its next step, in its context.
    Waiting(Py<PyAny>, Context),
}

/// What a task runs: nothing yet, or a handler.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct Handling {
    shared: Arc<Shared>,
    state: Mutex<State>,
    over: AtomicBool,
}

/// A copy of the current context (PEP 567), to run one handler in.
pub(crate) struct Context(Py<PyAny>);

impl Context {
    pub(crate) fn copy(py: Python<'_>) -> PyResult<Self> {
        // SAFETY: a new reference, or null with an error set.
        let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }?;
        Ok(Self(context.unbind()))
    }

    /// A copy of this one.
    pub(crate) fn again(&self, py: Python<'_>) -> PyResult<Self> {
        // SAFETY: a live context; a new reference, or null with an error set.
        let copy =
            unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_Copy(self.0.as_ptr())) }?;
        Ok(Self(copy.unbind()))
    }

    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.0.bind(py)
    }

    pub(crate) fn run<T>(&self, py: Python<'_>, act: impl FnOnce() -> T) -> PyResult<T> {
        enter_context(self.0.bind(py), act)
    }
}

/// Does something in a context (PEP 567).
pub(crate) fn enter_context<T>(context: &Bound<'_, PyAny>, act: impl FnOnce() -> T) -> PyResult<T> {
    // SAFETY: a live object; 0, or -1 with an error set if it is no context or entered already.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
        return Err(PyErr::fetch(context.py()));
    }
    let result = act();
    // SAFETY: the context that was entered just above, and it is the current one again: what ran
    // in between leaves what it enters.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
        return Err(PyErr::fetch(context.py()));
    }
    Ok(result)
}

/// What a step of a coroutine came to.
pub(crate) enum Step<'py> {
    Yielded(Bound<'py, PyAny>),
    Returned(Bound<'py, PyAny>),
    Raised(PyErr),
}

fn step<'py>(py: Python<'py>, coroutine: &Py<PyAny>) -> Step<'py> {
    let mut result = std::ptr::null_mut();
    // SAFETY: both pointers are live objects; the result is a new reference unless an error is
    // set.
    let sent = unsafe { ffi::PyIter_Send(coroutine.as_ptr(), ffi::Py_None(), &raw mut result) };
    // SAFETY: by the contract of PyIter_Send.
    let value = || unsafe { Bound::from_owned_ptr(py, result) };
    match sent {
        ffi::PySendResult::PYGEN_NEXT => Step::Yielded(value()),
        ffi::PySendResult::PYGEN_RETURN => Step::Returned(value()),
        ffi::PySendResult::PYGEN_ERROR => Step::Raised(PyErr::fetch(py)),
    }
}

/// A task that stands ready, and how it looks while nobody else knows it.
pub(crate) struct ReadyTask {
    task: Py<PyAny>,
    handling: Py<Handling>,
    references: isize,
    weak_references: usize,
}

struct Asyncio {
    task: Py<PyType>,
    enter: Py<PyAny>,
    leave: Py<PyAny>,
    weak_references: Py<PyAny>,
}

fn asyncio(py: Python<'_>) -> PyResult<&'static Asyncio> {
    static FOUND: PyOnceLock<Asyncio> = PyOnceLock::new();
    FOUND.get_or_try_init(py, || {
        let tasks = py.import("asyncio.tasks")?;
        Ok(Asyncio {
            task: tasks.getattr("Task")?.cast_into::<PyType>()?.unbind(),
            enter: tasks.getattr("_enter_task")?.unbind(),
            leave: tasks.getattr("_leave_task")?.unbind(),
            weak_references: py.import("weakref")?.getattr("getweakrefcount")?.unbind(),
        })
    })
}

impl ReadyTask {
    pub(crate) fn make(py: Python<'_>, shared: &Arc<Shared>) -> PyResult<Self> {
        let handling = Bound::new(
            py,
            Handling {
                shared: shared.clone(),
                state: Mutex::new(State::New),
                over: AtomicBool::new(false),
            },
        )?;
        let kwargs = PyDict::new(py);
        kwargs.set_item(intern!(py, "loop"), shared.event_loop(py))?;
        let task = asyncio(py)?.task.bind(py).call((&handling,), Some(&kwargs))?;
        // A loop that ends with this task ready loses nothing.
        task.setattr(intern!(py, "_log_destroy_pending"), false)?;
        let mut ready = Self {
            task: task.unbind(),
            handling: handling.unbind(),
            references: 0,
            weak_references: 0,
        };
        ready.weak_references = ready.count_weak_references(py)?;
        Ok(ready)
    }

    fn count_references(&self, py: Python<'_>) -> isize {
        let task = self.task.bind(py);
        // SAFETY: a live object.
        unsafe { ffi::Py_REFCNT(task.as_ptr()) }
    }

    fn count_weak_references(&self, py: Python<'_>) -> PyResult<usize> {
        asyncio(py)?.weak_references.bind(py).call1((&self.task,))?.extract()
    }

    /// Whether it still waits for a handler, and was not cancelled meanwhile.
    pub(crate) fn is_ready(&self, py: Python<'_>) -> PyResult<bool> {
        let future = match &*lock(&self.handling.get().state) {
            State::New => None,
            State::Ready(future) => Some(future.clone_ref(py)),
            State::Running(_) | State::Over => return Ok(false),
        };
        let spoiled = match future {
            None => self.task.bind(py).getattr(intern!(py, "_must_cancel"))?,
            Some(future) => future.bind(py).call_method0(intern!(py, "done"))?,
        };
        Ok(!spoiled.is_truthy()?)
    }

    /// Takes a coroutine's first step in this task.
    pub(crate) fn first_step<'py>(
        &mut self,
        py: Python<'py>,
        coroutine: &Py<PyAny>,
        context: &Context,
    ) -> PyResult<Step<'py>> {
        self.references = self.count_references(py);
        let found = asyncio(py)?;
        let pair = [self.handling.get().shared.event_loop(py).clone(), self.task.bind(py).clone()];
        vectorcall(found.enter.bind(py), &pair)?;
        let stepped = context.run(py, || step(py, coroutine));
        vectorcall(found.leave.bind(py), &pair)?;
        stepped
    }

    /// The task again, if it is as it was: nobody kept it, nobody cancelled it, it is not over.
    pub(crate) fn if_untouched(self, py: Python<'_>) -> PyResult<Option<Self>> {
        let untouched = !self.handling.get().is_over()
            && self.count_references(py) == self.references
            && self.count_weak_references(py)? == self.weak_references
            && !self.task.bind(py).call_method0(intern!(py, "cancelling"))?.is_truthy()?;
        if untouched {
            return Ok(Some(self));
        }
        self.dismiss(py)?;
        Ok(None)
    }

    /// Lets the task end, as one whose handler has returned.
    pub(crate) fn dismiss(self, py: Python<'_>) -> PyResult<()> {
        let before = std::mem::replace(&mut *lock(&self.handling.get().state), State::Over);
        self.handling.get().over.store(true, Ordering::Relaxed);
        match before {
            State::Ready(future) => resolve(py, future.bind(py), py.None()),
            _ => Ok(()),
        }
    }

    /// Gives the task to a handler that waits. The loop holds tasks weakly, so `errand` keeps it.
    pub(crate) fn give(
        self,
        py: Python<'_>,
        suspended: Suspended,
        errand: impl FnOnce(Py<PyAny>) -> Box<dyn Errand>,
    ) -> PyResult<()> {
        let Suspended { coroutine, context, yielded } = suspended;
        self.task.setattr(py, intern!(py, "_log_destroy_pending"), true)?;
        let errand = errand(self.task.clone_ref(py));
        let request = Request { errand, coroutine, context, yielded: Some(yielded) };
        let before = std::mem::replace(
            &mut *lock(&self.handling.get().state),
            State::Running(Box::new(request)),
        );
        match before {
            State::Ready(future) => resolve(py, future.bind(py), py.None()),
            _ => Ok(()),
        }
    }
}

impl Handling {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Ends the request, if there is one.
    fn end(&self) -> Option<Box<Request>> {
        self.over.store(true, Ordering::Relaxed);
        match std::mem::replace(&mut *lock(&self.state), State::Over) {
            State::Running(request) => Some(request),
            _ => None,
        }
    }

    fn after<'py>(&self, py: Python<'py>, step: Step<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let error = match step {
            Step::Yielded(value) => return Ok(Some(value)),
            Step::Returned(value) => {
                let Some(request) = self.end() else { return Ok(None) };
                let answered = request.errand.returned(py, &value);
                request.errand.release(py)?;
                return answered.map(|()| None);
            }
            Step::Raised(error) => error,
        };
        let Some(request) = self.end() else { return Err(error) };
        let passes = is_cancelled(py, &error) || !error.is_instance_of::<PyException>(py);
        let kept = error.clone_ref(py);
        let answered = request.errand.raised(py, error);
        request.errand.release(py)?;
        if passes { Err(kept) } else { answered.map(|()| None) }
    }

    /// The handler that runs, if one does.
    fn running(&self, py: Python<'_>) -> Option<Running> {
        match &mut *lock(&self.state) {
            State::Running(request) => Some(match request.yielded.take() {
                Some(yielded) => Running::Yielded(yielded),
                None => {
                    let context = Context(request.context.0.clone_ref(py));
                    Running::Waiting(request.coroutine.clone_ref(py), context)
                }
            }),
            _ => None,
        }
    }

    fn inner<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let coroutine = match &*lock(&self.state) {
            State::Running(request) => Some(request.coroutine.clone_ref(py)),
            _ => None,
        };
        match coroutine {
            Some(coroutine) => coroutine.bind(py).getattr(name),
            None => Err(pyo3::exceptions::PyAttributeError::new_err(name.to_owned())),
        }
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        // The loop ended before the handler did.
        if let Some(request) = self.end() {
            self.shared.bury(move |py| {
                if let Err(error) = request.errand.release(py) {
                    error.write_unraisable(py, None);
                }
            });
        }
    }
}

#[pymethods]
impl Handling {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// One step of the task; `None` ends it.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.running(py) {
            Some(Running::Yielded(yielded)) => return Ok(Some(yielded.into_bound(py))),
            Some(Running::Waiting(coroutine, context)) => {
                let stepped = context.run(py, || step(py, &coroutine))?;
                return self.after(py, stepped);
            }
            None => {}
        }
        if self.is_over() {
            return Ok(None);
        }
        // Nothing to do yet: the task waits until a handler needs it.
        let future = self.shared.create_future(py)?;
        let waiting = future.try_iter()?.next().transpose()?;
        *lock(&self.state) = State::Ready(future.unbind());
        Ok(waiting)
    }

    fn send<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let _ = value;
        match self.__next__(py)? {
            Some(value) => Ok(value),
            None => Err(PyStopIteration::new_err(())),
        }
    }

    #[pyo3(signature = (*exception))]
    fn throw<'py>(
        &self,
        py: Python<'py>,
        exception: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // What the first step waited for does not matter any more.
        let mut running = self.running(py);
        if matches!(running, Some(Running::Yielded(_))) {
            running = self.running(py);
        }
        let Some(Running::Waiting(coroutine, context)) = running else {
            self.end();
            let first = exception.get_item(0)?;
            let error = if first.is_instance_of::<PyType>() { first.call0()? } else { first };
            return Err(PyErr::from_value(error));
        };
        let thrown = context
            .run(py, || coroutine.bind(py).call_method1(intern!(py, "throw"), exception.clone()))?;
        let step = match thrown {
            Ok(value) => Step::Yielded(value),
            Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
                Step::Returned(error.value(py).getattr(intern!(py, "value"))?)
            }
            Err(error) => Step::Raised(error),
        };
        match self.after(py, step)? {
            Some(value) => Ok(value),
            None => Err(PyStopIteration::new_err(())),
        }
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(request) = self.end() else { return Ok(()) };
        let closed = request.coroutine.bind(py).call_method0(intern!(py, "close"));
        request.errand.release(py)?;
        closed.map(drop)
    }

    fn __repr__(&self) -> String {
        match &*lock(&self.state) {
            State::Running(request) => {
                format!("<answering {}>", request.errand.what())
            }
            State::Over => "<answered>".to_owned(),
            State::New | State::Ready(_) => "<ready to answer>".to_owned(),
        }
    }

    // What debuggers and `Task.get_stack()` look for in a coroutine is the handler's own.

    #[getter]
    fn __name__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.inner(py, "__name__")
    }

    #[getter]
    fn __qualname__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.inner(py, "__qualname__")
    }

    #[getter]
    fn cr_frame<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.inner(py, "cr_frame")
    }

    #[getter]
    fn cr_code<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.inner(py, "cr_code")
    }

    #[getter]
    fn cr_running<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.inner(py, "cr_running")
    }

    #[getter]
    fn cr_await<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.inner(py, "cr_await")
    }
}

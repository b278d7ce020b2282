//! The end of the interpreter while a loop runs in another thread.
//!
//! Before Python 3.14 such a thread is ended where it waits for the GIL, by unwinding its stack
//! (`pthread_exit`). Rust's frames cannot be unwound like that: the process aborts. Where we let go
//! of the GIL ourselves, PyO3 has the thread wait for ever instead; but the Python that a turn calls
//! lets go of it too, when others have waited for `sys.getswitchinterval()`. So at the end nobody
//! may interrupt a turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// Turns that are under way, in all threads.
static TURNS: AtomicUsize = AtomicUsize::new(0);

/// Seconds after which Python takes the GIL from a thread at the end: no turn takes that long.
const SWITCH: f64 = 0.5;

/// For how long the end waits for turns that had been interrupted before. A method that blocks may
/// be in one of them.
const PATIENCE: Duration = Duration::from_millis(500);

/// A turn, as long as it is kept.
pub(crate) struct Turn(());

impl Turn {
    pub(crate) fn begin() -> Self {
        TURNS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURNS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What `atexit` calls.
pub(crate) fn leave(py: Python<'_>) -> PyResult<()> {
    py.import("sys")?.call_method1("setswitchinterval", (SWITCH,))?;
    py.detach(|| {
        let end = Instant::now() + PATIENCE;
        while TURNS.load(Ordering::Relaxed) > 0 && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    });
    Ok(())
}

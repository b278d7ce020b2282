//! Wakers. Everything runs in one thread and is polled by whoever turns the endpoint, so all that a
//! waker does is to say which connection wants another look.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

/// The connections that rang since they were last looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Vec<u64>>>);

impl Board {
    /// Who rang, each once.
    pub(crate) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// The waker of one connection.
#[derive(Debug)]
pub(super) struct Bell {
    key: u64,
    rung: AtomicBool,
    /// It is being polled, and whoever does that looks at the bell.
    attended: AtomicBool,
    board: Board,
}

impl Bell {
    pub(super) fn new(key: u64, board: &Board) -> Arc<Self> {
        let (rung, attended) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { key, rung, attended, board: board.clone() })
    }

    /// Silences it for as long as the connection is polled: [`Bell::answer`] tells of each ring.
    pub(super) fn attend(&self, attended: bool) {
        self.attended.store(attended, Ordering::Relaxed);
    }

    /// Whether it rang since the last time.
    pub(super) fn answer(&self) -> bool {
        self.rung.swap(false, Ordering::Relaxed)
    }

    pub(super) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Relaxed)
    }

    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::Relaxed) && !self.attended.load(Ordering::Relaxed) {
            let mut board = self.board.0.lock().unwrap_or_else(PoisonError::into_inner);
            board.push(self.key);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

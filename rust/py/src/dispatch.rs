//! The called end of a lane: frames to methods, results to frames.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};

use jetstream_net::{LaneEnd, LaneKey};
use jetstream_proto::codes;
use jetstream_proto::fault::Fault;
use jetstream_proto::frame::{self, Frame, kind};
use jetstream_proto::limits::MIN_MSIZE;
use jetstream_proto::mux::Callee;
use jetstream_proto::version::{self, Offer, Version};
use pyo3::prelude::*;

use crate::connection::Connection;
use crate::service::{ServiceTable, Services};
use crate::shared::{LIVE_LANES, Role, Shared, lock};

/// Answers of one lane over which its requests wait until the peer has taken some.
const ANSWERS_HIGH: usize = 1 << 20;

pub(crate) enum Phase {
    /// Nothing has been said yet.
    Silent,
    Open(Py<ServiceTable>),
    /// Refused, broken or lost; nothing more is answered.
    Over,
}

pub(crate) struct Inner {
    pub(crate) phase: Phase,
    pub(crate) callee: Callee,
    /// Frames that leave at the end of this turn.
    pub(crate) out: Vec<u8>,
    pub(crate) dirty: bool,
    /// The largest frame that the peer takes.
    pub(crate) limit: u32,
    /// Whether that is our own limit, the smaller of the two.
    pub(crate) limit_is_ours: bool,
    /// Runs of frames, and how far they have been handled, that wait.
    pub(crate) parked: VecDeque<(Vec<u8>, usize)>,
    pub(crate) is_parked: bool,
    /// The peer has finished: when the last answer is out, the lane is.
    pub(crate) finishing: bool,
    /// Tasks of the handlers that have not ended, by slot.
    pub(crate) tasks: Vec<Option<Py<PyAny>>>,
    pub(crate) free: Vec<usize>,
}

impl Inner {
    /// Adds frames to those that leave at the end of this turn.
    pub(crate) fn add(&mut self, mut frames: Vec<u8>) {
        if self.out.is_empty() {
            self.out = frames;
        } else {
            self.out.append(&mut frames);
        }
    }
}

/// A lane that the peer opened, and what is being answered on it.
pub(crate) struct ServiceLane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: LaneKey,
    pub(crate) connection: Py<Connection>,
    pub(crate) services: OnceLock<Arc<Services>>,
    pub(crate) inner: Mutex<Inner>,
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
                limit_is_ours: false,
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

    pub(crate) fn mark_dirty(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
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
            lock(&self.inner).add(answers);
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
        let begun = lock(&self.inner).callee.begin(frame.tag);
        if let Err(error) = begun {
            self.break_off(py, &error.to_string())?;
            return Ok(Next::Stop);
        }
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
                inner.limit_is_ours = services.msize <= asked.msize;
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

    pub(crate) fn finish_if_done(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
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

    /// The loop is gone, and with it the handlers.
    pub(crate) fn forget(&self) {
        let tasks = {
            let mut inner = lock(&self.inner);
            inner.phase = Phase::Over;
            std::mem::take(&mut inner.tasks)
        };
        drop(tasks);
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

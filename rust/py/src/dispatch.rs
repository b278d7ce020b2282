//! The called end of a lane: frames to methods, results to frames.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use jetstream_net::{LaneEnd, LaneKey};
use jetstream_proto::codes;
use jetstream_proto::dialect::Dialect;
use jetstream_proto::ext::{self, ExtError, FOREVER, Head};
use jetstream_proto::frame::{self, Frame};
use jetstream_proto::limits::{MIN_MSIZE, NO_TAG};
use jetstream_proto::mux::Callee;
use pyo3::prelude::*;

use crate::answer::Asked;
use crate::connection::Connection;
use crate::errors;
use crate::faults;
use crate::handling::Context;
use crate::inlet::Inlet;
use crate::parking::{Parked, Parking};
use crate::service::{ServiceLimits, ServiceMethod, ServiceTable, Services};
use crate::shared::{LIVE_LANES, Role, Shared, lock};
use crate::waiting::{Handlers, cancel_task};

/// Bytes of requests parked behind such answers over which the lane is not read any more.
const PARKED_HIGH: usize = 256 << 10;

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
    /// What was said before the request that must come next, or why it is refused.
    pub(crate) head: Option<Result<Box<Head>, ExtError>>,
    /// Microseconds that requests have that do not say.
    pub(crate) time: u64,
    /// Requests that wait to begin.
    pub(crate) parking: Parking,
    /// The endpoint knows that some do.
    pub(crate) is_parked: bool,
    /// The lane is not read, until the peer takes its answers.
    pub(crate) is_paused: bool,
    /// We are going away: requests that come now are not begun.
    pub(crate) gone: bool,
    /// The peer has finished, or we have: when the last answer is out, the lane is.
    pub(crate) finishing: bool,
    /// The peer has.
    pub(crate) has_peer_finished: bool,
    /// Handlers that have not ended.
    pub(crate) handlers: Handlers,
    /// Streams from the caller, by the tags of their requests.
    pub(crate) inlets: HashMap<u16, Py<Inlet>>,
    /// So much is unsent that streams wait.
    pub(crate) congested: bool,
    /// Futures of the streams that wait for that.
    pub(crate) draining: Vec<Py<PyAny>>,
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

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whose limit of a frame's size holds.
    pub(crate) fn side(&self) -> &'static str {
        if self.limit_is_ours { "here" } else { "peer" }
    }
}

/// A lane that the peer opened, and what is being answered on it.
pub(crate) struct ServiceLane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: LaneKey,
    pub(crate) connection: Py<Connection>,
    pub(crate) dialect: Dialect,
    pub(crate) services: OnceLock<Arc<Services>>,
    /// Both ends speak the extension.
    pub(crate) extension: AtomicBool,
    pub(crate) inner: Mutex<Inner>,
}

impl Drop for ServiceLane {
    fn drop(&mut self) {
        LIVE_LANES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the requests of one run of frames share.
pub(crate) struct Run {
    /// Answers of methods that are called at once are gathered here and join the lane's own buffer
    /// together.
    pub(crate) answers: Vec<u8>,
    /// Bytes in that buffer, as far as they were looked at.
    pub(crate) queued: usize,
    pub(crate) arrived: Instant,
    /// Time has passed since: deadlines may have, too.
    pub(crate) late: bool,
    /// A context with the deadline that requests have that do not say, and that deadline.
    pub(crate) base: Option<(Context, f64)>,
}

impl Run {
    fn new(arrived: Instant, late: bool) -> Self {
        Self { answers: Vec::new(), queued: 0, arrived, late, base: None }
    }
}

/// What a handled frame means for those after it.
pub(crate) enum Next {
    Go,
    /// The lane is over.
    Stop,
}

/// What a frame is, as seen under the lock.
enum Seen {
    First,
    Request {
        table: Py<ServiceTable>,
        index: u8,
        head: Option<Box<Head>>,
        time_left: u64,
        waits: bool,
    },
    /// A request with more metadata than is taken.
    Overloaded {
        table: Py<ServiceTable>,
        index: u8,
        error: ExtError,
    },
    /// Something else than a request.
    Other,
    /// A request that is not begun, because we are going away.
    Unwanted,
    Wrong(String),
    Over,
}

impl ServiceLane {
    pub(crate) fn new(
        py: Python<'_>,
        shared: Arc<Shared>,
        key: LaneKey,
        connection: Py<Connection>,
    ) -> Arc<Self> {
        LIVE_LANES.fetch_add(1, Ordering::Relaxed);
        // A connection may be for one service alone; then so is the lane, before anything is said.
        let services = connection.get().services();
        let alone = services.as_ref().and_then(|all| connection.get().alone(py, all));
        let parking = Parking::counting(connection.get().queued.clone());
        let lane = Arc::new(Self {
            shared,
            key,
            connection,
            dialect: alone.as_ref().map_or(Dialect::V16, |(_, dialect)| *dialect),
            services: OnceLock::new(),
            extension: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                phase: Phase::Silent,
                callee: Callee::default(),
                out: Vec::new(),
                dirty: false,
                limit: MIN_MSIZE,
                limit_is_ours: false,
                head: None,
                time: FOREVER,
                parking,
                is_parked: false,
                is_paused: false,
                gone: false,
                finishing: false,
                has_peer_finished: false,
                handlers: Handlers::default(),
                inlets: HashMap::new(),
                congested: false,
                draining: Vec::new(),
            }),
        });
        if let (Some(services), Some((table, _))) = (services, alone) {
            {
                let mut inner = lock(&lane.inner);
                inner.limit = services.limits.msize;
                inner.limit_is_ours = true;
                inner.phase = Phase::Open(table);
            }
            let _ = lane.services.set(services);
        }
        lane
    }

    /// Whether both ends speak the extension.
    pub(crate) fn is_extended(&self) -> bool {
        self.extension.load(Ordering::Relaxed)
    }

    /// The limits under which what it is for is served.
    pub(crate) fn service_limits(&self) -> &ServiceLimits {
        self.services.get().map_or(&ServiceLimits::NONE, |services| &services.limits)
    }

    /// Answers over which requests wait until the peer has taken some.
    pub(crate) fn max_unsent(&self) -> usize {
        self.service_limits().max_unsent
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
        self.enlist(py)
    }

    /// Has the frames taken at the end of this turn.
    pub(crate) fn enlist(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        self.shared.mark_dirty(py, Role::Service(self.clone()))
    }

    /// Adds the answers of a run to what leaves at the end of this turn.
    pub(crate) fn flush(self: &Arc<Self>, py: Python<'_>, run: &mut Run) -> PyResult<()> {
        if run.answers.is_empty() {
            return Ok(());
        }
        {
            let mut inner = lock(&self.inner);
            let answers = std::mem::take(&mut run.answers);
            if inner.is_over() {
                return Ok(());
            }
            inner.add(answers);
            run.queued = inner.out.len();
        }
        self.mark_dirty(py)
    }

    // ---- frames ----

    /// Handles a run of frames. What is no error of a method is meant for the interpreter, and told
    /// when all have been handled.
    pub(crate) fn on_frames(self: &Arc<Self>, py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        let mut run = Run::new(Instant::now(), false);
        let mut frames = frame::frames(bytes);
        let mut outcome = Ok(());
        loop {
            let start = frames.position();
            let Some(frame) = frames.next() else { break };
            let handled = if frame.kind == ext::TITEM {
                pass_items(&mut frames, frame.tag);
                let items = bytes.get(start..frames.position()).unwrap_or_default();
                self.on_items(py, frame, items)
            } else {
                self.on_frame(py, frame, &mut run)
            };
            match handled {
                Ok(Next::Go) => {}
                Ok(Next::Stop) => break,
                Err(error) if outcome.is_ok() => outcome = Err(error),
                Err(_) => {}
            }
        }
        self.flush(py, &mut run)?;
        outcome
    }

    fn on_frame(
        self: &Arc<Self>,
        py: Python<'_>,
        frame: Frame<'_>,
        run: &mut Run,
    ) -> PyResult<Next> {
        match self.look(py, &frame) {
            Seen::Request { table, index, head, time_left, waits } => {
                let asked =
                    Asked { tag: frame.tag, payload: frame.payload, head, time_left, credit: 0 };
                self.on_request(py, table, index, asked, waits, run)
            }
            Seen::Overloaded { table, index, error } => {
                match table.get().methods.get(usize::from(index)) {
                    Some(method) => {
                        let method = method.get();
                        let error = errors::metadata_too_large(py, &method.what, &error);
                        self.refuse_request(py, method, frame.tag, &error, run);
                    }
                    None => self.unknown_method(table.get(), index, frame.tag, run),
                }
                Ok(Next::Go)
            }
            Seen::Other => self.on_other(py, frame, run),
            Seen::First => self.on_first(py, frame, run),
            Seen::Unwanted => {
                ext::empty(ext::GOAWAY, frame.tag, &mut run.answers);
                Ok(Next::Go)
            }
            Seen::Wrong(why) => self.wrong(py, &why),
            Seen::Over => Ok(Next::Stop),
        }
    }

    fn look(&self, py: Python<'_>, frame: &Frame<'_>) -> Seen {
        let inner = &mut *lock(&self.inner);
        let table = match &inner.phase {
            Phase::Over => return Seen::Over,
            Phase::Silent => return Seen::First,
            Phase::Open(table) => table,
        };
        let request = self.dialect.method_of_request(frame.kind);
        let head = match inner.callee.go_on(request.map(|_| frame.tag)) {
            Ok(true) => inner.head.take(),
            Ok(false) => None,
            Err(error) => return Seen::Wrong(error.to_string()),
        };
        let Some(index) = request else { return Seen::Other };
        if inner.gone {
            return Seen::Unwanted;
        }
        if let Err(error) = inner.callee.begin(frame.tag) {
            return Seen::Wrong(error.to_string());
        }
        let table = table.clone_ref(py);
        let head = match head.transpose() {
            Ok(head) => head,
            Err(error) => return Seen::Overloaded { table, index, error },
        };
        let time_left = head.as_ref().map_or(inner.time, |head| head.time_left);
        let waits = !inner.parking.is_empty();
        Seen::Request { table, index, head, time_left, waits }
    }

    fn unknown_method(&self, table: &ServiceTable, index: u8, tag: u16, run: &mut Run) {
        let kind = self.dialect.request(index);
        let fault = faults::unknown_method(&table.version.name, index, kind);
        self.answer_fault(tag, &fault, &mut run.answers);
    }

    /// Answers a request that is not begun, because a limit of ours is in the way.
    pub(crate) fn refuse_request(
        &self,
        py: Python<'_>,
        method: &ServiceMethod,
        tag: u16,
        error: &PyErr,
        run: &mut Run,
    ) {
        let fault = self.explain(py, method, error).unwrap_or_else(|failed| {
            failed.write_unraisable(py, None);
            faults::internal(&method.what)
        });
        self.answer_fault(tag, &fault, &mut run.answers);
    }

    fn on_request(
        self: &Arc<Self>,
        py: Python<'_>,
        table: Py<ServiceTable>,
        index: u8,
        asked: Asked<'_>,
        waits: bool,
        run: &mut Run,
    ) -> PyResult<Next> {
        let table = table.get();
        let Some(method) = table.methods.get(usize::from(index)) else {
            self.unknown_method(table, index, asked.tag, run);
            return Ok(Next::Go);
        };
        if method.get().inbound.is_some() {
            if !self.is_extended() {
                let fault = faults::extension_required(&method.get().what);
                self.answer_fault(asked.tag, &fault, &mut run.answers);
                return Ok(Next::Go);
            }
            if let Err(error) = self.take_stream(py, method, asked.tag) {
                self.refuse_request(py, method.get(), asked.tag, &error, run);
                return Ok(Next::Go);
            }
        }
        let streams = method.get().is_stream();
        if waits || self.must_wait(run, streams) || self.may_be_a_copy(method.get()) {
            self.park(py, method.get(), asked, run)?;
        } else {
            self.call(py, method.bind(py), asked, run)?;
        }
        Ok(Next::Go)
    }

    // ---- requests that wait ----

    /// Whether a request waits to begin: until its peer takes its answers, and, unless it gives or
    /// takes a stream, until there are fewer handlers of those that do not.
    fn must_wait(&self, run: &Run, streams: bool) -> bool {
        if run.answers.len() + run.queued > self.max_unsent() {
            return true;
        }
        if streams {
            return false;
        }
        let connection = self.connection.get();
        let running = connection.running.load(Ordering::Relaxed);
        let calls = running.saturating_sub(connection.streams.load(Ordering::Relaxed));
        calls >= self.service_limits().max_handlers
    }

    /// Whether a request for `method` that comes now may have been recorded and sent once more, and
    /// that would matter. It waits until the handshake is complete, as only the client can do that.
    fn may_be_a_copy(&self, method: &ServiceMethod) -> bool {
        self.connection.get().is_early() && !method.idempotent
    }

    /// Keeps a request until it can begin.
    ///
    /// Whatever handlers it waits for, the lane is read on: what ends them (items that they wait for,
    /// grants, cancellation) comes behind. So what there is no room for is answered at once. It is
    /// another matter if the peer does not take its answers: more of them would only be held, and
    /// it alone can change that.
    fn park(
        self: &Arc<Self>,
        py: Python<'_>,
        method: &ServiceMethod,
        asked: Asked<'_>,
        run: &mut Run,
    ) -> PyResult<()> {
        let most = self.service_limits().max_queued;
        let tag = asked.tag;
        let parked = Parked {
            index: method.index,
            tag,
            payload: asked.payload.to_vec(),
            head: asked.head,
            time_left: asked.time_left,
            arrived: run.arrived,
            credit: asked.credit,
        };
        let (register, total) = {
            let mut inner = lock(&self.inner);
            let total = inner.parking.total_with(&parked);
            // A request that is alone may be larger.
            let over = total > most && total > parked.cost();
            let pause = !inner.is_paused && (over || inner.parking.bytes() > PARKED_HIGH);
            let answers = run.answers.len() + inner.out.len();
            if pause {
                let mut hub = self.shared.hub()?;
                if hub.lane_unsent(self.key) + answers > self.max_unsent() {
                    inner.is_paused = true;
                    hub.pause_lane(self.key, true);
                }
            }
            if over && !inner.is_paused {
                (false, Some(total))
            } else {
                inner.parking.push(parked);
                (!std::mem::replace(&mut inner.is_parked, true), None)
            }
        };
        if let Some(total) = total {
            let limit = "bytes of requests of one connection that wait to begin";
            let error = errors::over_limit(py, limit, total as u64, most as u64, "max_queued");
            self.refuse_request(py, method, tag, &error, run);
        }
        if register {
            self.shared.park(self.clone());
        }
        Ok(())
    }

    /// Begins parked requests, as far as it may.
    pub(crate) fn resume(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let unsent = self.shared.hub()?.lane_unsent(self.key);
        let high = self.max_unsent();
        let mut run = Run::new(Instant::now(), true);
        run.queued = lock(&self.inner).out.len();
        let mut outcome = Ok(());
        // What came ahead of the handshake waits for its end, in order.
        let early = self.connection.get().is_early();
        while run.queued + unsent <= high && !early {
            let (index, table) = {
                let inner = &mut *lock(&self.inner);
                let Some(first) = inner.parking.first() else { break };
                let Phase::Open(table) = &inner.phase else { break };
                (first.index, table.clone_ref(py))
            };
            let method = table.get().methods.get(usize::from(index));
            if self.must_wait(&run, method.is_some_and(|method| method.get().is_stream())) {
                break;
            }
            let parked = lock(&self.inner).parking.pop();
            let (Some(method), Some(parked)) = (method, parked) else { break };
            run.arrived = parked.arrived;
            run.base = None;
            let asked = Asked {
                tag: parked.tag,
                payload: &parked.payload,
                head: parked.head,
                time_left: parked.time_left,
                credit: parked.credit,
            };
            let begun = self.call(py, method.bind(py), asked, &mut run);
            if outcome.is_ok() {
                outcome = begun;
            }
        }
        self.flush(py, &mut run)?;
        let (more, go_on) = {
            let mut inner = lock(&self.inner);
            inner.is_parked = !inner.parking.is_empty();
            let taken = inner.out.len() + unsent <= high && !inner.is_over();
            (inner.is_parked, taken && std::mem::take(&mut inner.is_paused))
        };
        if more {
            self.shared.park(self.clone());
        }
        if go_on {
            self.shared.hub()?.pause_lane(self.key, false);
            self.shared.schedule(py)?;
        }
        self.finish_if_done(py)?;
        outcome
    }

    // ---- the end ----

    /// The peer broke the rules.
    pub(crate) fn wrong(self: &Arc<Self>, py: Python<'_>, why: &str) -> PyResult<Next> {
        self.break_off(py, why)?;
        Ok(Next::Stop)
    }

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
                {
                    let inner = &mut *lock(&self.inner);
                    (inner.finishing, inner.has_peer_finished) = (true, true);
                }
                self.break_inlets(py)?;
                self.finish_if_done(py)
            }
            LaneEnd::Truncated { .. } | LaneEnd::Broken(_) => {
                let why = match end {
                    LaneEnd::Broken(error) => error.to_string(),
                    _ => "the lane ended inside a frame".to_owned(),
                };
                self.break_off(py, &why)
            }
            LaneEnd::Reset { .. } | LaneEnd::Stopped { .. } | LaneEnd::Lost(_) => {
                self.end(py);
                self.shared.unbind_lane(self.key);
                self.shared.hub()?.abort_lane(self.key, codes::DONE);
                Ok(())
            }
        }
    }

    pub(crate) fn finish_if_done(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let (waits, out) = {
            let mut inner = lock(&self.inner);
            if !inner.finishing || inner.callee.running() > 0 || !inner.parking.is_empty() {
                return Ok(());
            }
            inner.finishing = false;
            let was_over = inner.is_over();
            inner.phase = Phase::Over;
            let mut out = std::mem::take(&mut inner.out);
            if inner.gone && !was_over {
                // Whatever has no answer was not begun. The lane's end would not say so everywhere:
                // over TCP it looks the same when answers are given up.
                ext::empty(ext::GOAWAY, NO_TAG, &mut out);
            }
            // Whoever reads in a page ends the lane when the last answer has come to it.
            let is_read_later = inner.gone && self.connection.get().key().is_session();
            (is_read_later && !inner.has_peer_finished, out)
        };
        if !waits {
            self.shared.unbind_lane(self.key);
        }
        let mut hub = self.shared.hub()?;
        if !out.is_empty() {
            hub.write_lane(self.key, out);
        }
        hub.finish_lane(self.key);
        drop(hub);
        if !waits {
            self.shared.retire(self.key);
        }
        self.shared.schedule(py)
    }

    pub(crate) fn on_lost(self: &Arc<Self>, py: Python<'_>) {
        self.end(py);
    }

    /// The loop is gone, and with it the handlers.
    pub(crate) fn forget(&self) {
        let kept = {
            let mut inner = lock(&self.inner);
            inner.phase = Phase::Over;
            let handlers = std::mem::take(&mut inner.handlers);
            let inlets = std::mem::take(&mut inner.inlets);
            (handlers, inlets, std::mem::take(&mut inner.draining), inner.parking.clear())
        };
        drop(kept);
    }

    /// Nobody is left to answer: handlers that run are cancelled.
    pub(crate) fn end(&self, py: Python<'_>) {
        let (tasks, inlets, kept) = {
            let mut inner = lock(&self.inner);
            inner.phase = Phase::Over;
            inner.out = Vec::new();
            inner.head = None;
            let kept = (inner.parking.clear(), std::mem::take(&mut inner.draining));
            (inner.handlers.tasks(py), std::mem::take(&mut inner.inlets), kept)
        };
        drop(kept);
        for task in tasks {
            cancel_task(py, &task);
        }
        for inlet in inlets.into_values() {
            inlet.get().close();
        }
    }
}

/// Passes the items that follow one under the same tag.
fn pass_items(frames: &mut frame::Frames<'_>, tag: u16) {
    loop {
        let mut ahead = frames.clone();
        match ahead.next() {
            Some(next) if next.kind == ext::TITEM && next.tag == tag => *frames = ahead,
            _ => return,
        }
    }
}

//! The calling end of a lane: from opening and agreeing the version to the last reply.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jetstream_net::{ConnectionKey, LaneEnd, LaneKey, Lost, StreamId};
use jetstream_proto::fault::Fault;
use jetstream_proto::frame::{self, Frame, FrameError, kind};
use jetstream_proto::limits::MIN_MSIZE;
use jetstream_proto::mux::{self, Caller, Ticket};
use jetstream_proto::version::{self, Offer, Version};
use jetstream_proto::{codes, limits};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::channel::ChannelMethod;
use crate::connection::Connection;
use crate::errors;
use crate::reply::Reply;
use crate::shared::{LIVE_LANES, Role, Shared, lock};

/// A call that waits for its reply.
struct Pending {
    reply: Py<Reply>,
    method: Py<ChannelMethod>,
    timeout: f64,
    /// The frame, kept while the call waits for a tag.
    frame: Vec<u8>,
}

/// Why a lane cannot be called on any more. Each call gets an exception of its own.
#[derive(Clone)]
enum Failure {
    Lost(Lost),
    Ended(LaneEnd),
    Protocol(String),
    Version { message: String, answered: Option<String> },
    Closed,
}

enum Phase {
    /// The peer does not allow another stream yet.
    Opening,
    /// Our version is on its way.
    Negotiating,
    Open,
    Failed(Failure),
}

struct Inner {
    key: Option<LaneKey>,
    phase: Phase,
    caller: Caller<Pending>,
    /// Frames that leave at the end of this turn.
    out: Vec<u8>,
    dirty: bool,
    /// The largest frame that the peer takes.
    limit: u32,
}

/// A lane that we opened, and the calls on it.
pub(crate) struct CallerLane {
    id: u64,
    shared: Arc<Shared>,
    connection: ConnectionKey,
    version: Version,
    msize: u32,
    inner: Mutex<Inner>,
}

impl Drop for CallerLane {
    fn drop(&mut self) {
        LIVE_LANES.fetch_sub(1, Ordering::Relaxed);
        self.shared.forget_caller(self.id);
    }
}

impl CallerLane {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        connection: ConnectionKey,
        version: Version,
        msize: u32,
        max_concurrent: u16,
    ) -> Arc<Self> {
        LIVE_LANES.fetch_add(1, Ordering::Relaxed);
        shared.add_caller(|id| Self {
            id,
            shared: shared.clone(),
            connection,
            version,
            msize,
            inner: Mutex::new(Inner {
                key: None,
                phase: Phase::Opening,
                caller: Caller::new(max_concurrent),
                out: Vec::new(),
                dirty: false,
                limit: msize,
            }),
        })
    }

    pub(crate) fn connection(&self) -> ConnectionKey {
        self.connection
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    // ---- opening ----

    /// Opens the lane, now or when the peer allows it.
    pub(crate) fn open(self: &Arc<Self>, py: Python<'_>, connection: &Connection) -> PyResult<()> {
        let key = self.shared.hub()?.open_lane(self.connection, self.msize);
        match key {
            Some(key) => self.begin(py, key),
            None => {
                connection.wait_to_open(self.clone());
                Ok(())
            }
        }
    }

    /// Makes a lane of a stream that the user opened.
    pub(crate) fn adopt(self: &Arc<Self>, py: Python<'_>, stream: StreamId) -> PyResult<()> {
        let key = {
            let mut hub = self.shared.hub()?;
            hub.quic().and_then(|quic| quic.make_lane(self.connection, stream, self.msize))
        };
        match key {
            Some(key) => self.begin(py, key),
            None => Err(errors::closed("the connection")),
        }
    }

    /// The first frame on the lane says what it is for.
    fn begin(self: &Arc<Self>, py: Python<'_>, key: LaneKey) -> PyResult<()> {
        self.shared.bind_lane(key, Role::Caller(self.clone()));
        {
            let mut inner = lock(&self.inner);
            inner.key = Some(key);
            inner.phase = Phase::Negotiating;
            version::offer(&self.version, self.msize, &mut inner.out);
        }
        self.mark_dirty(py)
    }

    fn mark_dirty(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        if std::mem::replace(&mut lock(&self.inner).dirty, true) {
            return Ok(());
        }
        self.shared.mark_dirty(py, Role::Caller(self.clone()))
    }

    pub(crate) fn take_frames(&self) -> Option<(LaneKey, Vec<u8>)> {
        let mut inner = lock(&self.inner);
        inner.dirty = false;
        let key = inner.key?;
        (!inner.out.is_empty()).then(|| (key, std::mem::take(&mut inner.out)))
    }

    // ---- calls ----

    /// Encodes a call and sends it at the end of the turn, or keeps it until it has a tag.
    pub(crate) fn start<'py>(
        self: &Arc<Self>,
        py: Python<'py>,
        method: &Bound<'py, ChannelMethod>,
        arguments: &Bound<'py, PyTuple>,
        timeout: f64,
    ) -> PyResult<(Bound<'py, Reply>, Ticket)> {
        self.shared.check()?;
        let called = method.get();
        let (mut out, limit, side) = {
            let mut inner = lock(&self.inner);
            if let Phase::Failed(failure) = &inner.phase {
                return Err(self.error(py, failure));
            }
            // Arguments are encoded straight into the lane's buffer. It is taken out meanwhile,
            // because encoding may run Python code that calls on this lane.
            (std::mem::take(&mut inner.out), inner.limit, self.side(&inner))
        };
        let start = frame::begin(&mut out, kind::request(called.index), limits::NO_TAG);
        let encoded = called.encode(py, arguments, &mut out).and_then(|()| {
            let finished = frame::finish(&mut out, start, limit);
            finished.map_err(|error| errors::too_large(py, &called.what, error, side))
        });
        let reply = encoded.and_then(|()| Bound::new(py, Reply::new(self.shared.clone())));
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                out.truncate(start);
                self.put_back(&mut lock(&self.inner), out);
                return Err(error);
            }
        };
        let pending = Pending {
            reply: reply.clone().unbind(),
            method: method.clone().unbind(),
            timeout,
            frame: Vec::new(),
        };
        let ticket = {
            let mut inner = lock(&self.inner);
            if let Phase::Failed(failure) = &inner.phase {
                return Err(self.error(py, failure));
            }
            if matches!(inner.phase, Phase::Open) && inner.caller.has_room() {
                self.place(&mut inner, out, start, kind::reply(called.index), pending)
            } else {
                let frame = out.split_off(start);
                self.put_back(&mut inner, out);
                Some(inner.caller.wait(Pending { frame, ..pending }))
            }
        };
        let Some(ticket) = ticket else { return Err(errors::closed("the lane")) };
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        if timeout.is_finite() {
            if let Some(at) = Instant::now().checked_add(Duration::from_secs_f64(timeout.max(0.0)))
            {
                self.shared.add_deadline(self.id, ticket, at);
            }
        }
        self.mark_dirty(py)?;
        Ok((reply, ticket))
    }

    /// Whose limit of a frame's size holds.
    fn side(&self, inner: &Inner) -> &'static str {
        if inner.limit == self.msize { "here" } else { "peer" }
    }

    /// Gives the call whose frame begins at `start` of `out` a tag, and puts `out` back.
    fn place(
        &self,
        inner: &mut Inner,
        mut out: Vec<u8>,
        start: usize,
        reply: u8,
        pending: Pending,
    ) -> Option<Ticket> {
        let ticket = inner.caller.start(reply, pending).ok()?;
        frame::retag(&mut out[start..], ticket.tag);
        self.put_back(inner, out);
        Some(ticket)
    }

    /// Returns a buffer that was taken out; frames that came meanwhile follow it.
    fn put_back(&self, inner: &mut Inner, mut out: Vec<u8>) {
        if !inner.out.is_empty() {
            out.append(&mut inner.out);
        }
        inner.out = out;
    }

    /// Calls that waited get the tags that became free.
    fn promote(&self, py: Python<'_>) -> PyResult<()> {
        let mut refused = Vec::new();
        {
            let inner = &mut *lock(&self.inner);
            if !matches!(inner.phase, Phase::Open) {
                return Ok(());
            }
            let reply = |pending: &mut Pending| kind::reply(pending.method.get().index);
            while let Some((ticket, pending)) = inner.caller.promote(reply) {
                let mut frame = std::mem::take(&mut pending.frame);
                if frame.len() > inner.limit as usize {
                    // Only now is the peer's limit known. The tag was never used.
                    let size = frame.len() as u64;
                    let reply = kind::reply(pending.method.get().index);
                    if let Ok(mux::Reply::Result(pending)) =
                        inner.caller.reply(reply, ticket.tag, &[])
                    {
                        refused.push((pending, FrameError::TooLarge { size, limit: inner.limit }));
                    }
                    continue;
                }
                frame::retag(&mut frame, ticket.tag);
                inner.out.append(&mut frame);
            }
        }
        for (pending, error) in refused {
            self.shared.calls.fetch_sub(1, Ordering::Relaxed);
            let side = self.side(&lock(&self.inner));
            let error = errors::too_large(py, &pending.method.get().what, error, side);
            Reply::fail_soon(pending.reply.bind(py), error)?;
        }
        Ok(())
    }

    pub(crate) fn is_live(&self, ticket: Ticket) -> bool {
        lock(&self.inner).caller.is_live(ticket)
    }

    /// Whoever waited for the call has gone.
    pub(crate) fn abandon(&self, ticket: Ticket) {
        let pending = lock(&self.inner).caller.abandon(ticket);
        if pending.is_some() {
            self.shared.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The call's time is up, unless it ended before.
    pub(crate) fn expire(&self, py: Python<'_>, ticket: Ticket) -> PyResult<()> {
        let pending = lock(&self.inner).caller.abandon(ticket);
        let Some(pending) = pending else { return Ok(()) };
        self.shared.calls.fetch_sub(1, Ordering::Relaxed);
        let error = errors::deadline(py, &pending.method.get().what, pending.timeout);
        Reply::complete_now(pending.reply.bind(py), Err(error))
    }

    // ---- what comes back ----

    pub(crate) fn on_frames(self: &Arc<Self>, py: Python<'_>, run: &[u8]) -> PyResult<()> {
        for frame in frame::frames(run) {
            let phase = match lock(&self.inner).phase {
                Phase::Open => true,
                Phase::Negotiating => false,
                Phase::Opening | Phase::Failed(_) => return Ok(()),
            };
            let outcome = if phase { self.on_reply(py, frame)? } else { self.on_version(frame) };
            if let Err(failure) = outcome {
                self.fail(py, failure);
                return Ok(());
            }
        }
        self.promote(py)?;
        if lock(&self.inner).out.is_empty() { Ok(()) } else { self.mark_dirty(py) }
    }

    fn on_reply(&self, py: Python<'_>, frame: Frame<'_>) -> PyResult<Result<(), Failure>> {
        let reply = lock(&self.inner).caller.reply(frame.kind, frame.tag, frame.payload);
        let (pending, failed) = match reply {
            Ok(mux::Reply::Result(pending)) => (pending, false),
            Ok(mux::Reply::Fault(pending)) => (pending, true),
            Ok(mux::Reply::Abandoned | mux::Reply::Item) => return Ok(Ok(())),
            Ok(mux::Reply::Done(_) | mux::Reply::Cancelled(_)) => {
                return Ok(Err(Failure::Protocol("the end of a stream for a call".to_owned())));
            }
            Err(error) => return Ok(Err(Failure::Protocol(error.to_string()))),
        };
        self.shared.calls.fetch_sub(1, Ordering::Relaxed);
        let outcome = if failed {
            Err(match Fault::decode(frame.payload) {
                Ok(fault) => errors::call_error(py, &fault),
                Err(error) => errors::remote_protocol(format!("a malformed fault: {error}")),
            })
        } else {
            pending.method.get().decode(py, frame.payload)
        };
        Reply::complete_now(pending.reply.bind(py), outcome).map(Ok)
    }

    fn on_version(&self, frame: Frame<'_>) -> Result<(), Failure> {
        if frame.kind == kind::RERROR {
            let fault = Fault::decode(frame.payload).unwrap_or_default();
            return Err(self.refused(format!("the server answered: {}", fault.message), None));
        }
        if frame.kind != kind::RVERSION {
            return Err(Failure::Protocol(format!(
                "a frame of type {} where the server's version was due",
                frame.kind
            )));
        }
        let offer =
            Offer::decode(frame.payload).map_err(|error| Failure::Protocol(error.to_string()))?;
        if offer.version == version::UNKNOWN {
            let why = "the server does not serve this name, or no version that fits";
            return Err(self.refused(why.to_owned(), Some(offer.version)));
        }
        match Version::parse(&offer.version) {
            Ok(theirs) if theirs.serves(&self.version) => {}
            _ => {
                let why = format!("the server answered {:?}, which does not fit", offer.version);
                return Err(self.refused(why, Some(offer.version)));
            }
        }
        if offer.msize < MIN_MSIZE {
            return Err(Failure::Protocol(format!(
                "the server takes frames of at most {} bytes; less than {MIN_MSIZE} cannot work",
                offer.msize
            )));
        }
        let mut inner = lock(&self.inner);
        inner.limit = offer.msize.min(self.msize);
        inner.phase = Phase::Open;
        Ok(())
    }

    fn refused(&self, why: String, answered: Option<String>) -> Failure {
        Failure::Version { message: format!("{} was refused: {why}", self.version), answered }
    }

    // ---- the end ----

    pub(crate) fn on_end(self: &Arc<Self>, py: Python<'_>, end: &LaneEnd) -> PyResult<()> {
        let negotiating = matches!(lock(&self.inner).phase, Phase::Negotiating);
        let failure = match end {
            LaneEnd::Stopped { code } if *code == u64::from(codes::UNKNOWN_SERVICE) => {
                let why = format!("the server does not serve {:?}", self.version.name);
                self.refused(why, Some(version::UNKNOWN.to_owned()))
            }
            LaneEnd::Stopped { code } if *code == u64::from(codes::VERSION_REFUSED) => {
                let why = "the server serves it in a version that does not fit";
                self.refused(why.to_owned(), Some(version::UNKNOWN.to_owned()))
            }
            LaneEnd::Broken(_) | LaneEnd::Truncated { .. } => Failure::Ended(end.clone()),
            _ if negotiating => self.refused(
                "the server closed the lane without an answer, as some do for a name that they \
                 do not serve"
                    .to_owned(),
                None,
            ),
            end => Failure::Ended(end.clone()),
        };
        self.fail(py, failure);
        Ok(())
    }

    pub(crate) fn on_lost(self: &Arc<Self>, py: Python<'_>, reason: &Lost) {
        self.fail(py, Failure::Lost(reason.clone()));
    }

    /// Ends the lane on our side: calls in flight fail, the peer is told.
    pub(crate) fn close(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        self.fail(py, Failure::Closed);
        self.shared.schedule(py)
    }

    /// The loop is gone: nobody is left to be told.
    pub(crate) fn forget(&self) {
        let calls = {
            let mut inner = lock(&self.inner);
            inner.phase = Phase::Failed(Failure::Closed);
            inner.caller.drain()
        };
        for pending in calls {
            pending.reply.get().forget();
        }
    }

    fn fail(&self, py: Python<'_>, failure: Failure) {
        let (key, calls) = {
            let mut inner = lock(&self.inner);
            if matches!(inner.phase, Phase::Failed(_)) {
                return;
            }
            inner.phase = Phase::Failed(failure.clone());
            inner.out = Vec::new();
            (inner.key.take(), inner.caller.drain())
        };
        if let Some(key) = key {
            self.shared.unbind_lane(key);
            if !matches!(failure, Failure::Lost(_)) {
                let code = match failure {
                    Failure::Protocol(_) | Failure::Ended(LaneEnd::Broken(_)) => codes::PROTOCOL,
                    _ => codes::DONE,
                };
                if let Ok(mut hub) = self.shared.hub() {
                    hub.abort_lane(key, code);
                }
            }
        }
        self.shared.calls.fetch_sub(calls.len(), Ordering::Relaxed);
        for pending in calls {
            let reply = pending.reply.bind(py);
            if let Err(error) = Reply::fail_soon(reply, self.error(py, &failure)) {
                error.write_unraisable(py, Some(reply));
            }
        }
    }

    fn error(&self, py: Python<'_>, failure: &Failure) -> PyErr {
        match failure {
            Failure::Lost(reason) => errors::lost(py, reason),
            Failure::Ended(end) => errors::lane_ended(end),
            Failure::Protocol(message) => errors::remote_protocol(message.clone()),
            Failure::Version { message, answered } => {
                errors::version(py, message.clone(), &self.version.to_string(), answered.as_deref())
            }
            Failure::Closed => errors::closed("the channel"),
        }
    }

    /// Calls that hold a tag, and calls that wait for one.
    pub(crate) fn load(&self) -> (usize, usize) {
        let inner = lock(&self.inner);
        (inner.caller.pending(), inner.caller.waiting())
    }

    pub(crate) fn is_failed(&self) -> bool {
        matches!(lock(&self.inner).phase, Phase::Failed(_))
    }
}

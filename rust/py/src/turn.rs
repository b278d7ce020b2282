//! A turn: what has arrived goes to Python in one batch, what Python wrote leaves in one write.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use jetstream_net::{ConnectionKey, Dir, Event, LaneKey, Lost};
use pyo3::intern;
use pyo3::panic::PanicException;
use pyo3::prelude::*;

use crate::asgi::Rest;
use crate::connection::{Connection, Wait};
use crate::dispatch::ServiceLane;
use crate::errors;
use crate::leaving::Turn;
use crate::shared::{Role, Shared, lock, resolve};
use crate::slice::Slice;

/// What the loop calls for a turn. It does not keep the endpoint: a loop that is gone must not, and
/// the handle of its timer is kept by the endpoint.
#[pyclass(frozen, module = "jetstream._core")]
pub(crate) struct Tick {
    pub(crate) shared: Weak<Shared>,
    /// Called by the timer's handle.
    pub(crate) timer: bool,
}

#[pymethods]
impl Tick {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        match self.shared.upgrade() {
            Some(shared) if self.timer => shared.on_timer(py),
            Some(shared) => shared.turn(py),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// One turn; see the architecture's page.
    pub(crate) fn turn(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        self.check()?;
        self.exhume(py);
        self.scheduled.store(false, Ordering::Relaxed);
        if self.is_closed() || self.in_turn.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let _turn = Turn::begin();
        let mut outcome = Ok(());
        let again = catch_unwind(AssertUnwindSafe(|| self.turn_once(py, &mut outcome)));
        self.in_turn.store(false, Ordering::Relaxed);
        let again = again.unwrap_or_else(|payload| {
            outcome = Err(panicked(payload.as_ref()));
            Ok(true)
        });
        match again {
            // Behind what the loop has queued: one busy connection does not starve the others.
            Ok(true) => self.schedule(py)?,
            Ok(false) => {}
            Err(error) => self.broken(py, &error)?,
        }
        outcome
    }

    /// The timer's handle has fired. It may have done so early: loops round to milliseconds. So it
    /// counts as gone whatever the time, and the turn sets another one.
    pub(crate) fn on_timer(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        lock(&self.state).timer = None;
        self.turn(py)
    }

    /// The socket does not work any more: everything on it fails with the reason.
    fn broken(self: &Arc<Self>, py: Python<'_>, error: &io::Error) -> PyResult<()> {
        let reason = Lost::Failed { code: 1, reason: format!("the socket failed: {error}") };
        let connections: Vec<ConnectionKey> =
            lock(&self.state).connections.keys().copied().collect();
        for connection in connections {
            self.on_lost(py, connection, &reason);
        }
        self.close(py)
    }

    /// Whether another turn is due at once.
    fn turn_once(self: &Arc<Self>, py: Python<'_>, outcome: &mut PyResult<()>) -> io::Result<bool> {
        let mut round = Outcome { first: outcome };
        let more = self.hand_over(py, &mut round)?;
        round.note(self.expire(py));
        round.note(self.unpark(py));
        round.note(self.flush_lossy(py));
        let frames = self.take_frames();
        let progress = py.detach(|| {
            let mut hub = lock(&self.hub);
            for (lane, bytes) in frames {
                hub.write_lane(lane, bytes);
            }
            hub.transmit(Instant::now())
        })?;
        let sent = std::mem::take(&mut lock(&self.state).after_turn);
        for future in sent {
            round.note(resolve(py, future.bind(py), py.None()));
        }
        round.note(self.watch_writable(py, progress.blocked));
        round.note(self.arm(py, progress.timeout));
        let mut again = more || progress.more;
        round.note(self.wake_farewell(py));
        match self.wake_quiet(py) {
            Ok(finishing) => again |= finishing,
            Err(error) => round.note(Err(error)),
        }
        let answers = !lock(&self.state).dirty.is_empty();
        Ok(again || answers)
    }

    /// The first half of a turn: what has arrived goes to Python. True if there is more.
    fn hand_over(self: &Arc<Self>, py: Python<'_>, round: &mut Outcome<'_>) -> io::Result<bool> {
        let left = lock(&self.state).left.take();
        let (more, mut events) = match left {
            Some(events) => (true, events),
            None => py.detach(|| -> io::Result<_> {
                let mut hub = lock(&self.hub);
                let more = hub.receive(Instant::now())?;
                Ok((more, hub.take_events().into_iter().peekable()))
            })?,
        };
        if events.peek().is_none() {
            return Ok(more);
        }
        let slice = Slice::begin(Arc::as_ptr(self));
        while let Some(event) = events.next() {
            let delivered = catch_unwind(AssertUnwindSafe(|| self.deliver(py, event, &mut events)));
            round.note(delivered.unwrap_or_else(|payload| Err(panicked(payload.as_ref()))));
            if slice.is_over() {
                break;
            }
        }
        let is_left = events.peek().is_some() && !self.is_closed();
        if is_left {
            lock(&self.state).left = Some(events);
        }
        Ok(more || is_left)
    }

    pub(crate) fn take_frames(&self) -> Vec<(LaneKey, Vec<u8>)> {
        let dirty = std::mem::take(&mut lock(&self.state).dirty);
        dirty
            .into_iter()
            .filter_map(|role| match role {
                Role::Caller(lane) => lane.take_frames(self),
                Role::Service(lane) => lane.take_frames(),
            })
            .collect()
    }

    fn watch_writable(&self, py: Python<'_>, blocked: bool) -> PyResult<()> {
        let descriptor = {
            let mut state = lock(&self.state);
            let changed = std::mem::replace(&mut state.writer, blocked) != blocked;
            state.descriptor.filter(|_| changed)
        };
        let Some(descriptor) = descriptor else { return Ok(()) };
        let tick = self.tick(py);
        let event_loop = self.event_loop.object.bind(py);
        match (blocked, tick) {
            (true, Some(tick)) => event_loop.call_method1("add_writer", (descriptor, tick))?,
            _ => event_loop.call_method1("remove_writer", (descriptor,))?,
        };
        Ok(())
    }

    /// One handle serves all timers. QUIC moves them later all the time; the handle is moved only
    /// when the earliest moves forward, and otherwise fires early and is set again.
    fn arm(&self, py: Python<'_>, timeout: Option<Instant>) -> PyResult<()> {
        let ours = {
            let state = lock(&self.state);
            let handlers = state.handler_deadlines.next();
            [state.deadlines.next(), handlers, state.exchange_timers.next(), state.farewell]
        };
        let Some(at) = ours.into_iter().chain([timeout]).flatten().min() else { return Ok(()) };
        let now = Instant::now();
        let old = {
            let mut state = lock(&self.state);
            match &state.timer {
                Some((armed, _)) if *armed <= at => return Ok(()),
                _ => {}
            }
            state.timer.take()
        };
        if let Some((_, handle)) = old {
            handle.call_method0(py, intern!(py, "cancel"))?;
        }
        let on_timer = lock(&self.state).on_timer.as_ref().map(|on_timer| on_timer.clone_ref(py));
        let Some(on_timer) = on_timer else { return Ok(()) };
        let delay = at.saturating_duration_since(now).as_secs_f64();
        let base: f64 = self.event_loop.time.bind(py).call0()?.extract()?;
        let kwargs = self.event_loop.in_context.bind(py);
        let handle =
            self.event_loop.call_at.bind(py).call((base + delay, on_timer), Some(kwargs))?;
        lock(&self.state).timer = Some((at, handle.unbind()));
        Ok(())
    }

    fn expire_handlers(&self, py: Python<'_>, now: Instant) {
        loop {
            let (lane, handler) = {
                let mut state = lock(&self.state);
                let Some((key, slot, serial)) = state.handler_deadlines.expired(now) else {
                    return;
                };
                match state.roles.get(&key) {
                    Some((_, Role::Service(lane))) => (lane.clone(), (slot, serial)),
                    _ => continue,
                }
            };
            lane.expire(py, handler);
        }
    }

    fn expire(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let now = Instant::now();
        self.expire_handlers(py, now);
        self.expire_exchanges(py, now)?;
        loop {
            let (lane, ticket) = {
                let mut state = lock(&self.state);
                let Some((id, ticket)) = state.deadlines.expired(now) else { return Ok(()) };
                let Some(lane) = state.callers.get(&id).and_then(Weak::upgrade) else { continue };
                (lane, ticket)
            };
            lane.expire(py, ticket)?;
        }
    }

    fn deliver(self: &Arc<Self>, py: Python<'_>, event: Event, rest: &mut Rest) -> PyResult<()> {
        match event {
            Event::Frames { lane, run } => match self.role(lane) {
                Some(Role::Service(service)) => service.on_frames(py, &run),
                Some(Role::Caller(caller)) => caller.on_frames(py, run),
                None => Ok(()),
            },
            Event::LaneOpened { connection, lane } => {
                let found = self.connection(py, connection)?;
                let service = ServiceLane::new(py, self.clone(), lane, found.unbind());
                self.bind_lane(connection, lane, Role::Service(service));
                Ok(())
            }
            Event::LaneDrained { lane } => match self.role(lane) {
                Some(Role::Service(service)) => service.on_drained(py),
                _ => Ok(()),
            },
            Event::LaneEnded { lane, end } => match self.role(lane) {
                Some(Role::Service(service)) => service.on_end(py, &end),
                Some(Role::Caller(caller)) => caller.on_end(py, &end),
                None => Ok(()),
            },
            Event::Early { connection, .. } => self.connection(py, connection)?.get().on_early(),
            Event::EarlyRejected { connection } => self.on_early_rejected(py, connection),
            Event::Connected { connection, incoming } => {
                let key = connection;
                let connection = self.connection(py, connection)?;
                if !incoming {
                    connection.get().mark_outgoing();
                }
                let early = connection.get().went_early();
                connection.get().on_connected(py)?;
                if early && !incoming {
                    self.on_early_over(py, key, connection.get())?;
                }
                self.tell(py, |state| state.on_connected.as_ref(), (connection, incoming))
            }
            Event::Confirmed { connection } => match self.known(py, connection) {
                Some(found) => found.get().on_confirmed(py),
                None => Ok(()),
            },
            Event::HandshakeFailed { remote, reason } => {
                let error = errors::lost(py, &reason);
                let told = (remote.to_string(), error.value(py));
                self.tell(py, |state| state.on_failed.as_ref(), told)
            }
            Event::Draining { connection } => self.wake(py, connection, |c| c.on_going_away(py)),
            Event::Reviewed { judged, sent_away } => {
                self.tell(py, |state| state.on_reviewed.as_ref(), (judged, sent_away))
            }
            Event::Lost { connection, reason } => {
                // One that we opened for a session has nothing more to carry but its last word.
                let found = self.known(py, connection);
                let beneath = found.and_then(|found| found.get().carrier_of_its_own());
                self.on_lost(py, connection, &reason);
                if let Some(beneath) = beneath {
                    self.hub()?.http_leave(beneath);
                }
                Ok(())
            }
            Event::StreamOpened { connection, stream } => {
                let found = self.connection(py, connection)?;
                found.get().on_stream_opened(py, stream)
            }
            Event::Readable { connection, stream } => {
                self.wake(py, connection, |c| c.wake(py, Wait::Readable, stream.into()))
            }
            Event::Writable { connection, stream } => {
                self.wake(py, connection, |c| c.wake(py, Wait::Writable, stream.into()))
            }
            Event::Finished { connection, stream } => {
                self.wake(py, connection, |c| c.wake(py, Wait::Finished, stream.into()))
            }
            Event::MayOpen { connection, dir } => {
                self.wake(py, connection, |c| c.on_may_open(py, dir))
            }
            Event::Http(event) => self.on_http(py, event, rest),
            Event::LaneDatagram { lane, frame } => self.on_lane_datagram(py, lane, &frame),
            Event::Datagram { connection } => {
                self.wake(py, connection, |c| c.wake(py, Wait::Datagram, 0))
            }
        }
    }

    fn wake(
        &self,
        py: Python<'_>,
        connection: ConnectionKey,
        wake: impl FnOnce(&Connection) -> PyResult<()>,
    ) -> PyResult<()> {
        match self.known(py, connection) {
            Some(found) => wake(found.get()),
            None => Ok(()),
        }
    }

    /// The server has thrown away what went ahead of the handshake: lanes begin anew.
    fn on_early_rejected(self: &Arc<Self>, py: Python<'_>, key: ConnectionKey) -> PyResult<()> {
        let Some(connection) = self.known(py, key) else { return Ok(()) };
        connection.get().on_early_rejected()?;
        for role in self.unbind_lanes(key) {
            if let Role::Caller(lane) = role {
                lane.restart(py, connection.get())?;
            }
        }
        Ok(())
    }

    /// The handshake that data went ahead of is complete: nothing needs to be sent again, and the
    /// server says anew how many lanes there may be.
    fn on_early_over(
        self: &Arc<Self>,
        py: Python<'_>,
        key: ConnectionKey,
        connection: &Connection,
    ) -> PyResult<()> {
        for role in self.lanes_of(key) {
            if let Role::Caller(lane) = role {
                lane.settle();
            }
        }
        connection.on_may_open(py, Dir::Bi)
    }

    /// A connection is gone: its lanes end, those who wait on it are told.
    pub(crate) fn on_lost(self: &Arc<Self>, py: Python<'_>, key: ConnectionKey, reason: &Lost) {
        let found = lock(&self.state).connections.remove(&key);
        let Some(found) = found else { return };
        let unshaken = !found.get().is_connected();
        for role in self.unbind_lanes(key) {
            match role {
                Role::Caller(lane) => lane.on_lost(py, reason, unshaken),
                Role::Service(lane) => lane.on_lost(py),
            }
        }
        found.get().on_lost(py, reason);
    }
}

/// A panic, which is a mistake of ours, as the exception that PyO3 makes of one at the boundary. Here
/// it ends what it happened to, and neither the turn nor those after it.
fn panicked(payload: &(dyn Any + Send)) -> PyErr {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    PanicException::new_err(text.unwrap_or("panic from Rust code").to_owned())
}

/// Keeps the first error of a turn; the rest of the turn is done all the same.
struct Outcome<'a> {
    first: &'a mut PyResult<()>,
}

impl Outcome<'_> {
    fn note(&mut self, result: PyResult<()>) {
        if result.is_err() && self.first.is_ok() {
            *self.first = result;
        }
    }
}

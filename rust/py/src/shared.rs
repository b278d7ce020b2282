//! The loop bridge: an endpoint's turns inside asyncio's thread.
//!
//! Rules: a lock here is held for a moment and never while Python code runs; the state's lock may
//! be taken before a lane's, never after.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use jetstream_net::{ConnectionKey, ExchangeKey, Hub, LaneKey, Lost, Memory};
use jetstream_proto::mux::{Deadlines, Ticket};
use pyo3::call::PyCallArgs;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::asgi::{Exchange, Rest, Site};
use crate::caller::{CallerLane, Failure};
use crate::connection::Connection;
use crate::deadline;
use crate::dispatch::ServiceLane;
use crate::errors;
use crate::handling::{ReadyTask, enter_context};
use crate::outlet::Outlet;
use crate::service::Services;
use crate::turn::Tick;

/// How long the readers of sessions have, once all has been answered and has arrived.
const FAREWELL: Duration = Duration::from_secs(1);

/// Counts the forks this process came out of; an endpoint lives in the process that made it.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Live objects of this crate, for tests that look for leaks.
pub(crate) static LIVE_CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
pub(crate) static LIVE_CALLS: AtomicUsize = AtomicUsize::new(0);
pub(crate) static LIVE_LANES: AtomicUsize = AtomicUsize::new(0);

/// Called in a child process after `fork`.
pub(crate) fn after_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// A lock whose holder never panics while holding it; if one did, the data is still sound enough
/// to be closed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a lane is for.
#[derive(Clone)]
pub(crate) enum Role {
    Caller(Arc<CallerLane>),
    Service(Arc<ServiceLane>),
}

/// The parts of asyncio's loop that are used in every turn, looked up once.
pub(crate) struct Loop {
    pub(crate) object: Py<PyAny>,
    pub(crate) call_soon: Py<PyAny>,
    pub(crate) call_at: Py<PyAny>,
    pub(crate) time: Py<PyAny>,
    pub(crate) create_future: Py<PyAny>,
    /// `{"context": …}`: turns run in the context in which the endpoint was made, not in that of
    /// whichever task happened to write first.
    pub(crate) in_context: Py<PyDict>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) roles: HashMap<LaneKey, (ConnectionKey, Role)>,
    /// The keys of `roles` by connection: one that is lost must not look at the lanes of all others.
    pub(crate) lanes: HashMap<ConnectionKey, Vec<LaneKey>>,
    pub(crate) connections: HashMap<ConnectionKey, Py<Connection>>,
    pub(crate) dirty: Vec<Role>,
    /// What has arrived and is for the next turn, see `slice`.
    pub(crate) left: Option<Rest>,
    /// Lanes with frames that wait until handlers end or answers are taken.
    pub(crate) parked: Vec<Arc<ServiceLane>>,
    pub(crate) callers: HashMap<u64, Weak<CallerLane>>,
    pub(crate) next_caller: u64,
    pub(crate) deadlines: Deadlines<Instant, (u64, Ticket)>,
    /// Of handlers that wait, by their lanes.
    pub(crate) handler_deadlines: Deadlines<Instant, (LaneKey, usize, u64)>,
    /// Futures that are done when this turn has sent what was written.
    pub(crate) after_turn: Vec<Py<PyAny>>,
    pub(crate) timer: Option<(Instant, Py<PyAny>)>,
    /// The socket that the loop watches; none in memory.
    pub(crate) descriptor: Option<i32>,
    pub(crate) writer: bool,
    pub(crate) tick: Option<Py<Tick>>,
    pub(crate) on_timer: Option<Py<Tick>>,
    /// Called with `(connection, incoming)` when a peer connected.
    pub(crate) on_connected: Option<Py<PyAny>>,
    /// Called with `(address, reason)` when a handshake failed.
    pub(crate) on_failed: Option<Py<PyAny>>,
    /// Called with `(connection, why)` when a peer broke the rules of a lane.
    pub(crate) on_violation: Option<Py<PyAny>>,
    pub(crate) on_reviewed: Option<Py<PyAny>>,
    pub(crate) services: Option<Arc<Services>>,
    /// The application that answers HTTP.
    pub(crate) site: Option<Arc<Site>>,
    /// Those whose application waits.
    pub(crate) exchanges: HashMap<ExchangeKey, Py<Exchange>>,
    /// When something is due for one of them.
    pub(crate) exchange_timers: Deadlines<Instant, u64>,
    /// Lossy subscriptions with an item that has not left.
    pub(crate) lossy: Vec<Py<Outlet>>,
    pub(crate) ready_task: Option<ReadyTask>,
    pub(crate) quiet_waiters: Vec<Py<PyAny>>,
    /// No handler ran any more, for those who wait for quiet.
    pub(crate) parting: bool,
    /// The lanes have been finished, for the same.
    pub(crate) finished: bool,
    /// Until when readers of sessions have time to take what their lanes ended with.
    pub(crate) farewell: Option<Instant>,
    /// Who waits until peers know of the end of their sessions.
    pub(crate) farewell_waiters: Vec<Py<PyAny>>,
}

/// An endpoint as Python sees it: the hub, and who waits for what.
pub(crate) struct Shared {
    pub(crate) hub: Mutex<Hub>,
    pub(crate) state: Mutex<State>,
    pub(crate) event_loop: Loop,
    pub(crate) thread: ThreadId,
    pub(crate) generation: u32,
    pub(crate) scheduled: AtomicBool,
    pub(crate) in_turn: AtomicBool,
    pub(crate) closed: AtomicBool,
    /// The server is going away.
    draining: AtomicBool,
    pub(crate) calls: AtomicUsize,
    /// Handlers that run, of all connections.
    pub(crate) handlers: AtomicUsize,
    /// What is left to be done for objects that were collected in other threads.
    buried: Mutex<Vec<Work>>,
}

/// Something to be done in the loop's thread.
type Work = Box<dyn FnOnce(Python<'_>) + Send>;

impl Shared {
    pub(crate) fn new(
        py: Python<'_>,
        event_loop: &Bound<'_, PyAny>,
        hub: Hub,
        descriptor: Option<i32>,
    ) -> PyResult<Arc<Self>> {
        // Whatever call is being answered where an endpoint is made, its deadline is not that of
        // what arrives on the endpoint.
        let context = deadline::context(py, None)?;
        let in_context = PyDict::new(py);
        in_context.set_item("context", context.bind(py))?;
        let method = |name: &str| event_loop.getattr(name).map(Bound::unbind);
        Ok(Arc::new(Self {
            hub: Mutex::new(hub),
            state: Mutex::new(State { descriptor, ..State::default() }),
            event_loop: Loop {
                call_soon: method("call_soon")?,
                call_at: method("call_at")?,
                time: method("time")?,
                create_future: method("create_future")?,
                object: event_loop.clone().unbind(),
                in_context: in_context.unbind(),
            },
            thread: std::thread::current().id(),
            generation: GENERATION.load(Ordering::Relaxed),
            scheduled: AtomicBool::new(false),
            in_turn: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            handlers: AtomicUsize::new(0),
            buried: Mutex::default(),
        }))
    }

    /// Begins to watch the socket for `endpoint`, the object around this.
    pub(crate) fn start(self: &Arc<Self>, endpoint: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = endpoint.py();
        let tick = |timer| Py::new(py, Tick { shared: Arc::downgrade(self), timer });
        let (soon, on_timer) = (tick(false)?, tick(true)?);
        {
            let mut state = lock(&self.state);
            state.tick = Some(soon);
            state.on_timer = Some(on_timer);
        }
        let descriptor = lock(&self.state).descriptor;
        if let Some(descriptor) = descriptor {
            self.watch(endpoint, descriptor)?;
        }
        self.schedule(py)
    }

    /// The loop keeps the endpoint while it watches its socket; nothing else of ours does.
    fn watch(&self, endpoint: &Bound<'_, PyAny>, descriptor: i32) -> PyResult<()> {
        let py = endpoint.py();
        let tick = endpoint.getattr(intern!(py, "_turn"))?;
        // It is watched in a copy of the context of the one who asks. This may be asked for within a
        // turn, whose context cannot be entered again.
        let context = self.event_loop.in_context.bind(py).as_any().get_item("context")?;
        let context = context.call_method0("copy")?;
        enter_context(&context, || {
            self.event_loop.object.call_method1(py, "add_reader", (descriptor, tick)).map(drop)
        })?
    }

    /// Watches another socket in the place of the present one.
    pub(crate) fn watch_instead(
        self: &Arc<Self>,
        endpoint: &Bound<'_, PyAny>,
        descriptor: i32,
    ) -> PyResult<()> {
        let py = endpoint.py();
        let (old, writer) = {
            let mut state = lock(&self.state);
            (state.descriptor.replace(descriptor), std::mem::take(&mut state.writer))
        };
        if let Some(old) = old {
            self.event_loop.object.call_method1(py, "remove_reader", (old,))?;
            if writer {
                self.event_loop.object.call_method1(py, "remove_writer", (old,))?;
            }
        }
        self.watch(endpoint, descriptor)?;
        self.schedule(py)
    }

    pub(crate) fn set_hooks(
        &self,
        connected: Py<PyAny>,
        failed: Py<PyAny>,
        violation: Py<PyAny>,
        reviewed: Option<Py<PyAny>>,
    ) {
        let mut state = lock(&self.state);
        state.on_connected = Some(connected);
        state.on_failed = Some(failed);
        state.on_violation = Some(violation);
        state.on_reviewed = reviewed;
    }

    /// Calls one of the hooks, if it was set.
    pub(crate) fn tell<'py>(
        &self,
        py: Python<'py>,
        hook: impl FnOnce(&State) -> Option<&Py<PyAny>>,
        about: impl PyCallArgs<'py>,
    ) -> PyResult<()> {
        // Called only when the lock is free again.
        let hook = hook(&lock(&self.state)).map(|hook| hook.clone_ref(py));
        hook.map_or(Ok(()), |hook| hook.call1(py, about).map(drop))
    }

    pub(crate) fn set_services(&self, services: Arc<Services>) {
        lock(&self.state).services = Some(services);
    }

    pub(crate) fn services(&self) -> Option<Arc<Services>> {
        lock(&self.state).services.clone()
    }

    // ---- guards ----

    /// Every entry from Python passes here.
    pub(crate) fn check(&self) -> PyResult<()> {
        if self.generation != GENERATION.load(Ordering::Relaxed) {
            return Err(errors::misuse(
                "this process was forked from the one that opened the connection; \
                 connect again in the child, or start workers with the spawn method",
            ));
        }
        if self.thread != std::thread::current().id() {
            return Err(errors::misuse(
                "a connection belongs to the thread of its event loop; from another thread use \
                 asyncio.run_coroutine_threadsafe(...)",
            ));
        }
        Ok(())
    }

    /// The hub, for a moment.
    ///
    /// # Errors
    /// Another thread or process; or a certificate check of the user's own, which runs inside a
    /// turn, calls back into the endpoint.
    pub(crate) fn hub(&self) -> PyResult<MutexGuard<'_, Hub>> {
        self.check()?;
        match self.hub.try_lock() {
            Ok(hub) => Ok(hub),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => Err(errors::misuse(
                "the endpoint is busy with a handshake: a certificate check must not use it",
            )),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    // ---- the loop ----

    pub(crate) fn create_future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.event_loop.create_future.bind(py).call0()
    }

    pub(crate) fn event_loop<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.event_loop.object.bind(py)
    }

    /// What the loop is to call for a turn.
    pub(crate) fn tick(&self, py: Python<'_>) -> Option<Py<Tick>> {
        lock(&self.state).tick.as_ref().map(|tick| tick.clone_ref(py))
    }

    /// Makes sure that a turn comes; inside one it comes anyway.
    pub(crate) fn schedule(&self, py: Python<'_>) -> PyResult<()> {
        if self.in_turn.load(Ordering::Relaxed) || self.scheduled.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let Some(tick) = self.tick(py) else {
            self.scheduled.store(false, Ordering::Relaxed);
            return Ok(());
        };
        let kwargs = self.event_loop.in_context.bind(py);
        let called = self.event_loop.call_soon.bind(py).call((tick,), Some(kwargs));
        if called.is_err() {
            self.scheduled.store(false, Ordering::Relaxed);
        }
        called.map(drop)
    }

    /// Does what the end of an object asks for, in the loop's thread: the garbage collector runs in
    /// whichever comes across it.
    pub(crate) fn bury(&self, work: impl FnOnce(Python<'_>) + Send + 'static) {
        at_drop(|py| {
            let is_of_a_fork = self.generation != GENERATION.load(Ordering::Relaxed);
            if is_of_a_fork || self.thread == std::thread::current().id() {
                return work(py);
            }
            lock(&self.buried).push(Box::new(work));
            let told = self.tick(py).map(|tick| {
                let event_loop = self.event_loop.object.bind(py);
                let kwargs = self.event_loop.in_context.bind(py);
                event_loop.call_method(intern!(py, "call_soon_threadsafe"), (tick,), Some(kwargs))
            });
            if !matches!(told, Some(Ok(_))) {
                // A loop that is over has forgotten the rest, too.
                let all = std::mem::take(&mut *lock(&self.buried));
                drop(all);
            }
        });
    }

    /// What other threads have left to be done.
    pub(crate) fn exhume(&self, py: Python<'_>) {
        let all = std::mem::take(&mut *lock(&self.buried));
        for work in all {
            work(py);
        }
    }

    /// Whether the loop has a turn in its queue.
    pub(crate) fn is_due(&self) -> bool {
        self.scheduled.load(Ordering::Relaxed)
    }

    pub(crate) fn add_deadline(&self, lane: u64, ticket: Ticket, at: Instant) {
        let mut state = lock(&self.state);
        let State { deadlines, callers, .. } = &mut *state;
        let is_live = |(id, ticket): (u64, Ticket)| {
            callers.get(&id).and_then(Weak::upgrade).is_some_and(|lane| lane.is_live(ticket))
        };
        deadlines.push(at, (lane, ticket), self.calls.load(Ordering::Relaxed), is_live);
    }

    /// A handler, kept by its lane under `handler`, must have ended at that time.
    pub(crate) fn add_handler_deadline(&self, lane: LaneKey, handler: (usize, u64), at: Instant) {
        let mut state = lock(&self.state);
        let State { handler_deadlines, roles, .. } = &mut *state;
        let is_live = |(lane, slot, serial): (LaneKey, usize, u64)| match roles.get(&lane) {
            Some((_, Role::Service(lane))) => lane.is_waiting((slot, serial)),
            _ => false,
        };
        let (slot, serial) = handler;
        let live = self.handlers.load(Ordering::Relaxed);
        handler_deadlines.push(at, (lane, slot, serial), live, is_live);
    }

    /// Has a future done when this turn has sent what was written, or the next one if none is.
    pub(crate) fn after_turn(&self, py: Python<'_>, future: Py<PyAny>) -> PyResult<()> {
        lock(&self.state).after_turn.push(future);
        self.schedule(py)
    }

    // ---- tasks ----

    /// A task to take a handler's first step in.
    pub(crate) fn take_ready_task(self: &Arc<Self>, py: Python<'_>) -> PyResult<ReadyTask> {
        let ready = lock(&self.state).ready_task.take();
        match ready {
            Some(ready) if ready.is_ready(py)? => return Ok(ready),
            // Somebody cancels all tasks of the loop now and then.
            Some(spoiled) => spoiled.dismiss(py)?,
            None => {}
        }
        ReadyTask::make(py, self)
    }

    pub(crate) fn put_ready_task(&self, py: Python<'_>, ready: ReadyTask) -> PyResult<()> {
        if self.is_closed() {
            return ready.dismiss(py);
        }
        lock(&self.state).ready_task = Some(ready);
        Ok(())
    }

    // ---- lanes ----

    pub(crate) fn add_caller(&self, make: impl FnOnce(u64) -> CallerLane) -> Arc<CallerLane> {
        let mut state = lock(&self.state);
        state.next_caller += 1;
        let id = state.next_caller;
        let lane = Arc::new(make(id));
        state.callers.insert(id, Arc::downgrade(&lane));
        lane
    }

    pub(crate) fn forget_caller(&self, id: u64) {
        lock(&self.state).callers.remove(&id);
    }

    pub(crate) fn bind_lane(&self, connection: ConnectionKey, key: LaneKey, role: Role) {
        let mut state = lock(&self.state);
        state.lanes.entry(connection).or_default().push(key);
        state.roles.insert(key, (connection, role));
    }

    /// Gives a lane that exists to another owner.
    pub(crate) fn rebind_lane(&self, key: LaneKey, role: Role) {
        let before = match lock(&self.state).roles.get_mut(&key) {
            Some((_, owner)) => std::mem::replace(owner, role),
            None => role,
        };
        // Dropped only when the lock is free again.
        drop(before);
    }

    /// Calls of ours in flight on a connection.
    pub(crate) fn calls_on(&self, connection: ConnectionKey) -> usize {
        let state = lock(&self.state);
        let keys = state.lanes.get(&connection).into_iter().flatten();
        keys.filter_map(|key| match state.roles.get(key) {
            Some((_, Role::Caller(lane))) => Some(lane.in_flight()),
            _ => None,
        })
        .sum()
    }

    pub(crate) fn unbind_lane(&self, key: LaneKey) {
        let removed = {
            let mut state = lock(&self.state);
            let removed = state.roles.remove(&key);
            if let Some((connection, _)) = &removed {
                if let Entry::Occupied(mut lanes) = state.lanes.entry(*connection) {
                    lanes.get_mut().retain(|lane| *lane != key);
                    if lanes.get().is_empty() {
                        lanes.remove();
                    }
                }
            }
            removed
        };
        // Dropped only when the lock is free again: the end of a lane takes it too.
        drop(removed);
    }

    pub(crate) fn lanes_of(&self, connection: ConnectionKey) -> Vec<Role> {
        let state = lock(&self.state);
        let keys = state.lanes.get(&connection).into_iter().flatten();
        keys.filter_map(|lane| state.roles.get(lane)).map(|(_, role)| role.clone()).collect()
    }

    /// Takes the lanes of a connection out.
    pub(crate) fn unbind_lanes(&self, connection: ConnectionKey) -> Vec<Role> {
        let mut state = lock(&self.state);
        let keys = state.lanes.remove(&connection).unwrap_or_default();
        keys.iter().filter_map(|lane| state.roles.remove(lane)).map(|(_, role)| role).collect()
    }

    /// A lane of which nothing more is expected; what it has queued is still sent.
    pub(crate) fn retire(&self, key: LaneKey) {
        lock(&self.hub).release_lane(key);
    }

    /// A peer broke the rules; Python's log is told, once a second of each connection.
    pub(crate) fn log_violation(
        &self,
        py: Python<'_>,
        connection: &Py<Connection>,
        why: &str,
    ) -> PyResult<()> {
        let Some(why) = connection.get().violation(why) else { return Ok(()) };
        self.tell(py, |state| state.on_violation.as_ref(), (connection, why))
    }

    /// A lane has something to send.
    pub(crate) fn mark_dirty(&self, py: Python<'_>, role: Role) -> PyResult<()> {
        // There are no more turns, and what a lane is kept by here it keeps itself.
        if self.is_closed() {
            return Ok(());
        }
        lock(&self.state).dirty.push(role);
        self.schedule(py)
    }

    pub(crate) fn park(&self, lane: Arc<ServiceLane>) {
        if !self.is_closed() {
            lock(&self.state).parked.push(lane);
        }
    }

    /// A lossy subscription has an item that is to leave at the end of the turn.
    pub(crate) fn enlist_lossy(&self, outlet: Py<Outlet>) {
        if !self.is_closed() {
            lock(&self.state).lossy.push(outlet);
        }
    }

    pub(crate) fn unpark(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let parked = std::mem::take(&mut lock(&self.state).parked);
        for lane in parked {
            lane.resume(py)?;
        }
        Ok(())
    }

    pub(crate) fn role(&self, lane: LaneKey) -> Option<Role> {
        lock(&self.state).roles.get(&lane).map(|(_, role)| role.clone())
    }

    // ---- connections ----

    /// The Python object of a connection, made on first sight.
    pub(crate) fn connection<'py>(
        self: &Arc<Self>,
        py: Python<'py>,
        key: ConnectionKey,
    ) -> PyResult<Bound<'py, Connection>> {
        if let Some(found) = lock(&self.state).connections.get(&key) {
            return Ok(found.bind(py).clone());
        }
        let made = Bound::new(py, Connection::new(self.clone(), key))?;
        lock(&self.state).connections.insert(key, made.clone().unbind());
        Ok(made)
    }

    pub(crate) fn known(&self, py: Python<'_>, key: ConnectionKey) -> Option<Py<Connection>> {
        lock(&self.state).connections.get(&key).map(|found| found.clone_ref(py))
    }

    /// The connections whose handshake is complete.
    pub(crate) fn established(&self, py: Python<'_>) -> Vec<Py<Connection>> {
        let state = lock(&self.state);
        let all = state.connections.values().filter(|found| found.get().is_connected());
        all.map(|found| found.clone_ref(py)).collect()
    }

    // ---- the end ----

    /// Begins nothing more: peers are told, and streams that run are ended.
    pub(crate) fn drain(&self, py: Python<'_>) -> PyResult<()> {
        if self.draining.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let lanes: Vec<Arc<ServiceLane>> = {
            let state = lock(&self.state);
            let served = |(_, role): &(ConnectionKey, Role)| match role {
                Role::Service(lane) => Some(lane.clone()),
                Role::Caller(_) => None,
            };
            state.roles.values().filter_map(served).collect()
        };
        for lane in lanes {
            lane.go_away(py)?;
        }
        self.drain_exchanges(py)?;
        self.hub()?.http_drain();
        self.schedule(py)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// A future that is done when no handler runs and every answer has been sent.
    pub(crate) fn quiet<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let future = self.create_future(py)?;
        if self.is_closed() {
            resolve(py, &future, py.None())?;
            return Ok(future);
        }
        lock(&self.state).quiet_waiters.push(future.clone().unbind());
        self.schedule(py)?;
        Ok(future)
    }

    /// Resolves what waits for quiet, if it is. True if that takes another turn.
    pub(crate) fn wake_quiet(&self, py: Python<'_>) -> PyResult<bool> {
        let quiet = {
            let state = lock(&self.state);
            !state.quiet_waiters.is_empty()
                && state.left.is_none()
                && state.parked.is_empty()
                && state.dirty.is_empty()
                && self.handlers.load(Ordering::Relaxed) == 0
        };
        if !quiet {
            return Ok(false);
        }
        if !std::mem::replace(&mut lock(&self.state).parting, true) {
            lock(&self.hub).part(Instant::now());
            return Ok(true);
        }
        {
            let hub = lock(&self.hub);
            if hub.unsent() > 0 || hub.open_exchanges() > 0 {
                return Ok(false);
            }
        }
        // Nothing more will be answered: the lanes end, and when the peers have acknowledged that,
        // they have all that was answered.
        if !std::mem::replace(&mut lock(&self.state).finished, true) {
            let lanes: Vec<(LaneKey, Role)> = {
                let mut state = lock(&self.state);
                state.farewell = Instant::now().checked_add(FAREWELL);
                state.roles.iter().map(|(key, (_, role))| (*key, role.clone())).collect()
            };
            for (key, role) in lanes {
                match role {
                    Role::Service(_) => lock(&self.hub).finish_lane(key),
                    // Methods that called their callers back have ended.
                    Role::Caller(lane) => lane.close(py)?,
                }
            }
            return Ok(true);
        }
        if lock(&self.hub).unacknowledged() > 0 || self.waits_for_readers() {
            return Ok(false);
        }
        let waiters = std::mem::take(&mut lock(&self.state).quiet_waiters);
        for future in waiters {
            resolve(py, future.bind(py), py.None())?;
        }
        Ok(false)
    }

    /// Whether a session has a lane that its peer has not ended. What a browser has acknowledged, its
    /// page need not have read, and loses it with the connection; that it ends the lane, too, shows
    /// that it has.
    fn waits_for_readers(&self) -> bool {
        let mut state = lock(&self.state);
        let in_time = state.farewell.is_some_and(|until| Instant::now() < until);
        let waits = in_time && state.roles.values().any(|(connection, _)| connection.is_session());
        if !waits {
            state.farewell = None;
        }
        waits
    }

    /// Closes every session with a word. A future that is done when their peers know: one whose
    /// connection ends together with it may not be told why.
    pub(crate) fn end_sessions<'py>(
        &self,
        py: Python<'py>,
        code: u64,
        why: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        let future = self.create_future(py)?;
        let (sessions, _) = self.sessions_and_connections();
        if self.is_closed() || sessions.is_empty() {
            resolve(py, &future, py.None())?;
            return Ok(future);
        }
        for key in sessions {
            self.hub()?.close(Instant::now(), key, code, why);
        }
        lock(&self.state).farewell_waiters.push(future.clone().unbind());
        self.schedule(py)?;
        Ok(future)
    }

    /// Resolves what waits for the end of sessions, if it has come.
    pub(crate) fn wake_farewell(&self, py: Python<'_>) -> PyResult<()> {
        if lock(&self.state).farewell_waiters.is_empty()
            || lock(&self.hub).ending_sessions(Instant::now()) > 0
        {
            return Ok(());
        }
        let waiters = std::mem::take(&mut lock(&self.state).farewell_waiters);
        for future in waiters {
            resolve(py, future.bind(py), py.None())?;
        }
        Ok(())
    }

    /// What there is, both in the order in which it is closed.
    fn sessions_and_connections(&self) -> (Vec<ConnectionKey>, Vec<ConnectionKey>) {
        lock(&self.state).connections.keys().copied().partition(|key| key.is_session())
    }

    /// Closes every connection with a word, sends that, and closes the endpoint.
    pub(crate) fn shutdown(
        self: &Arc<Self>,
        py: Python<'_>,
        code: u64,
        why: &[u8],
    ) -> PyResult<()> {
        if !self.is_closed() {
            let (sessions, connections) = self.sessions_and_connections();
            let frames = self.take_frames();
            let now = Instant::now();
            let mut hub = self.hub()?;
            for (lane, bytes) in frames {
                hub.write_lane(lane, bytes);
            }
            // What was answered leaves before the word that ends it all.
            let mut sent = vec![hub.transmit(now)];
            // And so does a session's, before that of the connection that it is on.
            for keys in [sessions, connections] {
                for key in keys {
                    hub.close(now, key, code, why);
                }
                sent.push(hub.transmit(now));
            }
            drop(hub);
            // A socket that does not work any more cannot say goodbye, and needs not.
            drop(sent);
        }
        self.close(py)
    }

    /// The endpoint's object is gone without having been closed, and so is its loop: what is left
    /// of calls and handlers is let go, or they would hold each other for ever.
    pub(crate) fn abandon(&self) {
        if self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        let state = std::mem::take(&mut *lock(&self.state));
        *lock(&self.hub) = Hub::Memory(Memory::closed());
        for (_, role) in state.roles.values() {
            match role {
                Role::Caller(lane) => lane.forget(),
                Role::Service(lane) => lane.forget(),
            }
        }
        // Lanes that have no connection now are not among the roles.
        for lane in state.callers.values().filter_map(Weak::upgrade) {
            lane.forget();
        }
        for exchange in state.exchanges.values() {
            exchange.get().forget();
        }
        for connection in state.connections.values() {
            connection.get().forget();
        }
    }

    /// Closes the endpoint: what waits fails, the socket is no longer watched.
    pub(crate) fn close(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        if self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let keys: Vec<ConnectionKey> = lock(&self.state).connections.keys().copied().collect();
        for key in keys {
            self.on_lost(py, key, &Lost::Here);
        }
        self.close_exchanges(py)?;
        // Lanes without a connection, or with one of another endpoint, have their time kept here.
        let callers: Vec<_> =
            lock(&self.state).callers.values().filter_map(Weak::upgrade).collect();
        for lane in callers {
            lane.fail(py, Failure::Closed);
        }
        let state = std::mem::take(&mut *lock(&self.state));
        let event_loop = self.event_loop.object.bind(py);
        if let Some((_, handle)) = state.timer {
            handle.call_method0(py, "cancel")?;
        }
        // A loop that is closed already has forgotten the descriptor.
        let gone: bool = event_loop.call_method0("is_closed")?.extract()?;
        if let (Some(descriptor), false) = (state.descriptor, gone) {
            event_loop.call_method1("remove_reader", (descriptor,))?;
            if state.writer {
                event_loop.call_method1("remove_writer", (descriptor,))?;
            }
        }
        // The socket goes now, and its port with it.
        *lock(&self.hub) = Hub::Memory(Memory::closed());
        if let (Some(ready), false) = (state.ready_task, gone) {
            ready.dismiss(py)?;
        }
        for waiter in state.quiet_waiters.into_iter().chain(state.farewell_waiters) {
            resolve(py, waiter.bind(py), py.None())?;
        }
        Ok(())
    }
}

/// Runs what has to be done when an object goes. That may be while an exception is on its way
/// through the interpreter, which must find it again.
pub(crate) fn at_drop(work: impl FnOnce(Python<'_>)) {
    Python::attach(|py| {
        let raised = PyErr::take(py);
        work(py);
        if let Some(raised) = raised {
            raised.restore(py);
        }
    });
}

/// Resolves a future, unless whoever waited has gone.
pub(crate) fn resolve(py: Python<'_>, future: &Bound<'_, PyAny>, value: Py<PyAny>) -> PyResult<()> {
    ignore_gone(py, future.call_method1(intern!(py, "set_result"), (value,)))
}

/// Fails a future, unless whoever waited has gone.
pub(crate) fn reject(py: Python<'_>, future: &Bound<'_, PyAny>, error: &PyErr) -> PyResult<()> {
    ignore_gone(py, future.call_method1(intern!(py, "set_exception"), (error.value(py),)))
}

fn ignore_gone(py: Python<'_>, result: PyResult<Bound<'_, PyAny>>) -> PyResult<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => {
            let gone = py.import("asyncio")?.getattr("InvalidStateError")?;
            // The loop may be closed with calls in flight; nobody is left to be told.
            if error.matches(py, &gone)?
                || error.is_instance_of::<pyo3::exceptions::PyRuntimeError>(py)
            {
                Ok(())
            } else {
                Err(error)
            }
        }
    }
}

/// Calls `function` with positional arguments, by the vectorcall protocol (PEP 590).
pub(crate) fn vectorcall<'py>(
    function: &Bound<'py, PyAny>,
    arguments: &[Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    // SAFETY: `Bound` is a transparent pointer to a live object, so the slice is an array of
    // `PyObject *` that outlives the call; the result is a new reference or null with an error set.
    unsafe {
        let result = pyo3::ffi::PyObject_Vectorcall(
            function.as_ptr(),
            arguments.as_ptr().cast::<*mut pyo3::ffi::PyObject>(),
            arguments.len(),
            std::ptr::null_mut(),
        );
        Bound::from_owned_ptr_or_err(py, result)
    }
}

/// A tuple of one bytes object for each certificate.
pub(crate) fn chain_tuple<'py>(
    py: Python<'py>,
    chain: &[Vec<u8>],
) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, chain.iter().map(|der| pyo3::types::PyBytes::new(py, der)))
}
